#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quality per byte against llama.cpp's quantisers: one table and one picture, docs/results/quality.md and quality.svg, made by
`make bench-quality`. Everything sees the same texts: windows of 512 tokens, the second half of each scored.

    SMOLLM2       folder of SmolLM2-135M-Instruct, made with permuted channels (block quantisers must not find old grids again)
    SMOLLM2_PADDED the same widened to rows of 768: k-quants as they are designed; only real weights are counted
    CALIBRATION   text for importance matrices and statistics         PROBE  text on which budgets are settled, or none
    TEXT, TEXT2   evaluation texts, of two domains
    LLAMA         folder for the peers: LLAMA/build/bin/llama-* and LLAMA/llama.cpp are used if there, else made from PyPI's
                  source package of llama-cpp-python, which holds all of llama.cpp
    QUALITY_PYTHON  a Python with torch, transformers, safetensors, sentencepiece and protobuf (conversion to GGUF); default: this one
    QUALITY_STATS statistics of the model on CALIBRATION; default: made by `tessera calibrate`
    QUALITY_WORK  folder that keeps what was made and measured, so that an interrupted run goes on (default: a temporary one)
    QUALITY_POSITIONS  scored positions (20000)        QUALITY_TYPES  peers ("Q4_K_M Q3_K_M")
    QUALITY_BITS  bits a weight of Tessera's points, all bytes counted ("6.17 5.46 4.43 4.2 3.43")
    QUALITY_JOBS  workers of everything (the processors)

What is not there is said and left out. Needs numpy."""
import glob
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("TESSERA_BUILD", "build")
TOOL = os.path.join(BUILD, "bin", "tessera")
POSITIONS = int(os.environ.get("QUALITY_POSITIONS", "20000"))
TYPES = os.environ.get("QUALITY_TYPES", "Q4_K_M Q3_K_M").split()
BITS = os.environ.get("QUALITY_BITS", "6.17 5.46 4.43 4.2 3.43").split()
JOBS = os.environ.get("QUALITY_JOBS", str(os.cpu_count()))
PYTHON = os.environ.get("QUALITY_PYTHON", sys.executable)
WINDOW = 512
CONFIG = """tessera: 1
roles: auto
rules:
  - {regime: argmax, dtype: [BF16, F16, F32], codec: trellis, params: {bits: auto, states: STATES}, optional: true}
  - {regime: index, dtype: [BF16, F16, F32], codec: trellis, params: {bits: auto, states: STATES}, row_error_max: 0, optional: true}
  - {codec: passthrough, optional: true}
