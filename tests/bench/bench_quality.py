#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quality per byte: Tessera's profiles and points against other quantisers, spread over calibration texts, a second domain. Makes
docs/results/quality.md, quality.svg and quality.json (points for `tessera report --points`) by `make bench-quality`. Everything sees the
same text: windows of 512 tokens, the second half of each scored.

    SMOLLM2       folder of SmolLM2-135M-Instruct, made with permuted channels (block quantisers must not find old grids again)
    SMOLLM2_PADDED the same widened to rows of 768: k-quants as they are designed; only real weights are counted
    TEXT          evaluation text                                   CALIBRATION   text of the same kind, no part of it
    TEXT2, CALIBRATION2  the same of a second domain. Statistics are of the first 120 kB of both, importance matrices of peers of
                  CALIBRATION alone, which favours the peers
    LLAMA         folder for llama.cpp: LLAMA/build/bin/llama-* and LLAMA/llama.cpp are used if there, else made from PyPI's
                  source package of llama-cpp-python, which holds all of llama.cpp
    QUALITY_PYTHON  a Python with torch, transformers, safetensors, sentencepiece and protobuf (conversion to GGUF), and hqq or
                  bitsandbytes if these are to be measured; default: this one
    QUALITY_STATS, QUALITY_STATS_ONE  statistics of both texts, and of CALIBRATION alone; default: made by `tessera calibrate`
    QUALITY_WORK  folder that keeps what was made and measured, so that an interrupted run goes on (default: a temporary one)
    QUALITY_POSITIONS  scored positions (20000)       QUALITY_FEWER  the same of rows on which nothing hangs (4080)
    QUALITY_TYPES  peers of which nothing is asked ("Q8_0 Q6_K Q5_K_M IQ4_XS IQ3_XXS Q2_K")
    QUALITY_BITS  Tessera's points beside the profiles, all bytes counted ("5.2 4.17 3.4")
    QUALITY_SEEDS  subsets of the calibration text (10)      QUALITY_JOBS  workers of everything (the processors)
    QUALITY_KNOWN=1  measures nothing: the tables of what QUALITY_WORK has so far

What is not there is said and left out. Needs numpy."""
import json
import math
import os
import shutil
import sys
import tempfile

import quality_peers as peers
import quality_tables as tables

BUILD = os.environ.get("TESSERA_BUILD", "build")
TOOL = os.path.join(BUILD, "bin", "tessera")
POSITIONS = int(os.environ.get("QUALITY_POSITIONS", "20000"))
FEWER = int(os.environ.get("QUALITY_FEWER", "4080"))
TYPES = os.environ.get("QUALITY_TYPES", "Q8_0 Q6_K Q5_K_M IQ4_XS IQ3_XXS Q2_K").split()
BITS = os.environ.get("QUALITY_BITS", "5.2 4.17 3.4").split()
KNOWN_ONLY = bool(os.environ.get("QUALITY_KNOWN"))
SEEDS = int(os.environ.get("QUALITY_SEEDS", "10"))
PROFILES = ["near-lossless", "quality", "balanced", "small", "tiny"]
AT_FEWER = {"near-lossless"}  # measured on fewer positions: no peer is near
MIX_BYTES, SUBSET_BYTES = 120_000, 10_000  # of each domain: of the statistics, of one subset for the spread
FISHER_TOKENS, SUBSET_FISHER_TOKENS = 16384, 2048
DEMO_SUBSET_BYTES, UNSEEN_BYTES = 40_000, 150_000
SEED_POSITIONS, SEED_STATES = 2040, 8  # what spreads is what the calibration knows
GATED_AT_ONCE = 5
CONFIG = """tessera: 1
roles: auto
rules:
  - {regime: argmax, dtype: [BF16, F16, F32], codec: trellis, params: {bits: auto, states: STATES}, optional: true}
  - {regime: index, dtype: [BF16, F16, F32], codec: trellis, params: {bits: auto, states: STATES}, row_error_max: 0, optional: true}
  - {codec: passthrough, optional: true}
budget: {bits_per_weight: BITS}
"""


class Work:
    """Results by name, a file each."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(os.path.join(folder, "results"), exist_ok=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def _file(self, name):
        return self.path("results", name.replace(" ", "_") + ".json")

    def known(self, name):
        return os.path.exists(self._file(name))

    def keep(self, name, result):
        with open(self._file(name) + ".new", "w") as file:
            json.dump(result, file, indent=1)
        os.replace(self._file(name) + ".new", self._file(name))

    def once(self, name, make):
        """None if it is not known and nothing is to be measured."""
        if not self.known(name):
            if KNOWN_ONLY:
                return None
            print(f"-- {name}", file=sys.stderr, flush=True)
            self.keep(name, make())
        return self.result(name)

    def result(self, name):
        with open(self._file(name)) as file:
            return json.load(file)


