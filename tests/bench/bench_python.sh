#!/usr/bin/env bash
# load_file of the Python package against the same reads from C, alternating, on SmolLM2 compressed losslessly (looked for as
# smollm2_permuted in TESSERA_MODELS). PYTHON has numpy, and torch for the rows of torch; the package is installed for it.
set -eu
build=${TESSERA_BUILD:-build}
IFS=: read -ra folders <<<"${TESSERA_MODELS:-}"
model=
for folder in "${folders[@]}"; do [ -d "$folder/smollm2_permuted" ] && model=$folder/smollm2_permuted; done
[ -n "$model" ] || { echo "python: smollm2_permuted is in no folder of TESSERA_MODELS" >&2; exit 1; }
make -s "$build/bench/read_all" >&2
work=$(mktemp -d "$build/python.XXXXXX")
trap 'rm -rf "$work"' EXIT
site=$work/site python=${PYTHON:-python3}
"$python" -m pip install -q --no-deps --no-build-isolation --target "$site" contrib/python ml_dtypes >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$build/bin/tessera" compress "$model" -o "$work/out" -q

cat >"$work/load.py" <<'END'
import sys, time
import tessera
options = {"numpy, bfloat16": ("np", {}), "numpy, bits of BF16": ("np", {"raw": True}), "numpy, float32": ("np", {"f32": True}),
           "torch, bfloat16": ("pt", {})}
framework, more = options[sys.argv[2]]
if framework == "pt":
    import torch
library = tessera.Library()  # starts its workers
if sys.argv[3] == "load":
    begin, begin_work = time.perf_counter(), time.process_time()
    tensors = tessera.load_file(sys.argv[1], framework, library=library, **more)
    print(f"{time.perf_counter() - begin:.4f} {time.process_time() - begin_work:.4f}")
END
cases=("numpy, bfloat16" "numpy, bits of BF16" "numpy, float32")
"$python" -c 'import torch' 2>/dev/null && cases+=("torch, bfloat16")
"$build/bench/read_all" "$work/out" >/dev/null # its files are in memory from here on
for _ in {1..15}; do
    "$build/bench/read_all" "$work/out" >>"$work/C"
    "$build/bench/read_all" "$work/out" f32 >>"$work/C, float32"
    for case in "${cases[@]}"; do PYTHONPATH=$site "$python" "$work/load.py" "$work/out" "$case" load >>"$work/$case"; done
done

# What the process holds, sampled: with the tensors, and with everything imported but none loaded.
peak() { python3 tests/bench/watch.py "$@" | python3 -c 'import json, sys; print(json.load(sys.stdin)["peak_bytes"])'; }
for case in "${cases[@]}"; do
    PYTHONPATH=$site peak "$python" "$work/load.py" "$work/out" "$case" load >"$work/peak $case"
    PYTHONPATH=$site peak "$python" "$work/load.py" "$work/out" "$case" nothing >"$work/base $case"
done
peak "$build/bench/read_all" "$work/out" >"$work/peak C"
peak "$build/bench/read_all" "$work/out" f32 >"$work/peak C, float32"
python3 - "$work" "$(uptime | sed 's/.*load average: //')" "${cases[@]}" <<'END'
import statistics, sys
work, load, *cases = sys.argv[1:]
tensors = 269.03e6
readings = {name: [tuple(map(float, line.split())) for line in open(f"{work}/{name}")] for name in ["C", "C, float32", *cases]}
wall = {name: sorted(reading[0] for reading in found) for name, found in readings.items()}
busy = {name: statistics.median(reading[1] for reading in found) for name, found in readings.items()}
middle = {name: statistics.median(times) for name, times in wall.items()}
number = lambda name: int(open(f"{work}/{name}").read())
print(f"""SmolLM2-135M, {tensors / 1e6:.0f} MB in BF16, compressed losslessly; {len(wall["C"])} readings each, alternating between C and Python, each in
a process of its own (load averages at the end: {load}). A reading opens the checkpoint and reads all tensors into fresh memory; C
does it with one call of `tsr_checkpoint_read` (`tests/bench/read_all.c`). What gives float32 writes twice the bytes and is compared with the C
that does. Speed counts bytes of the source; `processors` is the median of
the seconds that threads were running, which other work on the machine disturbs less. `above` is what the process holds at its peak
above what it holds with nothing loaded, in units of the tensors it gives.

| reader | seconds, median (smallest-largest) | MB/s | speed of its C | processors | of its C | peak MB | above |
|---|---|---|---|---|---|---|---|""")
for name in ["C", "C, float32", *cases]:
    base = "C, float32" if "float32" in name else "C"
    times, given = wall[name], tensors * (2 if "float32" in name else 1)
    above = number(f"peak {name}") - (number(f"base {name}") if name in cases else 0)
    print(f"| {name} | {middle[name]:.3f} ({times[0]:.3f}-{times[-1]:.3f}) | {tensors / middle[name] / 1e6:.0f} | {middle[base] / middle[name]:.2f} "
          f"| {busy[name]:.3f} | {busy[base] / busy[name]:.2f} | {number(f'peak {name}') / 1e6:.0f} | {above / given:.2f} |")
END
