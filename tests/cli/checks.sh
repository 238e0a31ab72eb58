#!/usr/bin/env bash
# Every check of docs/checks.md comes when it should, with the id, the reason and what to do instead; a careful plan has none.
source "$(dirname "$0")/lib"

config() { # rule [gates]
    printf 'tessera: 1\nrules:\n  - {%s}\n  - {codec: passthrough, optional: true}\n%b' "$1" "${2:-}"
}
gates='gates:\n  parity: {text: t.txt, min_top1: 0.9}\n  chain: {min_cos: 0.9}\n'
printf 'Once upon a time.\n' >"$work/t.txt"

plan() { # rule [gates] [option...]: prints the plan
    config "$1" "${2:-$gates}" >"$work/c.yaml"
    "$tool" plan "${source_model:-$model}" -c "$work/c.yaml" "${@:3}" 2>&1
}
comes() { # id rule [gates] [option...]
    local id=$1
    shift
    plan "$@" >"$work/plan"
    check "${id}_comes" grep -qE "^$id: .*; instead: " "$work/plan"
}
up='match: "model.layers.0.mlp.up_proj.weight"'
embed='match: "model.embed_tokens.weight"'
q='match: "model.layers.0.self_attn.q_proj.weight"'

comes C1 "$embed, codec: scalar, params: {bits: 4}, row_error_max: 0"
comes C3 "$up, codec: scalar, params: {bits: 5}, index: {codec: hhtld}"
comes C6 "$embed, codec: passthrough, index: {codec: spiral-index}"
comes C5 "$up, codec: rvq, params: {ladder: [200]}"
comes D3 "$up, codec: rvq, params: {dim: 4, ladder: [300], guard: false}"
comes D5 "$up, codec: rvq, params: {dim: 4, ladder: [256], guard: false}"
comes AP4 "$up, codec: slotl, params: {palette: 8}"
comes D6 "$up, codec: slotl, params: {palette: 8}"
comes D7 "$up, codec: slotl, params: {rank: 0, palette: 8}"
comes D4 "$q, codec: scalar, params: {bits: 5}, index: {codec: hhtld}"
comes D2 "$embed, codec: hclam, params: {tree: [16, 16], guard: false}, row_error_max: 0"
comes AP3 "$up, codec: rvq, params: {ladder: [256, 256, 256, 256], beam: 1, refit: 0, guard: false}"
comes D1 "$up, codec: hhtld-block"
check AP3_comes_with_it grep -q '^AP3: .*hhtld-block reaches D .*; instead: scalar' "$work/plan"
comes AP1 "$up, codec: scalar" 'gates:\n  parity: {text: t.txt, min_top1: 0.9}\n'
comes AP2 "$up, codec: scalar" '\n'
comes AP6 "$q, codec: scalar" 'gates:\n  parity: {text: t.txt, min_top1: 0.9}\n  storage: {min_ratio: 1}\n'

# C2 wants rows of very different length.
mkdir "$work/uneven"
python3 - "$work/uneven/model.safetensors" <<'END'
import json, random, struct, sys
rng = random.Random(1)
rows = [[rng.gauss(0, 1) * (40 if r % 16 == 0 else 1) for _ in range(128)] for r in range(256)]
data = b"".join(struct.pack("<f", x) for row in rows for x in row)
header = json.dumps({"model.layers.0.mlp.up_proj.weight": {"dtype": "F32", "shape": [256, 128], "data_offsets": [0, len(data)]}}).encode()
header += b" " * (-len(header) % 8)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(header)) + header + data)
END
source_model=$work/uneven comes C2 "codec: slotl, params: {palette: 8}"

# AP5 and AP7: a codec from elsewhere; one whose file names a Python runtime.
mkdir "$work/plugins"
cp contrib/codec-template/absmax.c "$work/absmax.c"
echo 'extern const char absmax_runtime[]; const char absmax_runtime[] = "libpython3.11.so.1.0";' >>"$work/absmax.c"
gcc -std=c11 -O2 -fPIC -shared -Iframework/include "$work/absmax.c" -o "$work/plugins/tessera-codec-absmax.so"
comes AP7 "$up, codec: absmax" "$gates" --plugin-path "$work/plugins"
comes AP5 "$up, codec: absmax" "$gates" --plugin-path "$work/plugins"

plan "$embed, codec: passthrough, index: {codec: spiral-index, params: {anchors: 7}}" >"$work/plan"
check a_smaller_index_has_no_C6 eval '! grep -q "^C6" "$work/plan"'

# C4 is an error, named.
config "$up, codec: hhtld" >"$work/c.yaml"
fails_with C4_is_an_error 1 "checks C4, D1" "$tool" plan "$model" -c "$work/c.yaml"

plan "$up, codec: scalar, params: {bits: 5}" >"$work/plan"
check a_careful_plan_has_no_advice eval '! grep -qE "^(C|AP|D)[0-9]: " "$work/plan"'
check probe_is_in_the_json eval 'plan "$up, codec: scalar" "$gates" --json | python3 -c "
import json, sys
plan = json.load(sys.stdin)
probe = next(t[\"probe\"] for t in plan[\"tensors\"] if t[\"name\"].endswith(\"0.mlp.up_proj.weight\"))
sys.exit(not (probe[\"rows\"] == 128 and 0 < probe[\"mean_cosine\"] < 1 and 1 < probe[\"participation\"] <= 128 and probe[\"kurtosis\"] > 1))"'
for id in C1 C2 C3 C4 C5 C6 AP1 AP2 AP3 AP4 AP5 AP6 AP7 D1 D2 D3 D4 D5 D6 D7; do
    check "${id}_is_documented" grep -q "^| $id |" docs/checks.md
done
