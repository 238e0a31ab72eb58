/* SPDX-License-Identifier: Apache-2.0
 *
 * usage: tensors MODEL. Lists a checkpoint, raw or compressed, with the mean of each tensor's first row.
 *   cc tensors.c $(pkg-config --cflags --libs tessera) -o tensors */
#include <stdio.h>
#include <stdlib.h>
#include <tessera/tessera.h>

int main(int argc, char **argv) {
    tsr_library *library = NULL;
    tsr_checkpoint *checkpoint = NULL;
    tsr_error err = {0};
    if (argc != 2) return 1;
    tsr_status st = tsr_library_create(NULL, &library, &err);
    if (!st) st = tsr_checkpoint_open(library, argv[1], &checkpoint, &err);
    for (uint64_t i = 0; !st && i < tsr_checkpoint_count(checkpoint); i++) {
        tsr_tensor_info info = {.struct_size = sizeof info};
        st = tsr_checkpoint_tensor(checkpoint, i, &info, &err);
        if (st || !info.f32_bytes) continue;
        uint64_t columns = info.f32_bytes / info.rows / sizeof(float);
        float *row = malloc(columns * sizeof *row);
        tsr_read read = {.struct_size = sizeof read, .tensor = i, .row_count = 1, .dst = row,
                         .dst_bytes = columns * sizeof *row, .form = TSR_FORM_F32};
        st = tsr_checkpoint_read(checkpoint, &read, 1, &err);
        double sum = 0;
        for (uint64_t c = 0; !st && c < columns; c++) sum += row[c];
        if (!st) printf("%-60s %-5s %g\n", info.name, info.dtype_name, sum / (double)columns);
        free(row);
    }
    if (st) fprintf(stderr, "%s\n", err.message);
    tsr_checkpoint_close(checkpoint);
    tsr_library_destroy(library);
    return st ? 1 : 0;
}
