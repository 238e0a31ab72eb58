#!/usr/bin/env bash
# `make install` into an empty prefix gives a program that runs from there; `make uninstall` leaves nothing of it and
# everything else.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$PWD/demo/stories-1m
check() { # name command...
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; fi
}
quiet_make() { make --no-print-directory -s CONFIG="${config:-release}" PREFIX="$work/prefix" DESTDIR= "$@" >"$work/log" 2>&1 || { cat "$work/log"; false; }; }

mkdir -p "$work/prefix/lib/tessera" "$work/prefix/bin"
echo mine >"$work/prefix/lib/tessera/mine.txt"
check install quiet_make install
tool=$work/prefix/bin/tessera
cd "$work" || exit 1
check installed_program_compresses env -i "$tool" compress "$model" -o "$work/out" -q
check installed_program_verifies env -i "$tool" verify "$work/out" -q
check installed_profile_is_found eval 'env -i "$tool" plan "$model" -c lossless >/dev/null'
check installed_plugins_are_its_own eval 'env -i "$tool" plugin list --json | grep -q "$work/prefix/lib/tessera/"'
check man_pages [ -s "$work/prefix/share/man/man1/tessera-compress.1" ]
check completions [ -s "$work/prefix/share/bash-completion/completions/tessera" ]
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig
check pkg_config_finds_the_headers eval 'echo "#include <tessera/plugin.h>" |
    gcc -x c -std=c11 -fsyntax-only $(pkg-config --cflags tessera) -'
check pkg_config_names_the_plugin_folder [ "$(pkg-config --variable=plugindir tessera)" = "$work/prefix/lib/tessera" ]

# Debian's packages together take every file: what a new kind of file needs is seen here, not when packages are built.
untaken() { # [list of files]
    python3 - "$OLDPWD/debian" "${1:-$work/prefix/share/tessera/installed-files}" <<'END'
import fnmatch, glob, sys
patterns = [line.split()[0] for name in glob.glob(sys.argv[1] + "/*.install") + [sys.argv[1] + "/not-installed"] for line in open(name) if line.strip()]
for line in open(sys.argv[2]):
    path = "usr/" + line.strip().replace("lib/", "lib/x86_64-linux-gnu/", 1) if line.startswith("lib/") else "usr/" + line.strip()
    parts = path.split("/")
    if not path.endswith("/") and not any(fnmatch.fnmatch("/".join(parts[:i]), p) for p in patterns for i in range(1, len(parts) + 1)):
        print(path)
END
}
check debian_packages_take_every_file [ -z "$(untaken)" ]
check a_file_that_none_takes_is_seen eval '[ "$(untaken <(echo share/nowhere/x))" = usr/share/nowhere/x ]'

# The example, with what was installed and nothing else; the prefix can be moved.
example=$OLDPWD/contrib/example
strict="-std=c11 -Wall -Wextra -Wconversion -Werror -pedantic"
check example_builds gcc $strict "$example/tensors.c" $(pkg-config --cflags --libs tessera) -o "$work/tensors"
LD_LIBRARY_PATH=$work/prefix/lib "$work/tensors" "$model" >"$work/raw"
check example_lists_tensors [ "$(wc -l <"$work/raw")" -eq 46 ]
check example_reads_compressed_ones eval 'LD_LIBRARY_PATH="$work/prefix/lib" "$work/tensors" "$work/out" | cmp - "$work/raw"'
check example_says_what_is_wrong eval '! LD_LIBRARY_PATH="$work/prefix/lib" "$work/tensors" "$work/nowhere" 2>"$work/err" && grep -q nowhere "$work/err"'
printf '#include <tessera/tessera.h>\nint main() { return tsr_version()[0] == 0; }\n' >"$work/version.cpp"
check cpp_links_the_library g++ -std=c++17 "$work/version.cpp" $(pkg-config --cflags --libs tessera) -o "$work/version"
link_static() { gcc $strict "$example/tensors.c" $(pkg-config --cflags tessera) "$work/prefix/lib/libtessera.a" $(pkg-config --libs --static tessera | sed 's/-ltessera//') -o "$work/prefix/bin/tensors"; }
check example_links_statically link_static
check static_example_finds_its_plugins eval 'env -i "$work/prefix/bin/tensors" "$work/out" | cmp - "$work/raw"'
if command -v cmake >/dev/null; then
    with_cmake() { cmake -S "$example" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" && cmake --build "$work/cmake"; } >"$work/log" 2>&1
    check cmake_finds_the_package with_cmake
    check cmake_example_runs eval '"$work/cmake/tensors" "$work/out" | cmp - "$work/raw"'
else
    echo "skip - cmake_finds_the_package: there is no cmake here"
fi
rm -f "$work/prefix/bin/tensors"
cd "$OLDPWD" || exit 1
check installing_again_is_fine quiet_make install
check uninstall quiet_make uninstall
check nothing_is_left [ "$(cd "$work/prefix" && find . -mindepth 1 | sort | tr '\n' ' ')" = \
    "./bin ./lib ./lib/tessera ./lib/tessera/mine.txt " ]
check second_uninstall_says_so eval '! make -s PREFIX="$work/prefix" uninstall 2>/dev/null >&2'

# A prefix with a space, a careful umask, and an installation that breaks off.
spaced="$work/pre fix"
install_in() { (umask 077; PREFIX="$1" DESTDIR= VERSION=1 TESSERA_BUILD=${TESSERA_BUILD:-build} contrib/install install >"$work/log" 2>&1); }
check prefix_with_a_space install_in "$spaced"
export PKG_CONFIG_PATH="$spaced/lib/pkgconfig"
check pkg_config_quotes_the_space eval 'echo "#include <tessera/plugin.h>" | eval gcc -x c -std=c11 -fsyntax-only $(pkg-config --cflags tessera) -'
check others_may_read_it eval '[ -z "$(find "$spaced" ! -perm -444)" ]'
PREFIX="$spaced" DESTDIR= contrib/install uninstall >"$work/log"
check nothing_is_left_of_the_space [ -z "$(ls -A "$spaced")" ]
mkdir -p "$work/broken/include"
echo "in the way" >"$work/broken/include/tessera"
check installing_over_a_file_breaks_off eval '! install_in "$work/broken"'
check what_broke_off_is_uninstalled eval 'PREFIX="$work/broken" DESTDIR= contrib/install uninstall >"$work/log" 2>&1'
check nothing_is_left_of_it [ "$(cd "$work/broken" && find . -mindepth 1 | sort | tr '\n' ' ')" = "./include ./include/tessera " ]

# A build folder in which a plugin was built that is no longer there: make removes that file, and no other.
old=$work/old/lib/tessera
mkdir -p "$old"
touch "$old/tessera-codec-gone.so" "$old/tessera-model-gone.so" "$old/tessera-codec-passthrough.so" "$old/mine.so"
check make_sees_stale_plugins eval 'make -n B="$work/old" all 2>&1 | grep -q "^rm -f .*/tessera-codec-gone.so"'
make -s B="$work/old" remove-stale >/dev/null 2>&1
check stale_plugins_are_removed [ "$(cd "$old" && LC_ALL=C ls | tr '\n' ' ')" = "mine.so tessera-codec-passthrough.so " ]
