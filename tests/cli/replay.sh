#!/usr/bin/env bash
# verify --replay finds every figure of an honest receipt again, and names what a forged one claims.
source "$(dirname "$0")/lib"
"$tool" compress "$model" -c balanced -o "$work/out" -q
check honest_receipt_is_found_again "$tool" verify "$work/out" --replay --reference "$model" -c balanced -q
check nothing_stays_beside [ ! -e "$work/out.tessera-replay" ]
fails_with needs_the_source 1 'needs the source' "$tool" verify "$work/out" --replay -q
# A receipt that claims a smaller error, sealed again as its forger would.
python3 - "$work/out/tessera.json" <<'END'
import re, sys
path = sys.argv[1]
text = open(path).read()
forged = re.sub(r'("relative_error": )[0-9.e-]+', r'\g<1>0.00001', text)
assert forged != text
open(path, "w").write(forged)
END
fails_with broken_seal_is_damage 2 'tessera.json' "$tool" verify "$work/out" --replay --reference "$model" -c balanced -q
"$tool" compress "$model" -c balanced -o "$work/other" -q
fails_with another_job_is_not_this_one 3 'differs from the receipt' "$tool" verify "$work/other" --replay --reference "$model" -c quality -q
check differences_are_named eval '"$tool" verify "$work/other" --replay --reference "$model" -c quality 2>/dev/null | grep -q "budget.value"'
