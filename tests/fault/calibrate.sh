#!/usr/bin/env bash
# calibrate, there and back over two windows, while the N-th allocation, read, write or open fails: the statistics are those
# without the fault, or it ends with 4, one line and no file; nothing leaks. Steps grow by an eighth, with
# TESSERA_FAULTS=all every N is tried.
source "$(dirname "$0")/stepping"
head -c 150 demo/text/stories.txt >"$work/text"
gather() { "$tool" calibrate demo/stories-1m --text "$work/text" -o "$1" --window 24 --fisher-tokens 48 -j1; }
gather "$work/expected" >"$work/stdout" 2>&1 || exit 1

subject() { gather "$work/stats"; }
prepare() { rm -rf "$work/stats" "$work/stats.tessera-work"; }

judge() { # status
    case $1 in
    0) cmp -s "$work/stats" "$work/expected" || echo "writes something else" ;;
    4) [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ] || echo "has not one line"
       [ ! -e "$work/stats" ] || echo "leaves a file" ;;
    *) echo "exits with $1" ;;
    esac
}

for kind in ${KINDS:-alloc read write open}; do step_through calibrate $kind; done
