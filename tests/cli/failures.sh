#!/usr/bin/env bash
# Bad input, bad configs and refusing systems end in the documented exit code with one line that names the subject.
source "$(dirname "$0")/lib"

fails_with missing_model 2 'nowhere' "$tool" inspect "$work/nowhere"
fails_with missing_model_of_compress 2 'nowhere' "$tool" compress "$work/nowhere" -o "$work/o"
mkdir "$work/empty"
fails_with folder_without_a_checkpoint 2 'empty' "$tool" inspect "$work/empty"
head -c 100000 "$model/model.safetensors" >"$work/cut.safetensors"
fails_with truncated_model 2 'cut.safetensors' "$tool" inspect "$work/cut.safetensors"
: >"$work/nothing.safetensors"
fails_with empty_model_file 2 'nothing.safetensors' "$tool" inspect "$work/nothing.safetensors"
fails_with plain_model_is_nothing_to_verify 2 'stories-1m' "$tool" verify "$model"

fails_with missing_config 1 'nosuch' "$tool" plan "$model" -c nosuch
printf 'tessera: 1\nrules:\n  - {role: attn_q, codec: passthru}\n' >"$work/bad.yaml"
fails_with bad_config_names_line_and_nearest 1 'bad.yaml:3:.*passthrough' "$tool" plan "$model" -c "$work/bad.yaml"
fails_with unknown_codec_names_the_nearest 1 'scalar' "$tool" plugin show scalr
fails_with plugin_file_that_is_none 4 'nothing.safetensors' "$tool" plugin check "$work/nothing.safetensors"

"$tool" compress "$model" -o "$work/out" -q
check first_compress_succeeds [ -f "$work/out/tessera.json" ]
fails_with existing_output_is_refused '1|2|4' 'out' "$tool" compress "$model" -o "$work/out"
check force_replaces_an_output "$tool" compress "$model" -o "$work/out" --force -q
fails_with output_inside_the_model '1|2|4' 'inside|within' "$tool" compress "$model" -o "$model/out"
fails_with output_is_the_model '1|2|4' 'stories-1m' "$tool" compress "$model" -o "$model" --force
check the_model_is_untouched [ ! -e "$model/out" ]
fails_with compressed_input_is_refused '1|2' 'compressed|tessera' "$tool" compress "$work/out" -o "$work/twice"
fails_with output_below_a_file '2|4' 'nothing.safetensors' "$tool" compress "$model" -o "$work/nothing.safetensors/x"
fails_with output_where_nothing_can_be_written 4 '/proc/' "$tool" compress "$model" -o /proc/tessera-out
(
    ulimit -f 256 # blocks of 1024 bytes: less than the model takes
    fails_with file_that_may_not_grow 4 '(large|big|limit|space)' "$tool" compress "$model" -o "$work/small"
    check nothing_is_published_then [ ! -e "$work/small/tessera.json" ]
)
check the_next_run_continues "$tool" compress "$model" -o "$work/small" -q
fails_with decompress_onto_existing_output '1|2|4' 'out' "$tool" decompress "$work/out" -o "$work/out"

cp -r "$work/out" "$work/damaged"
python3 - "$work/damaged/model.safetensors" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(-1000, 2); b = f.read(1); f.seek(-1000, 2); f.write(bytes([b[0] ^ 4]))
END
fails_with damage_is_found_and_named 2 'tensor|model' "$tool" verify "$work/damaged"
check damage_is_listed eval '"$tool" verify "$work/damaged" --json 2>/dev/null |
    python3 -c "import json,sys; r = json.load(sys.stdin); assert r[\"ok\"] is False and r[\"damage\"][0][\"tensor\"]"'

fails_with full_standard_output 4 'standard output' bash -c '"$0" inspect "$1" >/dev/full' "$tool" "$model"
fails_with closed_standard_output 4 'standard output' bash -c '"$0" inspect "$1" >&-' "$tool" "$model"
check reader_that_leaves_is_no_failure bash -c 'set -o pipefail; "$0" inspect "$1" -q | true' "$tool" "$model"
check all_streams_closed_ends bash -c '"$0" inspect "$1" <&- >&- 2>&-; [ $? -eq 4 ]' "$tool" "$model"
check compress_with_closed_streams_keeps_its_files bash -c '
    "$0" compress "$1" -o "$2" -q <&- >&- 2>&-; "$0" verify "$2" -q' "$tool" "$model" "$work/closed"
check quiet_says_nothing eval '[ -z "$("$tool" compress "$model" -o "$work/quiet" -q 2>&1)" ]'
