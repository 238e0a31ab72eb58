#!/usr/bin/env bash
# Energy of a batch and its jobs from counters in a folder of our own, over a counter's range, and over two runs; "not
# readable" without counters. The codec moves the counter, so the figures are exact.
source "$(dirname "$0")/lib"
zone=$work/powercap/intel-rapl:0
mkdir -p "$zone"
echo package-0 >"$zone/name"
echo 1000000000 >"$zone/max_energy_range_uj"
echo 000900000000 >"$zone/energy_uj"
export TESSERA_POWERCAP=$work/powercap
echo "printf 000100000000 | dd of=$zone/energy_uj conv=notrunc status=none" >"$work/use"
bad_plugin "$work/uses" "if (system(\"sh $work/use\")) abort();"
plain_model "$work/models/a" 1 64 100
plain_model "$work/models/b" 1 64 100
printf 'tessera: 1\nroles: auto\nrules:\n  - {codec: absmax}\n' >"$work/absmax.yaml"
cat >"$work/jobs.yaml" <<'YAML'
tessera_batch: 1
limits: {workers: 1}
defaults: {output: "out/{model}"}
jobs:
  - {models: models/a, configs: absmax.yaml, plugin_path: uses/, name: uses}
  - {models: models/b, configs: lossless, name: idles, needs: uses}
YAML
"$tool" batch run "$work/jobs.yaml" >"$work/said" || cat "$work/said"
check a_job_has_the_energy_of_its_time [ "$(job_field "$work/jobs.yaml" uses energy_joules)" = 200.0 ]
check a_job_beside_no_use_has_none [ "$(job_field "$work/jobs.yaml" idles energy_joules)" = 0.0 ]
check the_batch_has_the_energy_of_the_machine [ "$(batch_field "$work/jobs.yaml" totals energy_joules)" = 200.0 ]
check nothing_is_missing [ "$(batch_field "$work/jobs.yaml" energy_missing)" = None ]
check the_summary_has_a_row grep -q '^energy  *200.0 J of the whole machine$' "$work/said"
check the_table_has_a_column eval 'grep -q "machine J" "$work/said" && grep -qE "^uses .* 200\.0 " "$work/said"'
check the_page_has_both eval 'grep -q "<td>200</td>" "$work/jobs.state/report.html" &&
    grep -q "over the batch: 200.0 J\. A job" "$work/jobs.state/report.html"'

rm -rf "$work/out/a"
echo 000950000000 >"$zone/energy_uj"
"$tool" batch run "$work/jobs.yaml" -q
check runs_add_up [ "$(batch_field "$work/jobs.yaml" totals energy_joules)" = 350.0 ]
check a_job_done_again_counts_its_last_time [ "$(job_field "$work/jobs.yaml" uses energy_joules)" = 150.0 ]

export TESSERA_POWERCAP=$work/nowhere
"$tool" batch run "$work/jobs.yaml" >"$work/said"
check a_run_without_counters_says_so grep -q "^energy  *350.0 J of the whole machine; newest run not readable: no RAPL counters in $work/nowhere$" "$work/said"
rm -rf "$work/jobs.state" "$work/out"
"$tool" batch run "$work/jobs.yaml" >"$work/said"
check without_counters_it_is_not_readable grep -q "^energy  *not readable: no RAPL counters in $work/nowhere$" "$work/said"
check its_figures_are_null [ "$(job_field "$work/jobs.yaml" uses energy_joules)$(batch_field "$work/jobs.yaml" totals energy_joules)" = NoneNone ]
check the_page_says_so grep -q "over the batch: not readable: no RAPL counters in $work/nowhere" "$work/jobs.state/report.html"
