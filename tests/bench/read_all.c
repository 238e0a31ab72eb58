/* SPDX-License-Identifier: Apache-2.0
 *
 * usage: read_all OUT [f32]. Opens a checkpoint and reads all of its tensors into fresh memory through tessera.h, as they are
 * stored or as F32; prints seconds, and seconds of processors: what bench_python.sh compares Python with. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/tessera.h>
#include <time.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static tsr_status read_all(tsr_checkpoint *checkpoint, int32_t form, tsr_read *reads, uint64_t count, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < count && !st; i++) {
        tsr_tensor_info info = {.struct_size = sizeof info};
        st = tsr_checkpoint_tensor(checkpoint, i, &info, err);
        uint64_t bytes = form == TSR_FORM_F32 ? info.f32_bytes : info.bytes;
        reads[i] = (tsr_read){.struct_size = sizeof reads[i], .tensor = i, .row_count = TSR_ALL_ROWS, .dst = malloc(bytes),
                              .dst_bytes = bytes, .form = form};
    }
    return st ? st : tsr_checkpoint_read(checkpoint, reads, count, err);
}

int main(int argc, char **argv) {
    tsr_library *library = NULL;
    tsr_checkpoint *checkpoint = NULL;
    tsr_read *reads = NULL;
    tsr_error err = {0};
    if (argc < 2) return 1;
    int32_t form = argc > 2 && !strcmp(argv[2], "f32") ? TSR_FORM_F32 : TSR_FORM_SOURCE;
    tsr_status st = tsr_library_create(NULL, &library, &err);
    double begin = now();
    clock_t begin_work = clock();
    if (!st) st = tsr_checkpoint_open(library, argv[1], &checkpoint, &err);
    uint64_t count = st ? 0 : tsr_checkpoint_count(checkpoint);
    if (!st) reads = calloc(count + 1, sizeof *reads);
    if (!st) st = read_all(checkpoint, form, reads, count, &err);
    tsr_checkpoint_close(checkpoint);
    if (!st) printf("%.4f %.4f\n", now() - begin, (double)(clock() - begin_work) / CLOCKS_PER_SEC);
    if (st) fprintf(stderr, "read_all: %s\n", err.message);
    for (uint64_t i = 0; reads && i < count; i++) free(reads[i].dst);
    free(reads);
    tsr_library_destroy(library);
    return st ? 1 : 0;
}
