#!/usr/bin/env bash
# A voice clone (encoders, codes, vocoder, sound file) whose N-th allocation, read, write, fsync, rename or open fails: each run
# ends with 0 or 4 and one line, leaks nothing, and leaves a whole sound or none. N grows by a fifth; TESSERA_FAULTS=all tries every N.
source "$(dirname "$0")/stepping"
PASSES_IN_A_ROW=4 GROWTH=5
voice=$PWD/tests/data/qwen3-tts
"$tool" run "$voice/a" --text hello --max-tokens 3 --greedy -j1 -q -o "$work/voice.wav" 2>/dev/null
[ -s "$work/voice.wav" ] || { echo "not ok - there_is_nothing_to_fail"; exit 0; } # a build without sound files
subject() {
    "$tool" run "$voice/b" --text "the end" --ref-audio "$work/voice.wav" --ref-text hello --max-tokens 3 --greedy -j1 -q -o "$work/out.wav"
}
subject || exit 1
mv "$work/out.wav" "$work/whole.wav"

prepare() { rm -f "$work/out.wav" "$work/out.wav.part"; }

judge() { # status
    case $1 in
    0) cmp -s "$work/out.wav" "$work/whole.wav" || echo "passes with another sound" ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || echo "has not one line" ;;
    *) echo "exits with $1" ;;
    esac
    [ ! -e "$work/out.wav" ] || cmp -s "$work/out.wav" "$work/whole.wav" || echo "leaves a torn sound"
    [ ! -e "$work/out.wav.part" ] || echo "leaves a part"
}

for kind in ${KINDS:-alloc read write fsync rename open}; do step_through speech $kind; done
