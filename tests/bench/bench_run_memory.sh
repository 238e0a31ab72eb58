#!/usr/bin/env bash
# Memory of `run` on compressed weights: SmolLM2 (contrib/models/make_smollm2.py, --permute) is looked for as smollm2_permuted in
# TESSERA_MODELS. 512 tokens are read and 32 made.
set -eu
tool=${TESSERA_BUILD:-build}/bin/tessera
IFS=: read -ra folders <<<"${TESSERA_MODELS:-}"
model=
for folder in "${folders[@]}"; do [ -d "$folder/smollm2_permuted" ] && model=$folder/smollm2_permuted; done
[ -n "$model" ] || { echo "run_memory: smollm2_permuted is in no folder of TESSERA_MODELS" >&2; exit 1; }
work=$(mktemp -d "${TESSERA_BUILD:-build}/run-memory.XXXXXX")
trap 'rm -rf "$work"' EXIT
printf 'tessera: 1\nroles: auto\nrules:\n  - {regime: argmax, codec: scalar, params: {bits: 4}, optional: true}\n  - {regime: index, codec: scalar, params: {bits: 6}, optional: true}\n  - {codec: passthrough, optional: true}\n' >"$work/scalar.yaml"
"$tool" compress "$model" -o "$work/lossless" -q
"$tool" compress "$model" -c "$work/scalar.yaml" -o "$work/scalar" -q
prompt=$(head -c 2300 demo/text/stories.txt)

cat <<'END'
SmolLM2-135M-Instruct, BF16, 269 MB decoded; 512 tokens or so are read, 32 made, two workers. Peak memory is RssAnon + RssShmem,
sampled every 20 ms: what the process holds, not the pages of the files it reads. `file` is the compressed checkpoint, `layer` the largest
tensor decoded (the embedding, which is the output matrix too), `cache` the keys and values in F32.

| weights | `--memory` | file MiB | layer MiB | cache MiB | file + layer + cache | peak MiB |
|---|---|---|---|---|---|---|
END
row() { # label folder memory
    local options=(run "$2" --raw --prompt "$prompt" --max-tokens 32 --min-tokens 32 -j2 --json)
    [ "$3" = - ] || options+=(--memory "$3")
    "$tool" "${options[@]}" >"$work/result"
    python3 tests/bench/watch.py "$tool" "${options[@]}" >"$work/watched"
    python3 - "$1" "$3" "$work/result" "$work/watched" "$(stat -c %s "$2/model.safetensors")" <<'END'
import json, sys
label, memory, result, watched, size = sys.argv[1:]
result, watched, mib = json.load(open(result)), json.load(open(watched)), 2**20
assert watched["exit"] == 0, watched
file = int(size) / mib
layer, cache = 49152 * 576 * 2 / mib, (result["prompt_tokens"] + 32) * 30 * 2 * 3 * 64 * 4 / mib
print(f"| {label} | {'not given' if memory == '-' else memory} | {file:.0f} | {layer:.0f} | {cache:.0f} "
      f"| {file + layer + cache:.0f} | {watched['peak_bytes'] / mib:.0f} |")
END
}
for memory in 1K 128M -; do row lossless "$work/lossless" $memory; done
for memory in 1K 128M -; do row "scalar, 4 bits" "$work/scalar" $memory; done
row raw "$model" -
cat <<'END'

Without `--memory` up to 4 GiB stay decoded, here all of the model: each token then costs no decoding. Raw weights are mapped, not held.
END
