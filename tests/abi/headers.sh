#!/usr/bin/env bash
# The installed headers compile alone as C11, C17 and C++17 without a warning, no struct of theirs has tail padding, and the
# shared library exports what framework/library/symbols lists.
set -u
include=framework/include
library=framework/library/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Werror -pedantic -I$include -I$library -fsyntax-only"
failed=0

verdict() { # NAME STATUS
    if [ "$2" -eq 0 ]; then echo "ok - $1"; else echo "not ok - $1" && failed=1; fi
}

headers=$(for folder in $include $library; do (cd $folder && find tessera -name '*.h'); done | sort)
for header in $headers; do
    printf '#include <%s>\ntypedef int not_empty;\n' "$header" >"$work/one.c"
    cp "$work/one.c" "$work/one.cpp"
    name=$(echo "$header" | tr './' '__')
    gcc -std=c11 $strict "$work/one.c" && gcc -std=c17 $strict "$work/one.c" && g++ -std=c++17 $strict "$work/one.cpp"
    verdict "compiles_alone_$name" $?
    if command -v clang >/dev/null; then
        clang -std=c11 $strict "$work/one.c" && clang++ -std=c++17 $strict "$work/one.cpp"
        verdict "compiles_alone_with_clang_$name" $?
    fi
done

# Nothing but the C standard below the ABI: no header outside these.
! (cd $include && grep -hE '^ *# *include' -r tessera) | grep -vE '<std(int|def|arg|io)\.h>|"(\.\./)?[a-z]+\.h"'
! grep -hE '^ *# *include' -r $library | grep -vE '<tessera/[a-z]+\.h>'
verdict "headers_include_only_the_c_standard" $?

gcc -std=c11 $strict tests/abi/layout.c
verdict "no_tail_padding" $?
for struct in $(grep -rhoE '^\} tsr_[a-z_]+|^struct tsr_[a-z_]+ \{' $include $library | grep -oE 'tsr_[a-z_]+'); do
    grep -qE "LAST_MEMBER\((struct )?$struct," tests/abi/layout.c || { echo "$struct is not in tests/abi/layout.c"; false; }
    verdict "layout_is_checked_of_$struct" $?
done

# A name more is a promise nobody made, one less a program that does not start. Builds for sanitizers have no shared library.
shared=${TESSERA_BUILD:-build}/lib/libtessera.so
if [ -e "$shared" ]; then
    nm -D --defined-only "$shared" | awk '{ print $3 }' | LC_ALL=C sort | diff framework/library/symbols -
    verdict "library_exports_what_is_listed" $?
    [ "$(grep -hoE '^TSR_API [^(]*\(' -r $library | grep -oE 'tsr_[a-z_]+\(' | tr -d '(' | LC_ALL=C sort)" = "$(cat framework/library/symbols)" ]
    verdict "library_exports_what_is_declared" $?
    sed -n 's/^ \(tsr_[a-z_]*\)@.*/\1/p' debian/libtessera0.symbols | diff framework/library/symbols -
    verdict "debian_knows_the_same_symbols" $?
    nm -g --defined-only "${shared%.so}.a" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort | diff framework/library/symbols -
    verdict "archive_exports_the_same" $?
    readelf -d "$shared" | grep -q "SONAME.*\[libtessera.so.$(sed -n 's/.*TSR_LIBRARY_ABI //p' $library/tessera/tessera.h)\]"
    verdict "soname_has_the_library_abi" $?
fi
exit $failed
