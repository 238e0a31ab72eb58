/* SPDX-License-Identifier: Apache-2.0
 *
 * The chain gate's measurement: the hidden state behind every layer of two models on the same text. Shows the layer where
 * an approximation breaks, which scores at the end cannot. */
#ifndef MEASURE_CHAIN_H
#define MEASURE_CHAIN_H

#include "parity.h"

#include <model/model_open.h>

/* One layer over all tokens; 0 is the embedding, layers + 1 the final hidden state. */
struct chain_layer {
    double mean_cosine;    /* over tokens */
    double worst_cosine;
    double relative_error; /* squared norms: ||a-b||^2 / ||a||^2 over all tokens */
};

struct chain_result {
    uint64_t count; /* layers + 2 */
    uint64_t tokens;
    struct chain_layer *layers;
};

/* Runs the first `tokens` of the text in one window. Clear in any case. */
tsr_status chain_run(struct open_model *reference, struct open_model *other, const struct token_run *text, uint64_t tokens,
                     struct chain_result *result, tsr_error *err);
void chain_clear(struct chain_result *result);

#endif
