#!/usr/bin/env bash
# Stacks of codecs: both levels of a lossy base with its exact remainder, resume and workers, damage by name.
source "$(dirname "$0")/lib"

cat >"$work/stack.yaml" <<'END'
tessera: 1
rules:
  - {regime: argmax, codec: [scalar, remainder], params: {scalar: {bits: 4}}}
  - {codec: passthrough}
END
sed 's/codec: \[scalar, remainder\], params: {scalar: {bits: 4}}/codec: scalar, params: {bits: 4}/' "$work/stack.yaml" >"$work/base.yaml"

"$tool" compress "$model" -c "$work/stack.yaml" -o "$work/both" -q
"$tool" compress "$model" -c "$work/base.yaml" -o "$work/base" -q
"$tool" compress "$model" -o "$work/lossless" -q
check stack_is_verified "$tool" verify "$work/both" -q
"$tool" decompress "$work/both" -o "$work/exact" --level exact -q
"$tool" decompress "$work/both" -o "$work/low" --level base -q
"$tool" decompress "$work/both" -o "$work/one" --level 1 -q
"$tool" decompress "$work/base" -o "$work/alone" -q
check exact_level_is_the_source diff -r "$model" "$work/exact"
check base_level_is_the_base_alone cmp "$work/low/model.safetensors" "$work/alone/model.safetensors"
check level_one_is_the_base cmp "$work/low/model.safetensors" "$work/one/model.safetensors"
check base_differs_from_the_source eval '! cmp -s "$work/low/model.safetensors" "$model/model.safetensors"'
size() { stat -c %s "$1/model.safetensors"; }
check remainder_costs_at_most_6_percent [ $(($(size "$work/both") * 100)) -le $(($(size "$work/lossless") * 106)) ]
fails_with exact_level_of_a_lossy_output 1 "level exact is not there" "$tool" decompress "$work/base" -o "$work/no" --level exact
fails_with level_that_is_none 1 "level" "$tool" decompress "$work/both" -o "$work/no" --level bass
check report_names_both_codecs eval '"$tool" report "$work/both" | grep -q "scalar+remainder"'
check plan_predicts_the_bytes eval '"$tool" plan "$model" -c "$work/stack.yaml" --json | python3 -c "
import json, os, sys
plan = json.load(sys.stdin)[\"totals\"][\"predicted_bytes\"]
real = json.load(open(sys.argv[1]))[\"totals\"][\"payload_bytes\"]
sys.exit(abs(plan - real) > 0.005 * real)" "$work/both/tessera.json"'
for workers in 1 3; do
    "$tool" compress "$model" -c "$work/stack.yaml" -o "$work/j$workers" -j "$workers" -q
    check "stack_is_the_same_with_${workers}_workers" cmp "$work/both/model.safetensors" "$work/j$workers/model.safetensors"
done
"$tool" compress "$model" -c "$work/stack.yaml" -o "$work/merged" --shard 1/2 -q
"$tool" compress "$model" -c "$work/stack.yaml" -o "$work/merged" --shard 2/2 -q
"$tool" compress "$model" -c "$work/stack.yaml" -o "$work/merged" --merge 2 -q
check stack_is_the_same_from_shards cmp "$work/both/model.safetensors" "$work/merged/model.safetensors"

# A flipped byte in the remainder is damage of that stage, and the base stays usable.
cp -r "$work/both" "$work/damaged"
python3 - "$work/damaged/model.safetensors" <<'END'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
length = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + length])
name = next(name for name in header if name.startswith("tessera.stage.1/"))
data[8 + length + header[name]["data_offsets"][1] - 9] ^= 4
open(sys.argv[1], "wb").write(data)
END
fails_with damaged_stage_is_named 2 "tessera.stage.1/model" "$tool" verify "$work/damaged"
fails_with damaged_stage_is_not_decoded 2 "damaged" "$tool" decompress "$work/damaged" -o "$work/no"
check base_of_a_damaged_stack "$tool" decompress "$work/damaged" -o "$work/saved" --level base -q
check base_of_a_damaged_stack_is_whole cmp "$work/saved/model.safetensors" "$work/low/model.safetensors"

# The model runs from a stack as from the files it restores.
check text_from_a_stack eval '[ "$("$tool" run "$work/both" --raw -p "Once upon a time" --max-tokens 12)" = "$("$tool" run "$model" --raw -p "Once upon a time" --max-tokens 12)" ]'
