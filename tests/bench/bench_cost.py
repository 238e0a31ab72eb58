#!/usr/bin/env python3
"""usage: bench_cost.py - what statistics and encoding of a model of 1.7 billion weights cost, with everything on: a cost model
whose constants come from two small models is checked on four layers of the large shape, and then asked about all 24.
COST_FOLDER: where models are made (2 GB; default: the build folder). COST_TOKENS: of the calibration text (1024). COST_JOBS: workers (all)."""
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("TESSERA_BUILD", "build")
TOOL = os.path.join(BUILD, "bin", "tessera")
TOKENS = int(os.environ.get("COST_TOKENS", "1024"))
FULL_MAX = 4096  # the default of calibrate
TILE = 64        # columns that a product of moments is computed in
# hidden, layers, intermediate, heads, vocabulary
SHAPES = {"576": (576, 4, 1536, 9, 8192), "1024": (1024, 4, 4096, 16, 8192), "2048": (2048, 4, 8192, 32, 8192)}
WHOLE = (2048, 24, 8192, 32, 49152)
TITLES = {"there": "layers, there", "moments": "second moments", "back": "Fisher values: way back", "encode": "plan, encode, verify"}
CONFIG = """tessera: 1
roles: auto
rules:
  - {regime: argmax, dtype: [BF16, F16, F32], codec: trellis, params: {bits: auto, states: 64}, optional: true}
  - {regime: index, dtype: [BF16, F16, F32], codec: trellis, params: {bits: auto, states: 64}, row_error_max: 0, optional: true}
  - {codec: passthrough, optional: true}
budget: {bits_per_weight: 4.17}
"""


def work_of(shape):
    """Multiply-adds a token of each kind, bytes of matrices of moments, and what is encoded."""
    hidden, layers, intermediate, _, vocabulary = shape
    linear = layers * (4 * hidden * hidden + 3 * hidden * intermediate)
    head = hidden * vocabulary
    wide = [intermediate] if intermediate <= FULL_MAX else []
    moments = layers * sum(n * (n + TILE) / 2 for n in [hidden] * 3 + wide) + hidden * (hidden + TILE) / 2
    matrices = 4 * (layers * sum(n * n for n in [hidden] * 6 + wide) + hidden * hidden)
    return {"there": linear, "moments": moments, "matrices": matrices, "back": 2 * linear + 2 * head, "weights": linear + head,
            "tensors": 7 * layers + 1}


