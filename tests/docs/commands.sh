#!/usr/bin/env bash
# Every command of the pages for people is run as it stands, block by block, in a folder with ./my-model (the bundled model) and
# eval.txt, as the tutorial says. What a page says cannot be run here is listed.
set -u
root=$PWD
build=$root/${TESSERA_BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=$build/bin:$PATH

prepare() { # folder
    mkdir "$1"
    cp -r demo/stories-1m "$1/my-model"
    cp demo/text/stories.txt "$1/eval.txt"
    ln -s "$root/configs" "$1/configs"
}

run_block() { # page line folder: commands in $folder/.commands
    if (cd "$3" && bash -eu .commands) >"$work/said" 2>&1 </dev/null; then
        echo "ok - $1:$2"
    else
        sed 's/^/  /' "$work/said" | tail -20
        echo "not ok - $1:$2"
    fi
}

run_page() { # page
    local folder number what why line
    folder=$work/$(echo "$1" | tr / _)
    prepare "$folder"
    python3 tests/docs/blocks.py "$1" >"$work/blocks"
    while IFS= read -r line; do
        read -r number what why <<<"$line"
        if [ "$number" = problem ]; then
            echo "  $what $why"
            echo "not ok - commands_of_$1_are_in_blocks"
            continue
        fi
        : >"$folder/.commands"
        while IFS= read -r line && [ "$line" != %% ]; do echo "$line" >>"$folder/.commands"; done
        if [ "$what" = skip ]; then echo "not run - $1:$number: $why"; else run_block "$1" "$number" "$folder"; fi
    done <"$work/blocks"
    rm -rf "$folder"
}

pages="README.md docs/tutorial.md docs/profiles.md docs/report.md docs/bound.md"
for page in $pages; do run_page "$page"; done

check() { if "${@:2}"; then echo "ok - $1"; else echo "not ok - $1"; fi; }
check the_readme_can_be_read_to_its_end [ "$(wc -l <README.md)" -lt 150 ]

# This test sees what it should: a command that fails, and one that hides outside of a block.
printf 'x\n\n```sh\ntessera plan ./no-model\n```\n\n    tessera plan ./my-model\n' >"$work/page.md"
check a_command_that_fails_is_seen eval '[ "$(run_page "$work/page.md" | grep -c "^not ok")" -eq 2 ]'
