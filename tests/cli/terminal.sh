#!/usr/bin/env bash
# On a terminal tables fit its width and headings are bold; with NO_COLOR, TERM=dumb or elsewhere there are no escapes.
source "$(dirname "$0")/lib"
export TERM=xterm
unset NO_COLOR
on_terminal() { # columns command...: after a pause, in which the width becomes known
    python3 tests/cli/terminal.py "$1" sh -c 'sleep 0.3; exec "$@"' sh "${@:2}"
}
plain() { sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g; s/.*\r//' "$1"; }
# Of the table, which ends at the first empty line.
widest() { plain "$1" | sed '/^$/,$d' | python3 -c 'import sys; print(max(len(l.rstrip("\n")) for l in sys.stdin))'; }

"$tool" compress "$model" -c quality -o "$work/out" -q
for width in 60 80 120; do
    on_terminal $width "$tool" report "$work/out" >"$work/report-$width"
    check "report_fits_$width" [ "$(widest "$work/report-$width")" -le $width ]
    on_terminal $width "$tool" plan "$model" -c quality >"$work/plan-$width"
    check "table_of_plan_fits_$width" [ "$(widest "$work/plan-$width")" -le $width ]
done
check columns_left_out_are_counted grep -q '^(5 more columns in a wider window)' "$work/plan-60"
check headings_are_bold grep -q $'^\e\[1mtensor' "$work/report-80"
NO_COLOR=1 on_terminal 80 "$tool" report "$work/out" >"$work/said"
check no_colour_is_respected eval '! grep -q $'"'"'\e\['"'"' "$work/said"'
TERM=dumb on_terminal 80 "$tool" report "$work/out" >"$work/said"
check a_dumb_terminal_gets_no_escapes eval '! grep -q $'"'"'\e'"'"' "$work/said"'
check a_pipe_gets_whole_tables_and_no_escapes eval '"$tool" plan "$model" -c quality | grep -q "model.layers.0.post_attention_layernorm.weight .*mode=lossless" &&
    ! "$tool" plan "$model" | grep -q $'"'"'\e'"'"''
on_terminal 80 "$tool" inspect "$work/nowhere" >"$work/said"
check errors_are_coloured_on_a_terminal grep -q $'tessera: \e\[1;31merror\e\[0m: ' "$work/said"
check columns_are_aligned python3 - "$work/report-120" <<'END'
import re, sys
lines = [re.sub(r"\x1b\[[0-9;]*m", "", l.rstrip("\n")) for l in open(sys.argv[1])]
table = lines[:lines.index("")]
ends = {len(l[:re.search(r"source", table[0]).end()].rstrip()) for l in table}
assert len(ends) == 1, ends
END

fails_with a_profile_that_is_nearly_one 1 'did you mean "quality"' "$tool" plan "$model" -c qualty
fails_with a_profile_that_is_none 1 'no such config file or profile$' "$tool" plan "$model" -c zzzzzzzzzz
fails_with a_codec_that_is_nearly_one 1 'did you mean "scalar"' "$tool" plugin show scaler
printf 'tessera: 1\nroles: auto\nrules:\n  - {role: attn_w, codec: passthrough}\n' >"$work/role.yaml"
fails_with a_role_that_is_nearly_one 1 'did you mean "attn_' "$tool" plan "$model" -c "$work/role.yaml"
printf 'tessera: 1\nroles: auto\nrules:\n  - {codec: scalar, params: {bit: 4}}\n' >"$work/params.yaml"
fails_with a_parameter_that_is_nearly_one 1 'did you mean "bits"' "$tool" plan "$model" -c "$work/params.yaml"
