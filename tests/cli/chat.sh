#!/usr/bin/env bash
# A model with a chat template answers messages as the template writes them; conversations are kept; what cannot be rendered,
# read or answered ends in one line.
source "$(dirname "$0")/lib"

# The bundled model with Zephyr's template: what it says is no answer, but always the same.
python3 - "$model" "$work" tests/data/chat/zephyr.json <<'END'
import json, os, shutil, sys
model, work, fixture = sys.argv[1:]
template = json.load(open(fixture))["template"]
def folder(name, config=None, **files):
    path = os.path.join(work, name)
    shutil.copytree(model, path)
    if config is not None:
        tokens = json.load(open(path + "/tokenizer_config.json"))
        tokens["chat_template"] = config
        json.dump(tokens, open(path + "/tokenizer_config.json", "w"))
    for file, text in files.items():
        open(os.path.join(path, file.replace("_json", ".json").replace("_jinja", ".jinja")), "w").write(text)
    return path
folder("jinja", chat_template_jinja=template)
folder("config", template)
folder("json", chat_template_json=json.dumps({"chat_template": template}))
folder("both", "{{ unknown }}", chat_template_jinja=template)
folder("named", [{"name": "tool_use", "template": "{{ x }}"}, {"name": "default", "template": template}])
folder("unnamed", [{"name": "rag", "template": template}])
folder("near", template.replace("<|user|>", "<|User|>"))
folder("gemma", json.load(open("tests/data/chat/gemma.json"))["template"])
folder("no_eos", template)
for name in "tokenizer_config.json", "special_tokens_map.json":
    path = os.path.join(work, "no_eos", name)
    config = json.load(open(path)); config.pop("eos_token", None); json.dump(config, open(path, "w"))
folder("broken", chat_template_jinja="x\udcff".encode("utf-8", "surrogateescape").decode("latin-1"))
open(os.path.join(work, "broken", "chat_template.jinja"), "wb").write(b"\xff")
path = folder("no_begin")
for name in "config.json", "generation_config.json":
    config = json.load(open(f"{path}/{name}")); config.pop("bos_token_id", None); json.dump(config, open(f"{path}/{name}", "w"))
path = folder("large_vocabulary")
tokens = json.load(open(path + "/tokenizer.json"))
tokens["added_tokens"].append(dict(tokens["added_tokens"][0], id=2048, content="<|more|>"))
json.dump(tokens, open(path + "/tokenizer.json", "w"))
END
chat=$work/jinja
answer() { "$tool" run "$@" --max-tokens 8; }
whole() { "$tool" run "$chat" --raw --max-tokens 8 --prompt "$1"; } # the same text, written by hand
user=$'<|user|>\nHello<|endoftext|>\n<|assistant|>\n'

check prompt_is_written_as_the_template_says cmp <(answer "$chat" -p Hello) <(whole "$user")
check system_message_is_the_users cmp <(answer "$chat" -p Hello --system Rhyme.) \
    <(whole $'<|system|>\nRhyme.<|endoftext|>\n'"$user")
for place in config json both named; do
    check "template_is_found_in_$place" cmp <(answer "$chat" -p Hello) <(answer "$work/$place" -p Hello)
done
check raw_continues_the_prompt cmp <(answer "$chat" -p Hello --raw) <(answer "$model" -p Hello)
check answers_come_from_compressed_weights_too eval '"$tool" compress "$chat" -o "$work/packed" -q &&
    cmp <(answer "$chat" -p Hello) <(answer "$work/packed" -p Hello)'
check min_tokens_put_the_end_off eval '"$tool" run "$chat" -p Hello --min-tokens 30 --max-tokens 30 --json |
    python3 -c "import json,sys; r = json.load(sys.stdin); assert len(r[\"tokens\"]) == 30 and 0 not in r[\"tokens\"]"'

fails_with near_template_is_refused 2 'near/tokenizer_config.json: chat template [0-9a-f]{32} .*--raw' "$tool" run "$work/near" -p Hello
fails_with unnamed_templates_are_refused 2 'tokenizer_config.json: chat_template' "$tool" run "$work/unnamed" -p Hello
fails_with template_that_is_no_text 2 'chat_template.jinja: is not text' "$tool" run "$work/broken" -p Hello
fails_with template_needs_a_token 2 'no eos_token' "$tool" run "$work/no_eos" -p Hello
fails_with system_message_without_a_place 2 'no place for a system message' "$tool" run "$work/gemma" -p Hello --system Rhyme.
fails_with system_message_without_a_template 2 'no chat template' "$tool" run "$model" -p Hello --system Rhyme.
fails_with chat_without_a_template 2 'no chat template' "$tool" run "$model" --chat
fails_with prompt_or_chat 1 'prompt.*chat' "$tool" run "$chat"
fails_with raw_has_no_system_message 1 'raw' "$tool" run "$chat" -p Hello --raw --system Rhyme.
fails_with chat_is_not_json 1 'json' "$tool" run "$chat" --chat --json
fails_with empty_message 2 'prompt is empty' "$tool" run "$chat" -p ''
fails_with empty_prompt_without_a_begin_token 2 'prompt is empty' "$tool" run "$work/no_begin" -p ''
fails_with prompt_that_is_not_utf8 2 'prompt: .*UTF-8' "$tool" run "$chat" -p $'caf\xe9'
fails_with system_message_that_is_not_utf8 2 'system: .*UTF-8' "$tool" run "$chat" -p Hello --system $'\xff'
long=$(printf 'word %.0s' {1..600})
fails_with prompt_longer_than_the_context 2 'tokens.*context of 512' "$tool" run "$chat" -p "$long"
fails_with raw_prompt_longer_than_the_context 2 'tokens.*context of 512' "$tool" run "$model" -p "$long"
fails_with prompt_longer_than_the_chosen_context 2 'context of 8' "$tool" run "$chat" -p Hello --context 8
cp "$chat/chat_template.jinja" "$work/large_vocabulary"
fails_with tokenizer_larger_than_the_embedding_in_a_chat 2 'ids up to 2048.*2048 rows' "$tool" run "$work/large_vocabulary" --chat
fails_with tokenizer_larger_than_the_embedding 2 'ids up to 2048.*2048 rows' "$tool" run "$work/large_vocabulary" -p Hello

