#!/usr/bin/env python3
"""Lossless ratio and speed of whole commands on whole files, one worker, peers in the same run: ZipNN (if its module is
there) and zstd (if the program is there) on the bytes of the same tensors."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

TOOL = os.path.join(os.environ.get("TESSERA_BUILD", "build"), "bin", "tessera")
CONFIG = """tessera: 1
rules:
  - {codec: passthrough, params: {level: %s}}
"""


def models():
    found = ["demo/stories-1m"]
    for folder in filter(None, os.environ.get("TESSERA_MODELS", "").split(":")):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if any(f.endswith(".safetensors") for f in (os.listdir(path) if os.path.isdir(path) else [path])):
                found.append(path)
    return found


def weight_files(model):
    folder = model if os.path.isdir(model) else os.path.dirname(model)
    names = os.listdir(model) if os.path.isdir(model) else [os.path.basename(model)]
    main = [n for n in names if n.startswith("model") and n.endswith(".safetensors")] or \
        [n for n in names if n.endswith(".safetensors")]
    return [os.path.join(folder, n) for n in main]


def timed(*command):
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def tessera(model, level, folder):
    config = os.path.join(folder, "job.yaml")
    with open(config, "w", encoding="ascii") as file:
        file.write(CONFIG % level)
    out = os.path.join(folder, "out")
    encode = timed(TOOL, "compress", model, "-c", config, "-o", out, "-j1", "-q")
    decode = timed(TOOL, "decompress", out, "-o", os.path.join(folder, "back"), "-j1", "-q")
    stored = sum(os.path.getsize(os.path.join(out, n)) for n in os.listdir(out) if n.endswith(".safetensors"))
    for name in ("out", "back"):
        shutil.rmtree(os.path.join(folder, name))
    return stored, encode, decode


def tensor_bytes(path):
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        file.seek(8 + size)
        return file.read()


def zipnn(files):
    try:
        from zipnn import ZipNN
    except ImportError:
        return None
    stored, encode, decode = 0, 0.0, 0.0
    for path in files:
        data = tensor_bytes(path)
        coder = ZipNN(bytearray_dtype="bfloat16", input_format="byte", threads=1)
        start = time.monotonic()
        packed = coder.compress(bytearray(data))
        middle = time.monotonic()
        coder.decompress(packed)
        stored, encode, decode = stored + len(packed), encode + middle - start, decode + time.monotonic() - middle
    return stored, encode, decode


def zstd(files, folder):
    if not shutil.which("zstd"):
        return None
    stored = encode = decode = 0
    for path in files:
        packed, back = os.path.join(folder, "z"), os.path.join(folder, "b")
        encode += timed("zstd", "-q", "-f", "-3", "--single-thread", path, "-o", packed)
        decode += timed("zstd", "-q", "-f", "-d", packed, "-o", back)
        stored += os.path.getsize(packed)
    return stored, encode, decode


def main():
    print("Whole source files against whole output files; MB/s of source bytes for the whole command (tessera: reading,")
    print("planning, encoding, writing, verifying from disk; ZipNN: in memory), one worker.\n")
    print("| model | coder | ratio | in MB/s | out MB/s |\n|---|---|---|---|---|")
    for model in models():
        files = weight_files(model)
        source = sum(map(os.path.getsize, files))
        with tempfile.TemporaryDirectory() as folder:
            rows = [(f"tessera {level}", tessera(model, level, folder)) for level in ("fast", "default", "max")]
            rows += [("ZipNN", zipnn(files)), ("zstd -3", zstd(files, folder))]
        for name, row in rows:
            if row:
                print(f"| {os.path.basename(model)} | {name} | {source / row[0]:.4f} | {source / row[1] / 1e6:.0f} | "
                      f"{source / row[2] / 1e6:.0f} |")
                sys.stdout.flush()


main()
