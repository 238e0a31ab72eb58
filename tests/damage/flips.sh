#!/usr/bin/env bash
# Every single flipped bit of a compressed checkpoint is found by verify, and the tensor (or the file whose header or
# contents it is) is named rightly. 120 random flips; with TESSERA_SOAK 10000.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tool=${TESSERA_BUILD:-build}/bin/tessera
count=120
[ -n "${TESSERA_SOAK:-}" ] && count=10000
"$tool" compress demo/stories-1m -c configs/balanced.yaml -o "$work/out" -q || exit 1
if python3 tests/damage/flips.py "$tool" "$work/out" $count; then
    echo "ok - every_flipped_bit_is_found_and_named"
else
    echo "not ok - every_flipped_bit_is_found_and_named"
fi
