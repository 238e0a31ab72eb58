/* SPDX-License-Identifier: Apache-2.0
 *
 * Golden tensors in memory, each with how well what was computed agrees so far. */
#ifndef MEASURE_SPEECH_GOLDEN_H
#define MEASURE_SPEECH_GOLDEN_H

#include <format/safetensors.h>
#include <stdbool.h>

/* One tensor; I32 are numbers too. */
struct golden_tensor {
    const struct safetensors_entry *entry;
    float *values;
    uint64_t count;
    bool exact;     /* ids and codes */
    bool is_input;  /* not for comparing */
    uint64_t seen;  /* values compared */
    uint64_t wrong; /* unequal ones, exact */
    double largest, worst;           /* of the reference; of the differences */
    double dot, norm_ours, norm_golden;
};

struct golden_file {
    struct safetensors st;
    struct golden_tensor *tensors; /* [st.count], in the order of st.entries */
};

/* TSR_E_INPUT for a tensor that is neither F32 nor I32. Zero-initialise; close in any case. */
tsr_status golden_open(const char *path, struct golden_file *file, tsr_error *err);
void golden_close(struct golden_file *file);
/* "group.name", or NULL. */
struct golden_tensor *golden_find(const struct golden_file *file, const char *group, const char *name);
/* Ids or codes in fresh memory (mem_free). */
tsr_status golden_ids(const struct golden_tensor *tensor, uint32_t **ids, tsr_error *err);
/* Compares rows [first, first + rows) of `columns` values. `turned`: the golden tensor is [columns][rows of the whole]. What
 * lies outside of the golden tensor counts as infinitely wrong. */
void golden_compare(struct golden_tensor *tensor, uint64_t first, const float *values, uint64_t rows, uint64_t columns,
                    bool turned);
double golden_cosine(const struct golden_tensor *tensor);

#endif
