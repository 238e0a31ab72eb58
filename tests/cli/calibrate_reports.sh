#!/usr/bin/env bash
# What calibrate tells of its text: experts that saw too little or nothing, by name; columns without input; a gate on the very
# text of the statistics. And statistics of a compressed model: of its source, of other inputs, never with shards.
source "$(dirname "$0")/lib"
head -c 2500 demo/text/stories.txt >"$work/a.txt"
tail -c 2500 demo/text/stories.txt >"$work/b.txt"
printf 'tessera: 1\nrules:\n  - {regime: argmax, codec: scalar, params: {bits: 3}}\n  - {codec: passthrough}\n' >"$work/job.yaml"

# A mixture whose router is 0: the first experts are always chosen, the others never. Its tokenizer is cut down to bytes.
mixture=$work/mixture
cp -r tests/data/causal-lm/mixtral "$mixture"
python3 - "$mixture" "$model" <<'END'
import json, shutil, struct, sys
folder, demo = sys.argv[1:]
path = folder + "/model.safetensors"
data = bytearray(open(path, "rb").read())
size = struct.unpack("<Q", data[:8])[0]
for name, tensor in json.loads(data[8:8 + size]).items():
    if name.endswith("block_sparse_moe.gate.weight"):
        begin, end = (8 + size + at for at in tensor["data_offsets"])
        data[begin:end] = bytes(end - begin)
open(path, "wb").write(data)
tokenizer = json.load(open(demo + "/tokenizer.json"))
json.dump({"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None, "truncation": None, "padding": None,
           "pre_tokenizer": tokenizer["pre_tokenizer"], "decoder": tokenizer["decoder"],
           "model": dict(tokenizer["model"], vocab={k: v for k, v in tokenizer["model"]["vocab"].items() if v < 260}, merges=[])},
          open(folder + "/tokenizer.json", "w"))
END
rm -f "$mixture"/tokenizer_config.json "$mixture"/special_tokens_map.json
"$tool" calibrate "$mixture" --text "$work/a.txt" -o "$work/mixture.stats" --fisher-tokens 0 --json >"$work/json" 2>"$work/log"
check an_expert_without_tokens_is_named grep -qE 'tensor ".*experts\.[0-9]+\.w[123]\.weight": saw 0 tokens' "$work/log"
check unreached_experts_are_counted python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); sys.exit(not 0 < r["unreached"] <= r["narrow"])' "$work/json"
head -c 20 "$work/a.txt" >"$work/short.txt"
"$tool" calibrate "$mixture" --text "$work/short.txt" -o "$work/short.stats" --fisher-tokens 0 >"$work/out" 2>"$work/log"
check an_expert_with_few_tokens_is_named grep -qE 'tensor ".*experts\.[0-9]+\.w[123]\.weight": saw [1-9][0-9]* tokens and has' "$work/log"

calibrate() { "$tool" calibrate "$1" --text "$work/a.txt" -o "$2" --fisher-tokens 256 -q; }
pack() { "$tool" compress "$model" -c "$work/job.yaml" --stats "$1" -o "$2" -q "${@:3}"; }
judge() { "$tool" gate "$work/out1" --reference "$model" --text "$1" --window 256 --positions 256 --json >"$work/gate.json" 2>"$work/log"; }
says() { python3 -c 'import json,sys; sys.exit(json.load(open(sys.argv[1]))["gates"][0]["calibration_text"] != sys.argv[2])' "$work/gate.json" "$1"; }
calibrate "$model" "$work/first.stats"
pack "$work/first.stats" "$work/out1"
judge "$work/b.txt"
check another_text_is_said_to_be_another says other
judge "$work/a.txt"
check the_text_of_the_statistics_is_recognised says same
check and_warned_of grep -q 'the very text that it is judged on' "$work/log"

check a_compressed_model_is_calibrated calibrate "$work/out1" "$work/second.stats"
calibrate "$work/out1" "$work/again.stats"
check its_statistics_repeat cmp "$work/second.stats" "$work/again.stats"
check they_are_others eval '! cmp -s "$work/first.stats" "$work/second.stats"'
check they_serve_the_source pack "$work/second.stats" "$work/out2"
check the_receipt_names_them python3 -c 'import json,sys
one, two = (json.load(open(path + "/tessera.json"))["statistics"] for path in sys.argv[1:])
sys.exit(one["propagated"] is not None or len(two["propagated"]) != 32 or one["tensors"] != two["tensors"])' "$work/out1" "$work/out2"
fails_with shards_refuse_them 1 'do not go with shards' pack "$work/second.stats" "$work/out3" --shard 1/2
"$tool" compress "$model" -o "$work/lossless" -q
calibrate "$work/lossless" "$work/exact.stats"
check a_lossless_output_has_those_of_its_source cmp "$work/first.stats" "$work/exact.stats"
