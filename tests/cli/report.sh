#!/usr/bin/env bash
# `tessera report --html` and its relatives: pages are well-formed, need nothing but themselves, are readable, say what the JSON
# says, and no name, text or message from a file becomes markup.
source "$(dirname "$0")/lib"
page() { python3 "$PWD/tests/cli/page.py" "$@"; }

for config in lossless balanced; do "$tool" compress "$model" -c $config -o "$work/$config" -q; done
"$tool" compress "$model" -c demo/gated.yaml -o "$work/gated" -q
"$tool" report "$work/gated" --json >"$work/gated.json"
"$tool" report "$work/lossless" --json >"$work/lossless.json"

check a_report_prints_nothing [ -z "$("$tool" report "$work/gated" --html "$work/gated.html" 2>&1)" ]
check the_page_says_what_the_receipt_says page "$work/gated.html" "$work/gated.json"
check the_same_page_each_time eval '"$tool" report "$work/gated" --html "$work/again.html" && cmp "$work/gated.html" "$work/again.html"'
check a_page_of_an_exact_output eval '"$tool" report "$work/lossless" --html "$work/lossless.html" &&
    page "$work/lossless.html" "$work/lossless.json"'
for section in gates divergence flips sizes layers files run tensors; do
    check "section_$section" grep -q "<h2 id=\"$section\">" "$work/gated.html"
done
check three_sentences eval 'grep -A2 "class=\"lede\"" "$work/gated.html" | tr -d "\n" | grep -q "tensors, .* of safetensors files, into .* are exact; .* gates passed"'
check gates_show_their_bounds eval 'grep -q "at 95&#160;% confidence it is at least" "$work/gated.html" && grep -q "asked: 0.95" "$work/gated.html"'
check json_beside_the_page eval '"$tool" report "$work/gated" --html "$work/again.html" --json | cmp - "$work/gated.json"'

"$tool" gate "$work/gated" --reference "$model" --text demo/text/stories.txt --positions 64 --window 64 --json >"$work/short.json"
"$tool" report "$work/gated" --gates "$work/short.json" --html "$work/short.html"
check no_bound_is_said eval 'grep -q "one window alone gives no bound" "$work/short.html" && ! grep -q "nan\|at most 0[.;<]" "$work/short.html"'

# Beside other outputs, a plan, gates and points from files.
"$tool" plan "$model" -c demo/gated.yaml --json >"$work/plan.json"
"$tool" gate "$work/gated" --reference "$model" --text demo/text/stories.txt --positions 600 --max-kld 0.5 --controls --json >"$work/gates.json"
python3 - "$work" <<'END'
import json, sys
work = sys.argv[1]
source = json.load(open(f"{work}/gated/tessera.json"))["source"]["digest"]
text = next(g for g in json.load(open(f"{work}/gates.json"))["gates"] if g["gate"] == "parity")["text_xxh3_128"]
points = [{"name": "another program", "bytes": 900000, "kld": 0.01}, {"name": "without a figure", "bytes": 1}]
json.dump({"source": source, "text": text, "points": points}, open(f"{work}/points.json", "w"))
json.dump({"source": "0" * 32, "text": text, "points": points}, open(f"{work}/foreign.json", "w"))
END
check with_all_there_is eval '"$tool" report "$work/gated" "$work/balanced" "$work/lossless" --plan "$work/plan.json" \
    --gates "$work/gates.json" --points "$work/points.json" --html "$work/all.html" && page "$work/all.html" "$work/gated.json" gates'
# A file of gates says whose they are.
whose() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["output_digest"])' "$1"; }
"$tool" gate "$work/gated" "$work/balanced" --reference "$model" --text demo/text/stories.txt --positions 600 --json >"$work/two.json"
"$tool" report "$work/balanced" --json >"$work/balanced.json"
check gates_of_several_outputs_find_theirs eval '"$tool" report "$work/balanced" "$work/gated" --gates "$work/two.json" --html "$work/two.html" &&
    page "$work/two.html" "$work/balanced.json" gates && ! grep -q "no parity gate on the same text" "$work/two.html"'
check the_digest_is_that_of_the_files [ "$(whose "$work/gates.json")" = \
    "$(PYTHONPATH=contrib/refdecoder python3 - "$work/gated/tessera.json" <<'END'
import json, sys
from xxh3 import digest
files = [file for file in json.load(open(sys.argv[1]))["files"] if file["name"].endswith(".safetensors")]
lines = "".join(f"{file['digest']} {file['name']}\n" for file in sorted(files, key=lambda file: file["name"].encode()))
print(digest(lines.encode()).hex())
END
    )" ]
fails_with gates_of_another_output_are_refused 2 'gates.json: holds no gates of .*balanced: what it measured has other bytes' \
    "$tool" report "$work/balanced" --gates "$work/gates.json" --html "$work/no.html"
