/* SPDX-License-Identifier: Apache-2.0
 *
 * Text from a model: tokens go in, the key/value cache grows, tokens are chosen and come out as whole characters, until
 * an end token, a stop text or a limit. Knows nothing of prompts' formats or of terminals. */
#ifndef MODEL_GENERATE_H
#define MODEL_GENERATE_H

#include "model_open.h"
#include "sample.h"

#include <tokenizer/tokenizer.h>

/* Gets text that is final: whole characters, nothing of a stop text. */
typedef tsr_status (*generate_sink)(void *ctx, const char *text, size_t length, tsr_error *err);

struct generate_options {
    struct sampling sampling;
    uint64_t max_tokens;      /* of one answer */
    uint64_t min_tokens;      /* so many are chosen before an end token may be */
    const char *const *stops; /* texts that end an answer and are not part of it */
    uint64_t stop_count;
    const uint32_t *ends;     /* tokens that do */
    uint64_t end_count;
};

enum generate_end { GENERATE_LENGTH, GENERATE_END_TOKEN, GENERATE_STOP_TEXT, GENERATE_CONTEXT };

/* An answer. Zero-initialise; clear with answer_clear. */
struct answer {
    struct token_ids tokens; /* an end token that was chosen is not among them, nor does the cache ever see it */
    struct str text;
    enum generate_end end;
    uint64_t prompt_tokens; /* read for this answer */
    double prompt_seconds, seconds;
};
void answer_clear(struct answer *answer);

/* One conversation. Zero-initialise; close in any case; model, tokenizer and options must outlive it. [instance] */
struct generator {
    struct open_model *model;
    const struct tokenizer *tokenizer;
    const struct generate_options *options;
    struct sampler sampler;
    void *sequence;
    uint64_t capacity, length; /* tokens that the cache holds, and those in it */
    float *logits;             /* [vocabulary] after the newest token */
    struct token_ids pending;  /* chosen, but not run yet */
};

/* `capacity` tokens at most. TSR_E_INPUT when the tokenizer has ids that the embedding has no row for. */
tsr_status generator_open(struct generator *generator, struct open_model *model, const struct tokenizer *tokenizer,
                          const struct generate_options *options, uint64_t capacity, tsr_error *err);
void generator_close(struct generator *generator);
/* Forgets the text; the random numbers go on. */
tsr_status generator_reset(struct generator *generator, tsr_error *err);
bool generator_used(const struct generator *generator); /* there is a text to go on from */

/* Reads a prompt behind what is there and answers it. TSR_E_LIMIT, with nothing changed, when the prompt does not fit.
 * After TSR_E_CANCELLED the answer holds what had been said, all of which the sink got; the generator needs a reset. */
tsr_status generator_answer(struct generator *generator, const uint32_t *prompt, uint64_t count, generate_sink sink,
                            void *ctx, struct answer *answer, tsr_error *err);

/* ---- stop texts ---- */

/* Text on its way out; what may be the beginning of a stop text waits. Zero-initialise; str_clear(&held). */
struct stop_filter {
    const char *const *stops;
    uint64_t stop_count;
    struct str held;
    bool stopped;
};
/* Adds a piece; everything up to the first stop text goes out, also what was held. After a stop nothing does. */
tsr_status stop_filter_add(struct stop_filter *filter, const char *text, size_t length, struct str *out, tsr_error *err);
/* The text is over: what was held goes out. */
tsr_status stop_filter_end(struct stop_filter *filter, struct str *out, tsr_error *err);

#endif
