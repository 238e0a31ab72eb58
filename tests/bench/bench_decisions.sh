#!/usr/bin/env bash
# Size against decisions on a real model: SMOLLM2 (folder; contrib/models says how to make one) with passthrough and scalar at some rates,
# each gated on TEXT, which no config has seen. Prints one Markdown table; skipped with a word where the model is absent.
set -eu
tool=${TESSERA_BUILD:-build}/bin/tessera
if [ ! -d "${SMOLLM2:-}" ] || [ ! -f "${TEXT:-}" ]; then
    echo "Not measured: SMOLLM2 (folder of the model) and TEXT (evaluation text) are not set."
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
positions=${POSITIONS:-5000}
echo "SmolLM2-135M, all weights at the same rate (embedding rows without an error bound), $positions scored positions of technical English,"
echo "windows of 512 tokens; bits count every byte of the .safetensors files. No calibration, no error feedback."
echo
echo "| codec | bytes | bits a weight | KLD | at most (95 %) | top-1 | at least (95 %) | perplexity ratio | compress s | MiB | gate s | MiB |"
echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
# Runs a command; writes its seconds and its peak memory (mapped files included) in MiB to a file.
measured() { # file command...
    python3 - "$@" <<'END'
import resource, subprocess, sys, time
start = time.monotonic()
status = subprocess.run(sys.argv[2:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
open(sys.argv[1], "w").write(f"{time.monotonic() - start:.1f} {peak:.0f}")
sys.exit(status)
END
}
for bits in exact ${RATES:-6 5 4 3.5 3}; do
    if [ "$bits" = exact ]; then
        printf 'tessera: 1\nrules:\n  - {codec: passthrough}\n' >"$folder/c.yaml"
    else
        printf 'tessera: 1\nrules:\n  - {regime: [index], codec: scalar, params: {bits: %s}, row_error_max: 0, optional: true}\n  - {regime: argmax, codec: scalar, params: {bits: %s}, optional: true}\n  - {codec: passthrough, optional: true}\n' "$bits" "$bits" >"$folder/c.yaml"
        sed -i 's/regime: \[index\]/regime: index/' "$folder/c.yaml"
    fi
    rm -rf "$folder/out"
    measured "$folder/compress.txt" "$tool" compress "$SMOLLM2" -c "$folder/c.yaml" -o "$folder/out" -q
    measured "$folder/gate.txt" "$tool" gate "$folder/out" --reference "$SMOLLM2" --text "$TEXT" --positions "$positions" --json -q \
        >"$folder/gate.json"
    python3 - "$bits" "$folder" <<'END'
import json, sys
bits, folder = sys.argv[1:]
totals = json.load(open(f"{folder}/out/tessera.json"))["totals"]
gate = json.load(open(f"{folder}/gate.json"))["gates"][0]
name = "passthrough" if bits == "exact" else f"scalar {bits}"
cells = [name, totals["output_bytes"], f"{totals['bits_per_weight']:.2f}"]
if gate["lossless"]:
    cells += ["0", "0", "1", "1", "1"]
else:
    k, t = gate["kld"], gate["top1"]
    cells += [f"{k['estimate']:.4f}", f"{k['bound']:.4f}", f"{t['estimate']:.4f}", f"{t['bound']:.4f}", f"{gate['perplexity_ratio']:.4f}"]
for stage in ("compress", "gate"):
    cells += open(f"{folder}/{stage}.txt").read().split()
print("| " + " | ".join(map(str, cells)) + " |", flush=True)
END
done
