#!/usr/bin/env bash
# What the documents name exists: links and paths in backticks, every key of a config, every declared parameter.
source "$(dirname "$0")/lib"
build=$PWD/${TESSERA_BUILD:-build}

# Relative links and backticked paths that begin with a folder of ours.
missing_files() {
    local document name folder
    for document in $(find . -name '*.md' -not -path './build/*' -not -path './.git/*' | sed 's|^\./||' | sort); do
        folder=$(dirname "$document")
        grep -oE '\]\([^)#: ]+[)#]' "$document" | sed -E 's/^\]\(//; s/[)#]$//' | while read -r name; do
            [ -e "$folder/$name" ] || echo "$document: link to $name, which is not there"
        done
        grep -oE '`(framework|plugins|models|roles|configs|docs|contrib|tests|demo|\.ci)/[A-Za-z0-9_./-]+`' "$document" |
            tr -d '`' | grep -v NAME | while read -r name; do
            [ -e "$name" ] || echo "$document: names $name, which is not there"
        done
    done
}

# Keys that the parser asks for (yaml_get, and the read_number of a request) are in docs/config.md.
unbound_keys() {
    local key
    [ -e docs/config.md ] || return
    cat framework/policy/config*.c | grep -oE '(yaml_get\([a-z_>-]+|read_number\([a-z]+, [a-z]+), "[a-z_]+"' |
        grep -oE '"[a-z_]+"' | tr -d '"' | sort -u | while read -r key; do
        grep -q "\`$key\`" docs/config.md || echo "docs/config.md: config key \"$key\" is not documented"
    done
}

# Every parameter that a codec declares stands in its README.
unbound_parameters() {
    local codec name
    for codec in plugins/*/; do
        codec=$(basename "$codec")
        "$build/bin/tessera" plugin show "$codec" --json 2>/dev/null |
            python3 -c 'import json,sys; print(*[p["name"] for p in json.load(sys.stdin)["params"]], sep="\n")' 2>/dev/null |
            while read -r name; do
                [ -z "$name" ] || grep -q "\`$name\`" "plugins/$codec/README.md" 2>/dev/null ||
                    echo "plugins/$codec/README.md: parameter \"$name\" is not documented"
            done
    done
}

violations() {
    missing_files
    unbound_keys
    unbound_parameters
}

check_tree documents_name_what_exists
check_kill a_dead_link_is_found 'echo "[x](docs/nowhere.md)" >>README.md'
check_kill a_dead_path_is_found 'echo "\`docs/nowhere.md\`" >>README.md'
[ -e docs/config.md ] && check_kill an_undocumented_key_is_found 'sed -i "s/\`codec\`/codec/g" docs/config.md'
if [ -x "$build/bin/tessera" ] && [ -e plugins/passthrough/README.md ]; then
    check_kill an_undocumented_parameter_is_found 'sed -i "/level/d" plugins/passthrough/README.md'
fi
