#!/usr/bin/env bash
# The N-th allocation, read, write, fsync, rename or open fails, for N = 1, 2, ... until the command passes: each run ends
# with 0 or 4 and one line, leaks nothing, publishes nothing half, and the same command finishes afterwards. Needs a build
# with CONFIG=fault, which make check makes; TESSERA_FAULTS=all (make check-fault) tries every N instead of steps that grow
# by a twentieth.
source "$(dirname "$0")/stepping"
PASSES_IN_A_ROW=12 GROWTH=20

if TESSERA_FAULT=open:1+ "$tool" inspect "$weights" >/dev/null 2>&1 || [ ! -x "$tool" ]; then
    echo "not ok - the_build_injects_faults"
    exit 1
fi
mkdir "$work/model"
make_model "$work/model/model.safetensors" 2 64 48
printf '{"model_type": "llama"}\n' >"$work/model/config.json"
printf 'tessera: 1\nroles: llama\nrules:\n  - {codec: scalar, params: {bits: 4}}\n' >"$work/job.yaml"
"$tool" compress "$work/model" -c "$work/job.yaml" -o "$work/whole" -j1 -q || exit 1
"$tool" decompress "$work/whole" -o "$work/plain" -j1 -q || exit 1

subject() { # of $verb
    "$tool" $(words)
}
words() {
    case $verb in
    compress) echo compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q ;;
    verify) echo verify "$work/whole" -j1 -q ;;
    stored) echo compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q --store "$work/store" --record "$work/rec/ord" ;;
    merge) echo compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q --merge 2 --record "$work/rec/ord" ;;
    decompress) echo decompress "$work/whole" -o "$work/out" -j1 -q ;;
    esac
}

# A merge uses its shards up, a store is filled once.
prepare() {
    rm -rf "$work/out" "$work/out".tessera-work "$work/out".shard-* "$work/rec" "$work/store"
    [ "$verb" = merge ] || return
    cp -r "$work/shards1" "$work/out.shard-1-of-2"
    cp -r "$work/shards2" "$work/out.shard-2-of-2"
}
for i in 1 2; do
    "$tool" compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q --shard $i/2 || exit 1
    mv "$work/out.shard-$i-of-2" "$work/shards$i"
done

# What stands under OUT's name is complete or not there; without the fault the command gets there.
judge() { # status
    local expected=$work/whole
    [ "$verb" = decompress ] && expected=$work/plain
    case $1 in
    0) [ ! -s "$work/stderr" ] || grep -q '^tessera: warning: ' "$work/stderr" || { echo "passes, but says something"; return; } ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || { echo "has not one line"; return; } ;;
    *) echo "exits with $1"; return ;;
    esac
    [ "$verb" = verify ] && return
    if [ -e "$work/out" ]; then
        diff -rq -x tessera.run.json "$expected" "$work/out" >/dev/null || echo "published something else"
        [ "$1" -eq 0 ] && return
        [ -e "$work/out.tessera-work" ] || return
    fi
    subject >"$work/again" 2>&1 || { echo "cannot be continued: $(cat "$work/again")"; return; }
    diff -rq -x tessera.run.json "$expected" "$work/out" >/dev/null || echo "continues to other bytes"
}

# Stores and merges take as long again: make check leaves them to make check-fault.
[ "${TESSERA_FAULTS:-}" = all ] && more="stored merge" || more=
for verb in ${VERBS:-compress $more verify decompress}; do
    for kind in ${KINDS:-alloc read write fsync rename open}; do step_through $verb $kind; done
done
