#!/usr/bin/env bash
# Completions of bash, zsh and fish, made from the tables of options: tried in the shells themselves where they are installed.
source "$(dirname "$0")/lib"
export PATH=${tool%/*}:$PATH

completes() { # words... : last one is completed; prints the candidates of bash
    bash -c '
        source <(tessera help --completion bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _tessera && echo "${COMPREPLY[*]}"' "$tool" "$@"
}
check bash_command eval '[ "$(completes tessera comp)" = compress ]'
check bash_option eval '[ "$(completes tessera compress --max)" = --max-shard-size ]'
check bash_verb eval '[ "$(completes tessera batch re)" = resume ]'
check bash_leaves_files_to_the_shell eval '[ -z "$(completes tessera compress de)" ]'

commands=$("$tool" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
for shell in bash zsh fish; do
    "$tool" help --completion $shell >"$work/$shell"
    check "${shell}_has_every_command" eval 'for c in $commands; do grep -qw "$c" "$work/$shell" || exit 1; done'
    check "${shell}_hides_what_help_hides" eval '! grep -v "^#" "$work/$shell" | grep -qE -- "(--|-l )(man|completion)\b"'
done
fails_with unknown_shell 1 'none of bash, zsh, fish' "$tool" help --completion csh

if command -v zsh >/dev/null; then
    mkdir "$work/functions"
    cp "$work/zsh" "$work/functions/_tessera"
    check zsh_syntax zsh -n "$work/zsh"
    python3 tests/cli/zsh_complete.py "$work/functions" "tessera comp" "tessera batch can" "tessera decompress --code" >"$work/said"
    printf 'tessera compress\ntessera batch cancel\ntessera decompress --codec-level=\n' >"$work/wanted"
    check zsh_completes diff "$work/wanted" "$work/said"
else
    echo "skip - zsh_completes: zsh is not installed"
fi
if command -v fish >/dev/null; then
    fish -N -c "source $work/fish; complete -C 'tessera comp'; complete -C 'tessera batch re'; complete -C 'tessera decompress --code'" |
        cut -f1 | grep -v / >"$work/said"
    printf 'compress\nresume\n--codec-level\n' >"$work/wanted"
    check fish_completes eval 'grep -qx compress "$work/said" && grep -qx resume "$work/said" && grep -qx -- --codec-level "$work/said"'
else
    echo "skip - fish_completes: fish is not installed"
fi
