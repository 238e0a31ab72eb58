/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for the fuzzer: runs a target once on each file of the folders it is given, and on the empty input. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define INPUT_MAX (1 << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *folder, const char *name, uint8_t *input) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    struct stat info;
    if (stat(path, &info) || !S_ISREG(info.st_mode)) return 0;
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    size_t size = fread(input, 1, INPUT_MAX, file);
    (void)fclose(file);
    /* A heap block of the exact size, so that a sanitizer sees a read behind the end. */
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) return 0;
    for (size_t i = 0; i < size; i++) exact[i] = input[i];
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

int main(int argc, char **argv) {
    static uint8_t input[INPUT_MAX];
    int count = 0;
    (void)LLVMFuzzerTestOneInput(input, 0);
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) continue;
        for (struct dirent *entry; (entry = readdir(folder));) count += replay(argv[i], entry->d_name, input);
        closedir(folder);
    }
    printf("%d inputs\n", count);
    return 0;
}
