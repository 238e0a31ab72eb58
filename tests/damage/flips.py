"""usage: flips.py TESSERA OUT COUNT - flips one bit at a time in the files of OUT, runs verify, and compares what it names
with what the safetensors header says stands there."""
import json
import os
import random
import subprocess
import sys


def owner(header_bytes, tensors, offset):
    """Name of the tensor at a file offset, None for the header."""
    if offset < 8 + header_bytes:
        return None
    for name, (begin, end) in tensors.items():
        if 8 + header_bytes + begin <= offset < 8 + header_bytes + end:
            return name
    return None


def layout(path):
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return size, {k: v["data_offsets"] for k, v in header.items() if k != "__metadata__"}


def flip(path, offset, bit):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def found(result, name, tensor):
    """The damage list names the file, and the tensor where one was hit; our own blobs go by the file."""
    for damage in result.get("damage", []):
        same_file = damage["file"] == name
        if same_file and (tensor is None or tensor.startswith("tessera.") or damage["tensor"] == tensor):
            return True
    return False


def main():
    tool, out, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rng = random.Random(20240601)
    # Times and host facts are never compared.
    names = sorted(n for n in os.listdir(out) if n != "tessera.run.json")
    sizes = [os.path.getsize(os.path.join(out, n)) for n in names]
    layouts = {n: layout(os.path.join(out, n)) for n in names if n.endswith(".safetensors")}
    missed = 0
    for i in range(count):
        # Every other flip anywhere by size, the others in any file, so that small ones are hit too.
        name = rng.choices(names, weights=sizes)[0] if i % 2 else rng.choice(names)
        path = os.path.join(out, name)
        offset, bit = rng.randrange(os.path.getsize(path)), rng.randrange(8)
        tensor = owner(*layouts[name], offset) if name in layouts else None
        flip(path, offset, bit)
        run = subprocess.run([tool, "verify", out, "--json"], capture_output=True, text=True, check=False)
        flip(path, offset, bit)
        result = json.loads(run.stdout) if run.stdout else {}
        if run.returncode != 2 or not found(result, name, tensor):
            missed += 1
            print(f"flip {i}: {name} offset {offset} bit {bit} ({tensor or 'header or whole file'}): "
                  f"exit {run.returncode} {run.stdout[:300]} {run.stderr.strip()}")
    print(f"{count} flips, {missed} missed")
    return missed > 0


sys.exit(main())
