#!/usr/bin/env bash
# Every input of tests/fuzz/corpus still ends well, without a fuzzing engine.
build=${TESSERA_BUILD:-build}
for program in "$build"/tests/replay_*; do
    [ -x "$program" ] || continue
    name=${program##*/replay_}
    if "$program" "tests/fuzz/corpus/$name"; then echo "ok - replay_$name"; else echo "not ok - replay_$name"; fi
done
[ -n "${name:-}" ] || echo "skip - replay: no fuzz targets"
