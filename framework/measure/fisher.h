/* SPDX-License-Identifier: Apache-2.0
 *
 * The Fisher diagonal of what leaves each of a model's matrices, and of looked-up rows, for labels drawn from the model
 * itself (docs/stats.md), by the model's reverse pass (tessera/ext/reverse.h). */
#ifndef MEASURE_FISHER_H
#define MEASURE_FISHER_H

#include "parity.h"

#include <model/model_open.h>

struct fisher_layers;

/* Of one tensor of the checkpoint: sums, not means. */
struct fisher_sums {
    uint64_t rows, tokens;
    double *squares; /* [rows] by outputs, or NULL */
    uint64_t table_rows;
    double *look_ups; /* [table_rows] of the mean square of a row, or NULL */
};

struct fisher {
    struct fisher_sums *sums; /* [count] */
    uint64_t count;
};

struct fisher_options {
    uint64_t window; /* tokens */
    uint64_t tokens; /* wanted: whole windows spread over the text, rounded up; all of them at most */
    uint64_t seed;   /* of the labels */
};

/* TSR_OK, or TSR_E_UNSUPPORTED and what has no reverse pass. */
tsr_status fisher_check(const struct open_model *model, tsr_error *err);
/* Tokens of the windows that fisher_gather reads. [any] */
uint64_t fisher_tokens(const struct fisher_options *options, uint64_t text_tokens);
/* Windows that are read backwards, and where number i of them begins and how long it is: an even spread. [any] */
uint64_t fisher_windows(const struct fisher_options *options, uint64_t text_tokens);
uint64_t fisher_window(const struct fisher_options *options, uint64_t text_tokens, uint64_t i, uint64_t *count);
/* The label of the token at `position` of the text: drawn from softmax(logits) by a number that depends on seed and
 * position alone. weights [vocabulary] is scratch and gets exp(logit - largest), *sum their sum. [any] */
uint64_t fisher_label(const float *logits, uint64_t vocabulary, uint64_t seed, uint64_t position, double *weights, double *sum);
/* Zero-initialise `fisher`; fisher_clear in any case. TSR_E_INPUT names the tensor behind which a gradient is not finite.
 * `layers`, open for the same text and options, goes layer by layer; NULL: window by window. The sums depend neither on
 * that nor on the number of workers. */
tsr_status fisher_gather(struct open_model *model, const struct token_run *text, const struct fisher_options *options,
                         struct fisher_layers *layers, const struct env *env, struct fisher *fisher, tsr_error *err);
void fisher_clear(struct fisher *fisher);

#endif
