#!/usr/bin/env bash
# What tessera.h offers the program does through it: no command opens a checkpoint, starts workers, loads plugins or runs one
# of the library's jobs by itself.
source "$(dirname "$0")/lib"

violations() {
    code_of $(find framework/cli -name '*.[ch]' | sort) |
        grep -E '(^|[^A-Za-z0-9_])(job_(inspect|verify|compress|decompress)|pool_create|registry_(create|default_folders)|(checkpoint|stored|reader)_open) *\('
}

check_tree the_program_calls_the_library
check_kill a_second_way_is_found \
    "echo 'static void planted(void) { (void)job_verify(0, 0, 0, 0, 0); }' >>framework/cli/cmd_verify.c"
