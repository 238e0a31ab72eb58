#!/usr/bin/env bash
# Dictionaries of groups: stored once and counted, the same for any workers and from shards, kept between runs, and missed or
# found foreign by name.
source "$(dirname "$0")/lib"

group() { # group: prints a config
    printf 'tessera: 1\nrules:\n  - {regime: argmax, codec: rvq, params: {dim: 4, ladder: [64, 16], guard: false, refit: 1}, group: %s}\n  - {codec: passthrough}\n' "$1"
}
group role >"$work/role.yaml"
group role+shape >"$work/shape.yaml"
group mine >"$work/mine.yaml"
sed 's/, group: role//' "$work/role.yaml" >"$work/alone.yaml"

facts() { # out expression: over the receipt r
    python3 -c 'import json, sys; r = json.load(open(sys.argv[1] + "/tessera.json")); sys.exit(not eval(sys.argv[2]))' "$1" "$2"
}
"$tool" compress "$model" -c "$work/role.yaml" -o "$work/out" -q
"$tool" compress "$model" -c "$work/mine.yaml" -o "$work/one" -q
"$tool" compress "$model" -c "$work/alone.yaml" -o "$work/alone" -q
check one_dictionary_a_role facts "$work/out" 'len(r["dictionaries"]) == 7 and all(d["group"].startswith("role ") for d in r["dictionaries"])'
check one_dictionary_by_name facts "$work/one" '[d["group"] for d in r["dictionaries"]] == ["group mine"]'
check none_without_group facts "$work/alone" 'r["dictionaries"] == []'
check bytes_are_counted facts "$work/out" 'r["totals"]["dictionary_bytes"] == sum(d["bytes"] for d in r["dictionaries"]) > 0'
check sharing_saves_bytes [ "$(stat -c %s "$work/one/model.safetensors")" -lt "$(stat -c %s "$work/alone/model.safetensors")" ]
check groups_by_shape_plan eval '"$tool" plan "$model" -c "$work/shape.yaml" --json | grep -q "role attn_q 128x128"'
check grouped_output_is_whole "$tool" verify "$work/out" -q
check grouped_output_decodes "$tool" decompress "$work/out" -o "$work/back" -q
for workers in 1 3; do
    "$tool" compress "$model" -c "$work/role.yaml" -o "$work/j$workers" -j "$workers" -q
    check "dictionaries_are_the_same_with_${workers}_workers" cmp "$work/out/model.safetensors" "$work/j$workers/model.safetensors"
done
for share in 1 2; do "$tool" compress "$model" -c "$work/role.yaml" -o "$work/merged" --shard $share/2 -q; done
"$tool" compress "$model" -c "$work/role.yaml" -o "$work/merged" --merge 2 -q
check dictionaries_are_the_same_from_shards cmp "$work/out/model.safetensors" "$work/merged/model.safetensors"

# Sharded outputs have a file for them, which the index knows.
"$tool" compress "$model" -c "$work/role.yaml" -o "$work/sharded" --max-shard-size 200K -q
check shards_have_a_file_of_dictionaries grep -q '"tessera.dictionary/.*": "model-dictionaries.safetensors"' "$work/sharded/model.safetensors.index.json"
check sharded_output_is_whole "$tool" verify "$work/sharded" -q
"$tool" decompress "$work/sharded" -o "$work/sharded-back" -q
check sharded_output_decodes_alike cmp "$work/back/model.safetensors" "$work/sharded-back/model.safetensors"

# What a run trained is there for the next one: the first ends at a gate, the second does not train again.
(cat "$work/role.yaml"; printf 'gates:\n  storage: {min_ratio: 1000}\n') >"$work/strict.yaml"
"$tool" compress "$model" -c "$work/strict.yaml" -o "$work/gated" -v >/dev/null 2>"$work/first"
"$tool" compress "$model" -c "$work/strict.yaml" -o "$work/gated" -v >/dev/null 2>"$work/second"
check training_is_told grep -q "training the dictionary" "$work/first"
check training_is_not_repeated eval '! grep -q "training the dictionary" "$work/second"'

# A dictionary that is missing, or another one under its name.
change() { # out: takes one dictionary out, or (with 2) swaps the names of two
    python3 - "$@" <<'END'
import hashlib, json, os, struct, subprocess, sys
sys.path.insert(0, "contrib/refdecoder")
from xxh3 import digest
path = sys.argv[1] + "/model.safetensors"
data = open(path, "rb").read()
length = 8 + struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:length])
metadata = header.pop("__metadata__")
parts = [[name, data[length + t["data_offsets"][0]:length + t["data_offsets"][1]]] for name, t in header.items()]
found = [i for i, (name, _) in enumerate(parts) if name.startswith("tessera.dictionary/")]
if len(sys.argv) > 2:
    a, b = found[:2]
    parts[a][0], parts[b][0] = parts[b][0], parts[a][0]
else:
    del parts[found[0]]
metadata["tessera.header_digest"] = "0" * 32
new, at = {"__metadata__": metadata}, 0
for name, part in parts:
    new[name] = {"dtype": "U8", "shape": [len(part)], "data_offsets": [at, at + len(part)]}
    at += len(part)
text = json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode()
text += b" " * (-len(text) % 8)
whole = bytearray(struct.pack("<Q", len(text)) + text)
whole[50:82] = digest(bytes(whole)).hex().encode()
open(path, "wb").write(bytes(whole) + b"".join(part for _, part in parts))
END
}
cp -r "$work/out" "$work/missing" && change "$work/missing"
fails_with missing_dictionary_is_named 2 "its dictionary [0-9a-f]{32} is not in this checkpoint" "$tool" decompress "$work/missing" -o "$work/no"
cp -r "$work/out" "$work/foreign" && change "$work/foreign" swap
fails_with foreign_dictionary_is_named 2 "holds another dictionary" "$tool" decompress "$work/foreign" -o "$work/no"
group role | sed 's/rvq, params: {[^}]*}/scalar/' >"$work/scalar.yaml"
fails_with codec_without_dictionaries 1 "shares nothing between tensors" "$tool" plan "$model" -c "$work/scalar.yaml"
check text_from_payloads_with_dictionaries eval '[ "$("$tool" run "$work/out" --raw -p "Once upon a time" --max-tokens 12 --path codec)" = "$("$tool" run "$work/back" --raw -p "Once upon a time" --max-tokens 12)" ]'
