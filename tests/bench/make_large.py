#!/usr/bin/env python3
"""usage: make_large.py OUT.safetensors GIGABYTES [SEED] - a synthetic Llama-like checkpoint of distinct Gaussian BF16
weights. Draws come from a table of 65536 quantiles, so writing is limited by the disk, not by the generator."""
import json
import struct
import sys
from statistics import NormalDist

import numpy as np

COLUMNS, FEED_FORWARD = 2048, 5632
CHUNK = 1 << 24


def quantiles():
    normal = NormalDist(0, 0.02)
    values = np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(65536)], dtype=np.float32)
    return ((values.view(np.uint32) + 0x8000) >> 16).astype("<u2")


def shapes(gigabytes):
    left, layer = int(gigabytes * 1e9), 0
    while left > 0:
        for name, shape in (("self_attn.q_proj", (COLUMNS, COLUMNS)), ("self_attn.o_proj", (COLUMNS, COLUMNS)),
                            ("mlp.gate_proj", (FEED_FORWARD, COLUMNS)), ("mlp.up_proj", (FEED_FORWARD, COLUMNS)),
                            ("mlp.down_proj", (COLUMNS, FEED_FORWARD))):
            yield f"model.layers.{layer}.{name}.weight", shape
            left -= 2 * shape[0] * shape[1]
        layer += 1


def main():
    path, gigabytes = sys.argv[1], float(sys.argv[2])
    rng, table = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 1), quantiles()
    header, offset, tensors = {}, 0, list(shapes(gigabytes))
    for name, shape in tensors:
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors:
            left = shape[0] * shape[1]
            while left:
                count = min(left, CHUNK)
                file.write(table[rng.integers(0, 65536, count, dtype=np.uint16)].tobytes())
                left -= count


main()
