#!/usr/bin/env bash
# gate on the demo model: lossless is implied, a small config passes and a strict one does not; compress publishes nothing
# then; every missing or wrong material is one line.
source "$(dirname "$0")/lib"
text=$PWD/demo/text/stories.txt
head -c 20000 "$text" >"$work/short.txt"
fixture=$PWD/tests/data/causal-lm/llama-tied

"$tool" compress "$model" -o "$work/lossless" -q
"$tool" compress "$model" -c balanced -o "$work/balanced" -q
check lossless_is_implied eval '"$tool" gate "$work/lossless" --reference "$model" --text "$work/short.txt" --min-top1 1 | grep -q implied'
check balanced_passes_what_it_keeps "$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --min-top1 0.85 --max-kld 0.05 -q
fails_with strict_thresholds_fail 3 'parity: FAIL' "$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --min-top1 0.999 -q
fails_with few_positions_decide_nothing 3 'FAIL-UNDECIDED' "$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --positions 40 --min-top1 0.8 -q
"$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --min-top1 0.85 --controls >"$work/said"
check the_source_agrees_with_itself grep -q "^control: the source against itself: expected no divergence anywhere, found none (top-1 1.0000, KLD 0)$" "$work/said"
check moved_layers_are_refused grep -q "^control: layers moved on by one: expected refused, found refused (top-1 0.0" "$work/said"
check controls_without_thresholds eval '"$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --controls | grep -q "found refused"'
# A gate that accepts what it must refuse is no pass, whatever the output is like.
anything() { "$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --max-kld 100 "$@"; }
check thresholds_that_accept_anything_pass anything -q
fails_with they_do_not_when_controls_look 3 'parity: FAIL: this gate proves nothing: its control "layers moved on by one" went wrong; it found top-1' anything --controls -q
check thresholds_that_accept_anything_are_told eval 'anything --controls 2>/dev/null | grep -q "found accepted .*THIS GATE CANNOT BE TRUSTED"'
printf 'tessera: 1\nrules:\n  - {codec: passthrough}\ngates:\n  parity: {text: %s, max_kld: 100, optional: true}\n' "$work/short.txt" >"$work/optional.yaml"
fails_with nor_when_the_gate_is_optional 3 'proves nothing' "$tool" gate "$work/balanced" --reference "$model" -c "$work/optional.yaml" --controls -q
fails_with controls_need_a_reference 1 'needs --reference' "$tool" gate "$work/balanced" --text "$work/short.txt" --controls
check fixture_passes "$tool" gate "$fixture" --fixture "$fixture/golden.safetensors" -q
fails_with tolerance_can_be_too_tight 3 'reference: FAIL' "$tool" gate "$fixture" --fixture "$fixture/golden.safetensors" --tolerance 1e-9 -q
fails_with foreign_fixture 2 'logits' "$tool" gate "$fixture" --fixture "$PWD/tests/data/causal-lm/mistral/golden.safetensors" -q
check perplexity_without_reference eval '"$tool" gate "$model" --text "$work/short.txt" --json | python3 -c "
import json, sys
gate = json.load(sys.stdin)[\"gates\"][0]
assert 10 < gate[\"perplexity\"] < 25 and gate[\"perplexity_ratio\"] == 1, gate"'
check json_has_the_documented_members eval '"$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --json >"$work/json" && python3 tests/cli/members.py docs/cli.md gate "$work/json"'
check same_figures_with_3_workers eval '"$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --json -j3 | cmp - "$work/json"'

printf 'tessera: 1\nrules:\n  - {regime: argmax, codec: scalar}\n  - {codec: passthrough}\n' >"$work/scalar.yaml"
"$tool" compress "$model" -c "$work/scalar.yaml" -o "$work/scalar" -q
gate_by() { "$tool" gate "$work/scalar" --reference "$model" --text "$work/short.txt" --json --path "$@"; }
gate_by dense >"$work/dense"
gate_by codec >"$work/codec"
check products_from_the_payload_give_the_same_figures python3 -c '
import json, sys
dense, codec = (json.load(open(f))["gates"][0] for f in sys.argv[1:])
assert dense["path"] == "dense" and "codec" in codec["path"], (dense["path"], codec["path"])
for figure in ("kld", "top1"):
    a, b = dense[figure]["estimate"], codec[figure]["estimate"]
    assert abs(a - b) <= 2e-4 * a, (figure, a, b)' "$work/dense" "$work/codec"
check and_do_not_depend_on_workers cmp <(gate_by codec -j3) "$work/codec"


"$tool" gate "$work/scalar" "$work/balanced" --reference "$model" --text "$work/short.txt" --json --path dense >"$work/both"
"$tool" gate "$work/balanced" --reference "$model" --text "$work/short.txt" --json --path dense >"$work/second"
check several_outputs_are_judged_as_if_alone python3 -c '
import json, sys
both, first, second = (json.load(open(f)) for f in sys.argv[1:])
assert both == {"outputs": [first, second]}, both' "$work/both" "$work/dense" "$work/second"
fails_with one_that_fails_fails_all 3 'balanced: parity: FAIL' "$tool" gate "$work/balanced" "$work/lossless" --reference "$model" --text "$work/short.txt" --min-top1 0.999 --json
check and_the_others_are_still_judged eval 'python3 -c "
import json, sys
assert [o[\"verdict\"] for o in json.load(sys.stdin)[\"outputs\"]] == [\"FAIL\", \"PASS\"]" <"$work/stdout"'
fails_with pictures_are_of_one_output 1 'picture' "$tool" gate "$work/balanced" "$work/scalar" --speech "$work/short.txt" --picture "$work/p.svg" -q

sed "s#text/stories.txt#$work/short.txt#; s#positions: 10000, ##" demo/gated.yaml >"$work/gated.yaml"
sed 's/min_top1: 0.95/min_top1: 0.9999/' "$work/gated.yaml" >"$work/strict.yaml"
check gated_config_publishes "$tool" compress "$model" -c "$work/gated.yaml" -o "$work/gated" -q
check receipt_holds_the_verdict eval 'grep -q "\"verdict\": \"PASS\"" "$work/gated/tessera.json"'
fails_with failed_gate_publishes_nothing 3 'parity: FAIL' "$tool" compress "$model" -c "$work/strict.yaml" -o "$work/strict" -q
check nothing_is_there [ ! -e "$work/strict" ]
check publish_anyway_says_so eval '"$tool" compress "$model" -c "$work/strict.yaml" -o "$work/strict" --publish-anyway -q && grep -q "\"verdict\": \"FAIL\"" "$work/strict/tessera.json"'
check published_output_is_intact "$tool" verify "$work/strict" -q

: >"$work/empty.txt"
printf 'a\377b' >"$work/latin1.txt"
fails_with empty_text 2 'has no text' "$tool" gate "$model" --text "$work/empty.txt" -q
fails_with text_that_is_not_utf8 2 'latin1.txt' "$tool" gate "$model" --text "$work/latin1.txt" -q
fails_with absent_text 2 'absent.txt' "$tool" gate "$model" --text "$work/absent.txt" -q
fails_with nothing_asked_for 1 'no gate is asked for' "$tool" gate "$model" -q
cp -r "$model" "$work/foreign"
sed -i 's/"model_type": "qwen3"/"model_type": "mamba"/' "$work/foreign/config.json"
fails_with unknown_family_is_not_run 3 'NOT_RUN' "$tool" gate "$work/foreign" --text "$work/short.txt" -q
