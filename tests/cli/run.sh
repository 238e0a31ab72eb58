#!/usr/bin/env bash
# run continues prompts from raw and compressed weights alike, whatever the budget; calibrate writes the same moments for any
# number of workers and passes.
source "$(dirname "$0")/lib"
story=", there was a little girl named Lily. She loved to play with her toys and her favorite was a big, green field."
"$tool" compress "$model" -o "$work/lossless" -q
"$tool" compress "$model" -c balanced -o "$work/balanced" -q
tell() { "$tool" run "$@" --prompt "Once upon a time" --max-tokens 40; }
check raw_model_tells_its_story eval '[[ "$(tell "$model")" == "$story"* ]]'
check lossless_tells_the_same cmp <(tell "$model") <(tell "$work/lossless")
check tiny_budget_tells_the_same cmp <(tell "$work/balanced") <(tell "$work/balanced" --memory 64K)
printf 'tessera: 1\nrules:\n  - {regime: argmax, codec: scalar}\n  - {codec: passthrough}\n' >"$work/scalar.yaml"
"$tool" compress "$model" -c "$work/scalar.yaml" -o "$work/scalar" -q
check payloads_tell_the_same_as_decoded_weights cmp <(tell "$work/scalar" --path dense) <(tell "$work/scalar" --path codec)
fails_with path_is_one_of_three 1 'expected auto, dense or codec' "$tool" run "$model" --prompt a --path fast
check workers_tell_the_same cmp <(tell "$model" -j1) <(tell "$model" -j3)
check seeds_repeat cmp <(tell "$model" --temperature 1 --seed 7) <(tell "$model" --temperature 1 --seed 7 -j3)
check seeds_differ eval '! cmp -s <(tell "$model" --temperature 1 --seed 7) <(tell "$model" --temperature 1 --seed 8)'
check stop_text_ends_the_answer eval '[ "$(tell "$model" --stop Lily)" = ", there was a little girl named " ]'
check json_of_run eval '"$tool" run "$model" -p "Once" --max-tokens 5 --json >"$work/json" && python3 tests/cli/members.py docs/cli.md run "$work/json"'
fails_with prompt_is_needed 1 'prompt' "$tool" run "$model"
cp -r "$model" "$work/chat"
echo '{{ messages }}' >"$work/chat/chat_template.jinja"
fails_with chat_template_is_not_guessed 2 'chat template' "$tool" run "$work/chat" --prompt Hello
check raw_continues_all_the_same "$tool" run "$work/chat" --prompt Hello --raw --max-tokens 3

# The same tokenizer as vocab.json and merges.txt.
python3 - "$model" "$work/parts" <<'END'
import json, os, shutil, sys
shutil.copytree(*sys.argv[1:])
folder = sys.argv[2]
model = json.load(open(folder + "/tokenizer.json"))["model"]
os.remove(folder + "/tokenizer.json")
json.dump(model["vocab"], open(folder + "/vocab.json", "w"))
merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
open(folder + "/merges.txt", "w").write("#version: 0.2\n" + "\n".join(merges) + "\n")
config = json.load(open(folder + "/tokenizer_config.json"))
assert config["model_max_length"] > 2**64
json.dump(dict(config, tokenizer_class="GPT2Tokenizer"), open(folder + "/tokenizer_config.json", "w"))
END
check vocabulary_and_merges_tell_the_same cmp <(tell "$model") <(tell "$work/parts")
check vocabulary_and_merges_give_the_same_ids cmp <("$tool" tokenize "$model" --text "Once upon 12 times, it's") \
    <("$tool" tokenize "$work/parts" --text "Once upon 12 times, it's")

head -c 3000 demo/text/stories.txt >"$work/text.txt"
check calibrate_writes "$tool" calibrate "$model" --text "$work/text.txt" -o "$work/one.safetensors" -j1 -q
"$tool" calibrate "$model" --text "$work/text.txt" -o "$work/many.safetensors" -j3 --memory 60M -q
check same_moments_for_any_workers_and_passes cmp "$work/one.safetensors" "$work/many.safetensors"
check calibrate_tells_what_it_did eval '"$tool" calibrate "$model" --text "$work/text.txt" -o "$work/seeded.safetensors" --fisher-tokens 512 --seed 5 -q --json >"$work/json" && python3 tests/cli/members.py docs/cli.md calibrate "$work/json"'
check another_seed_draws_other_labels eval '! cmp -s "$work/one.safetensors" "$work/seeded.safetensors"'
check fisher_values_are_in_it eval '"$tool" inspect "$work/seeded.safetensors" | grep -q output_fisher'
"$tool" calibrate "$model" --text "$work/text.txt" -o "$work/inputs.safetensors" --fisher-tokens 0 -q
check fisher_tokens_0_is_inputs_alone eval '! "$tool" inspect "$work/inputs.safetensors" | grep -q fisher'
check statistics_are_a_checkpoint eval '"$tool" inspect "$work/one.safetensors" | grep -q input_moment_diag'
fails_with calibrate_without_text 2 'absent.txt' "$tool" calibrate "$model" --text "$work/absent.txt" -o "$work/x.safetensors" -q
check compress_takes_them eval '"$tool" compress "$model" -c balanced --stats "$work/one.safetensors" -o "$work/weighted" -q --json >"$work/json" && python3 tests/cli/members.py docs/cli.md compress "$work/json"'
check receipt_tells_of_them python3 -c 'import json,sys; sys.exit(not json.load(open(sys.argv[1]))["statistics"]["tensors"] > 10)' "$work/weighted/tessera.json"
fails_with statistics_of_another_model 1 'statistics of another model' "$tool" compress tests/data/causal-lm/gpt2-bare --stats "$work/one.safetensors" -o "$work/x" -q
fails_with weights_are_no_statistics 2 'no statistics of tessera calibrate' "$tool" compress "$model" --stats "$model/model.safetensors" -o "$work/x" -q
