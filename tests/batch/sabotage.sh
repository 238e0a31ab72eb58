#!/usr/bin/env bash
# A batch of which every fourth job is bad, each in another way: all good ones are published, each bad one is named with
# its reason, and nothing else suffers.
# A sanitizer would report a crash itself and exit instead.
export ASAN_OPTIONS=handle_segv=0
source "$(dirname "$0")/lib"
mkdir "$work/models" "$work/good"
for i in $(seq 20); do plain_model "$work/models/good$i" 2 64 $((100 + i)); done
head -c 8000 "$root/demo/text/stories.txt" >"$work/short.txt"
sed "s#text/stories.txt#$work/short.txt#; s#positions: 10000, ##; s#min_top1: 0.95#min_top1: 0.9999#" demo/gated.yaml >"$work/strict.yaml"
bad_plugin "$work/crash" 'raise(11);'
bad_plugin "$work/hang" 'for (volatile int i = 0;; i++) if (i < 0) i = 0;'
bad_plugin "$work/greedy" 'for (;;) { char *p = malloc(1 << 24); if (!p) return tsr_fail(err, TSR_E_NOMEM, "absmax: out of memory"); for (int i = 0; i < 1 << 24; i += 512) p[i] = 1; }'
printf 'tessera: 1\nroles: auto\nrules:\n  - {regime: argmax, codec: absmax}\n  - {codec: passthrough, optional: true}\n' >"$work/absmax.yaml"
printf 'tessera: 1\nroles: auto\nrules:\n  - {regime: argmax, codec: scalr}\n  - {codec: passthrough, optional: true}\n' >"$work/typo.yaml"

plain_model "$work/short" 2 64 100
truncate -s -100 "$work/short/model.safetensors"
cp -r "$demo" "$work/nan"
python3 - "$work/nan/model.safetensors" <<'END'
import json, struct, sys
file = open(sys.argv[1], "r+b")
size = struct.unpack("<Q", file.read(8))[0]
header = json.loads(file.read(size))
name = next(n for n in header if "o_proj" in n)
file.seek(8 + size + header[name]["data_offsets"][0])
file.write(b"\xc0\x7f" * 8)  # NaN in BF16
END

cat >"$work/jobs.yaml" <<END
tessera_batch: 1
retry_delay: 10ms
limits: {workers: 2}
defaults: {output: "out/{name}"}
jobs:
  - {models: "models/*", priority: -1}
  - {models: short, name: truncated}
  - {models: $demo, configs: typo.yaml, name: typo}
  - {models: $demo, configs: strict.yaml, name: strict}
  - {models: nan, configs: strict.yaml, name: nan}
  - {models: models/good1, configs: absmax.yaml, plugin_path: crash, name: crash}
  - {models: models/good1, configs: absmax.yaml, plugin_path: hang, idle: 1s, name: hang}
  - {models: models/good1, configs: absmax.yaml, plugin_path: hang, idle: 0s, wall: 1s, name: slow}
  - {models: models/good1, configs: absmax.yaml, plugin_path: greedy, memory: 100M, name: greedy}
  - {models: $demo, name: dependent, needs: [strict, good1]}
END
"$tool" batch run "$work/jobs.yaml" --json >"$work/table" 2>"$work/stderr"
status=$?
check the_exit_code_is_that_of_the_worst_job [ $status -eq 4 ]
check every_good_job_is_published [ "$(ls -d "$work"/out/good*/tessera.json | wc -l)" -eq 20 ]
check no_bad_job_is_published [ "$(ls "$work/out" | grep -vc -e '^good' -e tessera-work)" -eq 0 ]
states=$(python3 -c '
import json, sys
for j in json.load(open(sys.argv[1]))["jobs"]:
    if not j["name"].startswith("good"): print(j["name"], j["state"], j["reason"], j["attempts"], sep=":")' "$work/table")
while read -r wanted; do
    check "is_named_${wanted//[: ]/_}" grep -qxF "$wanted" <<<"$states"
done <<'END'
truncated:failed:input:1
typo:failed:config:1
strict:failed:gate:1
nan:failed:gate:1
crash:failed:crashed:1
hang:failed:hung:1
slow:failed:wall:1
dependent:blocked:needs:0
END
check memory_is_a_limit grep -qE '^greedy:failed:(no-memory|memory|crashed):1$' <<<"$states"
check a_message_says_what_was_wrong [ "$(job_field "$work/jobs.yaml" typo message | grep -c 'did you mean "scalar"')" -eq 1 ]
check a_crash_names_its_signal [ "$(job_field "$work/jobs.yaml" crash message)" = "was ended by signal 11 (Segmentation fault)" ]
check a_gate_says_by_how_much eval 'job_field "$work/jobs.yaml" strict message | grep -q "parity: FAIL"'
check figures_of_a_failed_gate_are_in_the_table [ "$(job_field "$work/jobs.yaml" strict top1 | cut -c1-3)" = 0.9 ]
check every_failure_has_a_hint [ "$(python3 -c '
import json, sys
print(sum(not j["hint"] for j in json.load(open(sys.argv[1]))["jobs"] if j["state"] == "failed"))' "$work/table")" -eq 0 ]
check logs_are_there grep -q 'tessera: error' "$work/jobs.state/logs/typo.log"
check the_page_names_all_jobs [ "$(grep -c '^<tr><td>' "$work/jobs.state/report.html")" -eq 29 ]
check no_worker_is_left [ -z "$(pgrep -f "$work/models" || true)" ]

# What was mended is done by the next run, what is done is left alone.
sed -i 's/scalr/scalar/' "$work/typo.yaml"
before=$(stat -c %Y%i "$work"/out/good*/model.safetensors)
sed -i '/crash\|hang\|greedy\|strict\|truncated/d' "$work/jobs.yaml"
"$tool" batch run "$work/jobs.yaml" -q 2>/dev/null
check a_mended_batch_succeeds [ $? -eq 0 ]
check done_jobs_are_left_alone [ "$before" = "$(stat -c %Y%i "$work"/out/good*/model.safetensors)" ]
check jobs_that_left_the_file_are_cleared_away eval '"$tool" batch gc "$work/jobs.yaml" --json | grep -q "\"removed_files\": 1[0-9]"'

# on_failure: stop; transient failures are tried again, others are not.
cat >"$work/stop.yaml" <<END
tessera_batch: 1
on_failure: stop
retry_delay: 20ms
limits: {workers: 1}
defaults: {output: "stop/{name}"}
jobs:
  - {models: short, name: bad, priority: 5}
  - {models: models/good2}
END
fails a_failure_stops_the_batch 2 'bad: input' "$tool" batch run "$work/stop.yaml"
check what_had_not_begun_waits [ "$(job_field "$work/stop.yaml" good2 state)" = waiting ]
printf 'tessera_batch: 1\nretry_delay: 20ms\ndefaults: {output: "%s/file/{name}", retries: 2}\njobs: [{models: models/good2}]\n' "$work" >"$work/io.yaml"
: >"$work/file"
fails an_io_error_stays_one 4 'good2: io' "$tool" batch run "$work/io.yaml"
check an_io_error_is_tried_again [ "$(job_field "$work/io.yaml" good2 attempts)" -eq 3 ]
(sleep 0.4; rm "$work/file") &
sed -i 's/retry_delay: 20ms/retry_delay: 500ms/' "$work/io.yaml"
"$tool" batch run "$work/io.yaml" -q 2>/dev/null
check an_io_error_that_passes_costs_nothing [ $? -eq 0 ]
wait