budget: {bits_per_weight: BITS}
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(words, log=None):
    """Output, seconds and peak memory in MB of a program; what it prints goes into `log` too."""
    start, before = time.monotonic(), time.time()
    with tempfile.NamedTemporaryFile("r", suffix=".time") as usage:
        timed = ["/usr/bin/time", "-f", "%M", "-o", usage.name] if os.path.exists("/usr/bin/time") else []
        done = subprocess.run(timed + words, capture_output=True, text=True, errors="replace")
        lines = usage.read().split()
    if log:
        with open(log, "w") as file:
            file.write(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout + done.stderr, time.monotonic() - start, int(lines[-1]) / 1024 if timed and lines else math.nan


class Work:
    """Results by name, kept in a file."""

    def __init__(self, folder):
        self.folder, self.file = folder, os.path.join(folder, "results.json")
        os.makedirs(folder, exist_ok=True)
        self.results = json.load(open(self.file)) if os.path.exists(self.file) else {}

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def once(self, name, make):
        if name not in self.results:
            say(f"-- {name}")
            self.results[name] = make()
            with open(self.file + ".new", "w") as file:
                json.dump(self.results, file, indent=1)
            os.replace(self.file + ".new", self.file)
        return self.results[name]


# ---- the peers ----

def build_peers(folder):
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
    build = os.path.join(folder, "build")
    run(["cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF",
         "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"])
    run(["cmake", "--build", build, "-j", JOBS, "--target", "llama-quantize", "llama-imatrix", "llama-perplexity"])


def peer(folder, name):
    return os.path.join(folder, "build", "bin", "llama-" + name)


def to_gguf(work, llama, model, name):
    path = work.path(name + ".gguf")
    if not os.path.exists(path):
        source = os.path.join(llama, "llama.cpp")
        os.environ["PYTHONPATH"] = os.path.join(source, "gguf-py") + ":" + os.environ.get("PYTHONPATH", "")
        run([PYTHON, os.path.join(source, "convert_hf_to_gguf.py"), model, "--outtype", "f16", "--outfile", path])
    return path


def quantise(work, llama, base, text, kind, name):
    """With an importance matrix of the calibration text, 40 k tokens of it."""
    matrix, path = work.path(name + ".imatrix"), work.path(f"{name}-{kind}.gguf")
    seconds = 0
    if not os.path.exists(matrix):
        seconds += run([peer(llama, "imatrix"), "-m", base, "-f", text, "-o", matrix, "--chunks", "80", "-c", str(WINDOW),
                        "-t", JOBS])[1]
    log, took, memory = run([peer(llama, "quantize"), "--imatrix", matrix, base, path, kind, JOBS], path + ".log")
    return {"path": path, "seconds": seconds + took, "memory": memory}


def gguf_reader(llama, path):
    sys.path.insert(0, os.path.join(llama, "llama.cpp", "gguf-py"))
    import gguf
    return gguf, gguf.GGUFReader(path)


def gguf_size(llama, path, real):
    """Bytes of the tensors, and weights; `real` maps a name to the weights of it that are no padding (None: all)."""
    gguf, reader = gguf_reader(llama, path)
    size = weights = 0
    for tensor in reader.tensors:
        own = real.get(tensor.name, 0) if real else int(tensor.n_elements)
        size += tensor.n_bytes * own / int(tensor.n_elements)
        weights += own
    return size, weights


def own_runtime(work, llama, base, path, text, positions):
    chunks = str(math.ceil(positions / (WINDOW // 2 - 1)))
    logits = base + "." + os.path.basename(text) + "." + chunks + ".logits"
    common = [peer(llama, "perplexity"), "-f", text, "-c", str(WINDOW), "--chunks", chunks, "-t", JOBS]
    if not os.path.exists(logits):
        run(common + ["-m", base, "--kl-divergence-base", logits])
    log, seconds, _ = run(common + ["-m", path, "--kl-divergence", "--kl-divergence-base", logits], path + ".kld.log")

    def number(pattern):
        found = re.search(pattern, log)
        return float(found.group(1)) if found else math.nan
    error = number(r"Mean\s+KLD:\s+[\d.eE+-]+ ±\s+([\d.eE+-]+)")
    return {"kld": number(r"Mean\s+KLD:\s+([\d.eE+-]+)"), "interval": 1.645 * error,
            "top1": number(r"Same top p:\s+([\d.]+)") / 100, "p99_9": number(r"99\.9%\s+KLD:\s+([\d.eE+-]+)"),
            "ppl": number(r"Mean PPL\(Q\)/PPL\(base\)\s+:\s+([\d.eE+-]+)"), "seconds": seconds}


def dequantise(llama, path, model, folder):
    """The GGUF's weights as a checkpoint of the same names and shapes, F32."""
    import numpy as np
    gguf, reader = gguf_reader(llama, path)
    config = json.load(open(os.path.join(model, "config.json")))
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    header, blobs, at = {}, [], 0
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(n) for n in tensor.shape][::-1])
        found = re.match(r"blk\.(\d+)\.(\w+)\.weight", tensor.name)
        name = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
                "output.weight": "lm_head.weight"}.get(tensor.name)
        if found:
            name = f"model.layers.{found.group(1)}.{names[found.group(2)]}.weight"
            count = heads.get(found.group(2))
            if count:  # GGUF interleaves the rotary halves
                rows, columns = values.shape
                values = values.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        if name is None:
            continue
        blob = np.ascontiguousarray(values).tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for blob in blobs:
            file.write(blob)


# ---- one engine for all ----

def gate(output, model, text, positions):
    log, seconds, _ = run([TOOL, "gate", output, "--reference", model, "--text", text, "--window", str(WINDOW), "--skip",
                           str(WINDOW // 2), "--positions", str(positions), "--path", "dense", "--json", "-q", "-j", JOBS])
    parity = json.loads(log)["gates"][0]
    kld = parity["kld"]
    return {"kld": kld["estimate"], "interval": kld["bound"] - kld["estimate"], "top1": parity["top1"]["estimate"],
            "p99_9": parity["kld_percentiles"]["p99_9"], "ppl": parity["perplexity_ratio"],
            "seconds": seconds}


def statistics(work, model, text):
    given = os.environ.get("QUALITY_STATS")
    if given:
        return given
    path = work.path("statistics.safetensors")
    if not os.path.exists(path):
        run([TOOL, "calibrate", model, "--text", text, "-o", path, "-q", "-j", JOBS])
    return path


def compress(work, model, stats, bits, states, probe):
    config, output = work.path(f"{bits}.yaml"), work.path(f"tessera-{bits}")
    with open(config, "w") as file:
        file.write(CONFIG.replace("BITS", bits).replace("STATES", states))
    extra = ["--probe-text", probe] if probe else []
    _, seconds, memory = run([TOOL, "compress", model, "-c", config, "-o", output, "--stats", stats, "-f", "-q", "-j", JOBS] +
                             extra)
    receipt = json.load(open(os.path.join(output, "tessera.json")))
    return {"path": output, "seconds": seconds, "memory": memory, "bytes": receipt["totals"]["output_bytes"],
            "weights": receipt["totals"]["weights"], "budget": receipt["budget"]["allocation"]}


# ---- the table and the picture ----

def row(name, size, weights, figures, made):
    return {"name": name, "bits": size * 8 / weights, **figures, "made": made["seconds"], "memory": made["memory"]}


def print_table(rows):
    print("| | bits a weight | KLD | top-1 % | KLD 99.9 % | PPL ratio | made in s | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['name']} | {r['bits']:.3f} | {r['kld']:.4f} ± {r['interval']:.4f} | {100 * r['top1']:.1f} | {r['p99_9']:.3f} | "
              f"{r['ppl']:.4f} | {r['made']:.0f} | {r['memory']:.0f} |")


def kld_between(points, bits):
    """log-linear interpolation over bits; the nearest segment's line outside."""
    points = sorted(points, key=lambda p: p["bits"])
    for a, b in zip(points, points[1:]):
        if bits <= b["bits"] or b is points[-1]:
            part = (bits - a["bits"]) / (b["bits"] - a["bits"])
            return math.exp((1 - part) * math.log(a["kld"]) + part * math.log(b["kld"]))
    return math.nan


def bits_for(points, kld):
    low, high = 0.5, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kld_between(points, middle) > kld else (low, middle)
    return low


def print_ratios(peers, ours):
    if len(ours) < 2:
        return
    print("\nAgainst each peer, by log-linear interpolation between Tessera's points:\n")
    print("| peer | KLD of Tessera at its bytes | times its KLD | bytes at its KLD |")
    print("|---|---|---|---|")
    for p in peers:
        at, bits = kld_between(ours, p["bits"]), bits_for(ours, p["kld"])
        print(f"| {p['name']} | {at:.4f} | {at / p['kld']:.3f} | {100 * (bits / p['bits'] - 1):+.0f} % |")


def draw(series, path):
    """KLD on a log scale against bits a weight."""
    points = [p for _, _, ps in series for p in ps]
    if not points:
        return
    width, height, left, top = 760, 460, 70, 20
    x0, x1 = math.floor(min(p["bits"] for p in points)), math.ceil(max(p["bits"] for p in points))
    y0, y1 = (f(math.log10(g(p["kld"] for p in points))) for f, g in ((math.floor, min), (math.ceil, max)))
    X = lambda b: left + (b - x0) / max(x1 - x0, 1) * (width - left - 20)
    Y = lambda k: top + (y1 - math.log10(k)) / max(y1 - y0, 1) * (height - top - 50)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for b in range(x0, x1 + 1):
        out.append(f'<path d="M{X(b):.1f} {top}V{height - 50}" stroke="#ddd"/><text x="{X(b):.1f}" y="{height - 32}" '
                   f'text-anchor="middle">{b}</text>')
    for e in range(y0, y1 + 1):
        out.append(f'<path d="M{left} {Y(10 ** e):.1f}H{width - 20}" stroke="#ddd"/><text x="{left - 8}" y="{Y(10 ** e) + 4:.1f}" '
                   f'text-anchor="end">1e{e}</text>')
    out.append(f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">bits a weight, all bytes on disk</text>')
    out.append(f'<text transform="translate(16 {height / 2}) rotate(-90)" text-anchor="middle">KLD from the model, nats a position</text>')
    for i, (name, colour, ps) in enumerate(series):
        ps = sorted(ps, key=lambda p: p["bits"])
        line = " ".join(f"{X(p['bits']):.1f},{Y(p['kld']):.1f}" for p in ps)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        for p in ps:
            out.append(f'<circle cx="{X(p["bits"]):.1f}" cy="{Y(p["kld"]):.1f}" r="4" fill="{colour}"><title>{p["name"]}: '
                       f'{p["bits"]:.3f} bits, KLD {p["kld"]:.4f}</title></circle>')
        out.append(f'<text x="{width - 24}" y="{top + 18 + 18 * i}" text-anchor="end" fill="{colour}">{name}</text>')
    with open(path, "w") as file:
        file.write("\n".join(out + ["</svg>"]) + "\n")


# ---- the whole ----

def peers_of(work, llama, model, label, calibration, text, real=None):
    """Rows of one model's peers, in their own runtime and in ours."""
    own, ours = [], []
    file_name = label.replace(" ", "-")
    base = to_gguf(work, llama, model, file_name)
    for kind in TYPES:
        made = work.once(f"{label} {kind} made", lambda: quantise(work, llama, base, calibration, kind, file_name))
        size, weights = work.once(f"{label} {kind} size", lambda: gguf_size(llama, made["path"], real))
        figures = work.once(f"{label} {kind} own {POSITIONS}",
                            lambda: own_runtime(work, llama, base, made["path"], text, POSITIONS))
        own.append(row(f"{kind} {label}, own runtime", size, weights, figures, made))

        def in_engine():
            folder = work.path("dequantised")
            dequantise(llama, made["path"], model, folder)
            result = gate(folder, model, text, POSITIONS)
            shutil.rmtree(folder)
            return result
        figures = work.once(f"{label} {kind} engine {POSITIONS}", in_engine)
        ours.append(row(f"{kind} {label}", size, weights, figures, made))
    return own, ours


def real_weights(model):
    """Weights of each GGUF tensor that the unpadded model has."""
    import struct
    with open(os.path.join(model, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    short = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q", "k_proj": "attn_k",
             "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
    real = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        parts = name.split(".")
        key = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}.get(name)
        key = key or f"blk.{parts[2]}.{short[parts[-2]]}.weight"
        real[key] = math.prod(tensor["shape"])
    return real


def main():
    model, llama = os.environ.get("SMOLLM2"), os.environ.get("LLAMA")
    calibration, text = os.environ.get("CALIBRATION"), os.environ.get("TEXT")
    if not (model and calibration and text):
        print("Left out: needs SMOLLM2, CALIBRATION and TEXT (see the script).")
        return
    temporary = None if os.environ.get("QUALITY_WORK") else tempfile.mkdtemp()
    work = Work(os.environ.get("QUALITY_WORK") or temporary)
    own, engine, padded, ours, second = [], [], [], [], []
    if llama:
        if not os.path.exists(peer(llama, "perplexity")):
            build_peers(llama)
        own, engine = peers_of(work, llama, model, "as users get it", calibration, text)
        wide = os.environ.get("SMOLLM2_PADDED")
        if wide:
            more, padded = peers_of(work, llama, wide, "padded", calibration, text, real_weights(model))
            own += more
    stats = statistics(work, model, calibration)
    states = os.environ.get("QUALITY_STATES", "8")
    for bits in BITS:
        made = work.once(f"tessera {bits} {states} made", lambda: compress(work, model, stats, bits, states, os.environ.get("PROBE")))
        figures = work.once(f"tessera {bits} {states} {POSITIONS}", lambda: gate(made["path"], model, text, POSITIONS))
        ours.append(row(f"**Tessera, {bits} bits**", made["bytes"], made["weights"], figures, made))
        if os.environ.get("TEXT2"):
            figures = work.once(f"tessera {bits} {states} second {POSITIONS}",
                                lambda: gate(made["path"], model, os.environ["TEXT2"], POSITIONS))
            second.append(row(f"Tessera, {bits} bits, second text", made["bytes"], made["weights"], figures, made))
    print(f"SmolLM2-135M with permuted channels, windows of {WINDOW} tokens, the second half scored, {POSITIONS} positions; ± is the "
          f"95 % bound less the estimate. Bits count all bytes of the files with tensors, of peers those of the tensors alone. "
          f"\"Own runtime\" is llama-perplexity; all other rows are one engine, decoded weights in F32.\n")
    print_table(sorted(own + engine + padded + ours + second, key=lambda r: -r["bits"]))
    print_ratios(engine + padded, ours)
    if second:
        worst = max(s["kld"] / o["kld"] for s, o in zip(second, ours))
        print(f"\nThe second text has at most {worst:.2f} times the KLD of the first.")
    draw([("llama.cpp, as users get it", "#c33", engine), ("llama.cpp, padded", "#c80", padded), ("Tessera", "#06c", ours)],
         os.path.join(os.environ.get("QUALITY_PICTURE", "docs/results"), "quality.svg"))
    print("\n![KLD against bits a weight](quality.svg)")
    if temporary:
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
