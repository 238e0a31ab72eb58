#!/usr/bin/env bash
# A voice clone (encoders, codes, vocoder, sound file) whose N-th allocation, read, write, fsync, rename or open fails: each run
# ends with 0 or 4 and one line, leaks nothing, and leaves a whole sound or none. N grows by a fifth; TESSERA_FAULTS=all tries every N.
TESSERA_BUILD=build/fault
source "$(dirname "$0")/lib"
export ASAN_OPTIONS=exitcode=99 LSAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=exitcode=99
PASSES_IN_A_ROW=4
voice=$PWD/tests/data/qwen3-tts
"$tool" run "$voice/a" --text hello --max-tokens 3 --greedy -j1 -q -o "$work/voice.wav" 2>/dev/null
[ -s "$work/voice.wav" ] || { echo "not ok - there_is_nothing_to_fail"; exit 0; } # a build without sound files
clone() {
    "$tool" run "$voice/b" --text "the end" --ref-audio "$work/voice.wav" --ref-text hello --max-tokens 3 --greedy -j1 -q -o "$work/out.wav"
}
clone || exit 1
mv "$work/out.wav" "$work/whole.wav"

judge() { # status
    case $1 in
    0) cmp -s "$work/out.wav" "$work/whole.wav" || echo "passes with another sound" ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || echo "has not one line" ;;
    *) echo "exits with $1" ;;
    esac
    [ ! -e "$work/out.wav" ] || cmp -s "$work/out.wav" "$work/whole.wav" || echo "leaves a torn sound"
    [ ! -e "$work/out.wav.part" ] || echo "leaves a part"
}

for kind in ${KINDS:-alloc read write fsync rename open}; do
    failed= n=1 passes=0 runs=0
    while [ $passes -lt $PASSES_IN_A_ROW ]; do
        rm -f "$work/out.wav" "$work/out.wav.part"
        TESSERA_FAULT=$kind:$n clone >"$work/stdout" 2>"$work/stderr"
        status=$?
        verdict=$(judge $status)
        if [ -n "$verdict" ]; then
            echo "  $kind:$n $verdict"
            head -n 12 "$work/stderr" | sed 's/^/    /'
            failed=1
        fi
        [ $status -eq 0 ] && passes=$((passes + 1)) || passes=0
        runs=$((runs + 1))
        n=$((n + 1))
        [ "${TESSERA_FAULTS:-}" = all ] || n=$((n + n / 5))
    done
    echo "  $kind: $runs runs, up to number $((n - 1))"
    [ -z "$failed" ] && echo "ok - speech_survives_every_failing_$kind" || echo "not ok - speech_survives_every_failing_$kind"
done
