#!/usr/bin/env bash
# compress --stats with error feedback: the same bytes from any number of workers, read by everything that reads payloads.
source "$(dirname "$0")/lib"
head -c 6000 demo/text/stories.txt >"$work/text.txt"
cat >"$work/job.yaml" <<'END'
tessera: 1
rules:
  - {regime: index, codec: trellis, params: {bits: 5}, row_error_max: 0}
  - {role: mlp_up, codec: trellis, params: {bits: 4}}
  - {regime: argmax, codec: scalar, params: {bits: 4}}
  - {codec: passthrough}
END
"$tool" calibrate "$model" --text "$work/text.txt" -o "$work/stats" -q
pack() { "$tool" compress "$model" -c "$work/job.yaml" --stats "$work/stats" -o "$@" -q; }
check feedback_compresses pack "$work/one" -j1
pack "$work/many" -j5
check same_bytes_from_any_number_of_workers cmp "$work/one/model.safetensors" "$work/many/model.safetensors"
check every_matrix_has_feedback python3 -c 'import json,sys; s=json.load(open(sys.argv[1]))["statistics"]; sys.exit(not s["feedback"] == s["tensors"] > 20)' "$work/one/tessera.json"
check replay_finds_the_same "$tool" verify "$work/one" --replay --reference "$model" -c "$work/job.yaml" --stats "$work/stats" -q
"$tool" decompress "$work/one" -o "$work/back" -q
check second_decoder_agrees python3 contrib/refdecoder/refdecoder.py --compare "$work/one" "$work/back"
tell() { "$tool" run "$work/one" --raw -p "Once upon a time" --max-tokens 40 --path "$1" -q; }
check products_from_payloads_tell_the_same cmp <(tell codec) <(tell dense)
