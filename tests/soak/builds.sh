#!/usr/bin/env bash
# Other compilers, levels of optimisation and machines: each build decodes the golden files to their bytes and writes, from the
# bundled model, the very bytes that the build under test writes. BUILDS="gcc-O0 aarch64" runs these alone. aarch64 runs under qemu-user,
# against libraries that contrib/aarch64 fetches.
build=$PWD/${TESSERA_BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=demo/stories-1m

check() { # name command...
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then echo "ok - $name"; else tail -20 "$work/log" && echo "not ok - $name"; fi
}

golden() { # build folder
    TESSERA_BUILD=$1 tests/golden/golden.sh >"$work/golden" 2>&1
    grep '^not ok' "$work/golden"
    grep -q '^ok' "$work/golden" && ! grep -q '^not ok' "$work/golden"
}

for profile in lossless balanced; do "$build/bin/tessera" compress "$model" -c $profile -o "$work/expected-$profile" -q || exit 1; done
same_bytes() { # program name
    local profile
    for profile in lossless balanced; do
        "$1" compress "$model" -c $profile -o "$work/$2-$profile" -q || return 1
        cmp "$work/$2-$profile/model.safetensors" "$work/expected-$profile/model.safetensors" || return 1
    done
}

variant() { # name make-variables...
    local name=$1 folder=$work/$1
    shift
    [ -n "${BUILDS:-}" ] && [[ " $BUILDS " != *" $name "* ]] && return
    check "builds_with_$name" make -s -j"$(nproc)" B="$folder" "$@" all
    check "golden_files_with_$name" golden "$folder"
    check "same_bytes_with_$name" same_bytes "$folder/bin/tessera" "$name"
    rm -rf "$folder"
}

# A tree like a build, whose program runs the other machine's.
foreign() {
    [ -n "${BUILDS:-}" ] && [[ " $BUILDS " != *" aarch64 "* ]] && return
    local variables folder=$work/aarch64 tree=$work/run-aarch64
    if ! command -v qemu-aarch64 >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null ||
        ! variables=$(contrib/aarch64 "$work/arm64" 2>"$work/log"); then
        echo "skip - builds_for_aarch64: needs qemu-user, gcc-aarch64-linux-gnu and a Debian archive"
        return
    fi
    mapfile -t variables <<<"$variables"
    check builds_for_aarch64 env PKG_CONFIG_SYSROOT_DIR="$work/arm64/root" "${variables[@]}" make -s -j"$(nproc)" -e B="$folder" all
    mkdir -p "$tree/bin"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$work/arm64/run" "$folder/bin/tessera" >"$tree/bin/tessera"
    chmod +x "$tree/bin/tessera"
    check golden_files_on_aarch64 golden "$tree"
    check same_bytes_on_aarch64 same_bytes "$tree/bin/tessera" aarch64
}

for level in 0 1 3; do variant "gcc-O$level" CC="${CC:-gcc}" CFLAGS="-O$level"; done
for level in 0 1 2 3; do variant "clang-O$level" CC="${CLANG:-clang}" CFLAGS="-O$level"; done
variant no-sndfile CC="${CC:-gcc}" SNDFILE=
foreign
