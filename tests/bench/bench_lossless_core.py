#!/usr/bin/env python3
"""Lossless coding in memory on one core, in processor time: passthrough at each level (payload heads, directories and
codec headers counted) and, in the same run on the same tensor bytes, ZipNN (if its module is there) and zstd -3 (if the
module zstandard is there). Models are looked for in TESSERA_MODELS (folders, ":" between) as in bench_lossless.py."""
import glob
import json
import os
import subprocess
import time

PROGRAM = os.path.join(os.environ.get("TESSERA_BUILD", "build"), "bench", "bench_passthrough")
REPEATS = 3
ZIPNN_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def files():
    found = sorted(glob.glob("demo/stories-1m/*.safetensors"))
    for folder in filter(None, os.environ.get("TESSERA_MODELS", "").split(":")):
        for pattern in ("*.safetensors", "*/*.safetensors"):
            found += sorted(glob.glob(os.path.join(folder, pattern)))
    return [f for f in found if not os.path.basename(f).startswith("golden")]


def tensors(path):
    """Bytes of all tensors, and the dtype of the largest."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        largest = max(header.values(), key=lambda t: t["data_offsets"][1] - t["data_offsets"][0])
        return file.read(), largest["dtype"]


def best(name, path, data, dtype, compress, decompress):
    encode = decode = float("inf")
    for _ in range(REPEATS):
        source = bytearray(data)  # ZipNN works in place
        start = time.process_time()
        packed = compress(source)
        middle = time.process_time()
        back = decompress(packed)
        encode, decode = min(encode, middle - start), min(decode, time.process_time() - middle)
        if bytes(back) != data:
            raise SystemExit(f"{name} changed {path}")
    print(f"| {os.path.basename(path)} | {dtype} | {name} | {len(data) / len(packed):.4f} | "
          f"{len(data) / encode / 1e6:.0f} | {len(data) / decode / 1e6:.0f} |", flush=True)


def main():
    print("| file | dtype | coder | ratio | encode MB/s | decode MB/s |\n|---|---|---|---|---|---|", flush=True)
    for path in files():
        subprocess.run([PROGRAM, path], check=True)
        data, dtype = tensors(path)
        try:
            from zipnn import ZipNN
            if dtype in ZIPNN_DTYPES:
                coder = ZipNN(bytearray_dtype=ZIPNN_DTYPES[dtype], input_format="byte", threads=1)
                best("ZipNN", path, data, dtype, coder.compress, coder.decompress)
        except ImportError:
            pass
        try:
            import zstandard
            best("zstd -3", path, data, dtype, zstandard.ZstdCompressor(level=3).compress,
                 zstandard.ZstdDecompressor().decompress)
        except ImportError:
            pass


main()
