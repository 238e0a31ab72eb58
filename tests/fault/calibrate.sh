#!/usr/bin/env bash
# calibrate, there and back over two windows, while the N-th allocation, read, write or open fails: the statistics are those
# without the fault, or it ends with 4, one line and no file; nothing leaks. Steps grow by an eighth, with
# TESSERA_FAULTS=all every N is tried.
TESSERA_BUILD=build/fault
source "$(dirname "$0")/lib"
export ASAN_OPTIONS=exitcode=99 LSAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=exitcode=99
PASSES_IN_A_ROW=3
[ -x "$tool" ] || { echo "not ok - the_fault_build_is_there"; exit 1; }
head -c 150 demo/text/stories.txt >"$work/text"
gather() { "$tool" calibrate demo/stories-1m --text "$work/text" -o "$1" --window 24 --fisher-tokens 48 -j1; }
gather "$work/expected" >"$work/stdout" 2>&1 || exit 1

judge() { # status
    case $1 in
    0) cmp -s "$work/stats" "$work/expected" || echo "writes something else" ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || echo "has not one line"
       [ ! -e "$work/stats" ] || echo "leaves a file" ;;
    *) echo "exits with $1" ;;
    esac
}

for kind in ${KINDS:-alloc read write open}; do
    n=1 passes=0 failed=
    while [ $passes -lt $PASSES_IN_A_ROW ]; do
        rm -rf "$work/stats" "$work/stats.tessera-work"
        TESSERA_FAULT=$kind:$n gather "$work/stats" >"$work/stdout" 2>"$work/stderr"
        status=$?
        verdict=$(judge $status)
        if [ -n "$verdict" ]; then
            echo "  $kind:$n $verdict"
            head -n 12 "$work/stderr" | sed 's/^/    /'
            failed=1
        fi
        [ $status -eq 0 ] && passes=$((passes + 1)) || passes=0
        n=$((n + 1))
        [ "${TESSERA_FAULTS:-}" = all ] || n=$((n + n / 8))
    done
    [ -z "$failed" ] && echo "ok - calibrate_survives_every_failing_$kind" || echo "not ok - calibrate_survives_every_failing_$kind"
done
