/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading side of docs/stats.md: statistics of one model's inputs, for who encodes its weights. */
#ifndef MEASURE_CALIBRATE_READ_H
#define MEASURE_CALIBRATE_READ_H

#include <base/digest.h>
#include <format/safetensors.h>

#define STATS_VERSION "0.1"
#define STATS_KEY_VERSION "tessera_stats"
#define STATS_KEY_MODEL "model"
#define STATS_KEY_TEXT "text"
#define STATS_KEY_TOKENS "tokens"
#define STATS_KEY_FISHER_TOKENS "fisher_tokens"
#define STATS_KEY_FISHER_SEED "fisher_seed"
#define STATS_KEY_FISHER_MISSING "fisher_missing"
#define STATS_KEY_PROPAGATED "propagated"
#define STATS_KEY_WINDOW "window"
#define STATS_KEY_NORMALISATION "normalisation"
#define STATS_NORMALISATION "mean over tokens"
#define STATS_MOMENT ".input_moment"
#define STATS_DIAGONAL ".input_moment_diag"
#define STATS_TOKENS ".input_tokens"
#define STATS_FISHER ".output_fisher"
#define STATS_FISHER_TOKENS ".fisher_tokens"
#define STATS_LOOKUP ".lookup_fisher"

/* Zero-initialise; calibrate_close in any case. */
struct calibration {
    struct safetensors st;
    struct digest model, text;
    uint64_t tokens; /* of the text */
    uint64_t fisher_tokens; /* of the part that was read backwards; at least 1 */
};

/* Of one weight. */
struct calibration_input {
    uint64_t columns;
    uint64_t tokens; /* that came in: fewer than all for an expert */
    const struct safetensors_entry *moment; /* [columns][columns], or NULL when only the diagonal is kept */
    const struct safetensors_entry *diagonal;
};

/* TSR_E_INPUT when the file is none, TSR_E_CONFIG when it is of a model other than `model` (NULL: any). */
tsr_status calibrate_open(const char *path, const struct digest *model, struct calibration *calibration,
                          tsr_error *err);
void calibrate_close(struct calibration *calibration);

/* Statistics of the weight `name` with `columns` inputs. *found is false when there are none; shapes are checked. */
tsr_status calibrate_find(const struct calibration *calibration, const char *name, uint64_t columns,
                          struct calibration_input *input, bool *found, tsr_error *err);
/* Fisher values NAME SUFFIX (STATS_FISHER, STATS_LOOKUP) of `rows` outputs. *found is false when there are none. */
tsr_status calibrate_read_fisher(const struct calibration *calibration, const char *name, const char *suffix,
                                 uint64_t rows, float *fisher, bool *found, tsr_error *err);
/* Share of the tokens that passed the weight `name` on the way back: 1 but for experts. */
tsr_status calibrate_fisher_share(const struct calibration *calibration, const char *name, double *share, tsr_error *err);
/* Of the matrix as it is stored. [any] */
tsr_status calibrate_digest_moment(const struct calibration *calibration, const struct calibration_input *input,
                                   struct digest *digest, tsr_error *err);
/* Copies [columns][columns] or [columns] values. [any] */
tsr_status calibrate_read_moment(const struct calibration *calibration, const struct calibration_input *input,
                                 float *moment, tsr_error *err);
tsr_status calibrate_read_diagonal(const struct calibration *calibration, const struct calibration_input *input,
                                   float *diagonal, tsr_error *err);

#endif
