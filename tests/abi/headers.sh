#!/usr/bin/env bash
# The installed headers compile alone as C11, C17 and C++17 without a warning, and no ABI struct has tail padding.
set -u
include=framework/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Werror -pedantic -I$include -fsyntax-only"
failed=0

verdict() { # NAME STATUS
    if [ "$2" -eq 0 ]; then echo "ok - $1"; else echo "not ok - $1" && failed=1; fi
}

headers=$(cd $include && find tessera -name '*.h' | sort)
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
verdict "headers_include_only_the_c_standard" $?

gcc -std=c11 $strict tests/abi/layout.c
verdict "no_tail_padding" $?
for struct in $(grep -rhoE '^\} tsr_[a-z_]+|^struct tsr_[a-z_]+ \{' $include | grep -oE 'tsr_[a-z_]+'); do
    grep -qE "LAST_MEMBER\((struct )?$struct," tests/abi/layout.c || { echo "$struct is not in tests/abi/layout.c"; false; }
    verdict "layout_is_checked_of_$struct" $?
done
exit $failed
