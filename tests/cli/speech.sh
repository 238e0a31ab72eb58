#!/usr/bin/env bash
# run speaks: the same from raw and compressed weights, into every kind of file; what is wrong ends in one line and leaves no
# file; the reference gate runs every case of a golden file and notices what was read wrongly.
source "$(dirname "$0")/lib"
data=$PWD/tests/data/qwen3-tts
voice=(--speaker tiny --language english --greedy --max-tokens 12 -q)
say() { "$tool" run "$1" --text "hello there" "${voice[@]}" "${@:2}"; }

"$tool" compress "$data/a" -o "$work/lossless" -q
check raw_samples_of_lossless_are_the_same cmp <(say "$data/a" -o -) <(say "$work/lossless" -o -)
check tiny_budget_says_the_same cmp <(say "$data/a" -o -) <(say "$work/lossless" -o - --memory 64K)
check workers_say_the_same cmp <(say "$data/a" -o - -j1) <(say "$data/a" -o - -j3)
check nested_checkpoint_comes_back eval '"$tool" decompress "$work/lossless" -o "$work/back" -q && diff -r "$data/a" "$work/back"'
check no_tensor_is_unknown eval '! "$tool" plan "$data/b" -c balanced 2>&1 | grep -q unknown'
"$tool" compress "$data/a" -c balanced -o "$work/lossy" -q
check compressed_codes_speak say "$work/lossy" -o "$work/lossy.wav"

# Every format holds the samples that the pipe gets.
say "$data/a" -o "$work/out.wav" --codes-out "$work/codes.safetensors"
say "$data/a" -o - >"$work/raw"
check wav_holds_the_samples eval 'tail -c 42240 "$work/out.wav" | cmp - "$work/raw" && [ "$(stat -c %s "$work/out.wav")" -eq 42284 ]'
check codes_make_the_same_sound eval '"$tool" run "$data/a" --codes-in "$work/codes.safetensors" -o "$work/again.wav" -q && cmp "$work/out.wav" "$work/again.wav"'
check one_piece_is_the_same_below_24_s eval '"$tool" run "$data/a" --codes-in "$work/codes.safetensors" --one-piece -o - -q | cmp - "$work/raw"'
for format in 24 float; do check "wav_of_$format" say "$data/a" -o "$work/$format.wav" --sample-format $format; done
check flac say "$data/a" -o "$work/out.flac"
check json_of_run_speech eval 'say "$data/a" -o "$work/j.wav" --json >"$work/json" && python3 tests/cli/members.py docs/cli.md "run --text" "$work/json"'
check voice_clone "$tool" run "$data/b" --text "the end" --ref-audio "$work/out.wav" --ref-text "hello there" --greedy --max-tokens 9 -o "$work/clone.wav" -q
check clone_without_transcript "$tool" run "$data/b" --text "the end" --ref-audio "$work/out.wav" --max-tokens 9 -o "$work/clone2.wav" -q

grep -qaE '__(asan|tsan)_init' "$tool" || # sanitizers have a memory of their own
    check memory_does_not_grow_with_the_sound eval 'python3 tests/cli/speech_memory.py "$tool" "$data/b" "$work" >/dev/null'

