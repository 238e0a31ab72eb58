#!/usr/bin/env bash
# An output is replaced on a file system that cannot swap two names, and the N-th rename fails: whatever N, OUT is the old
# output or the new one, whole, and the same command finishes afterwards.
TESSERA_BUILD=build/fault
source "$(dirname "$0")/lib"
export ASAN_OPTIONS=exitcode=99 LSAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=exitcode=99
mkdir "$work/model"
make_model "$work/model/model.safetensors" 1 64 48
printf '{"model_type": "llama"}\n' >"$work/model/config.json"
for bits in 4 5; do
    printf 'tessera: 1\nroles: llama\nrules:\n  - {codec: scalar, params: {bits: %s}}\n' $bits >"$work/$bits.yaml"
    "$tool" compress "$work/model" -c "$work/$bits.yaml" -o "$work/whole-$bits" -j1 -q || exit 1
done
same() { diff -rq -x tessera.run.json "$work/whole-$1" "$work/out" >/dev/null 2>&1; }
replace() { "$tool" compress "$work/model" -c "$work/5.yaml" -o "$work/out" --force -j1 -q; }

failed= torn=0 n=1 passes=0
while [ $passes -lt 3 ]; do
    rm -rf "$work/out" "$work/out.tessera-work"
    cp -r "$work/whole-4" "$work/out"
    TESSERA_FAULT=exchange:1+,rename:$n replace >"$work/stdout" 2>"$work/stderr"
    status=$?
    case $status in
    0) passes=$((passes + 1)) expected=5 ;;
    4) torn=$((torn + 1)) expected=4 ;;
    *) failed="rename $n: exits with $status" expected=4 ;;
    esac
    same $expected || failed="rename $n: exits with $status, and the output is not $expected"
    replace 2>"$work/again" && same 5 || failed="rename $n: cannot be continued: $(cat "$work/again")"
    [ -z "$failed" ] || { echo "  $failed"; break; }
    n=$((n + 1))
done
echo "  $((n - 1)) renames failed, $torn of them ended the run"
[ -z "$failed" ] && [ $torn -ge 2 ] && echo "ok - a_failed_rename_keeps_the_old_output" ||
    echo "not ok - a_failed_rename_keeps_the_old_output"
