#!/usr/bin/env bash
# JOBS.yaml is strict: every mistake is one line with its place and the nearest name; templates, lists and patterns make the
# jobs they should; plan shows them and writes nothing.
source "$(dirname "$0")/lib"
cd "$work" || exit 1
mkdir models
cp -r "$demo" models/a
cp -r "$demo" models/b
file() { printf 'tessera_batch: 1\n%b\n' "$1" >jobs.yaml; }
refuse() { # name pattern text
    file "$3"
    fails "$1" 1 "$2" "$tool" batch plan jobs.yaml
}
one='jobs:\n  - {models: models/a}'

refuse unknown_key 'jobs.yaml:2:1: unknown key "jbos"; did you mean "jobs"' 'jbos: []'
refuse no_jobs 'the key "jobs" is missing' 'state: x'
refuse empty_jobs 'jobs.yaml:2:7: jobs: the list is empty' 'jobs: []'
refuse unknown_job_key 'jobs.yaml:3:24: unknown key "confgs"; did you mean "configs"' 'jobs:\n  - {models: models/a, confgs: balanced}'
refuse no_models 'jobs.yaml:3:5: the key "models" is missing' 'jobs:\n  - {name: x}'
refuse pattern_without_match 'jobs.yaml:3:14: models: "nowhere/\*" matches nothing' 'jobs:\n  - {models: "nowhere/*"}'
refuse bad_size 'memory: "many" is not a size' "defaults: {memory: many}\n$one"
refuse bad_time 'wall: "3 weeks" is not a time' "defaults: {wall: 3 weeks}\n$one"
refuse bad_count 'threads: 0 is outside 1..1024' "defaults: {threads: 0}\n$one"
refuse bad_switch 'force: "maybe" is neither true nor false' "defaults: {force: maybe}\n$one"
refuse bad_policy 'on_failure: "stopp" is neither continue nor stop; did you mean "stop"' "on_failure: stopp\n$one"
refuse bad_store 'unknown key "maxx"; did you mean "max"' "store: {folder: s, maxx: 1G}\n$one"
refuse unknown_field 'unknown field "\{modle\}"; did you mean "\{model\}"' 'jobs:\n  - {models: models/a, name: "{modle}"}'
refuse open_field 'a "\{" has no "\}"' 'jobs:\n  - {models: models/a, name: "x{model"}'
refuse bad_name 'cannot name a job' 'jobs:\n  - {models: models/a, name: "a/b"}'
refuse equal_names 'jobs.yaml:4:5: the name "a" is that of an earlier job too .*line 3' "$one\n  - {models: models/a}"
refuse equal_outputs 'the output "out" is that of an earlier job too' 'jobs:\n  - {models: "models/*", output: out}'
refuse unknown_need 'needs: no job is named "bb"; did you mean "b"' 'jobs:\n  - {models: models/b}\n  - {models: models/a, needs: bb}'
refuse circle 'needs itself' 'jobs:\n  - {models: models/b, needs: a}\n  - {models: models/a, needs: b}'
refuse wrong_version 'version "2" is not known' 'x'"" 2>/dev/null >&2
printf 'tessera_batch: 2\njobs: []\n' >jobs.yaml
fails a_later_version 1 'jobs.yaml:1:16: tessera_batch: version "2" is not known' "$tool" batch plan jobs.yaml
fails no_such_file 1 'nowhere.yaml: no such file' "$tool" batch plan nowhere.yaml
fails unknown_verb 1 'did you mean "run"' "$tool" batch rum jobs.yaml
fails verb_alone 1 'batch run needs JOBS.yaml' "$tool" batch run
fails unknown_engine 1 'did you mean "slurm"' "$tool" batch run jobs.yaml --engine slrm
file "limits: {memory: 100M}\ndefaults: {memory: 200M}\n$one"
fails a_job_larger_than_the_batch 1 'jobs.yaml:5:5: job a needs 200.00 MB of memory, the batch may take 100' "$tool" batch run jobs.yaml
file "$one"
fails nothing_to_resume 1 'nothing to resume' "$tool" batch resume jobs.yaml
fails nothing_to_cancel 1 'has not begun' "$tool" batch cancel jobs.yaml

file 'state: st\nstore: sto\ndefaults: {output: "o/{model}/{config}"}\njobs:
  - {models: "models/*", configs: [lossless, balanced], priority: 3}
  - {models: models/a, configs: quality, name: "last-{config}", needs: ["a-lossless", "{model}-balanced"]}
  - {models: models/nowhere}'
"$tool" batch plan jobs.yaml --json >plan.json
names='print(*[j["name"] + "=" + j["output"] for j in p["jobs"]])'
ask() { python3 -c "import json; p = json.load(open('plan.json')); $1"; }
check jobs_are_the_product_in_order [ "$(ask "$names")" = "a-lossless=o/a/lossless a-balanced=o/a/balanced \
b-lossless=o/b/lossless b-balanced=o/b/balanced last-quality=o/a/quality nowhere=o/nowhere/lossless" ]
check needs_are_filled_in [ "$(ask 'print(p["jobs"][4]["needs"])')" = "['a-lossless', 'a-balanced']" ]
check equal_models_share_all_work [ "$(ask 'print(p["jobs"][2]["shared_bytes"] == p["jobs"][2]["unique_bytes"] > 0)')" = True ]
check a_job_that_would_fail_is_named [ "$(ask 'print(p["totals"]["would_fail"], "nowhere" in p["jobs"][5]["message"])')" = '1 True' ]
check plan_writes_nothing [ "$(ls)" = "$(printf 'jobs.yaml\nmodels\nplan.json\nstderr\nstdout')" ]
check plan_has_a_table eval '"$tool" batch plan jobs.yaml | grep -q "nowhere would fail: "'
