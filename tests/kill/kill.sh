#!/usr/bin/env bash
# kill -9 at random moments of a run; the same command then finishes, to the same bytes, and redoes no more than was in
# flight. 8 kills, KILLS=N for more, 100 with TESSERA_SOAK=1.
source "$(dirname "$0")/../fault/lib"
kills=${KILLS:-$([ -n "${TESSERA_SOAK:-}" ] && echo 100 || echo 8)}
RANDOM=${SEED:-4711}

mkdir "$work/model"
make_model "$work/model/model.safetensors" 20 700 720
printf '{"model_type": "llama"}\n' >"$work/model/config.json"
printf 'tessera: 1\nroles: llama\nrules:\n  - {codec: scalar, params: {bits: 4}}\n' >"$work/job.yaml"
command=("$tool" compress "$work/model" -c "$work/job.yaml" -j2 -q)

begin=$(date +%s%N)
"${command[@]}" -o "$work/whole" || exit 1
took_us=$((($(date +%s%N) - begin) / 1000))

# Runs until it is killed after `1` microseconds or is done; a run that died goes on.
killed=0
run_with_kills() { # output
    local out=$1 left=2 process
    while [ $left -gt 0 ]; do
        "${command[@]}" -o "$out" 2>"$work/stderr" &
        process=$!
        sleep "$(printf '0.%06d' $((RANDOM * 32768 % (took_us < 999999 ? took_us : 999999))))"
        if kill -9 $process 2>/dev/null; then killed=$((killed + 1)) left=$((left - 1)); else left=0; fi
        wait $process 2>/dev/null
        if [ -e "$out" ] && ! diff -rq -x tessera.run.json "$work/whole" "$out" >/dev/null; then return 1; fi
    done
    [ -e "$out" ] && [ ! -e "$out.tessera-work" ] && return 0
    "${command[@]}" -o "$out" 2>"$work/stderr" || { cat "$work/stderr"; return 1; }
    diff -rq -x tessera.run.json "$work/whole" "$out" && [ ! -e "$out.tessera-work" ]
}

bad=0 round=0
while [ $killed -lt "$kills" ]; do
    round=$((round + 1))
    run_with_kills "$work/out$round" || { echo "  round $round is not what an undisturbed run gives"; bad=$((bad + 1)); }
    rm -rf "$work/out$round" "$work/out$round.tessera-work"
    [ $round -lt $((kills * 4)) ] || break
done
echo "  $killed kills in $round rounds"
[ $bad -eq 0 ] && [ $killed -ge "$kills" ] && echo "ok - killed_runs_resume_to_the_same_bytes" ||
    echo "not ok - killed_runs_resume_to_the_same_bytes"

# One kill while encoding: what was finished is taken over.
recorded() { # tensors in the journal
    grep -s ' part ' "$work/last.tessera-work/journal" | wc -l
}
"${command[@]}" -o "$work/last" &
process=$!
while kill -0 $process 2>/dev/null && [ "$(recorded)" -lt 3 ]; do sleep 0.002; done
kill -9 $process 2>/dev/null
wait $process 2>/dev/null
before=$(recorded)
[ -e "$work/last" ] || "${command[@]}" -o "$work/last"
reused=$(sed -n 's/.*"reused_tensors": \([0-9]*\).*/\1/p' "$work/last/tessera.run.json")
[ "${reused:-0}" -ge "$before" ] && [ "$before" -ge 3 ] && echo "ok - finished_tensors_are_not_redone" ||
    echo "not ok - finished_tensors_are_not_redone ($before were there, $reused taken over)"
