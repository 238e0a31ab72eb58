#!/usr/bin/env bash
# Batches on a real Slurm that this test starts on the loopback address: arrays with dependencies, shards and merges, and what
# happens to a cluster: a drained node, a killed slurmd, a cancelled, preempted or oversized task, a restarted controller, a
# killed coordinator. Ends with no process and no file left.
source "$(dirname "$0")/../batch/lib"
cluster() { "$root/contrib/slurm/local-cluster.sh" "$1" "$work/cluster" "${@:2}"; }
PATH=$PATH:/usr/sbin:/sbin
for needed in slurmctld slurmd munged sbatch; do
    command -v $needed >/dev/null && continue
    echo "skip - check_slurm: SLURM IS NOT INSTALLED HERE ($needed is missing) AND COULD NOT BE: NOTHING OF THE ENGINE slurm WAS TESTED"
    exit 0
done
[ "$(id -u)" -eq 0 ] || { echo "skip - check_slurm: NOT ROOT: NOTHING OF THE ENGINE slurm WAS TESTED"; exit 0; }
trap 'cluster down 2>/dev/null; rm -rf "$work"' EXIT
cluster up || { echo "not ok - a_cluster_of_this_machines_own_starts"; exit 1; }
export SLURM_CONF=$work/cluster/slurm.conf
cd "$work" || exit 1
check everything_listens_on_loopback [ -z "$(ss -ltnpH 2>/dev/null | grep -E 'slurm|munge' | grep -v '127.0.0.1:')" ]

