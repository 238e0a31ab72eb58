#!/usr/bin/env bash
# The gates read published bytes in a fresh process: a codec that hides the weights in the memory of the encoding process
# passes every check there and fails the gates.
source "$(dirname "$0")/../cli/lib"
${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared -Iframework/include tests/gate/cheat.c -o "$work/tessera-codec-cheat.so"
printf 'tessera: 1\nroles: auto\nrules:\n  - {regime: argmax, codec: cheat}\n  - {codec: passthrough}\n' >"$work/free.yaml"
{ cat "$work/free.yaml"; printf 'gates:\n  parity: {text: %s, positions: 5000, max_kld: 0.1}\n' "$PWD/demo/text/stories.txt"; } >"$work/gated.yaml"

"$tool" compress "$model" -c "$work/free.yaml" -o "$work/free" --plugin-path "$work" -q
check without_gates_the_lie_is_perfect grep -q '"relative_error": 0.0' "$work/free/tessera.json"
check and_far_too_small [ "$(stat -c %s "$work/free/model.safetensors")" -lt 700000 ]
fails_with gates_in_a_fresh_process_find_it 3 'parity: FAIL' "$tool" compress "$model" -c "$work/gated.yaml" -o "$work/gated" --plugin-path "$work" -q
check nothing_is_published [ ! -e "$work/gated" ]
check an_honest_codec_passes_the_same_gate eval 'sed "s/codec: cheat/codec: scalar/" "$work/gated.yaml" >"$work/honest.yaml" && "$tool" compress "$model" -c "$work/honest.yaml" -o "$work/honest" -q'
