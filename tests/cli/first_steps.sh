#!/usr/bin/env bash
# doctor tells what is there, what is not, and why; init writes a config that plans, for models of many families and for
# hostile ones.
source "$(dirname "$0")/lib"

"$tool" doctor --json >"$work/doctor.json"
check doctor_is_content_here eval '"$tool" doctor | grep -q "^nothing is missing"'
check doctor_has_the_members_that_are_documented python3 tests/cli/members.py docs/cli.md doctor "$work/doctor.json"
check doctor_counts_the_plugins python3 - "$work/doctor.json" <<'END'
import json, sys
d = json.load(open(sys.argv[1]))
folders = [f for f in d["plugin_folders"] if f["plugins"]]
assert len(folders) == 1 and len(folders[0]["plugins"]) >= 10 and not any(p["refused"] for p in folders[0]["plugins"]), d["plugin_folders"]
assert d["ok"] and all(l["version"] or l["name"] == "libsndfile" for l in d["libraries"]), d["libraries"]
assert all(p["kernels"] in ("portable", "avx2", "avx512") for p in d["cpu"]["paths"]) and d["memory"]["total"] > 1 << 28
END

mkdir "$work/plugins"
echo "no library" >"$work/plugins/tessera-codec-broken.so"
TESSERA_PLUGIN_PATH=$work/plugins "$tool" doctor >"$work/said" 2>"$work/stderr"
check a_refused_plugin_is_no_error [ $? -eq 0 ]
check a_refused_plugin_is_named_with_its_reason grep -q "^warning: plugin $work/plugins/tessera-codec-broken.so is not used: ." "$work/said"
check a_refused_plugin_is_told_once [ ! -s "$work/stderr" ]
check every_finding_says_what_to_do grep -q "^  do: build it against this version" "$work/said"

mkdir -p "$work/alone/bin"
cp "$tool" "$work/alone/bin/"
"$work/alone/bin/tessera" doctor >"$work/said"
check a_program_alone_is_an_error [ $? -eq 4 ]
check it_says_what_is_missing eval 'grep -q "^error: no codec was found" "$work/said" && grep -q "^error: no roles were found" "$work/said" &&
    grep -q "make install" "$work/said"'
ln -s "$PWD/${TESSERA_BUILD:-build}/lib" "$work/alone/lib"
mkdir -p "$work/twice"
for name in a b; do cp "${tool%/bin/*}/lib/tessera/tessera-codec-scalar.so" "$work/twice/tessera-codec-$name.so"; done
"$tool" doctor --plugin-path "$work/twice" >"$work/said" 2>&1
status=$?
check two_plugins_of_one_id_are_an_error eval '[ $status -eq 4 ] && grep -q "^error: .*tessera-codec-a.so" "$work/said"'

# ---- init ----

"$tool" init "$model" >"$work/printed.yaml"
plans() { "$tool" plan "$@" -q >"$work/said"; }
check init_prints_a_config_that_plans plans "$model" -c "$work/printed.yaml"
check init_writes_the_same eval '"$tool" init "$model" -o "$work/written.yaml" && cmp "$work/printed.yaml" "$work/written.yaml"'
fails_with init_replaces_nothing 1 'is there already' "$tool" init "$model" -o "$work/written.yaml"
check init_replaces_by_force "$tool" init "$model" -o "$work/written.yaml" --force
check init_names_roles_and_sizes grep -q '{role: attn_q, regime: argmax, dtype: \[BF16\], codec: trellis.*# 4 tensors, 131.07 kB' "$work/printed.yaml"
check init_does_what_its_profile_does eval '[ "$("$tool" plan "$model" -c "$work/printed.yaml" --json | python3 -c "import json,sys; print(json.load(sys.stdin)[\"totals\"][\"predicted_bytes\"])")" = \
    "$("$tool" plan "$model" -c quality --json | python3 -c "import json,sys; print(json.load(sys.stdin)[\"totals\"][\"predicted_bytes\"])")" ]'
sed 's/^# gates:/gates:/; s/^#   parity/  parity/; s/eval.txt/demo\/text\/stories.txt/' "$work/printed.yaml" >"$work/gated.yaml"
check the_gates_it_offers_can_be_switched_on plans "$model" -c "$work/gated.yaml"

# Models of many families, with the names of the real ones and small shapes.
python3 - "$work" <<'END'
import itertools, json, os, re, struct, sys
work = sys.argv[1]

def expand(template):
    parts = re.split(r"\{L?(\d+)-(\d+)\}", template)
    ranges = [range(int(a), min(int(b), int(a) + 1) + 1) for a, b in zip(parts[1::3], parts[2::3])]
    for values in itertools.product(*ranges):
        yield "".join(p + str(v) for p, v in zip(parts[0::3], list(values) + [""]))

def write(folder, names, config):
    os.makedirs(folder)
    header, at = {}, 0
    for name, shape in names.items():
        count = 1
        for extent in shape:
            count *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * count]}
        at += 2 * count
    text = json.dumps(header).encode()
    with open(f"{folder}/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(struct.pack("<H", 0x3c00 + (i * 7919) % 997) for i in range(at // 2)))
    if config:
        json.dump(config, open(f"{folder}/config.json", "w"))

for family in "llama gpt2 mixtral gemma3 phi3 bloom t5 whisper bert mamba qwen2_moe falcon".split():
    names, kind = {}, None
    for line in open(f"tests/data/names/{family}.txt"):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "model":
            if kind is not None:
                break
            kind = words[1]
        else:
            shape = [] if words[1] == "-" else [min(int(n), 16) for n in words[1].split(",")]
            names.update((n, shape) for n in expand(words[0]))
    write(f"{work}/families/{family}", names, None if kind == "-" else {"model_type": kind})
evil = "a\nrules: []\n#\u0001 {{ ]: '\""
write(f"{work}/families/hostile", {evil: [16, 16], evil + ".weight": [4], "model.layers.0.self_attn.q_proj.weight": [16, 16]}, {"model_type": evil})
write(f"{work}/families/nothing_known", {f"x{i}": [4] for i in range(30)}, None)
write(f"{work}/families/all_lossy", {"model.layers.0.self_attn.q_proj.weight": [16, 16]}, {"model_type": "llama"})
write(f"{work}/families/empty", {}, {"model_type": "llama"})
END
for folder in "$work"/families/*; do
    name=$(basename "$folder")
    if "$tool" init "$folder" -o "$work/$name.yaml" -q && "$tool" plan "$folder" -c "$work/$name.yaml" -q >"$work/said" 2>"$work/stderr"; then
        echo "ok - init_of_${name}_plans"
    else
        cat "$work/stderr"
        echo "not ok - init_of_${name}_plans"
    fi
done
check tensors_without_a_role_are_listed eval 'grep -q "^# 30 tensors have no role" "$work/nothing_known.yaml" && grep -q "^#   and 10 more" "$work/nothing_known.yaml"'
check hostile_names_stay_in_comments eval 'grep -q "^#   a.x0arules: \[\]" "$work/hostile.yaml" && [ "$(grep -c "^rules:" "$work/hostile.yaml")" -eq 1 ]'
fails_with init_of_no_model 2 'nowhere' "$tool" init "$work/nowhere"
