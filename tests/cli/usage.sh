#!/usr/bin/env bash
# What is typed wrong is told in one line, with the nearest right name; every command explains itself.
source "$(dirname "$0")/lib"
commands=$("$tool" help --completion bash | sed -n 's/^        \([a-z]*\)) words.*/\1/p')

fails_with no_command 1 'a command is needed' "$tool"
fails_with unknown_command_names_the_nearest 1 'did you mean "compress"' "$tool" compres x
fails_with unknown_command_without_a_near_one 1 'unknown command "zzzzzzzz"$' "$tool" zzzzzzzz
fails_with unknown_option_names_the_nearest 1 'did you mean "--output"' "$tool" compress x --ouput y
fails_with unknown_letter 1 'unknown option "-z"' "$tool" inspect -z x
fails_with option_of_another_command 1 'unknown option "--force"' "$tool" inspect --force x
fails_with missing_operand 1 'inspect needs MODEL' "$tool" inspect
fails_with extra_operand 1 'one operand too many' "$tool" inspect a b
fails_with missing_value 1 'needs CONFIG' "$tool" plan x -c
fails_with value_for_a_switch 1 'takes no value' "$tool" inspect x --json=yes
fails_with missing_required_option 1 'compress needs --output' "$tool" compress x
fails_with zero_jobs 1 '"0" is not a number from 1' "$tool" inspect x -j0
fails_with negative_jobs 1 '"-1" is not a number' "$tool" inspect x --jobs=-1
fails_with jobs_with_text 1 '"2x" is not a number' "$tool" inspect x -j 2x
fails_with bad_size 1 'is not a size' "$tool" plan x --memory 12Q
fails_with size_beyond_64_bits 1 'is not a size' "$tool" plan x --memory 99999999999999999999T
fails_with unknown_plugin_verb 1 'did you mean "list"' "$tool" plugin lst
fails_with plugin_show_needs_a_name 1 'plugin show needs NAME' "$tool" plugin show
fails_with help_of_an_unknown_command 1 'unknown command' "$tool" help nothing
fails_with argument_is_never_a_format 2 '%s%n%s' "$tool" inspect '%s%n%s'
fails_with directions_are_escaped 2 'a\\u202eb\\u2069c\\u2028d„' "$tool" inspect $'a\u202eb\u2069c\u2028d„'
fails_with control_characters_are_escaped 2 'a\\x1b\[31mb\\x0ac' "$tool" inspect $'a\e[31mb\nc'

for command in $commands; do
    check "help_of_$command" eval '"$tool" $command --help | grep -q "^  tessera $command"'
    check "help_command_equals_option_of_$command" cmp -s <("$tool" help "$command") <("$tool" "$command" --help)
    if command -v groff >/dev/null; then
        "$tool" help --man "$command" | groff -man -ww -z 2>"$work/groff"
        check "man_page_of_$command" [ ! -s "$work/groff" ]
    fi
done
check help_is_at_most_100_columns eval '! { for c in $commands; do "$tool" help "$c"; done; } | grep -qE "^.{101}"'
check version eval '[ "$("$tool" --version)" = "tessera $(sed -n "s/.*TSR_VERSION \"\(.*\)\"/\1/p" framework/include/tessera/version.h)" ]'
check double_dash_ends_options eval '"$tool" inspect -- --help 2>&1 | grep -q -- "--help"'
check value_joined_to_its_option eval '"$tool" inspect "$model" -j1 --roles-path=/nowhere >/dev/null'

