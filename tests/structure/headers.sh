#!/usr/bin/env bash
# Every header compiles alone; the public ones as C11, C17 and C++17 without a warning.
source "$(dirname "$0")/lib"
cflags="-Iframework/include -Iframework/library/include -Iframework $(pkg-config --cflags yaml-0.1 jansson libxxhash libzstd libpcre2-8)"

# A unit that holds the header and, since C wants a declaration, one more.
compile_alone() { # header compiler flags...
    local header=$1
    shift
    printf '#include "%s"\ntypedef int not_empty;\n' "$PWD/$header" |
        "$@" -fsyntax-only -Wall -Wextra -Werror -Iframework/include -Iframework/library/include - 2>&1 | head -3
}

violations() {
    local header
    find framework/include framework/library/include -name "${only:-*}.h" | sort | while read -r header; do
        compile_alone "$header" gcc -x c -std=c11 -pedantic
        compile_alone "$header" gcc -x c -std=c17 -pedantic
        compile_alone "$header" g++ -x c++ -std=c++17 -pedantic
    done
    [ -n "${only:-}" ] || find framework -name '*.h' -not -path '*/include/*' | sort | while read -r header; do
        compile_alone "$header" gcc -x c -std=c11 -D_POSIX_C_SOURCE=200809L $cflags
    done
}

check_tree headers_compile_alone
only=planted
check_kill a_header_that_needs_another_is_found \
    'printf "#ifndef X_H\n#define X_H\nuint64_t planted(void);\n#endif\n" >framework/include/tessera/planted.h'
