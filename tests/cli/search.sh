#!/usr/bin/env bash
# Search indexes from the config to the hits: searches through them are the dense ones, and what is wrong is said.
source "$(dirname "$0")/lib"
tensor=model.embed_tokens.weight

python3 - "$work" <<'END'
import json, random, struct, sys
folder, rng = sys.argv[1], random.Random(5)
def save(name, tensors):
    header, at, data = {}, 0, b""
    for key, shape, values in tensors:
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * len(values)]}
        at += 4 * len(values)
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    open(f"{folder}/{name}", "wb").write(struct.pack("<Q", len(text)) + text + data)
numbers = lambda count: [rng.gauss(0, 1) for _ in range(count)]
save("one.safetensors", [("x", [7, 128], numbers(7 * 128))])
save("two.safetensors", [("x", [3, 128], numbers(3 * 128)), ("y", [128], numbers(128))])
save("narrow.safetensors", [("x", [2, 64], numbers(128))])
save("golden24.safetensors", [("x", [9, 24], numbers(9 * 24))])
save("golden8.safetensors", [("x", [3, 8], numbers(3 * 8))])
save("golden17.safetensors", [("x", [9, 17], numbers(9 * 17))])
save("golden100.safetensors", [("x", [9, 100], numbers(9 * 100))])
save("nan.safetensors", [("x", [1, 128], [float("nan")] + numbers(127))])
END

config() { # name codec index
    printf 'tessera: 1\nroles: auto\nrules:\n  - {role: embed, codec: %s, index: %s}\n  - {codec: passthrough}\n' \
        "$2" "$3" >"$work/$1.yaml"
}
config exact passthrough '{codec: hhtld, params: {leaves: 200}}'
config lossy scalar '{codec: hhtld, params: {lanes: 16, gain: row}}'
compress() { "$tool" compress "$model" -c "$work/$1.yaml" -o "$work/$1" -q; }
check compress_makes_an_index compress exact
check compress_indexes_a_lossy_tensor compress lossy
check indexes_are_verified "$tool" verify "$work/exact" -q
back() { "$tool" decompress "$work/exact" -o "$work/back" -q && cmp "$model/model.safetensors" "$work/back/model.safetensors"; }
check decompress_ignores_the_index back
knows() { "$tool" inspect "$work/exact" -q --json | grep -c '"index": "org.tessera.hhtld"' | grep -qx 1; }
check inspect_knows_it knows

search() { # out option...: searches and holds the result against the dense one
    "$tool" search "$work/$1" "$tensor" --query "$work/one.safetensors" --json "${@:2}" >"$work/result.json" || return 1
    python3 - "$work/result.json" <<'END'
import json, sys
r = json.load(open(sys.argv[1]))
assert r["exact"] and r["differing"] == 0 and r["recall"] == 1 and r["skip_accuracy"] == 1, r
assert r["queries"] == 7 and len(r["hits"]) == 7 and all(len(h) == r["top"] for h in r["hits"])
assert abs(sum(r["shares"].values()) - 1) < 1e-9
scores = [[hit["score"] for hit in hits] for hits in r["hits"]]
assert all(s == sorted(s, reverse=True) for s in scores if None not in s)
END
}
check search_is_the_dense_search search exact
check search_finds_several_rows search exact --top 5
check search_finds_the_nearest search exact --top 3 --nearest
check search_in_a_lossy_tensor search lossy --top 4
check search_without_scores search lossy --rows-only
reference() { search exact --reference "$model"; }
check search_reads_the_reference reference
named() { "$tool" search "$work/exact" "$tensor" --query "$work/two.safetensors:y" | grep -qx 'queries  *1'; }
check search_takes_one_of_two_tensors named
threshold() {
    "$tool" search "$work/exact" "$tensor" --query "$work/one.safetensors" --threshold 0.9 --json >"$work/result.json" &&
        python3 -c 'import json,sys; r = json.load(open(sys.argv[1])); assert not r["exact"] and 0 <= r["recall"] <= 1 and r["shares"]["skip"] > 0.3' "$work/result.json"
}
check a_threshold_reports_its_recall threshold

duplicates() { # by all pairs, in plain Python, over the first rows
    "$tool" search "$work/exact" "$tensor" --duplicates 0.97 --json >"$work/result.json" &&
        python3 - "$model/model.safetensors" "$work/result.json" <<'END'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
entry = json.loads(raw[8 : 8 + size])["model.embed_tokens.weight"]
begin, rows, columns, first = 8 + size + entry["data_offsets"][0], entry["shape"][0], entry["shape"][1], 300
values = [struct.unpack("<f", b"\0\0" + raw[begin + 2 * i : begin + 2 * i + 2])[0] for i in range(first * columns)]
unit = []
for r in range(first):
    row = values[r * columns : (r + 1) * columns]
    norm = math.sqrt(sum(v * v for v in row)) or math.nan
    unit.append([v / norm for v in row])
expected = [(a, b) for a in range(first) for b in range(a + 1, first) if sum(x * y for x, y in zip(unit[a], unit[b])) >= 0.97]
found = json.load(open(sys.argv[2]))["duplicates"]
pairs = [(p["a"], p["b"]) for p in found["pairs"]]
assert found["count"] == len(pairs) and pairs == sorted(pairs)
assert [p for p in pairs if p[1] < first] == expected and len(expected) > 50, len(expected)
END
}
check near_duplicates_are_all_there duplicates

