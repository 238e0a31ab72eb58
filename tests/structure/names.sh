#!/usr/bin/env bash
# No two sources of framework, plugins and models define one external name: test programs link them all, and the linker
# would take either one without a word. Reads the objects of the build that is tested.
objects=${TESSERA_BUILD:-build}/obj

# Lines "object.o: address type name" of objects that have a source.
defined() {
    local source object
    for source in framework/*/*.c; do echo "$objects/${source%.c}.o"; done >"$list"
    for source in plugins/*/*.c models/*/*.c; do echo "$objects/builtin/${source%.c}.o"; done >>"$list"
    while read -r object; do [ -f "$object" ] && echo "$object"; done <"$list" | xargs nm -A --defined-only
}

twice() { awk '$2 ~ /^[TDRBCV]$/ { if ($3 in seen) print $3 ": " seen[$3] " and " $1; seen[$3] = $1 }'; }

list=$(mktemp)
trap 'rm -f "$list"' EXIT
found=$(defined | twice)
if [ -z "$found" ] && [ "$(defined | wc -l)" -gt 500 ]; then
    echo "ok - external_names_are_defined_once"
else
    echo "$found"
    echo "not ok - external_names_are_defined_once"
fi
if (defined; echo "planted.o:00000000 T str_add") | twice | grep -q '^str_add: '; then
    echo "ok - a_name_defined_twice_is_found"
else
    echo "not ok - a_name_defined_twice_is_found"
fi
