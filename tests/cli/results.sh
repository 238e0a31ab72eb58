#!/usr/bin/env bash
# --json is one valid object with the members that docs/cli.md names, for every command; compress and decompress give the
# files back; results do not depend on the number of workers.
source "$(dirname "$0")/lib"
members=$PWD/tests/cli/members.py

documented() { # section command...
    local section=$1
    shift
    if "$@" --json >"$work/json" 2>"$work/stderr" && python3 "$members" docs/cli.md "$section" "$work/json"; then
        echo "ok - json_of_${section// /_}"
    else
        cat "$work/stderr"
        echo "not ok - json_of_${section// /_}"
    fi
    check "json_of_${section// /_}_is_silent_otherwise" [ ! -s "$work/stderr" ]
}

documented inspect "$tool" inspect "$model"
documented plan "$tool" plan "$model"
documented compress "$tool" compress "$model" -o "$work/out"
documented verify "$tool" verify "$work/out"
documented decompress "$tool" decompress "$work/out" -o "$work/back"
documented diff "$tool" diff "$model" "$work/out"
documented report "$tool" report "$work/out"
documented tokenize "$tool" tokenize "$model" --text "Once upon a time"
documented "plugin list" "$tool" plugin list
documented "plugin show" "$tool" plugin show passthrough
documented "plugin check" "$tool" plugin check "${tool%/bin/*}/lib/tessera/tessera-codec-passthrough.so"
check receipt_is_what_compress_printed eval '"$tool" report "$work/out" --json | python3 -c "
import json, sys
assert json.load(sys.stdin)[\"receipt\"] == json.load(open(sys.argv[1]))" "$work/out/tessera.json"'

for file in "$model"/*; do check "restored_${file##*/}" cmp "$file" "$work/back/${file##*/}"; done
check nothing_but_the_source_files [ "$(ls "$model")" = "$(ls "$work/back")" ]
for workers in 1 3 7; do
    "$tool" compress "$model" -o "$work/j$workers" -j "$workers" -q
    check "same_bytes_with_${workers}_workers" diff -rq -x tessera.run.json "$work/out" "$work/j$workers"
done
check single_file_as_input eval '"$tool" compress "$model/model.safetensors" -o "$work/single" -q &&
    "$tool" decompress "$work/single" -o "$work/single-back" -q && cmp "$model/model.safetensors" "$work/single-back/model.safetensors"'
check text_of_inspect eval '"$tool" inspect "$model" | grep -q "model.embed_tokens.weight"'
check text_of_plan eval '"$tool" plan "$model" | grep -q passthrough'
check text_of_diff eval '"$tool" diff "$model" "$work/out" | grep -qE "^([0-9]+) of \1 tensors identical"'
check text_of_report eval '"$tool" report "$work/out" | grep -q "^ratio"'
check text_of_verify eval '"$tool" verify "$work/out" | grep -q "^intact: "'
for config in configs/*.yaml; do
    profile=$(basename "$config" .yaml)
    subject=$model
    [[ $profile == qwen3-tts-* ]] && subject=$PWD/tests/data/qwen3-tts/a
    check "config_${profile}_plans" eval '"$tool" plan "$subject" -c "$config" -q >/dev/null'
    check "config_${profile}_is_found_by_name" eval '"$tool" plan "$subject" -c "$profile" -q >/dev/null'
done

# Files and folders of an output are what umask makes of them.
modes() { find "$1" -printf '%m\n' | sort -u | tr '\n' ' '; }
(umask 027; "$tool" compress "$model" -o "$work/shared" -q; "$tool" decompress "$work/shared" -o "$work/shared-back" -q)
(umask 077; "$tool" compress "$model" -o "$work/private" -q)
check outputs_heed_the_umask [ "$(modes "$work/shared")$(modes "$work/shared-back")$(modes "$work/private")" = "640 750 640 750 600 700 " ]
