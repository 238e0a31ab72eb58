#!/usr/bin/env bash
# No function over 100 lines, no C file over 800; `make stats` prints the distribution.
source "$(dirname "$0")/lib"
script=$PWD/tests/structure/lengths

violations() {
    "$script" --stops
}

check_tree lengths_stay_below_the_hard_stops
check_kill a_long_function_is_found \
    '{ echo "int planted(int x) {"; for i in $(seq 120); do echo "    x += $i;"; done; echo "    return x;"; echo "}"; } \
        >>framework/base/str.c'
check_kill a_long_file_is_found 'for i in $(seq 801); do echo "/* $i */"; done >>framework/base/str.c'
