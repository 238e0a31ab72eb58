#!/usr/bin/env bash
# Runs of a batch of ten models with one kill -9 each, at a random moment, of the coordinator, a worker, or all of them; the same
# command then finishes, to the same bytes, and what the journals had is not done again: at most the tensor in the hands
# of each worker is. 4 runs, KILLS=N for more, 200 with TESSERA_SOAK=1.
source "$(dirname "$0")/lib"
kills=${KILLS:-$([ -n "${TESSERA_SOAK:-}" ] && echo 200 || echo 4)}
RANDOM=${SEED:-2718}
tensors=8
for i in 0 1 2 3 4 5 6 7 8 9; do plain_model "$work/models/m$i" $tensors 160 $((500 + i)); done
printf 'tessera: 1\nroles: llama\nrules:\n  - {codec: scalar, params: {bits: 4}}\n' >"$work/four.yaml"
cat >"$work/jobs.yaml" <<'END'
tessera_batch: 1
retry_delay: 10ms
limits: {workers: 2}
defaults: {output: "out/{model}", configs: four.yaml}
jobs:
  - {models: "models/*"}
END
run=("$tool" batch run "$work/jobs.yaml" -q)
begin=$(date +%s%N)
"${run[@]}" || exit 1
took_us=$((($(date +%s%N) - begin) / 1000))
mv "$work/out" "$work/whole"
rm -rf "$work/jobs.state"

workers_of() { pgrep -P "$1" 2>/dev/null; }
strike() { # coordinator kind
    local worker
    case $2 in
    0) kill -9 "$1" 2>/dev/null ;;
    1) worker=$(workers_of "$1" | head -1); [ -n "$worker" ] && kill -9 "$worker" 2>/dev/null ;;
    *) kill -9 $(workers_of "$1") "$1" 2>/dev/null ;;
    esac
}
parts_in() { cat "$work/out/$1.tessera-work/journal" 2>/dev/null | grep -c ' part '; }

struck=0 bad=0 redone=0 round=0
one_run() {
    local coordinator kind=$((RANDOM % 3)) i before=()
    rm -rf "$work/out" "$work/jobs.state"
    "${run[@]}" 2>/dev/null &
    coordinator=$!
    sleep "$(printf '0.%06d' $((RANDOM * 32768 % (took_us < 999999 ? took_us : 999999))))"
    strike $coordinator $kind && struck=$((struck + 1))
    if [ $kind -ne 1 ]; then
        wait $coordinator 2>/dev/null
        # The workers' death follows their parent's at once, but not in the same instant.
        while pgrep -f "compress $work/models" >/dev/null; do sleep 0.01; done
        for i in 0 1 2 3 4 5 6 7 8 9; do before[i]=$(parts_in m$i); done
    else
        wait $coordinator 2>/dev/null
    fi
    "${run[@]}" 2>"$work/stderr" || { cat "$work/stderr"; return 1; }
    same "$work/whole" "$work/out" || return 1
    [ -z "$(ls -d "$work"/out/*.tessera-work 2>/dev/null)" ] || return 1
    [ $kind -eq 1 ] && return 0
    for i in 0 1 2 3 4 5 6 7 8 9; do
        [ "${before[i]}" -gt 0 ] || continue
        local encoded reused
        reused=$(sed -n 's/.*"reused_tensors": \([0-9]*\).*/\1/p' "$work/out/m$i/tessera.run.json")
        [ "$reused" -ge "${before[i]}" ] || redone=$((redone + before[i] - reused))
    done
}
while [ $struck -lt "$kills" ] && [ $round -lt $((kills * 4)) ]; do
    round=$((round + 1))
    one_run || { echo "  run $round is not what an undisturbed one gives"; bad=$((bad + 1)); }
done
echo "  $struck kills in $round runs, $bad wrong, $redone finished tensors done again"
check killed_batches_resume_to_the_same_bytes [ $bad -eq 0 ]
check enough_kills_hit [ $struck -ge "$kills" ]
check finished_tensors_are_not_done_again [ $redone -eq 0 ]

# ---- a worker killed while its gates run: their process does not stay (held still, it would stay for ever) ----
printf 'tessera: 1\nroles: auto\nrules:\n  - {regime: argmax, codec: scalar}\n  - {codec: passthrough}\ngates:\n  parity: {text: %s, positions: 5000, max_kld: 1}\n' \
    "$root/demo/text/stories.txt" >"$work/gated.yaml"
"$tool" compress "$demo" -o "$work/gated" -c "$work/gated.yaml" -q 2>/dev/null &
worker=$!
for _ in $(seq 2000); do
    gate=$(pgrep -P $worker -f '^tessera gate') && break
    kill -0 $worker 2>/dev/null || break
    sleep 0.005
done
[ -n "$gate" ] || gate=none
check gates_run_in_a_process_of_their_own kill -STOP "$gate"
kill -9 $worker
wait $worker 2>/dev/null
is_gone() { [ "$1" != none ] && { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }; } # a zombie has ended
for _ in $(seq 200); do is_gone "$gate" && break; sleep 0.01; done
check the_gates_process_dies_with_its_worker is_gone "$gate"
is_gone "$gate" || kill -9 "$gate" 2>/dev/null
