#!/usr/bin/env bash
# The N-th allocation, read, write, fsync, rename or open fails, for N = 1, 2, ... until the command passes: each run ends
# with 0 or 4 and one line, leaks nothing, publishes nothing half, and the same command finishes afterwards. Needs a build
# with CONFIG=fault, which make check makes; TESSERA_FAULTS=all (make check-fault) tries every N instead of steps that grow
# by a twentieth.
TESSERA_BUILD=build/fault
source "$(dirname "$0")/lib"
export ASAN_OPTIONS=exitcode=99 LSAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=exitcode=99
PASSES_IN_A_ROW=12

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

command_of() { # verb
    case $1 in
    compress) echo compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q ;;
    verify) echo verify "$work/whole" -j1 -q ;;
    stored) echo compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q --store "$work/store" --record "$work/rec/ord" ;;
    merge) echo compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q --merge 2 --record "$work/rec/ord" ;;
    decompress) echo decompress "$work/whole" -o "$work/out" -j1 -q ;;
    esac
}

# A merge uses its shards up, a store is filled once.
prepare() { # verb
    rm -rf "$work/out" "$work/out".tessera-work "$work/out".shard-* "$work/rec" "$work/store"
    [ "$1" = merge ] || return
    cp -r "$work/shards1" "$work/out.shard-1-of-2"
    cp -r "$work/shards2" "$work/out.shard-2-of-2"
}
for i in 1 2; do
    "$tool" compress "$work/model" -c "$work/job.yaml" -o "$work/out" -j1 -q --shard $i/2 || exit 1
    mv "$work/out.shard-$i-of-2" "$work/shards$i"
done

# What stands under OUT's name is complete or not there; without the fault the command gets there.
judge() { # verb fault status
    local expected=$work/whole
    [ "$1" = decompress ] && expected=$work/plain
    case $3 in
    0) [ ! -s "$work/stderr" ] || grep -q '^tessera: warning: ' "$work/stderr" || { echo "passes, but says something"; return; } ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || { echo "has not one line"; return; } ;;
    *) echo "exits with $3"; return ;;
    esac
    [ "$1" = verify ] && return
    if [ -e "$work/out" ]; then
        diff -rq -x tessera.run.json "$expected" "$work/out" >/dev/null || echo "published something else"
        [ "$3" -eq 0 ] && return
        [ -e "$work/out.tessera-work" ] || return
    fi
    "$tool" $(command_of "$1") >"$work/again" 2>&1 || { echo "cannot be continued: $(cat "$work/again")"; return; }
    diff -rq -x tessera.run.json "$expected" "$work/out" >/dev/null || echo "continues to other bytes"
}

# All N of one kind over one command; prints what went wrong.
step_through() { # verb kind
    local n=1 passes=0 runs=0 status verdict
    while [ $passes -lt $PASSES_IN_A_ROW ]; do
        prepare "$1"
        TESSERA_FAULT=$2:$n "$tool" $(command_of "$1") >"$work/stdout" 2>"$work/stderr"
        status=$?
        verdict=$(judge "$1" "$2:$n" $status)
        if [ -n "$verdict" ]; then
            echo "  $1 with $2:$n $verdict"
            head -n 12 "$work/stderr" | sed 's/^/    /'
            failed=1
        fi
        [ $status -eq 0 ] && passes=$((passes + 1)) || passes=0
        runs=$((runs + 1))
        n=$((n + 1))
        [ "${TESSERA_FAULTS:-}" = all ] || n=$((n + n / 20))
    done
    echo "  $1, $2: $runs runs, up to number $((n - 1))"
}

# Stores and merges take as long again: make check leaves them to make check-fault.
[ "${TESSERA_FAULTS:-}" = all ] && more="stored merge" || more=
for verb in ${VERBS:-compress $more verify decompress}; do
    for kind in ${KINDS:-alloc read write fsync rename open}; do
        failed=
        step_through $verb $kind
        [ -z "$failed" ] && echo "ok - ${verb}_survives_every_failing_$kind" || echo "not ok - ${verb}_survives_every_failing_$kind"
    done
done
