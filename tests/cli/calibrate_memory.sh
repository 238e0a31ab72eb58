#!/usr/bin/env bash
# calibrate keeps --memory: the least bound it accepts for a model whose matrices alone take twice as much, there and back,
# in memory that no file backs (RssAnon + RssShmem); the result is that of a run with plenty. Less is refused in one line.
source "$(dirname "$0")/lib"
python3 tests/bench/make_llama.py "$work/model" "$model" 256 24 768 4 2048
head -c 4000 demo/text/stories.txt >"$work/text"
gather() { "$tool" calibrate "$work/model" --text "$work/text" --window 256 --fisher-tokens 512 -j2 -q "$@"; }
fails_with too_little_memory_is_refused 1 'it takes [0-9]+$' gather -o "$work/none" --memory 1
least=$(grep -oE '[0-9]+$' "$work/stderr")
check nothing_is_left_behind eval '[ ! -e "$work/none" ]'
result=$(python3 tests/bench/watch.py "$tool" calibrate "$work/model" --text "$work/text" --window 256 --fisher-tokens 512 -j2 \
    -q -o "$work/tight" --memory "$least")
grep -qaE '__(asan|tsan)_init' "$tool" || # sanitizers have a memory of their own
    check the_bound_is_kept python3 -c 'import json,sys
r, least, matrices = json.loads(sys.argv[1]), int(sys.argv[2]), 24 * 4 * (6 * 256**2 + 768**2)
sys.exit(r["exit"] != 0 or r["peak_bytes"] > least or matrices < 2 * least)' "$result" "$least"
gather -o "$work/plenty"
check the_result_does_not_depend_on_it cmp "$work/tight" "$work/plenty"
