#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: quality_torch.py hqq4|hqq3|nf4 MODEL OUT - all matrices of MODEL, the embedding too, through a quantiser of a Python package
and back into OUT/model.safetensors, F32. Prints {"bytes", "weights"} of what the quantiser would store: codes, and 16 bits for each
scale and zero of 64 weights (hqq), or 32 bits for each scale of 64 (nf4)."""
import json
import sys

import torch
from safetensors.torch import load_file, save_file

GROUP = 64


def hqq(weight, bits):
    from hqq.core.quantize import Quantizer
    codes, meta = Quantizer.quantize(weight, nbits=bits, group_size=GROUP, axis=1, device="cpu", compute_dtype=torch.float32)
    return Quantizer.dequantize(codes, meta).reshape(weight.shape)


def nf4(weight):
    import bitsandbytes.functional as F
    return F.dequantize_4bit(*F.quantize_4bit(weight.contiguous(), blocksize=GROUP, quant_type="nf4"))


def main():
    kind, model, out = sys.argv[1:]
    bits = {"hqq4": 4, "hqq3": 3, "nf4": 4}[kind]
    tensors, size, weights = load_file(f"{model}/model.safetensors"), 0, 0
    for name, tensor in tensors.items():
        weights += tensor.numel()
        if tensor.ndim == 1:
            size += tensor.numel() * tensor.element_size()
            continue
        wide = tensor.to(torch.float32)
        tensors[name] = (nf4(wide) if kind == "nf4" else hqq(wide, bits)).to(torch.float32).contiguous()
        size += tensor.numel() * bits / 8 + tensor.numel() / GROUP * 4
    save_file(tensors, f"{out}/model.safetensors", metadata={"format": "pt"})
    print(json.dumps({"bytes": size, "weights": weights}))


if __name__ == "__main__":
    main()