sed 's/"output_digest"/"no_digest"/' "$work/gates.json" >"$work/nobodys.json"
fails_with gates_of_nobody_are_refused 2 'nobodys.json: holds no gates of' "$tool" report "$work/gated" --gates "$work/nobodys.json" --html "$work/no.html"
check predictions_are_called_so eval 'grep -q "The plan predicted [0-9]* bytes" "$work/all.html" && grep -q "tag predicted.>predicted" "$work/all.html"'
check controls_are_shown eval 'grep -q "<td>the source against itself</td><td>no divergence anywhere</td><td class=.PASS.>none</td><td>1.0000</td>" "$work/all.html" &&
    grep -q "<td>layers moved on by one</td><td>refused</td><td class=.PASS.>refused</td>" "$work/all.html"'
check points_are_drawn grep -q '<title>another program</title>' "$work/all.html"
check points_without_a_figure_are_named grep -q 'without a figure: has no figure of this kind' "$work/all.html"
check outputs_that_cannot_be_compared_are_named grep -q 'balanced: no parity gate on the same text' "$work/all.html"
check points_of_another_source_are_refused eval '"$tool" report "$work/gated" --points "$work/foreign.json" --html "$work/again.html" &&
    grep -q "points are of another source" "$work/again.html" && ! grep -q "<title>another program" "$work/again.html"'

fails_with options_of_the_page_need_it 1 'needs --html' "$tool" report "$work/gated" --plan "$work/plan.json"
fails_with several_outputs_need_a_page 1 'with --html' "$tool" report "$work/gated" "$work/balanced"
fails_with a_plan_that_is_none 2 'expected what .tessera plan --json. prints' "$tool" report "$work/gated" --plan "$work/gates.json" --html "$work/no.html"
fails_with gates_that_are_no_json 2 'model.safetensors' "$tool" report "$work/gated" --gates "$model/model.safetensors" --html "$work/no.html"
fails_with a_folder_that_is_not_there 4 'nowhere' "$tool" report "$work/gated" --html "$work/nowhere/no.html"
check nothing_is_left_of_a_page_that_failed [ ! -e "$work/no.html" ]

printf 'tessera: 1\nrules:\n  - {codec: passthrough}\ngates:\n  width: {max_error: 1e-6}\n' >"$work/exact.yaml"
# Hostile names and texts, in every place that a file can fill.
hostile='<script>alert(1)</script>"&'"'"']]>'
python3 - "$work/hostile" "$hostile" <<'END'
import json, os, struct, sys
folder, name = sys.argv[1:]
os.makedirs(folder)
names = [name, name + "\u0001\u001b[31m\u202e\u2028\ufffe\u009b", "x" * 5000, "layers.0." + name + ".weight"]
header, at = {}, 0
for n in names:
    header[n] = {"dtype": "BF16", "shape": [4, 8], "data_offsets": [at, at + 64]}
    at += 64
text = json.dumps(header).encode()
with open(f"{folder}/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + bytes(range(256)))
gate = {"gate": name, "verdict": name, "reason": name * 40, name: 1, "by_role": [{"role": name}], "measures": {name: {"low": None}}}
parity = dict(gate, gate="parity", top1={"estimate": 1, "bound": 0.5, "threshold": None, "confidence": 0.95},
              kld_histogram=[{"at_most": 1e-3, "positions": 5}, {"at_most": 1, "positions": -5}, {"at_most": None, "positions": 2**62}],
              margin_histogram=[{"margin_below": 1, "positions": 1}] * 100, worst_flips=[{"context": name * 300 + "\n\u0007", "reference": name, "other": name}],
              controls=[{"control": name, "expected": name, "found": name}])
json.dump({"gates": [gate, parity, {"gate": "chain", "layers": [{"mean_cosine": 1e308}, {"mean_cosine": -1}, 7]}, 3, None]},
          open(f"{folder}.json", "w"))
END
"$tool" compress "$work/hostile" -o "$work/out&<b>" -q
"$tool" gate "$work/out&<b>" -c "$work/exact.yaml" --reference "$work/hostile" --json >"$work/exact.json"
sed -i "s/^{/{\"output_digest\": \"$(whose "$work/exact.json")\", /" "$work/hostile.json"
"$tool" report "$work/out&<b>" --json >"$work/hostile-report.json"
check hostile_names_stay_text eval '"$tool" report "$work/out&<b>" --gates "$work/hostile.json" --html "$work/hostile.html" &&
    page "$work/hostile.html" "$work/hostile-report.json" gates'
check there_is_no_such_script [ "$(grep -c '<script>' "$work/hostile.html")" -eq 1 ]
check hostile_names_are_shown grep -q '&lt;script&gt;alert(1)&lt;/script&gt;&quot;&amp;&#39;\]\]&gt;\\x01\\x1b\[31m\\u202e\\u2028' "$work/hostile.html"
check paths_in_commands_are_quoted grep -q "tessera verify &#39;$work/out&amp;&lt;b&gt;&#39; --replay" "$work/hostile.html"
python3 - "$work" <<'END'
import json, sys
values = [None, 3, "x", [], {}, [[]], [{}], {"estimate": {}}, [1e308], True]
keys = ["verdict", "top1", "kld", "controls", "kld_histogram", "margin_histogram", "worst_flips", "by_margin", "measures", "by_role",
        "talker", "kld_percentiles", "reason"]
for i, value in enumerate(values):
    json.dump({"gates": [dict.fromkeys(keys, value) | {"gate": "parity"}, {"gate": "chain", "layers": value}]},
              open(f"{sys.argv[1]}/odd-{i}.json", "w"))
END
sed -i "s/^{/{\"output_digest\": \"$(whose "$work/gates.json")\", /" "$work"/odd-*.json
odd=0
for file in "$work"/odd-*.json; do
    "$tool" report "$work/gated" --gates "$file" --html "$work/odd.html" && page "$work/odd.html" "$work/gated.json" gates || odd=$((odd + 1))
done
check odd_gates_make_a_page_all_the_same [ $odd -eq 0 ]

# More tensors than a page has room for.
python3 - "$work/many" <<'END'
import json, os, struct, sys
os.makedirs(sys.argv[1])
header = {f"model.layers.{i}.{'some_rather_long_name_' * 5}.weight": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8 * i, 8 * i + 8]}
          for i in range(6000)}
