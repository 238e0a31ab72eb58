#!/usr/bin/env bash
# The bounds of hhtld for 1.08 * 10^7 pairs of row and query, the tightest queries among them.
build=${TESSERA_BUILD:-build}
if TESSERA_SOAK=1 "$build/tests/test_hhtld" | grep -qx 'ok - the_bound_holds_for_every_row_and_query'; then
    echo "ok - the_bound_holds_for_ten_million_pairs"
else
    echo "not ok - the_bound_holds_for_ten_million_pairs"
fi
