#!/usr/bin/env bash
# Five powers, one owner each: memory base/alloc.c, files open for writing base/fs*.c, threads base/pool.c, dlopen
# plugin/loader.c, printing and exiting cli/.
source "$(dirname "$0")/lib"

banned() { # owner-pattern what calls
    code_of $(find framework plugins models -name '*.[ch]' 2>/dev/null | sort | grep -vE "$1") |
        grep -E "(^|[^A-Za-z0-9_.>])($3) *\(" | grep -vE '(>|\.)(alloc|free)\(|^[^:]*include/tessera/host.h' | sed "s|^|$2: |"
}

violations() {
    banned '^framework/base/alloc\.c$' memory \
        'malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|strndup|asprintf|getline'
    banned '^framework/base/fs[a-z_]*\.c$' files \
        'fopen|fdopen|freopen|creat|openat|mkstemp|mkdir|rename|unlink|unlinkat|ftruncate|pwrite|fsync|fwrite'
    banned '^framework/base/fs[a-z_]*\.c$' files 'open[^)]*(O_WRONLY|O_RDWR|O_CREAT)[^)]*\)|open_write'
    banned '^framework/base/pool\.c$' threads 'pthread_create|thrd_create'
    banned '^framework/plugin/loader\.c$' dlopen 'dlopen|dlsym|dlmopen'
    banned '^framework/cli/' printing 'printf|puts|putchar|perror|vprintf|fprintf|vfprintf|exit|_exit|abort|quick_exit'
}

check_tree each_power_has_one_owner
for plant in 'malloc(1)' 'fopen("x", "w")' 'pthread_create(0, 0, 0, 0)' 'dlopen("x", 2)' 'printf("x")' 'exit(1)'; do
    check_kill "a_second_owner_of_${plant%%(*}_is_found" \
        "echo 'static void planted(void) { (void)$plant; }' >>framework/policy/metric.c"
done
