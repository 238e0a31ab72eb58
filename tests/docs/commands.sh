#!/usr/bin/env bash
# Every command of the pages for people is run as it stands, block by block, with an installed Tessera, in a folder of the page's own that
# looks like the source tree and holds beside it
#   my-model, eval.txt, calibration.txt   the bundled model and two texts, as the tutorial says
#   hub/a, hub/b                          more models
#   chat-model                            the bundled model with a chat template
#   hello.wav, Qwen3-TTS-...              speech, and a model that speaks (random weights)
# C examples are compiled, Python examples run. What a page says cannot be run here is listed and counted. PAGES="..." runs these alone.
set -u
root=$PWD
build=$root/${TESSERA_BUILD:-build}
# Publishing syncs often; a container's memory disk may be too small.
[ -w /dev/shm ] && [ "$(df --output=avail /dev/shm | tail -1)" -gt 500000 ] && export TMPDIR=/dev/shm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset MAKEFLAGS MAKELEVEL TESSERA_PLUGIN_PATH
export LD_LIBRARY_PATH= PATH=$work/prefix/bin:$PATH PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig
check() { if "${@:2}"; then echo "ok - $1"; else echo "not ok - $1"; fi; }

# What the pages are about; results, attempts and decisions tell what was done once.
all_pages=$(find . -name '*.md' -not -path './build/*' -not -path './.*' | grep -vE '^./docs/(results|attempts|decisions)/|CHANGELOG' | sed 's|^./||' | sort)

install_into() { # prefix
    make --no-print-directory -s CONFIG=release PREFIX="$1" DESTDIR= install >"$work/install" 2>&1 || { cat "$work/install"; false; }
}

prepare() { # folder page
    local entry speech="$1/Qwen3-TTS-12Hz-0.6B-CustomVoice"
    mkdir -p "$1/hub" "$1/.home"
    for entry in *; do ln -s "$root/$entry" "$1/$entry"; done
    for entry in my-model hub/a hub/b chat-model; do cp -r demo/stories-1m "$1/$entry"; done
    python3 -c 'import json, sys; sys.stdout.write(json.load(open("tests/data/chat/zephyr.json"))["template"])' \
        >"$1/chat-model/chat_template.jinja"
    head -c 60000 demo/text/stories.txt >"$1/calibration.txt"
    tail -c +60001 demo/text/stories.txt >"$1/eval.txt"
    cp -r tests/data/qwen3-tts/a "$speech"
    sed -i 's/"tiny"/"vivian"/' "$speech/config.json"
    # A page that installs has an installation of its own.
    grep -q '^make .*install' "$2" && HOME=$1/.home PREFIX=$1/.home/.local install_into "$1/.home/.local"
}

# Runs what stands in $folder/.block.
run_block() { # kind folder
    local prefix=$work/prefix
    [ -d "$2/.home/.local" ] && prefix=$2/.home/.local
    export HOME=$2/.home PATH=$prefix/bin:$PATH PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    cd "$2" || return
    case $1 in
    run) LD_LIBRARY_PATH=$prefix/lib bash -eu .block ;;
    c) gcc -x c -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only $(pkg-config --cflags tessera) .block ;;
    python) TESSERA_LIBRARY=$prefix/lib/libtessera.so PYTHONPATH=$root/contrib/python PYTHONDONTWRITEBYTECODE=1 python3 .block ;;
    esac
}

run_page() { # page
    local folder number kind why line
    folder=$work/page/$(echo "$1" | tr / _)
    mkdir -p "$folder"
    python3 tests/docs/blocks.py "$1" >"$folder/.blocks"
    grep -qE '^[0-9]+ (run|c|python)' "$folder/.blocks" && prepare "$folder" "$1"
    while IFS= read -r line; do
        read -r number kind why <<<"$line"
        if [ "$number" = problem ]; then
            echo "  $kind $why"
            echo "not ok - $kind"
            continue
        fi
        : >"$folder/.block"
        while IFS= read -r line && [ "$line" != %% ]; do echo "$line" >>"$folder/.block"; done
        if [ "$kind" = skip ]; then
            echo "not run - $1:$number: $why"
        elif (run_block "$kind" "$folder") >"$folder/.said" 2>&1 </dev/null; then
            echo "ok - $1:$number"
        else
            sed 's/^/  /' "$folder/.said" | tail -20
            echo "not ok - $1:$number"
        fi
    done <"$folder/.blocks"
    python3 tests/docs/spans.py "$1" "$work/options" && echo "ok - $1_names_options_that_exist" || echo "not ok - $1_names_options_that_exist"
    rm -rf "$folder"
}

check an_installation install_into "$work/prefix"
for command in $(tessera help --completion bash | sed -n 's/^        \([a-z]*\)) words.*/\1/p'); do
    echo "$command $(tessera "$command" --help | grep -oE '^ +(-[a-z], )?(-[A-Za-z], +)?--[a-z0-9-]+' | grep -oE '(--?[A-Za-z0-9-]+)' | tr '\n' ' ')"
done >"$work/options"

number=0
for page in ${PAGES:-$all_pages}; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
    { [ -n "${TIMES:-}" ] && start=$(date +%s%N); run_page "$page" >"$work/$number.log" 2>&1
      [ -z "${TIMES:-}" ] || echo "  $page took $((($(date +%s%N) - start) / 1000000)) ms" >>"$work/$number.log"; } &
    number=$((number + 1))
done
wait
for ((i = 0; i < number; i++)); do cat "$work/$i.log"; done >"$work/all"
cat "$work/all"
echo "blocks that are run, compiled: $(grep -c '^ok - .*:[0-9]*$' "$work/all"); not run: $(grep -c '^not run - ' "$work/all")"
check the_readme_can_be_read_to_its_end [ "$(wc -l <README.md)" -lt 150 ]

# This test sees what it should: a command that fails, one that hides outside of a block, C that does not compile, an option that is not
# there.
printf 'x `tessera plan M --no-option`\n\n```sh\ntessera plan ./no-model\n```\n\n    tessera plan ./my-model\n\n```c\nint f(void) { return x; }\n```\n' >"$work/page.md"
check what_is_wrong_with_a_page_is_seen eval '[ "$(run_page "$work/page.md" | grep -c "^not ok")" -eq 4 ]'
