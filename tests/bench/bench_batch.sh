#!/usr/bin/env bash
# What the coordinator costs: many small jobs under `batch run --workers 2` and the same commands under `xargs -P2`, in turns;
# its peak memory, the time of `batch status`; two workers against one; the work that a store saves over a base and four
# fine-tunes. JOBS_COUNT=5000 jobs of 50 KB. Writes docs/results/batch.md.
source "$(dirname "$0")/../batch/lib"
count=${JOBS_COUNT:-5000}
out=${RESULTS:-$root/docs/results/batch.md}
now() { date +%s.%N; }
calc() { python3 -c "print($1)"; }
# Ahead of whatever else the machine does, where that is allowed.
first() { if chrt -f 10 true 2>/dev/null; then chrt -f 10 "$@"; else "$@"; fi; }

# ---- many small jobs: 50 KB each, distinct weights ----
plain_model "$work/seed" 1 64 384
for ((i = 0; i < count; i++)); do
    mkdir "$work/m$i"
    cp "$work/seed/config.json" "$work/m$i/config.json"
done
python3 - "$work" "$count" <<'END'
import random, sys
work, count = sys.argv[1], int(sys.argv[2])
seed = bytearray(open(f"{work}/seed/model.safetensors", "rb").read())
for i in range(count):
    seed[-8:] = i.to_bytes(8, "little")
    open(f"{work}/m{i}/model.safetensors", "wb").write(seed)
END
printf 'tessera_batch: 1\ndefaults: {output: "out/{name}"}\njobs:\n  - {models: "m[0-9]*"}\n' >"$work/jobs.yaml"

# A hundred of them under each, in turns: the machine may have other things to do.
printf 'tessera_batch: 1\ndefaults: {output: "out/{name}"}\njobs:\n  - {models: ["m[0-9]", "m[0-9][0-9]"]}\n' >"$work/hundred.yaml"
under_xargs() {
    local begin
    rm -rf "$work/plain" && mkdir "$work/plain"
    begin=$(now)
    (cd "$work" && seq 0 99 | xargs -P2 -I{} "$tool" compress m{} -o plain/m{} -j1 -q)
    calc "$(now) - $begin"
}
under_batch() {
    local begin
    rm -rf "$work/out" "$work/hundred.state"
    begin=$(now)
    "$tool" batch run "$work/hundred.yaml" --workers 2 -q
    calc "$(now) - $begin"
}
by_xargs=() by_batch=()
for _ in $(seq "${ROUNDS:-7}"); do by_xargs+=("$(under_xargs)") by_batch+=("$(under_batch)"); done
median() { python3 -c "import statistics; print(statistics.median([$(IFS=,; echo "$*")]))"; }
xargs_seconds=$(median "${by_xargs[@]}") hundred_seconds=$(median "${by_batch[@]}")
overhead=$(calc "($hundred_seconds - $xargs_seconds) / 100 * 1000")
rm -rf "$work/plain" "$work/out"

begin=$(now)
(cd "$work" && /usr/bin/env python3 - "$tool" <<'END'
import os, resource, subprocess, sys
# The children of the coordinator are not ours: its own peak is what wait4 reports for it.
pid = os.posix_spawn(sys.argv[1], [sys.argv[1], "batch", "run", "jobs.yaml", "--workers", "2", "-q"], os.environ)
while True:
    try:
        peak = max((int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM")), default=0)
    except OSError:
        break
    done, status, usage = os.wait4(pid, os.WNOHANG)
    if done:
        break
    open("peak", "w").write(str(peak))
    import time
    time.sleep(0.2)
END
)
batch_seconds=$(calc "$(now) - $begin")
peak=$(cat "$work/peak")
begin=$(now)
"$tool" batch status "$work/jobs.yaml" --json >"$work/status"
status_seconds=$(calc "$(now) - $begin")
done_jobs=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["counts"]["done"])' <"$work/status")
rm -rf "$work"/m[0-9]* "$work/plain" "$work/out" "$work/jobs.state"

# ---- two workers against one, in turns ----
printf 'tessera: 1\nroles: llama\nrules:\n  - {codec: scalar, params: {bits: 4}}\n' >"$work/four.yaml"
for i in $(seq 8); do plain_model "$work/w$i" 6 500 $((690 + i)); done
printf 'tessera_batch: 1\ndefaults: {configs: four.yaml, output: "out/{name}"}\njobs:\n  - {models: "w*"}\n' >"$work/two.yaml"
workers() {
    local begin
    rm -rf "$work/out" "$work/two.state"
    begin=$(now)
    first "$tool" batch run "$work/two.yaml" --workers "$1" -q
    calc "$(now) - $begin"
}
workers 2 >/dev/null
ones=() twos=()
for _ in 1 2 3; do ones+=("$(workers 1)") twos+=("$(workers 2)"); done
one=$(calc "sorted([$(IFS=,; echo "${ones[*]}")])[1]") two=$(calc "sorted([$(IFS=,; echo "${twos[*]}")])[1]")

# ---- a base and four fine-tunes that differ in three small tensors each ----
rm -rf "$work/out"
plain_model "$work/tune0" 240 64 192
for i in 1 2 3 4; do
    cp -r "$work/tune0" "$work/tune$i"
    python3 - "$work/tune$i/model.safetensors" "$i" <<'END'
import json, struct, sys
file, which = open(sys.argv[1], "r+b"), int(sys.argv[2])
size = struct.unpack("<Q", file.read(8))[0]
header = json.loads(file.read(size))
for k in range(3):
    file.seek(8 + size + header[f"model.layers.{3 * which + k}.mlp.up_proj.weight"]["data_offsets"][0])
    file.write(bytes([which, k]) * 50)
END
done
printf 'tessera_batch: 1\nstore: store\ndefaults: {configs: four.yaml, output: "out/{name}"}\njobs:\n  - {models: "tune[0-9]"}\n' >"$work/tunes.yaml"
"$tool" batch run "$work/tunes.yaml" -q
encoded=$(batch_field "$work/tunes.yaml" totals encoded_bytes)
single=$((240 * 64 * 192 * 2))
changed=$((4 * 3 * 64 * 192 * 2))

{
    echo "# Batches"
    echo
    echo "\`tests/bench/bench_batch.sh\` on $(nproc) x $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), files in $(dirname "$work"), $(date +%Y-%m-%d)."
    echo
    echo "| | measured | at least |"
    echo "|---|---|---|"
    python3 - <<END
print("| 100 jobs of 50 KB: \`xargs -P2\` | %.2f s | |" % $xargs_seconds)
print("| the same under \`batch run --workers 2\` (medians, in turns) | %.2f s | |" % $hundred_seconds)
print("| coordinator a job: the difference | %.2f ms | <= 15 ms |" % $overhead)
print("| a batch of $count jobs | %.1f s | |" % $batch_seconds)
print("| peak memory of its coordinator | %.1f MiB | <= 64 MiB |" % ($peak / 1024))
print("| \`batch status\` of $done_jobs done jobs | %.2f s | < 0.5 s |" % $status_seconds)
print("| two workers against one (8 models, medians of 3) | %.2fx (%.2f s, %.2f s) | 1.9x |" % ($one / $two, $one, $two))
print("| base + 4 fine-tunes, 3 of 240 tensors changed in each (together %.1f %% of a model): encoded bytes against one model | %.3fx | <= 1.1x |" % (100 * $changed / $single, $encoded / $single))
END
} >"$out"
cat "$out"