until_true() { # seconds command...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}
state_is() { [ "$(job_field "$1" "$2" state)" = "$3" ]; }
slurm=("$tool" batch run --engine slurm)
reason() { echo "$(job_field "$1" "$2" state):$(job_field "$1" "$2" reason)"; }

# ---- models; a codec that takes its time, one that takes all memory ----
for i in $(seq 11); do plain_model "models/m$i" 3 100 $((300 + i)); done
cd "$root" || exit 1
bad_plugin "$work/slow" 'for (int i = 0; i < 9; i++) usleep(100000);'
bad_plugin "$work/stuck" 'for (;;) usleep(100000);'
bad_plugin "$work/greedy" 'for (;;) { char *p = malloc(1 << 24); if (!p) return tsr_fail(err, TSR_E_NOMEM, "absmax: out of memory"); for (int i = 0; i < 1 << 24; i += 512) p[i] = 1; }'
cd "$work" || exit 1
printf 'tessera: 1\nroles: auto\nrules:\n  - {codec: absmax}\n' >absmax.yaml

# ---- twelve jobs as arrays ----
cat >twelve.yaml <<'END'
tessera_batch: 1
store: store
defaults: {output: "out/{name}", memory: 100M}
jobs:
  - {models: "models/*", name: "{model}"}
  - {models: models/m1, configs: balanced, name: cut, shards: 3, needs: [m1, m2]}
END
"${slurm[@]}" twelve.yaml -q
check twelve_jobs_are_done [ $? -eq 0 ]
check most_of_them_shared_one_array [ "$(grep -cE '^[0-9]+\)' twelve.state/slurm/array-1.sh)" -eq 11 ]
check shards_and_merge_depended_on_others [ "$(ls twelve.state/slurm | wc -l)" -eq 3 ]
sed 's#out/#local/#; /store/d' twelve.yaml >local.yaml
"$tool" batch run local.yaml -q
check a_cluster_writes_the_bytes_of_one_process same local out
check shards_are_cleared_away [ -z "$(ls -d out/*.shard-* 2>/dev/null)" ]

# ---- a node drained, a slurmd killed, the controller restarted, the coordinator killed ----
cat >rough.yaml <<'END'
tessera_batch: 1
retry_delay: 100ms
defaults: {configs: absmax.yaml, plugin_path: slow, output: "rough/{name}", memory: 100M, retries: 5}
jobs:
  - {models: "models/m[1-6]", name: "{model}"}
END
"${slurm[@]}" rough.yaml -q 2>rough.err &
rough=$!
until_true 30 eval '[ "$(squeue -h -t R | wc -l)" -ge 3 ]'
scontrol update NodeName=n1 State=DRAIN Reason=test
cluster stop-node n2 KILL
check a_node_was_lost_in_the_middle [ "$(batch_field rough.yaml counts running)" -ge 3 ]
cluster restart-controller
kill -9 $rough
wait $rough 2>/dev/null
arrays=$(ls rough.state/slurm | wc -l)
"${slurm[@]}" rough.yaml >/dev/null 2>rough.err &
rough=$!
sleep 1
check a_second_coordinator_is_refused eval '! "${slurm[@]}" rough.yaml -q 2>second.err && grep -q "another coordinator holds it: process $rough" second.err'
sleep 8 # longer than SlurmdTimeout: what ran on n2 is lost to the controller
cluster start-node n2
# A killed controller may have forgotten that n1 drains.
until_true 20 eval 'scontrol update NodeName=n1 State=RESUME 2>/dev/null || [ -n "$(sinfo -h -N -n n1 -p work -t idle,mix,alloc)" ]'
# Preemption: somebody more urgent wants both nodes.
until_true 30 eval '[ "$(squeue -h -t R -p work | wc -l)" -ge 1 ]'
urgent=$(sbatch --parsable -p urgent -N2 --ntasks=4 --output=/dev/null --wrap 'sleep 2')
until_true 90 eval '[ -z "$(squeue -h -j $urgent 2>/dev/null)" ]'
wait $rough
check all_of_it_ends_well [ $? -eq 0 ]
check preempted_or_lost_tasks_ran_again eval 'scontrol -o show job | grep -q "Restarts=[1-9]" || grep -q "; again" rough.err'
check tasks_are_followed_not_sent_again [ "$(ls rough.state/slurm | wc -l)" -le $((arrays + 2)) ]
check nothing_was_published_half [ "$(for o in rough/m*; do "$tool" verify "$o" --plugin-path slow -q && echo good; done | grep -c good)" -eq 6 ]

# ---- limits: they run beside the rest, since the shortest time limit of Slurm is a minute ----
cat >limits.yaml <<'END'
tessera_batch: 1
defaults: {configs: absmax.yaml, output: "limits/{name}", memory: 100M, retries: 0}
jobs:
  - {models: models/m1, plugin_path: stuck, wall: 60s, name: slow}
  - {models: models/m1, plugin_path: greedy, name: greedy}
END
"${slurm[@]}" limits.yaml -q 2>limits.err &
limits=$!

# ---- scancel of one task; batch cancel ----
sed 's#rough/#calm/#; s/m\[1-6\]/m[1-3]/' rough.yaml >calm.yaml
"${slurm[@]}" calm.yaml -q 2>calm.err &
calm=$!
until_true 30 eval '[ "$(squeue -h -r -o %i -t R | grep -c _1$)" -ge 1 ]'
scancel "$(squeue -h -r -o %i -t R | grep _1$ | head -1)"
wait $calm
check a_cancelled_task_makes_the_batch_interrupted [ $? -eq 130 ]
check a_cancelled_task_is_named [ "$(reason calm.yaml m2)" = stopped:cancelled ]
check its_neighbours_are_done [ "$(batch_field calm.yaml counts done)" -eq 2 ]
"${slurm[@]}" calm.yaml -q
check after_a_cancelled_task_it_goes_on [ $? -eq 0 ]
sed 's#rough/#endless/#; s/m\[1-6\]/m[12]/; s/plugin_path: slow/plugin_path: stuck/' rough.yaml >endless.yaml
"${slurm[@]}" endless.yaml -q 2>endless.err &
endless=$!
until_true 60 eval '[ "$(batch_field endless.yaml counts running)" -eq 2 ] && [ "$(squeue -h -t R | wc -l)" -ge 2 ]'
kill -9 $endless
wait $endless 2>/dev/null
check tasks_outlive_their_coordinator [ "$(squeue -h -t R | wc -l)" -ge 2 ]
"$tool" batch cancel endless.yaml -q
check cancel_without_a_coordinator_ends_its_tasks [ "$(batch_field endless.yaml counts stopped)" -eq 2 ]
check cancel_says_what_it_stopped [ "$(reason endless.yaml m2)" = stopped:cancelled ]

# ---- what became of the limits; no accounting was needed ----
wait $limits
check a_batch_over_its_limits_fails [ $? -eq 4 ]
check too_long_is_named [ "$(reason limits.yaml slow)" = failed:wall ]
check too_large_is_named eval '[[ "$(reason limits.yaml greedy)" =~ ^failed:(no-memory|memory|killed)$ ]]'
check none_of_this_needed_accounting eval '! sacct -n >/dev/null 2>&1'

cluster down
check no_process_is_left [ -z "$(pgrep -f "$work/cluster" || true)" ]
check no_file_is_left [ ! -e "$work/cluster" ]
