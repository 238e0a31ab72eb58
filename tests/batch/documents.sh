#!/usr/bin/env bash
# What docs/batch.md and docs/cli.md say of batches holds: members of the results, keys of the file, the examples.
source "$(dirname "$0")/lib"
plain_model "$work/hub/a" 2 64 100
plain_model "$work/hub/b" 2 64 100
printf 'tessera_batch: 1\nstore: store\njobs:\n  - {models: "hub/*"}\n' >"$work/jobs.yaml"
documented() { # section command...
    local section=$1
    shift
    "$@" --json >"$work/json" && python3 tests/cli/members.py docs/cli.md "$section" "$work/json"
}
check members_of_batch_plan documented 'batch plan' "$tool" batch plan "$work/jobs.yaml"
check members_of_batch_run documented batch "$tool" batch run "$work/jobs.yaml"
check members_of_batch_status documented batch "$tool" batch status "$work/jobs.yaml"
check members_of_batch_gc documented 'batch gc' "$tool" batch gc "$work/jobs.yaml"

for key in $(cat framework/batch/batch_*.c | grep -oE 'yaml_get\([a-z]+, "[a-z_]+"' | grep -oE '"[a-z_]+"' | tr -d '"' | sort -u); do
    check "key_${key}_is_documented" grep -q "[\`{ ]$key[\`:},]" docs/batch.md
done

# The example file, on folders that are there.
sed -n '/^    tessera_batch: 1/,/^$/p' docs/batch.md | sed 's/^    //' >"$work/example.yaml"
mkdir -p "$work/big" && cp -r "$work/hub/a" "$work/big/llama-70b"
cp configs/balanced.yaml "$work/tight.yaml"
check the_example_is_a_batch eval '"$tool" batch plan "$work/example.yaml" --json | grep -q "\"would_fail\": 0"'

# That its commands work is what tests/docs/commands.sh shows; here, that shards anywhere are the whole.
cd "$work" || exit 1
"$tool" compress hub/a -o out/a -c balanced -q
seq 3 | xargs -P 2 -I N "$tool" compress hub/a -o out/big -c balanced --shard N/3 -q
check its_shards_merge "$tool" compress hub/a -o out/big -c balanced --merge 3 -q
check its_shards_are_the_whole same out/a out/big
cd "$root" || exit 1
check the_kubernetes_jobs_are_whole python3 - <<'END'
import re
text = open("contrib/kubernetes/kubernetes-job.yaml").read()
jobs = text.split("\n---\n")
assert len(jobs) == 2
for job in jobs:
    for need in ("apiVersion: batch/v1", "kind: Job", "restartPolicy: OnFailure", "image:", "claimName:"):
        assert need in job, need
assert re.search(r"completions: 8\n.*?--shard \$\(\(JOB_COMPLETION_INDEX \+ 1\)\)/8", jobs[0], re.S)
assert '"--merge", "8"' in jobs[1]
END
