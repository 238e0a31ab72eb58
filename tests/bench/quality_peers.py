# SPDX-License-Identifier: Apache-2.0
"""The peers of bench_quality.py: llama.cpp's types, made, scored in their own runtime, and as F32 checkpoints for ours;
HQQ and NF4 of bitsandbytes by quality_torch.py."""
import glob
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

JOBS = os.environ.get("QUALITY_JOBS", str(os.cpu_count()))
PYTHON = os.environ.get("QUALITY_PYTHON", sys.executable)
WINDOW = 512
MATRIX_CHUNKS = 80  # windows of the calibration text that an importance matrix is made of: 40 960 tokens
GGUF_NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q", "k_proj": "attn_k",
              "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}


def run(words, log=None):
    """What a program prints, its processor seconds, and its peak memory in MB."""
    with tempfile.NamedTemporaryFile("r", suffix=".time") as usage:
        timed = ["/usr/bin/time", "-f", "%U %S %M", "-o", usage.name] if os.path.exists("/usr/bin/time") else []
        done = subprocess.run(timed + words, capture_output=True, text=True, errors="replace")
        last = usage.read().strip().splitlines()[-1:]
    if log:
        with open(log, "w") as file:
            file.write(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    user, system, memory = map(float, last[0].split()) if last else (math.nan,) * 3
    return done.stdout, done.stderr, user + system, memory / 1024


# ---- llama.cpp ----

def build(folder):
    """llama-quantize, llama-imatrix and llama-perplexity from the source package; only what is missing."""
    os.makedirs(folder, exist_ok=True)
    source = os.path.join(folder, "llama.cpp")
    if not os.path.exists(source):
        # Its metadata is made by scikit-build-core, which looks for cmake.
        tools = os.path.join(folder, "tools")
        run([sys.executable, "-m", "venv", tools])
        pip = os.path.join(tools, "bin", "pip")
        run([pip, "install", "-q", "scikit-build-core", "cmake", "ninja"])
        os.environ["PATH"] = os.path.join(tools, "bin") + ":" + os.environ["PATH"]
        run([pip, "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary", "llama-cpp-python", "-d", folder,
             "llama-cpp-python"])
        archive = glob.glob(os.path.join(folder, "llama_cpp_python-*.tar.gz"))[0]
        shutil.unpack_archive(archive, folder)
        os.symlink(glob.glob(os.path.join(folder, "llama_cpp_python-*", "vendor", "llama.cpp"))[0], source)
    made = os.path.join(folder, "build")
    run(["cmake", "-S", source, "-B", made, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF",
         "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"])
    run(["cmake", "--build", made, "-j", JOBS, "--target", "llama-quantize", "llama-imatrix", "llama-perplexity"])


def tool(folder, name):
    return os.path.join(folder, "build", "bin", "llama-" + name)


def to_gguf(work, llama, model, name):
    path = work.path(name + ".gguf")
    if not os.path.exists(path):
        source = os.path.join(llama, "llama.cpp")
        os.environ["PYTHONPATH"] = os.path.join(source, "gguf-py") + ":" + os.environ.get("PYTHONPATH", "")
        run([PYTHON, os.path.join(source, "convert_hf_to_gguf.py"), model, "--outtype", "f16", "--outfile", path])
    return path


def quantise(work, llama, base, text, kind, name):
    """With an importance matrix of the calibration text, whose own time is not counted."""
    matrix, path = work.path(name + ".imatrix"), work.path(f"{name}-{kind}.gguf")
    if not os.path.exists(matrix):
        run([tool(llama, "imatrix"), "-m", base, "-f", text, "-o", matrix + ".new", "--chunks", str(MATRIX_CHUNKS), "-c", str(WINDOW),
             "-t", JOBS])
        os.replace(matrix + ".new", matrix)
    _, _, seconds, memory = run([tool(llama, "quantize"), "--imatrix", matrix, base, path, kind, JOBS], path + ".log")
    return {"path": path, "seconds": seconds, "memory": memory}


def gguf_reader(llama, path):
    sys.path.insert(0, os.path.join(llama, "llama.cpp", "gguf-py"))
    import gguf
    return gguf, gguf.GGUFReader(path)


def gguf_size(llama, path, real):
    """Bytes of the tensors, and weights; `real` maps a name to the weights of it that are no padding (None: all)."""
    _, reader = gguf_reader(llama, path)
    size = weights = 0
    for tensor in reader.tensors:
        own = real.get(tensor.name, 0) if real else int(tensor.n_elements)
        size += tensor.n_bytes * own / int(tensor.n_elements)
        weights += own
    return size, weights


def shapes(model):
    """Shapes of a checkpoint's tensors by name."""
    with open(os.path.join(model, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}


def real_weights(model):
    """Weights of each GGUF tensor that the unpadded model has."""
    real = {}
    for name, shape in shapes(model).items():
        parts = name.split(".")
        key = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}.get(name)
        real[key or f"blk.{parts[2]}.{GGUF_NAMES[parts[-2]]}.weight"] = math.prod(shape)
    return real


def own_runtime(llama, base, path, text, positions):
    chunks = str(math.ceil(positions / (WINDOW // 2 - 1)))
    logits = base + "." + os.path.basename(text) + "." + chunks + ".logits"
    common = [tool(llama, "perplexity"), "-f", text, "-c", str(WINDOW), "--chunks", chunks, "-t", JOBS]
    if not os.path.exists(logits):
        run(common + ["-m", base, "--kl-divergence-base", logits + ".new"])
        os.replace(logits + ".new", logits)
    out, err, seconds, _ = run(common + ["-m", path, "--kl-divergence", "--kl-divergence-base", logits], path + ".kld.log")

    def number(pattern):
        found = re.search(pattern, out + err)
        return float(found.group(1)) if found else math.nan
    error = number(r"Mean\s+KLD:\s+[\d.eE+-]+ ±\s+([\d.eE+-]+)")
    return {"kld": number(r"Mean\s+KLD:\s+([\d.eE+-]+)"), "interval": 1.645 * error,
            "top1": number(r"Same top p:\s+([\d.]+)") / 100, "p99_9": number(r"99\.9%\s+KLD:\s+([\d.eE+-]+)"),
            "ppl": number(r"Mean PPL\(Q\)/PPL\(base\)\s+:\s+([\d.eE+-]+)"), "seconds": seconds}


# ---- their weights as a checkpoint ----

def hf_tensors(llama, path, config):
    """(name, values) of a GGUF's matrices under the names of Hugging Face."""
    import numpy as np
    gguf, reader = gguf_reader(llama, path)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    long = {short: ("mlp." if short.startswith("ffn") else "self_attn.") + name for name, short in GGUF_NAMES.items()
            if name.endswith("_proj")}
    for tensor in reader.tensors:
        found = re.match(r"blk\.\d+\.(\w+)\.weight", tensor.name)
        kind = found.group(1) if found else ""
        if tensor.name != "token_embd.weight" and kind not in long:
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(n) for n in tensor.shape][::-1])
        if kind in heads:  # GGUF interleaves the rotary halves
            rows, columns = values.shape
            values = values.reshape(heads[kind], rows // heads[kind] // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        layer = tensor.name.split(".")[1]
        yield (f"model.layers.{layer}.{long[kind]}.weight" if kind else "model.embed_tokens.weight"), values


def dequantise(llama, path, source, model, folder):
    """The GGUF of `source` as a checkpoint in F32 of the names and shapes of `model`: of a padded source its real rows and columns.
    What is no matrix is the model's own: GGUF keeps it exactly."""
    import numpy as np
    config = json.load(open(os.path.join(source, "config.json")))
    wanted, blobs, header, at = shapes(model), [], {}, 0
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))

    def add(name, dtype, shape, blob):
        nonlocal at
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    for name, values in hf_tensors(llama, path, config):
        rows, columns = wanted[name]
        add(name, "F32", [rows, columns], np.ascontiguousarray(values[:rows, :columns]).tobytes())
    with open(os.path.join(model, "model.safetensors"), "rb") as file:
        old = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for name in wanted.keys() - header.keys():
            if len(wanted[name]) > 1:
                raise RuntimeError(f"{path}: no {name}")
            first, last = old[name]["data_offsets"]
            file.seek(start + first)
            add(name, old[name]["dtype"], wanted[name], file.read(last - first))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for blob in blobs:
            file.write(blob)


# ---- quantisers of Python packages ----

def torch_peer(kind, model, folder):
    """Quantised and decoded again by quality_torch.py; None if the package is not there."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quality_torch.py")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    try:
        out, _, seconds, memory = run([PYTHON, script, kind, model, folder])
    except RuntimeError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None
    return {**json.loads(out.strip().splitlines()[-1]), "seconds": seconds, "memory": memory}
