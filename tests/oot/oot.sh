#!/usr/bin/env bash
# A third party's codec: contrib/codec-template is copied out of the tree, built with only what `make install` put into a
# prefix, installed there, checked, and used on a checkpoint.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$PWD/demo/stories-1m
check() { # name command...
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then echo "ok - $name"; else cat "$work/log" && echo "not ok - $name"; fi
}
install_tessera() { make --no-print-directory -s CONFIG="${config:-release}" PREFIX="$work/prefix" DESTDIR= install; }

check install_into_a_prefix install_tessera
cp -r contrib/codec-template "$work/absmax"
cat >"$work/config.yaml" <<END
tessera: 1
roles: auto
rules:
  - {regime: argmax, codec: absmax, params: {bits: 6}}
  - {codec: passthrough}
END
cd "$work/absmax" || exit 1
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig PATH=$work/prefix/bin:$PATH
unset TESSERA_PLUGIN_PATH MAKEFLAGS MAKELEVEL

check template_is_at_most_200_lines [ "$(wc -l <absmax.c)" -le 200 ]
check template_builds_with_installed_headers make -s CFLAGS="-O2 -Wall -Wextra -Wconversion -Werror -pedantic"
check template_exports_one_symbol [ "$(nm -D --defined-only tessera-codec-absmax.so | wc -l)" -eq 1 ]
check template_passes_plugin_check make -s check
check template_installs make -s install
check plugin_show_prints_its_parameter eval 'tessera plugin show absmax | grep -q "^bits "'
check compress_with_it tessera compress "$model" -c "$work/config.yaml" -o "$work/out" -q
check its_id_is_in_the_receipt grep -q org.example.absmax "$work/out/tessera.json"
check output_is_smaller [ "$(stat -c %s "$work/out/model.safetensors")" -lt "$(($(stat -c %s "$model/model.safetensors") * 6 / 10))" ]
check verify tessera verify "$work/out" -q
check decompress tessera decompress "$work/out" -o "$work/back" -q
check sizes_come_back [ "$(stat -c %s "$work/back/model.safetensors")" -eq "$(stat -c %s "$model/model.safetensors")" ]

# Without the plugin the output cannot be decoded, and the message says which one is missing.
rm "$work/prefix/lib/tessera/tessera-codec-absmax.so"
missing_is_named() { ! tessera verify "$work/out" -q 2>"$work/err" && grep -q org.example.absmax "$work/err"; }
check missing_codec_is_named missing_is_named
cp tessera-codec-absmax.so "$work/prefix/lib/tessera/tessera-codec-copy.so"
make -s install
double_is_named() { ! tessera plugin list 2>"$work/err" && grep -q codec-copy.so "$work/err" && grep -q codec-absmax.so "$work/err"; }
check two_of_one_id_are_named double_is_named