def run(arguments):
    """Processor seconds, seconds and peak bytes of a command."""
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), 0
    jobs = ["-j", os.environ["COST_JOBS"]] if "COST_JOBS" in os.environ else []
    with subprocess.Popen([TOOL, *arguments, *jobs, "-q"], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                    peak = max(peak, sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon:", "RssShmem:"))))
            except OSError:
                pass
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{arguments[0]} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.monotonic() - start, peak * 1024


def make_model(folder, name):
    path = os.path.join(folder, name)
    subprocess.run([sys.executable, "tests/bench/make_llama.py", path, "demo/stories-1m", *map(str, SHAPES[name])], check=True)
    return path


def least_memory(model, text, stats):
    """What calibrate says it takes at least: the number in its refusal."""
    told = subprocess.run([TOOL, "calibrate", model, "--text", text, "-o", stats, "--memory", "1", "--force", "-q"], capture_output=True,
                          text=True, check=False)
    return int(told.stderr.strip().splitlines()[0].rsplit(" ", 1)[1])


def measure(folder, name, text, config):
    """Processor seconds of the parts: each more than the run before it."""
    model, stats, out = make_model(folder, name), os.path.join(folder, "stats"), os.path.join(folder, "out")
    calibrate = ["calibrate", model, "--text", text, "-o", stats, "--force"]
    there, _, _ = run([*calibrate, "--fisher-tokens", "0", "--full-max", "0"])
    moments, _, _ = run([*calibrate, "--fisher-tokens", "0"])
    least = least_memory(model, text, stats)
    back, _, memory = run([*calibrate, "--fisher-tokens", str(TOKENS // 2), "--memory", str(max(least, 1 << 28))])
    encode, _, encode_memory = run(["compress", model, "-c", config, "--stats", stats, "-o", out])
    print(f"{name}: {there:.1f}, {moments:.1f}, {back:.1f}, {encode:.1f} processor seconds", file=sys.stderr)
    shutil.rmtree(model)
    shutil.rmtree(out)
    return {"there": there, "moments": max(moments - there, 0.01), "back": max(back - moments, 0.01), "encode": encode,
            "least": least, "memory": memory, "encode_memory": encode_memory}


def fit(measured, tokens):
    """Seconds a multiply-add, and a byte of matrices (written, sealed and put together). Plan and encoding take so much a tensor
    (samples of one size) and so much a weight, from two sizes."""
    small, middle = (work_of(SHAPES[name]) for name in ("576", "1024"))
    one, two = (measured[name] for name in ("576", "1024"))
    law = {"there": two["there"] / (middle["there"] * tokens), "back": two["back"] / (middle["back"] * (tokens / 2))}
    law["matrices"] = max(0, two["moments"] - law["there"] * middle["moments"] * tokens) / middle["matrices"]
    law["weights"] = max(0, two["encode"] - one["encode"]) / (middle["weights"] - small["weights"])
    law["tensors"] = (two["encode"] - law["weights"] * middle["weights"]) / middle["tensors"]
    return law


def predict(law, shape, tokens, backwards):
    work = work_of(shape)
    return {"there": law["there"] * work["there"] * tokens,
            "moments": law["there"] * work["moments"] * tokens + law["matrices"] * work["matrices"],
            "back": law["back"] * work["back"] * backwards,
            "encode": law["tensors"] * work["tensors"] + law["weights"] * work["weights"]}


def main():
    folder = tempfile.mkdtemp(prefix="cost.", dir=os.environ.get("COST_FOLDER", BUILD))
    try:
        report(folder)
    finally:
        shutil.rmtree(folder)


def cut_text(folder):
    """TOKENS tokens of the demo's text, so that all models read the same."""
    path = os.path.join(folder, "text")
    with open("demo/text/stories.txt", encoding="utf-8") as file:
        whole = file.read()
    size = TOKENS * 4
    while True:
        with open(path, "w", encoding="utf-8") as file:
            file.write(whole[:size])
        told = subprocess.run([TOOL, "tokenize", "demo/stories-1m", "--text", whole[:size], "--json"], capture_output=True, text=True,
                              check=True)
        count = len(json.loads(told.stdout)["ids"])
        if abs(count - TOKENS) <= TOKENS // 50 or size >= len(whole):
            return path, count
        size = min(len(whole), size * TOKENS // count)


def report(folder):
    text, tokens = cut_text(folder)
    config = os.path.join(folder, "config.yaml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG)
    loads = [os.getloadavg()[0]]
    measured = {}
    for name in SHAPES:
        measured[name] = measure(folder, name, text, config)
        loads.append(os.getloadavg()[0])
    law = fit({name: measured[name] for name in ("576", "1024")}, tokens)
    print(f"Random Llama models of the given hidden size and four layers, {tokens} tokens of text, half of them backwards, the defaults of "
          f"`calibrate`; `trellis` with 64 states, bits by the law, error feedback. Processor seconds (user and system, all workers), "
          f"load {min(loads):.0f} to {max(loads):.0f} on {os.cpu_count()} processors: other work on the machine makes seconds longer. "
          "The vocabulary is 8192. The constants come from hidden sizes 576 and 1024, the shape of 2048 is predicted from them.\n")
    print("| part | 576 | 1024 | 2048, measured | 2048, predicted | predicted / measured |")
    print("|---|---|---|---|---|---|")
    large = predict(law, SHAPES["2048"], tokens, tokens // 2)
    for part, title in TITLES.items():
        values = [measured[name][part] for name in SHAPES]
        print(f"| {title} | {values[0]:.1f} | {values[1]:.1f} | {values[2]:.1f} | {large[part]:.1f} | {large[part] / values[2]:.2f} |")
    total = sum(measured["2048"][part] for part in TITLES)
    print(f"| all | | | {total:.1f} | {sum(large.values()):.1f} | {sum(large.values()) / total:.2f} |")
    print("\n| memory of 2048 | MiB |")
    print("|---|---|")
    print(f"| least that `calibrate --memory` accepts (predicted) | {measured['2048']['least'] / 2**20:.0f} |")
    print(f"| `calibrate`, measured with that or 256 MiB | {measured['2048']['memory'] / 2**20:.0f} |")
    print(f"| `compress`, measured | {measured['2048']['encode_memory'] / 2**20:.0f} |")
    whole(law, measured)


def whole(law, measured):
    """All 24 layers; corrected by what the four layers showed."""
    tokens, backwards = 60000, 16384
    seconds = predict(law, WHOLE, tokens, backwards)
    check = predict(law, SHAPES["2048"], TOKENS, TOKENS // 2)
    right = {part: seconds[part] * measured["2048"][part] / check[part] for part in seconds}
    states = (2 * tokens + (WHOLE[1] + 2) * backwards) * WHOLE[0] * 4
    print(f"\nThe whole model of 24 layers and a vocabulary of {WHOLE[4]} ({work_of(WHOLE)['weights'] / 1e9:.2f} billion weights), {tokens} "
          f"tokens, {backwards} of them backwards:\n")
    print("| part | processor minutes, by the law | times measured / predicted of the four layers |")
    print("|---|---|---|")
    for part, title in TITLES.items():
        print(f"| {title} | {seconds[part] / 60:.0f} | {right[part] / 60:.0f} |")
    print(f"\nOn two processors that are kept busy {sum(seconds.values()) / 7200:.1f} hours by the law, {sum(right.values()) / 7200:.1f} "
          "with that correction. Memory does not depend on the number of layers: it is that of the four, and for the larger vocabulary "
          f"some 50 MiB more of logits on the way back. States between layers take {states / 1e9:.1f} GB of disk.")


main()
