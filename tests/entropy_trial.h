/* SPDX-License-Identifier: Apache-2.0
 *
 * What a codec hands to the host's entropy coder, against the empirical entropy of the same symbols in the contexts that
 * the codec gave them: how much its distributions lose. For unit tests, on top of codec_trial.h. */
#ifndef TESTS_ENTROPY_TRIAL_H
#define TESTS_ENTROPY_TRIAL_H

#include "codec_trial.h"

#include <format/dtype.h>
#include <format/safetensors.h>

/* The coder's 32 states take 128 bytes a stream, of which about 32 carry symbols. */
enum { HEARD_CONTEXTS = 64, HEARD_SYMBOLS = 4096, HEARD_STATE_BYTES = 96 };

static struct {
    const tsr_entropy *real;
    tsr_entropy table;
    uint32_t counts[HEARD_CONTEXTS][HEARD_SYMBOLS];
    double bytes, streams;
} heard;

static tsr_status heard_encode(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, void *dst,
                               uint64_t capacity, uint64_t *written, tsr_error *err) {
    for (uint64_t i = 0; i < count; i++) heard.counts[split->contexts ? split->contexts[i] : 0][values[i]]++;
    tsr_status status = heard.real->split_encode(split, values, count, dst, capacity, written, err);
    heard.bytes += (double)*written;
    heard.streams++;
    return status;
}

static const void *(*heard_real_extension)(const tsr_host *host, const char *id);

static const void *heard_extension(const tsr_host *host, const char *id) {
    if (strcmp(id, TSR_ENTROPY_ID) != 0) return heard_real_extension(host, id);
    heard.real = heard_real_extension(host, id);
    heard.table = *heard.real;
    heard.table.split_encode = heard_encode;
    return &heard.table;
}

/* Of symbols in their contexts, in bytes. */
static inline double heard_entropy(void) {
    double bits = 0;
    for (uint32_t c = 0; c < HEARD_CONTEXTS; c++) {
        double total = 0;
        for (uint32_t s = 0; s < HEARD_SYMBOLS; s++) total += heard.counts[c][s];
        for (uint32_t s = 0; s < HEARD_SYMBOLS; s++) {
            if (heard.counts[c][s]) bits += heard.counts[c][s] * log2(total / heard.counts[c][s]);
        }
    }
    return bits / 8;
}

/* Within .5 %, and the states of the coder. */
static inline void trial_takes_its_entropy(struct trial *trial) {
    memset(&heard, 0, sizeof heard);
    heard_real_extension = trial->host.host.get_extension;
    trial->host.host.get_extension = heard_extension;
    CU_ASSERT_EQUAL(trial_run(trial), TSR_OK);
    CU_ASSERT(heard.bytes > 0.99 * heard_entropy());
    CU_ASSERT(heard.bytes < 1.005 * heard_entropy() + HEARD_STATE_BYTES * heard.streams);
    trial->host.host.get_extension = heard_real_extension;
}

/* Columns of five sizes, an octave apart, that all rows have. */
static inline void trial_unequal_columns(struct trial *trial) {
    for (uint64_t i = 0; i < trial->count; i++) trial->x[i] *= exp2f((float)(i % trial->job.tensor.columns % 5));
}

/* Their scales are known to the coder. The trial asks for 4 bits. */
static inline void trial_unequal_columns_cost_what_they_tell(struct trial *trial) {
    trial_fill(trial->x, trial->count, 31);
    CU_ASSERT_EQUAL(trial_run(trial), TSR_OK);
    const double equal = trial_distortion(trial->x, trial->y, trial->count);
    double mean = 0;
    for (int k = 0; k < 5; k++) mean += exp2(2.0 * k) / 5;
    trial_unequal_columns(trial);
    CU_ASSERT_EQUAL(trial_run(trial), TSR_OK);
    /* One step for all: the error is that of the geometric mean, 2^2, at equal bits; three quarters of a bit for less. */
    const double unequal = trial_distortion(trial->x, trial->y, trial->count) * mean / exp2(4);
    CU_ASSERT_DOUBLE_EQUAL(trial_bits(trial), 4, 0.04);
    CU_ASSERT_DOUBLE_EQUAL(unequal / equal, 1, 0.05);
}

/* The largest matrix of the bundled model. */
enum { TRIAL_MODEL_ROWS = 2048, TRIAL_MODEL_COLUMNS = 128 };

static inline void trial_fill_from_model(struct trial *trial) {
    struct safetensors file = {0};
    const struct safetensors_entry *found = NULL;
    CU_ASSERT_EQUAL_FATAL(safetensors_open("demo/stories-1m/model.safetensors", &file, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_map(&file.file, NULL), TSR_OK);
    for (uint64_t i = 0; i < file.count; i++) {
        if (!strcmp(file.entries[i].name, "model.embed_tokens.weight")) found = &file.entries[i];
    }
    CU_ASSERT_FATAL(found && found->shape[0] * found->shape[1] == trial->count);
    dtype_to_f32(found->dtype, file.file.map + found->offset, trial->count, trial->x);
    safetensors_close(&file);
}

/* The codec's own way to begin a trial. */
typedef void trial_opener(struct trial *trial, uint64_t rows, uint64_t columns, double bits);

static inline void trial_gaussian_weights_take_their_entropy(trial_opener *open) {
    for (int unequal = 0; unequal < 2; unequal++) {
        struct trial trial;
        open(&trial, 512, 1024, unequal ? 3 : 4);
        trial_fill(trial.x, trial.count, 30);
        if (unequal) trial_unequal_columns(&trial);
        trial_takes_its_entropy(&trial);
        trial_end(&trial);
    }
}

static inline void trial_weights_of_a_model_take_their_entropy(trial_opener *open) {
    for (double bits = 2; bits <= 6; bits += 2) {
        struct trial trial;
        open(&trial, TRIAL_MODEL_ROWS, TRIAL_MODEL_COLUMNS, bits);
        trial_fill_from_model(&trial);
        trial_takes_its_entropy(&trial);
        trial_end(&trial);
    }
}

#endif
