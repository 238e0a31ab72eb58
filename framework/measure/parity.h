/* SPDX-License-Identifier: Apache-2.0
 *
 * The parity gate's measurement: two models see the same text, teacher-forced, inside one engine, and every position's
 * distribution is compared. Logits stream: those of one chunk of one model are in memory, in F32. Positions are grouped by
 * window, since neighbours are correlated (policy/interval.h). */
#ifndef MEASURE_PARITY_H
#define MEASURE_PARITY_H

#include <model/model_open.h>
#include <policy/gate.h>

#define PARITY_FLIPS 20   /* worst ones that are listed */
#define PARITY_BUCKETS 6  /* by margin of the reference: see parity_bucket_edges */
#define PARITY_MARGINS 21 /* of the histogram of margins: steps of half a logit, the last holds all above */

struct parity_kept;

/* Tokens of one document. */
struct token_run {
    const uint32_t *tokens;
    uint64_t count;
};

struct parity_options {
    uint64_t window;    /* tokens a window; documents are cut into windows that see nothing of each other */
    uint64_t skip;      /* positions at the front of each window that are not scored */
    uint64_t positions; /* stop after so many scored positions; 0: all */
    struct parity_kept *kept; /* states of this reference from an earlier run, or to be kept for the next; NULL: neither */
};

/* A position where the most probable token changed. */
struct parity_flip {
    uint64_t document, position; /* of the token that was to be predicted */
    uint32_t reference_token, other_token;
    float margin; /* logit of the reference's best minus its second */
    float kld;
};

struct parity_result {
    uint64_t positions;
    uint64_t windows;
    struct group *agree; /* [windows]; top-1 equal */
    struct group *kld;   /* [windows]; nats */
    float *all_kld;      /* [positions], sorted ascending after parity_run */
    double reference_nll, other_nll; /* mean nats of the true next token, where there is one */
    uint64_t predicted;              /* positions that have a next token */
    struct group buckets[PARITY_BUCKETS]; /* agreement by margin of the reference */
    uint64_t margins[PARITY_MARGINS];     /* positions by margin of the reference */
    struct parity_flip flips[PARITY_FLIPS]; /* by KLD, the worst first */
    uint64_t flip_count; /* in all */
    uint64_t kld_zero;   /* positions with exactly equal distributions */
};

/* Upper edges of the margin buckets; the last is infinite. */
extern const double parity_bucket_edges[PARITY_BUCKETS];

/* TSR_E_INPUT when vocabularies differ or no document has two tokens. Clear in any case. */
tsr_status parity_run(struct open_model *reference, struct open_model *other, const struct token_run *documents,
                      uint64_t document_count, const struct parity_options *options, const struct env *env,
                      struct parity_result *result, tsr_error *err);
void parity_clear(struct parity_result *result);
/* Percentile of the sorted KLDs, 0..100. */
double parity_percentile(const struct parity_result *result, double percent);

#endif
