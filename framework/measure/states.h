/* SPDX-License-Identifier: Apache-2.0
 *
 * What a model keeps of a text between two layers: many floats that are written and read in pieces, in memory where there
 * is room for them, else in a file that ends with them. */
#ifndef MEASURE_STATES_H
#define MEASURE_STATES_H

#include <base/fs.h>

/* Zero-initialise; states_close in any case. */
struct states {
    float *memory; /* or NULL: in the file */
    struct fs_output file;
    struct fs_file view;
};

/* Room for `floats` of them: the file `name` of `folder` if there is one, else memory. */
tsr_status states_open(struct states *states, uint64_t floats, const char *folder, const char *name, tsr_error *err);
/* Removes the file. */
void states_close(struct states *states);
tsr_status states_put(struct states *states, uint64_t at, const float *values, uint64_t count, tsr_error *err);
/* What was put there. */
tsr_status states_get(const struct states *states, uint64_t at, float *values, uint64_t count, tsr_error *err);

#endif