class Bench:
    """What all parts share: where things are, and Tessera's own steps."""

    def __init__(self, work):
        self.work = work
        self.model, self.padded = os.environ["SMOLLM2"], os.environ.get("SMOLLM2_PADDED")
        self.texts = [os.environ["TEXT"], os.environ.get("TEXT2")]
        self.calibration = [os.environ["CALIBRATION"], os.environ.get("CALIBRATION2")]
        self.llama = os.environ.get("LLAMA")
        self.left_out = []

    # ---- gates ----

    def gate(self, wanted, positions, text=0):
        """`wanted`: (name, what makes or finds the folder, whether it is thrown away). Figures are kept by name and positions."""
        missing = [w for w in wanted if not KNOWN_ONLY and not self.work.known(self.figures_name(w[0], positions, text))]
        for at in range(0, len(missing), GATED_AT_ONCE):
            part = [(name, make(), scratch) for name, make, scratch in missing[at:at + GATED_AT_ONCE]]
            part = [p for p in part if p[1]]
            if not part:
                continue
            print(f"-- gate of {', '.join(p[0] for p in part)}", file=sys.stderr, flush=True)
            out, _, seconds, memory = peers.run(
                [TOOL, "gate", *(p[1] for p in part), "--reference", self.model, "--text", self.texts[text], "--window",
                 str(peers.WINDOW), "--skip", str(peers.WINDOW // 2), "--positions", str(positions), "--path", "dense", "--memory",
                 "4Gi", "--json", "-q", "-j", peers.JOBS])
            found = json.loads(out)
            for (name, folder, scratch), one in zip(part, found.get("outputs", [found])):
                self.work.keep(self.figures_name(name, positions, text), {"gate": one["gates"][0], "seconds": seconds / len(part)})
                if scratch:
                    shutil.rmtree(folder)

    @staticmethod
    def figures_name(name, positions, text):
        return f"{name} engine {positions}" + (" second text" if text else "")

    def figures(self, name, positions, text=0):
        """None if it could not be made."""
        if not self.work.known(self.figures_name(name, positions, text)):
            return None
        gate = self.work.result(self.figures_name(name, positions, text))["gate"]
        if gate["lossless"]:
            return {"kld": 0, "interval": 0, "top1": 1, "p99_9": 0, "ppl": 1, "positions": positions}
        kld = gate["kld"]
        return {"kld": kld["estimate"], "interval": (kld["bound"] or math.nan) - kld["estimate"], "top1": gate["top1"]["estimate"],
                "p99_9": gate["kld_percentiles"]["p99_9"], "ppl": gate["perplexity_ratio"], "positions": gate["positions"],
                "text": gate["text_xxh3_128"]}

    # ---- statistics and outputs ----

    def slice_of_texts(self, name, start, size, domains):
        """A file of so many bytes of each domain's calibration text, cut at line ends."""
        path = self.work.path(name + ".txt")
        with open(path, "wb") as file:
            for text in domains:
                with open(text, "rb") as source:
                    source.seek(start)
                    if start:
                        source.readline()
                    file.write(source.read(size).rsplit(b"\n", 1)[0] + b"\n")
        return path

    def calibrate(self, name, text, tokens, seed=0):
        path = self.work.path(name + ".stats")

        def make():
            _, _, seconds, memory = peers.run([TOOL, "calibrate", self.model, "--text", text, "-o", path, "--fisher-tokens",
                                               str(tokens), "--seed", str(seed), "-f", "-q", "-j", peers.JOBS])
            return {"seconds": seconds, "memory": memory}
        self.work.once(f"statistics {name}", make)
        return path

    def statistics(self):
        both = [c for c in self.calibration if c]
        return os.environ.get("QUALITY_STATS") or self.calibrate(
            "mixed", self.slice_of_texts("mixed", 0, MIX_BYTES, both), FISHER_TOKENS)

    def statistics_of_one(self):
        return os.environ.get("QUALITY_STATS_ONE") or self.calibrate("one", self.calibration[0], FISHER_TOKENS)

    def compress(self, name, config, stats, states=64):
        """A profile's name, or bits a weight."""
        output = self.work.path(name.replace(" ", "_"))

        def make():
            path = config
            if config not in PROFILES:
                path = self.work.path(f"{config}-{states}.yaml")
                with open(path, "w") as file:
                    file.write(CONFIG.replace("BITS", config).replace("STATES", str(states)))
            words = [TOOL, "compress", self.model, "-c", path, "-o", output, "-f", "-q", "-j", peers.JOBS]
            _, _, seconds, memory = peers.run(words + (["--stats", stats] if stats else []))
            with open(os.path.join(output, "tessera.json")) as file:
                receipt = json.load(file)
            return {"path": output, "seconds": seconds, "memory": memory, "bytes": receipt["totals"]["output_bytes"],
                    "weights": receipt["totals"]["weights"], "source": receipt["source"]["digest"]}
        return self.work.once(f"{name} made", make)

    def row(self, name, shown, positions, text=0):
        """A line of the table from what was made and measured; None if either is missing."""
        figures = self.figures(name, positions, text)
        if not figures or not self.work.known(f"{name} made"):
            return None
        made = self.work.result(f"{name} made")
        return {"name": shown, "bits": made["bytes"] * 8 / made["weights"], "bytes": made["bytes"], **figures, "made": made["seconds"],
                "memory": made["memory"]}


# ---- the peers ----

def llama_types(bench):
    """(label, model, type, positions), those of which something is asked first."""
    labels = [("as users get it", bench.model)] + ([("padded", bench.padded)] if bench.padded else [])
    asked = {name.rsplit(" (", 1)[0] for name in tables.ASKED}
    first = [(label, model, kind, POSITIONS) for label, model in labels for kind in ("Q5_K_M", "Q4_K_M", "Q3_K_M")
             if f"{kind} {label}" in asked]
    return first + [(label, model, kind, FEWER) for label, model in labels for kind in TYPES if f"{kind} {label}" not in asked]


def make_llama(bench, label, model, kind):
    file = label.replace(" ", "-")
    base = None if KNOWN_ONLY else peers.to_gguf(bench.work, bench.llama, model, file)
    made = bench.work.once(f"{label} {kind} quantised",
                           lambda: peers.quantise(bench.work, bench.llama, base, bench.calibration[0], kind, file))

    def measure():
        real = None if model == bench.model else peers.real_weights(bench.model)
        size, weights = peers.gguf_size(bench.llama, made["path"], real)
        return {**made, "bytes": size, "weights": weights}
    return base, bench.work.once(f"{label} {kind} made", measure)


def llama_rows(bench):
    """Rows in our engine, and in their own runtime."""
    if not bench.llama:
        bench.left_out.append("llama.cpp (LLAMA)")
        return [], []
    if not os.path.exists(peers.tool(bench.llama, "perplexity")):
        peers.build(bench.llama)
    wanted, own = {}, []
    for label, model, kind, positions in llama_types(bench):
        name = f"{label} {kind}"
        base, made = make_llama(bench, label, model, kind)
        figures = bench.work.once(f"{name} own {FEWER}", lambda: peers.own_runtime(bench.llama, base, made["path"], bench.texts[0], FEWER))
        if figures:
            own.append({"name": f"{kind} {label}, own runtime", "bits": made["bytes"] * 8 / made["weights"], **figures,
                        "positions": FEWER, "made": math.nan, "memory": math.nan})

        def decode(made=made, model=model, name=name):
            folder = bench.work.path(name.replace(" ", "-") + "-F32")
            peers.dequantise(bench.llama, made["path"], model, bench.model, folder)
            return folder
        wanted.setdefault(positions, []).append((name, decode, True))
    for positions, part in wanted.items():
        bench.gate(part, positions)
    engine = [bench.row(f"{label} {kind}", f"{kind} {label}", positions) for label, _, kind, positions in llama_types(bench)]
    return [r for r in engine if r], own


TORCH_KINDS = {"hqq4": "HQQ, 4 bits, groups of 64", "hqq3": "HQQ, 3 bits, groups of 64", "nf4": "bitsandbytes NF4, blocks of 64"}


def torch_rows(bench):
    for kind in TORCH_KINDS:
        def make(kind=kind):
            folder = bench.work.path(kind)
            made = peers.torch_peer(kind, bench.model, folder)
            if made:
                bench.work.keep(f"{kind} made", made)
            return folder if made else None
        bench.gate([(kind, make, True)], FEWER)
    rows = [bench.row(kind, shown, FEWER) for kind, shown in TORCH_KINDS.items()]
    bench.left_out += [shown for row, shown in zip(rows, TORCH_KINDS.values()) if not row]
    return [r for r in rows if r]


# ---- Tessera ----

def our_points():
    """(name, shown name, config, positions) of all with statistics."""
    return [(f"profile {p} with statistics", f"**Tessera `{p}`**", p, FEWER if p in AT_FEWER else POSITIONS) for p in PROFILES] + \
           [(f"tessera {b} bits", f"**Tessera, {b} bits asked**", b, POSITIONS) for b in BITS]


def gate_made(bench, names, positions, text=0):
    bench.gate([(name, lambda name=name: bench.work.result(f"{name} made")["path"], False) for name in names], positions, text)


def our_rows(bench):
    """By positions: on all, and on fewer where the peers that hang less on it are measured."""
    for name, _, config, _ in our_points():
        bench.compress(name, config, bench.statistics())
    gate_made(bench, [name for name, _, _, positions in our_points() if positions == POSITIONS], POSITIONS)
    gate_made(bench, [name for name, *_ in our_points()], FEWER)
    rows = {n: [bench.row(name, shown, n) for name, shown, _, positions in our_points() if n == FEWER or positions == n]
            for n in (POSITIONS, FEWER)}
    return {n: [r for r in part if r] for n, part in rows.items()}


def profiles_table(bench):
    """Each profile with statistics and without."""
    for profile in PROFILES:
        bench.compress(f"profile {profile}", profile, None)
    gate_made(bench, [f"profile {p}" for p in PROFILES], FEWER)
    source = os.path.getsize(os.path.join(bench.model, "model.safetensors"))
    print("| profile | statistics | bytes | bits a weight | ratio | KLD | top-1 % | positions | processor s | MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for profile in PROFILES:
        for name, used in ((f"profile {profile} with statistics", "yes"), (f"profile {profile}", "no")):
            r = bench.row(name, profile, POSITIONS) or bench.row(name, profile, FEWER)
            if r:
                print(f"| `{profile}` | {used} | {r['bytes']} | {r['bits']:.3f} | {source / r['bytes']:.2f} | {r['kld']:.5f} | "
                      f"{100 * r['top1']:.1f} | {r['positions']} | {tables.number(r['made'], '.0f')} | {tables.number(r['memory'], '.0f')} |")


def seeds_part(bench, prefix, shown, subset, fisher_tokens, states, positions):
    """Statistics of disjoint subsets of the calibration texts, other labels drawn for each."""
    texts = [c for c in bench.calibration if c]
    step = min(min(os.path.getsize(t) for t in texts) // SEEDS, 4 * subset)
    names = [f"{prefix}seed {seed}" for seed in range(SEEDS)]
    for seed, name in enumerate(names):
        if bench.work.known(f"{name} made"):
            continue
        text = bench.slice_of_texts(name, seed * step, min(step, subset), texts)
        stats = bench.calibrate(name, text, fisher_tokens, seed + 1)
        bench.compress(name, "4.17", stats, states)
        if not KNOWN_ONLY:
            os.remove(stats)
    gate_made(bench, names, positions)
    rows = [r for r in (bench.row(name, name, positions) for name in names) if r]
    if len(rows) < 2:
        return
    print(f"{shown}: {len(rows)} disjoint subsets ({subset // 1000} kB of each kind of text, {fisher_tokens} Fisher tokens, labels drawn anew), "
          f"4.17 bits asked, {states} states, {positions} positions.\n")
    print(f"- KLD: {tables.spread([r['kld'] for r in rows])}")
    print(f"- top-1: {tables.spread([r['top1'] for r in rows])}")
    print(f"- bits a weight: {tables.spread([r['bits'] for r in rows])}")
    print(f"- KLD in order: {', '.join(format(r['kld'], '.4f') for r in rows)}\n")


def demo_of(bench):
    """The bundled model, on stories that it has not seen: the last of the second text."""
    demo = Bench(bench.work)
    demo.model, demo.calibration = "demo/stories-1m", [bench.calibration[1]]
    demo.texts = [bench.work.path("unseen.txt")]
    with open(bench.texts[1], "rb") as source, open(demo.texts[0], "wb") as file:
        file.write(source.read()[-UNSEEN_BYTES:].split(b"\n", 1)[1])
    return demo


def domains_part(bench):
    """Both texts, with statistics of both kinds and of the first alone."""
    if not (bench.texts[1] and bench.calibration[1]):
        bench.left_out.append("a second domain (TEXT2, CALIBRATION2)")
        return
    mixed, alone = "profile balanced with statistics", "profile balanced with statistics of the first kind"
    bench.compress(mixed, "balanced", bench.statistics())
    bench.compress(alone, "balanced", bench.statistics_of_one())
    print("| statistics of | KLD, first text | KLD, second text | second / first | top-1 %, first | second |")
    print("|---|---|---|---|---|---|")
    for text in range(2):
        gate_made(bench, [mixed, alone], FEWER, text)
    for name, shown in ((mixed, "both kinds of text"), (alone, "the first kind alone")):
        first, second = (bench.figures(name, FEWER, text) for text in range(2))
        if first and second:
            print(f"| {shown} | {first['kld']:.4f} | {second['kld']:.4f} | {second['kld'] / first['kld']:.2f} | {100 * first['top1']:.1f} | "
                  f"{100 * second['top1']:.1f} |")


# ---- the whole ----

def write_points(bench, rows):
    """For `tessera report --points`."""
    made = next((bench.work.result(f"{name} made") for name, *_ in our_points() if bench.work.known(f"{name} made")), {"source": ""})
    points = [{"name": r["name"], "bytes": round(r["bytes"]), "kld": r["kld"]} for r in rows]
    with open(os.path.join(os.environ.get("QUALITY_PICTURE", "docs/results"), "quality.json"), "w") as file:
        json.dump({"source": made["source"], "text": rows[0]["text"] if rows else "", "points": points}, file, indent=1)
        file.write("\n")


def measure_and_print(bench):
    engine, own = llama_rows(bench)
    ours = our_rows(bench)
    shown = ours[POSITIONS] + [r for r in ours[FEWER] if r["name"] not in {o["name"] for o in ours[POSITIONS]}]
    engine += torch_rows(bench)
    print(f"SmolLM2-135M with permuted channels, windows of {peers.WINDOW} tokens, the second half scored; ± is the one-sided 95 % bound "
          f"less the estimate. Bits count all bytes of the files with tensors, of peers those of the tensors alone; of padded peers real "
          f"weights only. \"Own runtime\" is llama-perplexity; all other rows are one engine, with weights decoded to F32. Times are "
          f"processor seconds without calibration, on either side.\n")
    tables.rows_table(engine + own + shown)
    print("\n![KLD against bits a weight](quality.svg)\n\n## At equal bytes, and at equal quality\n")
    print("By log-linear interpolation between Tessera's points, on as many positions as the peer has.\n")
    tables.ratios_table(engine + tables.QUOTED, lambda positions: ours.get(positions, ours[POSITIONS]))
    print("\n## Profiles\n")
    profiles_table(bench)
    print("\n## A second domain\n")
    domains_part(bench)
    if SEEDS > 1:
        print("\n## Spread\n")
        seeds_part(bench, "", "SmolLM2-135M", SUBSET_BYTES, SUBSET_FISHER_TOKENS, SEED_STATES, SEED_POSITIONS)
        if bench.texts[1] and bench.calibration[1]:
            seeds_part(demo_of(bench), "demo ", "The bundled model", DEMO_SUBSET_BYTES, FISHER_TOKENS // 2, 64, POSITIONS)
    series = {"as users get it": [], "padded": []}
    for r in engine:
        series["padded" if r["name"].endswith("padded") else "as users get it"].append(r)
    llama = [r for r in series["as users get it"] if r["name"].endswith("as users get it")]
    others = [r for r in series["as users get it"] if r not in llama]
    tables.draw([("llama.cpp, as users get it", "#c33", False, llama), ("llama.cpp, padded", "#c80", False, series["padded"]),
                 ("ik_llama.cpp, quoted", "#a6a", False, tables.QUOTED), ("HQQ, NF4", "#484", False, others),
                 ("Tessera", "#06c", True, shown)],
                os.path.join(os.environ.get("QUALITY_PICTURE", "docs/results"), "quality.svg"))
    write_points(bench, engine)
    if bench.left_out:
        print(f"\nLeft out: {'; '.join(bench.left_out)}.")


def main():
    if not all(os.environ.get(name) for name in ("SMOLLM2", "CALIBRATION", "TEXT")):
        print("Left out: needs SMOLLM2, CALIBRATION and TEXT (see the script).")
        return
    temporary = None if os.environ.get("QUALITY_WORK") else tempfile.mkdtemp()
    measure_and_print(Bench(Work(os.environ.get("QUALITY_WORK") or temporary)))
    if temporary:
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
