#!/usr/bin/env bash
# The state of a batch survives what happens to it: a second coordinator, a cancel, a torn or forged ledger, a full disk,
# folders that vanish, clocks that jump.
source "$(dirname "$0")/lib"
mkdir "$work/models"
for i in 1 2 3 4; do plain_model "$work/models/m$i" 3 200 $((400 + i)); done
cat >"$work/jobs.yaml" <<'END'
tessera_batch: 1
retry_delay: 10ms
limits: {workers: 2}
store: {folder: store, max: 1M}
defaults: {output: "out/{name}", configs: lossless}
jobs:
  - {models: "models/*"}
END
run=("$tool" batch run "$work/jobs.yaml")
state=$work/jobs.state
"${run[@]}" -q || exit 1
mv "$work/out" "$work/whole"
check a_finished_batch_is_done [ "$(batch_field "$work/jobs.yaml" counts done)" -eq 4 ]
check status_without_a_coordinator [ "$(batch_field "$work/jobs.yaml" running)" = False ]

# ---- outputs and state that vanish ----
"${run[@]}" -q
check outputs_that_vanished_are_made_again same "$work/whole" "$work/out"
rm -rf "$work/out" "$state/records" "$state/logs"
"${run[@]}" -q
check records_that_vanished_are_made_again same "$work/whole" "$work/out"
rm -rf "$work/out/m1-lossless"
"${run[@]}" -q
check only_what_vanished_is_made_again [ "$(batch_field "$work/jobs.yaml" counts done)" -eq 4 ]
rm -rf "$work/out" "$state" "$work/store"
"${run[@]}" -q
check a_batch_without_its_state_begins_anew same "$work/whole" "$work/out"

# ---- the ledger ----
cp "$state/ledger" "$work/ledger"
lines=$(wc -l <"$state/ledger")
truncate -s -7 "$state/ledger"
check a_torn_ledger_is_read_up_to_the_tear [ "$(batch_field "$work/jobs.yaml" counts done)" -eq 4 ]
sed -i '4s/lossless/lossl3ss/' "$state/ledger"
check a_changed_line_ends_the_trust [ "$(batch_field "$work/jobs.yaml" counts done)" -lt 4 ]
"${run[@]}" -q
check records_fill_what_the_ledger_lost same "$work/whole" "$work/out"
check nothing_was_encoded_again [ "$(batch_field "$work/jobs.yaml" totals encoded_bytes)" -le $((4 * 3 * 200 * 404 * 2)) ]
: >"$state/ledger"
"${run[@]}" -q
check an_empty_ledger_begins_anew [ "$(batch_field "$work/jobs.yaml" counts done)" -eq 4 ]
head -c 5000 /dev/urandom >"$state/ledger"
"${run[@]}" -q
check noise_in_place_of_a_ledger_begins_anew [ "$(batch_field "$work/jobs.yaml" counts done)" -eq 4 ]

# ---- clocks ----
find "$state" "$work/out" "$work/store" -exec touch -h -d '2100-01-01' {} +
"${run[@]}" -q
check a_future_date_changes_nothing same "$work/whole" "$work/out"
find "$state" "$work/store" -exec touch -h -d '1971-01-01' {} +
rm -rf "$work/out/m2-lossless"
"${run[@]}" -q
check a_past_date_changes_nothing same "$work/whole" "$work/out"

# ---- the store ----
check the_store_is_kept_at_its_size [ "$(du -sb "$work/store" | cut -f1)" -lt 1100000 ]
sed -i 's/max: 1M/max: 400k/' "$work/jobs.yaml"
"$tool" batch gc "$work/jobs.yaml" --json >"$work/gc"
check gc_brings_it_to_a_smaller_one [ "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["store"]["bytes"])' "$work/gc")" -le 400000 ]

# ---- two coordinators, cancel ----
bad_plugin "$work/slow" 'for (int i = 0; i < 40; i++) usleep(100000);'
printf 'tessera: 1\nroles: auto\nrules:\n  - {codec: absmax}\n' >"$work/absmax.yaml"
sed "s/configs: lossless/configs: absmax.yaml, plugin_path: slow/; s#out/#slow-out/#; /store/d" "$work/jobs.yaml" >"$work/slow.yaml"
"$tool" batch run "$work/slow.yaml" -q 2>"$work/first" &
first=$!
for _ in $(seq 100); do [ "$(batch_field "$work/slow.yaml" counts running 2>/dev/null)" = 2 ] && break; sleep 0.05; done
check jobs_run_in_parallel [ "$(batch_field "$work/slow.yaml" counts running)" = 2 ]
fails a_second_coordinator_is_told_who_holds_it 4 "another coordinator holds it: process $first on .*, engine local" \
    "$tool" batch run "$work/slow.yaml"
check status_beside_a_coordinator [ "$(batch_field "$work/slow.yaml" running)" = True ]
timeout 60 "$tool" batch status "$work/slow.yaml" --watch >"$work/watched" 2>&1 &
watch=$!
for _ in $(seq 100); do grep -q '^held by' "$work/watched" && break; sleep 0.05; done
"$tool" batch cancel "$work/slow.yaml" -q
check cancel_waits_for_the_coordinator eval '! kill -0 $first 2>/dev/null'
wait $first
check a_cancelled_batch_is_interrupted [ $? -eq 130 ]
check a_cancelled_batch_leaves_no_worker [ -z "$(pgrep -f "slow-out" || true)" ]
check its_jobs_are_stopped [ "$(batch_field "$work/slow.yaml" counts stopped)" -eq 2 ]
wait $watch
check a_watch_ends_with_its_batch [ $? -eq 0 ]
check it_shows_the_batch_run_and_then_stopped eval '[ "$(grep -c "^4 jobs: " "$work/watched")" -ge 2 ] &&
    grep "^4 jobs: " "$work/watched" | head -1 | grep -q " 2 running" && grep "^4 jobs: " "$work/watched" | tail -1 | grep -q " 2 stopped" &&
    [ "$(grep -c "^held by" "$work/watched")" -eq $(($(grep -c "^4 jobs: " "$work/watched") - 1)) ]'
timeout 10 "$tool" batch status "$work/jobs.yaml" --watch >"$work/watched"
status=$?
check a_watch_of_a_finished_batch_ends_at_once eval '[ $status -eq 0 ] && [ "$(grep -c "^4 jobs: 4 done$" "$work/watched")" -eq 1 ]'

# ---- a full disk ----
if mkdir "$work/disk" && mount -t tmpfs -o size=1500k tmpfs "$work/disk" 2>/dev/null; then
    trap 'umount "$work/disk"; rm -rf "$work"' EXIT
    sed 's#defaults: {output: "out/#defaults: {retries: 1, output: "disk/#; /store/d' "$work/jobs.yaml" >"$work/disk.yaml"
    "$tool" batch run "$work/disk.yaml" -q 2>/dev/null
    check a_full_disk_fails_the_batch [ $? -eq 4 ]
    check a_full_disk_is_named eval '[ "$(batch_field "$work/disk.yaml" counts failed)" -ge 1 ] &&
        "$tool" batch status "$work/disk.yaml" | grep -qE "No space left|needs about"'
    mount -o remount,size=30m "$work/disk"
    "$tool" batch run "$work/disk.yaml" -q
    check with_room_it_goes_on eval 'rm -rf "$work/disk"/*.tessera-work; same "$work/whole" "$work/disk"'
else
    echo "skip - a_full_disk_fails_the_batch: cannot mount here"
fi