bad() { fails_with "$1" "$2" "$3" "$tool" run "$data/a" --text hello -q -o "$work/bad.wav" "${@:4}"; }
bad unknown_speaker_lists_them 1 'tiny, dia' --speaker bob
bad unknown_language_lists_them 1 'english, chinese' --language klingon
bad dialect_is_no_language 1 'unknown' --language beijing_dialect
bad empty_text 2 'text: is empty' --text ' '
bad text_too_long 2 'too long' --text "$(yes abcdefghij | head -9000 | tr -d '\n')"
bad wav_not_writable 4 'nowhere' -o /nowhere/x.wav
bad unknown_sound_file 1 'wav' -o "$work/bad.mp3"
bad float_flac 1 'FLAC' -o "$work/bad.flac" --sample-format float
bad no_encoders_in_this_model 2 'encoder' --ref-audio "$work/out.wav"
bad transcript_without_speech 1 'ref-audio' --ref-text x
bad prompt_and_text 1 'prompt' --prompt x
fails_with speech_needs_an_output 1 'output' "$tool" run "$data/a" --text hello
fails_with text_model_does_not_speak 2 'does not speak' "$tool" run "$model" --text hello -o "$work/bad.wav"
fails_with codes_of_another_model 2 '4 codes a frame, the model has 6' "$tool" run "$data/b" --codes-in "$work/codes.safetensors" -o "$work/bad.wav"
python3 - "$work" <<'PYTHON'
import json, struct, sys
header = json.dumps({"codes": {"dtype": "I32", "shape": [1, 4], "data_offsets": [0, 16]}}).encode()
open(sys.argv[1] + "/wrong.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + struct.pack("<4i", 1, 2, -3, 4))
PYTHON
fails_with codes_out_of_range 2 'group 2: -3 is outside of 0..63' "$tool" run "$data/a" --codes-in "$work/wrong.safetensors" -o "$work/bad.wav"
check no_sound_is_left_behind eval '! compgen -G "$work/bad.*"'

# A checkpoint that is not whole.
broken() { rm -rf "$work/broken" && cp -r "$data/a" "$work/broken" && chmod -R u+w "$work/broken"; }
broken && rm -r "$work/broken/speech_tokenizer"
fails_with missing_speech_tokenizer 2 'speech_tokenizer' "$tool" run "$work/broken" --text hello -o "$work/bad.wav"
broken && sed -i 's/talker.codec_head.weight/talker.codec_heap.weight/' "$work/broken/model.safetensors"
fails_with missing_tensor 2 'talker.codec_head.weight' "$tool" run "$work/broken" --text hello -o "$work/bad.wav"
broken && sed -i 's/"intermediate_size": 96/"intermediate_size": 95/' "$work/broken/config.json"
fails_with wrong_shape 2 'shape \[96,64\], expected \[95,64\]' "$tool" run "$work/broken" --text hello -o "$work/bad.wav"
broken && sed -i 's/"num_quantizers": 4/"num_quantizers": 5/' "$work/broken/speech_tokenizer/config.json"
fails_with wrong_codebook_count 2 '5 quantizers' "$tool" run "$work/broken" --text hello -o "$work/bad.wav"

# The gate, and what it must notice.
gate() { "$tool" gate "$1" --fixture "$data/$2/golden.safetensors" -q "${@:3}"; }
check lossless_meets_the_golden_values gate "$work/lossless" a
fails_with lossy_does_not 3 'reference: FAIL' gate "$work/lossy" a
misread() { # name file from to
    broken && sed -i "s/$3/$4/" "$work/broken/$2"
    fails_with "$1" 3 'reference: FAIL' gate "$work/broken" a
}
misread a_wrong_window_is_noticed speech_tokenizer/config.json '"sliding_window": 4,' '"sliding_window": 5,'
misread a_wrong_theta_is_noticed config.json '"rope_theta": 1000000' '"rope_theta": 1100000'
misread a_missing_dialect_is_noticed config.json '"dia": "beijing_dialect"' '"dia": false'

printf 'the small cat sat\na cat on the mat\nhello there\nthis is the voice\n' >"$work/lines.txt"
compare() { "$tool" gate "$1" --reference "$data/a" -q "${@:2}"; }
"$tool" compress "$data/a" -c near-lossless -o "$work/near" -q
check lossless_says_the_same_codes compare "$work/lossless" --prompts "$work/lines.txt" --max-tokens 12
fails_with lossy_says_other_codes 3 'rollout: FAIL' compare "$work/lossy" --prompts "$work/lines.txt" --max-tokens 12
check near_lossless_keeps_decisions compare "$work/near" --text "$work/lines.txt" --min-top1 0.85 --max-kld 0.2
fails_with lossy_loses_decisions 3 'parity: FAIL' compare "$work/lossy" --text "$work/lines.txt" --min-top1 0.97 --max-kld 0.02
check parity_tells_every_group eval 'compare "$work/near" --text "$work/lines.txt" --json | python3 -c "import json,sys; g = json.load(sys.stdin)[\"gates\"][0]; assert len(g[\"by_group\"]) == 4 and g[\"talker\"][\"top1\"][\"bound\"] > 0.8"'
fails_with random_weights_are_no_speech 3 'speech: FAIL' compare "$work/lossless" --speech "$work/lines.txt" --picture "$work/picture.svg"
check picture_is_drawn eval 'python3 -c "import base64, re, sys, xml.dom.minidom, zlib; t = open(sys.argv[1]).read(); xml.dom.minidom.parseString(t); p = [base64.b64decode(b) for b in re.findall(\"base64,([^\\\"]+)\", t)]; assert len(p) == 2 and all(len(zlib.decompress(b[41:-16])) > 1000 for b in p)" "$work/picture.svg"'
# The sounds of the gate are what the report shows, without a second run.
check the_gate_keeps_its_sounds eval '! compare "$work/lossless" --speech "$work/lines.txt" --sounds "$work/first" -q 2>"$work/err" &&
    "$tool" report "$work/lossless" --html "$work/sounds.html" --sound "$work/first-raw.wav=Original" --sound "$work/first-tested.wav" &&
    [ "$(grep -o "<audio" "$work/sounds.html" | wc -l)" -eq 2 ] && grep -q "Waveform of Original" "$work/sounds.html" &&
    cmp "$work/first-raw.wav" "$work/first-tested.wav"'
fails_with sounds_need_speech 1 'sounds' compare "$work/lossless" --prompts "$work/lines.txt" --sounds "$work/x"
fails_with sounds_that_cannot_be_written 4 'nowhere' compare "$work/lossless" --speech "$work/lines.txt" --sounds /nowhere/x -q
fails_with picture_needs_speech 1 'picture' compare "$work/lossless" --prompts "$work/lines.txt" --picture "$work/x.svg"
check lossless_profile_proves_and_publishes "$tool" compress "$data/b" -c qwen3-tts-lossless -o "$work/proved" -q
fails_with quality_profile_refuses_random_weights 3 'parity: FAIL' "$tool" compress "$data/b" -c qwen3-tts-quality -o "$work/refused" -q
# The pattern that the official loader swaps in, and Qwen's own, against the real vocabulary's ids.
mkdir "$work/tokens"
ids_are() { python3 tests/cli/speech_tokens.py "$work/tokens" "$1" "$2" && "$tool" tokenize "$work/tokens" --golden "$work/tokens/golden.jsonl" >/dev/null; }
check ids_by_the_swapped_pattern ids_are 4.57.3 local
check ids_by_the_plain_pattern ids_are 4.57.2 plain
check the_two_patterns_differ eval '! ids_are 4.57.3 plain 2>/dev/null'
check names_and_shapes_are_the_published_ones python3 tests/bench/make_qwen3_tts.py --check tests/data/names/qwen3-tts.txt

# Without the library there is one clear line, and it compiles.
check builds_without_sound_files gcc -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror -Iframework -Iframework/include -fsyntax-only framework/format/wave.c