text = json.dumps(header).encode()
with open(f"{sys.argv[1]}/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(struct.pack("<Q", i * 0x0123456789abcdf & (2**64 - 1)) for i in range(6000)))
END
"$tool" compress "$work/many" -o "$work/many.tsr" -q
"$tool" report "$work/many.tsr" --json >"$work/many.json"
check a_large_page_is_cut_and_says_so eval '"$tool" report "$work/many.tsr" --html "$work/many.html" && page "$work/many.html" "$work/many.json" &&
    grep -q "smaller tensors are not shown" "$work/many.html"'

# The pages of diff and batch.
"$tool" diff "$model" "$work/gated" --html "$work/diff.html"
check a_page_of_a_difference eval 'page "$work/diff.html" && grep -q "tensors are identical" "$work/diff.html"'
check a_page_of_a_hostile_difference eval '"$tool" diff "$work/hostile" "$work/gated" --html "$work/diff.html" && page "$work/diff.html" &&
    [ "$(grep -c "<script>" "$work/diff.html")" -eq 1 ]'
printf 'tessera_batch: 1\njobs:\n  - {name: a, models: %s, configs: lossless, output: %s}\n' "$model" "$work/batch-a" >"$work/jobs.yaml"
"$tool" batch run "$work/jobs.yaml" -q
check a_page_of_a_batch page "$work/jobs.state/report.html"

# Speech: sounds are inside the page, and cut to its size.
if python3 - "$work" <<'END'
import math, struct, sys, wave
for name, seconds in (("short", 1), ("long", 60)):
    with wave.open(f"{sys.argv[1]}/{name}.wav", "wb") as w:
        w.setnchannels(1); w.setsampwidth(2); w.setframerate(24000)
        w.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i * i / 9e5) * math.sin(i / 4000))) for i in range(24000 * seconds)))
END
then
    if "$tool" report "$work/gated" --sound "$work/short.wav" --html "$work/again.html" 2>"$work/stderr"; then
        check sounds_are_on_the_page eval '"$tool" report "$work/gated" --sound "$work/short.wav=the <raw> voice" --sound "$work/long.wav" --html "$work/sound.html" &&
            page "$work/sound.html" "$work/gated.json" && grep -q "data:audio/wav;base64,UklGR" "$work/sound.html" &&
            grep -q "data:image/png;base64,iVBORw" "$work/sound.html" && grep -q "the &lt;raw&gt; voice: 1.00 s" "$work/sound.html"'
        check long_sounds_are_cut grep -q 'Cut to 6.67 s' "$work/sound.html"
    else
        check sounds_need_their_library grep -q 'libsndfile' "$work/stderr"
    fi
fi

# The checker itself sees what it should.
breaks() { # name sed-expression
    sed "$2" "$work/gated.html" >"$work/broken.html"
    if page "$work/broken.html" "$work/gated.json" >/dev/null 2>&1; then echo "not ok - $1"; else echo "ok - $1"; fi
}
breaks a_foreign_script_is_seen 's|</main>|<script>alert(1)</script></main>|'
breaks a_changed_script_is_seen "s|'use strict'|'use  strict'|"
breaks a_network_address_is_seen 's|href="#content"|href="https://example.org/"|'
breaks pale_letters_are_seen 's|--soft:#555b66|--soft:#999|'
breaks unclosed_markup_is_seen 's|</figure>||'
breaks a_wrong_figure_is_seen 's|[0-9] bytes</small>|x bytes</small>|'
