#!/usr/bin/env bash
# Models that cannot be run: each ends in one line that names tensor or key, found and expected.
source "$(dirname "$0")/lib"
head -c 3000 demo/text/stories.txt >"$work/text.txt"

variant() { # name python-body: a copy of the demo model with config `c` and tensors header `h` edited
    rm -rf "${work:?}/$1"
    cp -r "$model" "$work/$1"
    python3 - "$work/$1" "$2" <<'END'
import json, struct, sys
folder, body = sys.argv[1:]
c = json.load(open(f"{folder}/config.json"))
raw = open(f"{folder}/model.safetensors", "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
h, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
exec(body)
json.dump(c, open(f"{folder}/config.json", "w"))
header = json.dumps(h).encode()
open(f"{folder}/model.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + data)
END
}
refused() { # name pattern body
    variant "$1" "$3"
    fails_with "$1" '2|3' "$2" "$tool" gate "$work/$1" --text "$work/text.txt" -q
}

k=model.layers.1.self_attn.k_proj.weight
refused missing_tensor 'k_proj.weight.*is not in the checkpoint' "h['other.weight'] = h.pop('$k')"
refused wrong_shape 'k_proj.weight.*shape \[128, 64\].*\[64, 128\]' "h['$k']['shape'] = [128, 64]"
refused wrong_norm_size 'q_norm.weight.*has 16 elements, the config asks for 32' "
h['a'] = dict(h['model.layers.0.self_attn.q_norm.weight'])
o = h['a']['data_offsets']
h['model.layers.0.self_attn.q_norm.weight'].update(shape=[16], data_offsets=[o[0], o[0] + 32])
h['a'].update(shape=[16], data_offsets=[o[0] + 32, o[1]])"
refused missing_hidden_size 'the hidden size is missing or 0: hidden_size' "del c['hidden_size']"
refused missing_vocabulary 'the vocabulary size is missing or 0: vocab_size' "del c['vocab_size']"
refused heads_do_not_divide '4 query heads cannot share 3' "c['num_key_value_heads'] = 3"
refused more_layers_than_tensors 'layers.4.*is not in the checkpoint' "c['num_hidden_layers'] = 5"
refused fewer_layers_than_tensors 'layers.3.*does not use it' "c['num_hidden_layers'] = 3"
refused absurd_dimension 'beyond what this engine computes' "c['intermediate_size'] = 1 << 36"
refused negative_number 'expected a count' "c['num_attention_heads'] = -4"
refused text_for_a_number 'expected a count' "c['num_hidden_layers'] = 'four'"
refused unknown_activation 'activation "gegelu" is not known' "c['hidden_act'] = 'gegelu'"
refused unknown_rope 'scaling "spiral" is not known' "c['rope_scaling'] = {'rope_type': 'spiral'}"
refused unknown_key 'hyper_connections may change the computation' "c['hyper_connections'] = 4"
refused unknown_rope_key 'rope_scaling.wobble may change' "c['rope_scaling'] = {'rope_type': 'linear', 'factor': 2.0, 'wobble': 3}"
refused integer_weights 'dtype I16, inference needs' "h['$k']['dtype'] = 'I16'"
refused tokenizer_too_large 'ids up to 5000, the model.s vocabulary holds 2048' "
t = json.load(open(folder + '/tokenizer.json'))
t['added_tokens'].append(dict(t['added_tokens'][0], id=5000, content='<far>'))
json.dump(t, open(folder + '/tokenizer.json', 'w'))"
variant no_config 'pass'
rm "$work/no_config/config.json"
fails_with no_config 2 'config.json' "$tool" gate "$work/no_config" --text "$work/text.txt" -q
variant no_tokenizer 'pass'
rm "$work/no_tokenizer"/tokenizer*
fails_with no_tokenizer 2 'tokenizer' "$tool" gate "$work/no_tokenizer" --text "$work/text.txt" -q
printf '[1, 2' >"$work/no_config/config.json"
fails_with broken_config 2 'config.json' "$tool" gate "$work/no_config" --text "$work/text.txt" -q
seq -s ' ' 2000 >"$work/long.txt"
fails_with prompt_longer_than_the_context 2 'exceed the context of 512' "$tool" gate "$model" --reference "$model" --prompts "$work/long.txt" -q

calibrate() { "$tool" calibrate "$1" --text "$2" -o "$work/stats" -q; }
fails_with calibrate_a_missing_tensor 2 'is not in the checkpoint' calibrate "$work/missing_tensor" "$work/text.txt"
fails_with calibrate_a_wrong_shape 2 'shape \[128, 64\]' calibrate "$work/wrong_shape" "$work/text.txt"
fails_with calibrate_without_a_size 2 'hidden_size' calibrate "$work/missing_hidden_size" "$work/text.txt"
fails_with calibrate_with_a_tokenizer_too_large 2 'ids up to 5000, the model.s vocabulary holds 2048' calibrate "$work/tokenizer_too_large" "$work/text.txt"
: >"$work/empty.txt"
printf 'Once upon \377 a time' >"$work/broken.txt"
fails_with calibrate_an_empty_text 2 'empty.txt: is empty' calibrate "$model" "$work/empty.txt"
fails_with calibrate_text_that_is_not_utf8 2 'broken.txt: .*byte 10 is not UTF-8' calibrate "$model" "$work/broken.txt"
fails_with calibrate_a_window_longer_than_the_context 1 'the context has 512' "$tool" calibrate "$model" --text "$work/text.txt" -o "$work/stats" --window 513 -q
check refused_calibrations_leave_nothing eval '! ls -d "$work"/stats* 2>/dev/null'
fails_with gate_an_empty_text 2 'empty.txt: has no text' "$tool" gate "$model" --text "$work/empty.txt" -q
fails_with gate_text_that_is_not_utf8 2 'broken.txt: .*byte 10 is not UTF-8' "$tool" gate "$model" --text "$work/broken.txt" -q
fails_with gate_an_absent_text 2 'absent.txt' "$tool" gate "$model" --text "$work/absent.txt" -q
fails_with tokenize_text_that_is_not_utf8 2 'byte 10 is not UTF-8' "$tool" tokenize "$model" --text "$(cat "$work/broken.txt")"
fails_with tokenize_without_a_tokenizer 2 'tokenizer' "$tool" tokenize "$work/no_tokenizer" --text Hello
fails_with tokenize_ids_that_do_not_exist 2 'id 5000 ' "$tool" tokenize "$model" --decode --text 5000

mkdir "$work/bare"
cp "$model/model.safetensors" "$work/bare"
check bare_weights_are_said_to_have_no_model_type eval '"$tool" plan "$work/bare" 2>&1 >/dev/null | grep -q "no config.json names a model_type; using generic.yaml"'
