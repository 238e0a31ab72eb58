#!/usr/bin/env bash
# A chat with two messages while the N-th allocation, read, write or open fails: it says what it says without the fault, or
# ends with 4 and one line; nothing leaks. Steps grow by an eighth, with TESSERA_FAULTS=all every N is tried.
TESSERA_BUILD=build/fault
source "$(dirname "$0")/lib"
export ASAN_OPTIONS=exitcode=99 LSAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=exitcode=99
PASSES_IN_A_ROW=3
[ -x "$tool" ] || { echo "not ok - the_fault_build_is_there"; exit 1; }
cp -r demo/stories-1m "$work/model"
python3 - tests/data/chat/zephyr.json >"$work/model/chat_template.jinja" <<'END'
import json, sys
sys.stdout.write(json.load(open(sys.argv[1]))["template"])
END
talk() { printf 'Hello\nAnd now?\n' | "$tool" run "$work/model" --chat --max-tokens 3 -j1; }
talk >"$work/expected" || exit 1

judge() { # status
    case $1 in
    0) cmp -s "$work/stdout" "$work/expected" || echo "says something else" ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || echo "has not one line" ;;
    *) echo "exits with $1" ;;
    esac
}

for kind in ${KINDS:-alloc read write open}; do
    n=1 passes=0 failed=
    while [ $passes -lt $PASSES_IN_A_ROW ]; do
        TESSERA_FAULT=$kind:$n talk >"$work/stdout" 2>"$work/stderr"
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
    [ -z "$failed" ] && echo "ok - chat_survives_every_failing_$kind" || echo "not ok - chat_survives_every_failing_$kind"
done