# ---- conversations: standard input is the user ----
talk() { "$tool" run "$chat" --chat --max-tokens 8 "$@"; }
first=$(answer "$chat" -p Hello)
second=$(whole "${user}$first"$'<|endoftext|>\n<|user|>\nAnd now?<|endoftext|>\n<|assistant|>\n')
check history_is_kept cmp <(printf 'Hello\nAnd now?\n' | talk) <(printf '%s\n' "$first" "$second")
check prompt_is_the_first_message cmp <(talk -p Hello <<<"And now?") <(printf '%s\n' "$first" "$second")
check last_line_needs_no_end cmp <(printf 'Hello\nAnd now?' | talk) <(printf '%s\n' "$first" "$second")
check exit_ends_a_chat cmp <(printf 'Hello\n/exit\nAnd now?\n' | talk) <(printf '%s\n' "$first")
check reset_begins_anew cmp <(printf 'Hello\n/reset\nHello\n' | talk) <(printf '%s\n' "$first" "$first")
check blank_lines_say_nothing cmp <(printf '\n  \r\nHello\r\n\n' | talk) <(printf '%s\n' "$first")
check unknown_command_is_no_message eval '[ -z "$(talk <<<"/quit" 2>"$work/stderr")" ] && grep -q "warning: commands are" "$work/stderr"'
check two_slashes_begin_a_message cmp <(talk <<<"//quit") <(answer "$chat" -p /quit)
check backslash_joins_lines cmp <(printf 'a\\\nb\n' | talk) <(answer "$chat" -p $'a\nb')
check empty_chat_is_no_failure talk </dev/null
check nothing_is_prompted_in_a_pipe eval '[ -z "$(talk <<<Hello 2>&1 >/dev/null)" ]'
full() { printf "Hello\n%s\n" "$long" | talk; }
check full_context_ends_a_pipe eval 'full >"$work/stdout" 2>"$work/stderr"; [ $? -eq 2 ] && grep -q "error: .*context" "$work/stderr"'
bad() { printf "caf\xe9\n" | talk; }
check message_that_is_not_utf8_ends_a_pipe eval 'bad >"$work/stdout" 2>"$work/stderr"; [ $? -eq 2 ] && grep -q "error: .*UTF-8" "$work/stderr"'

# Interrupts. With a context this long an answer lasts until it is interrupted.
sed -i 's/"max_position_embeddings": 512/"max_position_embeddings": 200000/' "$work/packed/config.json"
slow() {
    exec env --default-signal=INT,TERM "$tool" run "$work/packed" --memory 1K -j1 --min-tokens 190000 --max-tokens 190000 \
        --context 200000 "$@"
}
await() { # file: until something stands in it
    for _ in {1..6000}; do
        [ -s "$1" ] && return
        sleep 0.01
    done
}
slow -p Hello >"$work/stdout" 2>"$work/stderr" &
await "$work/stdout"
kill -INT $!
wait $!
check interrupted_answer_ends_with_130 [ $? -eq 130 ]
check interrupted_answer_is_told_in_one_line [ "$(cat "$work/stderr")" = "tessera: error: interrupted" ]
check interrupted_answer_ends_its_line eval '[ "$(tail -c 1 "$work/stdout" | od -An -tx1)" = " 0a" ]'

mkfifo "$work/keyboard"
start_chat() {
    : >"$work/stdout"
    slow --chat <"$work/keyboard" >"$work/stdout" 2>"$work/stderr" &
    process=$!
    exec 9>"$work/keyboard"
}
start_chat
echo Hello >&9
await "$work/stdout"
kill -INT $process
echo /exit >&9
wait $process
check interrupted_answer_leaves_the_chat [ $? -eq 0 ]
check interrupted_answer_in_a_chat_ends_its_line eval '[ "$(tail -c 1 "$work/stdout" | od -An -tx1)" = " 0a" ] && [ ! -s "$work/stderr" ]'
exec 9>&-
start_chat
sleep 0.3
kill -INT $process
wait $process
check interrupt_between_answers_ends_with_130 [ $? -eq 130 ]
exec 9>&-
start_chat
echo Hello >&9
await "$work/stdout"
kill -TERM $process
wait $process
check termination_ends_a_chat_with_130 [ $? -eq 130 ]
exec 9>&-

if command -v script >/dev/null; then
    screen() { TERM=xterm script -qec "$tool run $chat --chat --max-tokens 8" /dev/null; }
    check terminal_gets_a_prompt eval 'printf "Hello\n/exit\n" | screen | grep -q "^> "'
else
    echo "skip - terminal_gets_a_prompt: no script(1)"
fi