fails_with a_query_is_needed 1 'query FILE or --duplicates' "$tool" search "$work/exact" "$tensor"
fails_with top_is_limited 1 'top' "$tool" search "$work/exact" "$tensor" --query "$work/one.safetensors" --top 5000
fails_with threshold_is_a_share 1 'threshold' "$tool" search "$work/exact" "$tensor" --query "$work/one.safetensors" --threshold 2
fails_with no_such_tensor 2 'has no tensor "nobody"' "$tool" search "$work/exact" nobody --query "$work/one.safetensors"
other=model.layers.0.mlp.up_proj.weight
fails_with no_index 2 "$other\" has no index" "$tool" search "$work/exact" $other --query "$work/one.safetensors"
fails_with queries_of_another_width 2 'queries of 64 values, expected 128' \
    "$tool" search "$work/exact" "$tensor" --query "$work/narrow.safetensors"
fails_with queries_with_nan 2 'holds NaN or Inf' "$tool" search "$work/exact" "$tensor" --query "$work/nan.safetensors"
fails_with two_tensors_need_a_name 2 'has 2 tensors, expected one' \
    "$tool" search "$work/exact" "$tensor" --query "$work/two.safetensors"
fails_with no_such_query 2 'has no tensor "z"' "$tool" search "$work/exact" "$tensor" --query "$work/two.safetensors:z"
fails_with a_plain_model_has_none 2 'stories-1m' "$tool" search "$model" "$tensor" --query "$work/one.safetensors"

# Indexes of earlier builds are still read (a search that is not exact has exit code 3).
golden=tests/golden/good/indexed
in_golden() { "$tool" search $golden "$1" --query "$work/$2.safetensors" --top 3 | grep -qx 'recall  *1.000000'; }
check golden_hhtld_is_searched in_golden model.embed_tokens.weight golden24
check golden_hclam_index_is_searched in_golden lm_head.weight golden17
golden=tests/golden/good/indexed-spiral
check golden_spiral_index_is_searched in_golden lm_head.weight golden100

config signature hhtld '{codec: hhtld}'
fails_with no_reconstruction_by_signatures 1 'an address is not a reconstruction' \
    "$tool" plan "$model" -c "$work/signature.yaml"
config index scalar '{codec: scalar}'
fails_with no_index_by_reconstructions 1 'makes no signatures' "$tool" plan "$model" -c "$work/index.yaml"

# Damage in the index, found by name, and neither searched nor needed to decompress.
python3 - "$work/exact/model.safetensors" <<'END'
import json, struct, sys
raw = bytearray(open(sys.argv[1], "rb").read())
size = struct.unpack("<Q", raw[:8])[0]
begin, end = json.loads(raw[8 : 8 + size])["tessera.index/model.embed_tokens.weight"]["data_offsets"]
raw[8 + size + end - 9] ^= 4
open(sys.argv[1], "wb").write(raw)
END
fails_with damage_in_the_index_is_found 2 'tessera.index/model.embed_tokens.weight' "$tool" verify "$work/exact"
fails_with damage_in_the_index_is_not_searched 2 'model.embed_tokens.weight' \
    "$tool" search "$work/exact" "$tensor" --query "$work/one.safetensors"
rm -rf "$work/back"
check damage_in_the_index_costs_no_tensor back

# Indexes that are wrong in themselves, under digests that fit: verify and search say of which tensor, and what.
cp -r tests/golden/good/indexed-tiny "$work/broken"
blames() { # tensor message
    local code
    "$tool" verify "$work/broken" --json >"$work/result.json" 2>/dev/null
    code=$?
    [ $code = 2 ] && python3 - "$work/result.json" "$@" <<'END'
import json, sys
found = [d for d in json.load(open(sys.argv[1]))["damage"] if d["file"] == "model.safetensors"]
assert len(found) == 1 and found[0]["tensor"] == "tessera.index/" + sys.argv[2] and sys.argv[3] in found[0]["what"], found
END
}
small() { "$tool" search "$work/broken" "$1" --query "$work/golden8.safetensors" | grep -qx 'recall  *1.000000'; }
check golden_small_hhtld_is_searched small model.embed_tokens.weight
check golden_small_hclam_index_is_searched small lm_head.weight
while IFS=$'\t' read -r name named message; do
    cp "tests/golden/broken-index/$name.safetensors" "$work/broken/model.safetensors"
    check "${name}_is_blamed" blames "$named" "$message"
    fails_with "${name}_is_not_searched" 2 "$named\": codec $message" \
        "$tool" search "$work/broken" "$named" --query "$work/golden8.safetensors"
done <tests/golden/broken-index/errors
