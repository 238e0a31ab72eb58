#!/usr/bin/env bash
# A file includes only its own floor or lower (framework/library/include is the library's); plugins and models see only <tessera/...>, the C standard and their own
# files; reader and writer of the container never meet.
source "$(dirname "$0")/lib"

violations() {
    find framework plugins models -name '*.[ch]' 2>/dev/null | sort | xargs grep -nE '^ *# *include' | awk '
    BEGIN {
        floor["include"] = 0; floor["base"] = 1; floor["format"] = 2; floor["plugin"] = 3; floor["numeric"] = 3; floor["tokenizer"] = 3
        floor["policy"] = 4; floor["reading"] = 5; floor["model"] = 6; floor["search"] = 6; floor["measure"] = 7
        floor["pipeline"] = 8; floor["batch"] = 9; floor["page"] = 10; floor["library"] = 11; floor["cli"] = 12
        split("assert ctype errno fenv float inttypes limits locale math setjmp signal stdalign stdarg stdatomic stdbool " \
              "stddef stdint stdio stdlib stdnoreturn string time wchar immintrin arm_neon cpuid", list, " ")
        for (i in list) standard[list[i] ".h"] = 1
        # Libraries and the one floor where each is known (POSIX headers are free).
        library["xxhash.h"] = "base"; library["yaml.h"] = "format"; library["zstd.h"] = "format"
        library["dlfcn.h"] = "plugin"; library["pcre2.h"] = "format"; library["utf8proc.h"] = "format"; library["sndfile.h"] = "format"
    }
    {
        split($0, part, ":"); file = part[1]
        match($0, /[<"][^>"]*[>"]/); quoted = substr($0, RSTART, 1) == "\""; name = substr($0, RSTART + 1, RLENGTH - 2)
        n = split(file, path, "/"); top = path[1]; own = path[2]
        public = name ~ /^tessera\// && name != "tessera/tessera.h"
        if (top == "plugins" || top == "models") {
            ok = public || (!quoted && name in standard) || (quoted && name !~ /\//)
            if (!ok) print file ":" part[2] ": includes " name
            next
        }
        # What the library offers stands above everything but the program.
        if (name == "tessera/tessera.h" && own != "library" && own != "cli") print file ":" part[2] ": upward include " name
        if (own == "include") {
            ok = public || (!quoted && name in standard) || (quoted && name !~ /^\.\.\/\.\./)
            if (!ok) print file ":" part[2] ": includes " name
            next
        }
        split(name, target, "/")
        if (!quoted && (target[1] in floor) && name ~ /\//) {
            same_rank_other = floor[target[1]] == floor[own] && target[1] != own && own != "plugin"
            if (floor[target[1]] > floor[own] || same_rank_other) print file ":" part[2] ": upward include " name
            if (own == "plugin" && target[1] == "format" && name != "format/dtype.h")
                print file ":" part[2] ": plugin/ knows no file format but includes " name
        } else if (!quoted && (name in library) && floor[own] < floor[library[name]]) {
            print file ":" part[2] ": includes " name " below " library[name] "/"
        } else if (quoted && name ~ /\//) print file ":" part[2] ": quoted include with a path: " name
        if (file ~ /container_read/ && name ~ /container_write/) print file ":" part[2] ": reader includes writer"
        if (file ~ /container_write/ && name ~ /container_read/) print file ":" part[2] ": writer includes reader"
    }'
}

check_tree includes_go_down_only
check_kill an_upward_include_is_found 'sed -i "1a #include <policy/plan.h>" framework/base/str.c'
check_kill a_job_that_calls_the_library_is_found 'sed -i "1a #include <tessera/tessera.h>" framework/reading/reader.c'
check_kill a_plugin_that_looks_inside_is_found \
    'mkdir -p plugins/x; echo "#include <base/alloc.h>" >plugins/x/x.c'
check_kill a_reader_that_includes_the_writer_is_found \
    'echo "#include \"container_write.h\"" >>framework/format/container_read.h'
