/* SPDX-License-Identifier: Apache-2.0
 *
 * Chooses the next token from logits: greedily, or at random from a seed. Order of the rules: repetition penalty,
 * temperature, top-k, top-p, min-p (that of Hugging Face's generate). The same logits, history and seed give the same
 * token on every run and any number of workers. Knows no model and no text. */
#ifndef MODEL_SAMPLE_H
#define MODEL_SAMPLE_H

#include <base/rng.h>
#include <stdbool.h>
#include <tessera/status.h>

/* A zeroed one is greedy. */
struct sampling {
    double temperature;        /* 0: greedy */
    uint64_t top_k;            /* only the k most probable; 0: all */
    double top_p;              /* the fewest whose probabilities reach p; 0 or 1: all */
    double min_p;              /* those with at least this share of the largest probability; 0: all */
    double repetition_penalty; /* logits of tokens seen are divided (or multiplied, if negative) by it; 0 or 1: none */
    uint64_t seed;
};

struct candidate {
    float logit;
    uint32_t token;
};

/* Zero-initialise; clear in any case. [instance] */
struct sampler {
    struct sampling rules;
    struct rng rng;
    uint64_t vocabulary;
    uint8_t *seen;                /* [vocabulary] */
    struct candidate *candidates; /* [vocabulary] */
    double *weights;              /* [vocabulary] */
};

/* Index of the largest logit, the first among equals; `count` when none is a number. */
uint64_t sample_best(const float *logits, uint64_t count);
/* TSR_E_CONFIG for a rule out of its range. */
tsr_status sampler_init(struct sampler *sampler, const struct sampling *rules, uint64_t vocabulary, tsr_error *err);
void sampler_clear(struct sampler *sampler);
/* A token that stands in the text, be it of the prompt: the penalty counts it. */
void sampler_see(struct sampler *sampler, uint32_t token);
/* Forgets the history; the random numbers go on. */
void sampler_forget(struct sampler *sampler);
/* The next token. `logits` [vocabulary] is changed. TSR_E_INPUT when no logit is a number. */
tsr_status sampler_next(struct sampler *sampler, float *logits, uint32_t *token, tsr_error *err);

#endif
