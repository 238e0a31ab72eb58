#!/usr/bin/env bash
# A chat with two messages while the N-th allocation, read, write or open fails: it says what it says without the fault, or
# ends with 4 and one line; nothing leaks. Steps grow by an eighth, with TESSERA_FAULTS=all every N is tried.
source "$(dirname "$0")/stepping"
cp -r demo/stories-1m "$work/model"
python3 - tests/data/chat/zephyr.json >"$work/model/chat_template.jinja" <<'END'
import json, sys
sys.stdout.write(json.load(open(sys.argv[1]))["template"])
END
subject() { printf 'Hello\nAnd now?\n' | "$tool" run "$work/model" --chat --max-tokens 3 -j1; }
subject >"$work/expected" || exit 1

judge() { # status
    case $1 in
    0) cmp -s "$work/stdout" "$work/expected" || echo "says something else" ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || echo "has not one line" ;;
    *) echo "exits with $1" ;;
    esac
}

for kind in ${KINDS:-alloc read write open}; do step_through chat $kind; done
