/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs both models chunk by chunk and reduces each position to a few numbers (numeric/divergence.h). Reductions are in
 * order of position, so a result does not depend on workers. A compressed model that does not fit the memory of a gate is
 * decoded once a chunk, so chunks are long; a cache lives only as long as its model has chunks of the window to run. Where
 * both models can make logits of final states, the states of the chunk are kept, else the logits of the reference; then
 * logits are made only where they are scored, and states of the reference may come from an earlier run. */
#include "parity.h"

#include "parity_kept.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <math.h>
#include <numeric/divergence.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/ext/logits.h>

#define CHUNK_TOKENS_MAX 512
#define CHUNK_LOGITS_MAX ((uint64_t)32 << 20) /* floats kept of the reference */
#define CHUNK_STEP 64
#define HEAD_LOGITS ((uint64_t)8 << 20) /* floats of each model that are made of states at once */

const double parity_bucket_edges[PARITY_BUCKETS] = {0.05, 0.2, 0.5, 1, 2, INFINITY};

/* One position, reduced. */
struct position {
    float kld, margin;
    bool same; /* the tokens, by logits that are numbers */
    double reference_nll, other_nll;
    uint32_t reference_token, other_token;
};

struct parity {
    struct open_model *reference, *other;
    const struct env *env;
    const struct parity_options *options;
    struct parity_result *result;
    uint64_t chunk, vocabulary;
    float *logits; /* [chunk][vocabulary] of the reference; by states [piece][vocabulary] */
    struct position *reduced; /* [chunk] */
    uint64_t capacity_windows, capacity_positions;
    /* the chunk at hand */
    const struct token_run *document;
    uint64_t document_number, window_start, window_end, chunk_start;
    uint64_t piece_first; /* in the chunk */
    const float *reference_piece, *other_piece;
    /* by states */
    const tsr_logits *heads[2]; /* NULL: by logits */
    float *states[2];           /* [chunk][width] */
    const float *scored[2];     /* those of the chunk's scored positions */
    struct parity_kept *kept;   /* NULL: of the reference nothing is kept */
    uint64_t width[2], layers[2];
    float *other_logits;        /* [piece][vocabulary] */
    uint64_t piece;             /* positions whose logits are made at once */
};

/* The hook of one model needs to know which. */
struct side {
    struct parity *parity;
    int which;
};

/* ---- one position ---- */

/* `next` is the true next token, or UINT32_MAX at the end of a document. */
static struct position reduce(const float *p, const float *q, uint64_t count, uint32_t next) {
    struct divergence divergence;
    divergence_of(p, q, count, &divergence);
    struct position position = {.kld = (float)divergence.kld,
                                .margin = divergence.margin,
                                .same = divergence_agrees(&divergence),
                                .reference_token = divergence.p_best,
                                .other_token = divergence.q_best};
    if (next != UINT32_MAX) {
        position.reference_nll = divergence.p_norm - (double)p[next];
        position.other_nll = divergence.q_norm - (double)q[next];
    }
    return position;
}

static uint32_t next_token(const struct parity *parity, uint64_t at) {
    return at + 1 < parity->document->count ? parity->document->tokens[at + 1] : UINT32_MAX;
}

static tsr_status reduce_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct parity *parity = ctx;
    uint64_t in_chunk = parity->piece_first + index;
    (void)worker;
    (void)err;
    parity->reduced[in_chunk] =
        reduce(parity->reference_piece + index * parity->vocabulary, parity->other_piece + index * parity->vocabulary,
               parity->vocabulary, next_token(parity, parity->chunk_start + in_chunk));
    return TSR_OK;
}

/* ---- hooks ---- */

static tsr_status keep_logits(struct parity *parity, uint64_t first, const float *logits, uint64_t tokens) {
    uint64_t at = first - (parity->chunk_start - parity->window_start);
    memcpy(parity->logits + at * parity->vocabulary, logits, tokens * parity->vocabulary * sizeof *logits);
    return TSR_OK;
}

static tsr_status take_logits(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                              tsr_error *err) {
    const struct side *side = ctx;
    struct parity *parity = side->parity;
    if (!side->which) return keep_logits(parity, first, logits, tokens);
    parity->piece_first = first - (parity->chunk_start - parity->window_start);
    parity->reference_piece = parity->logits + parity->piece_first * vocabulary;
    parity->other_piece = logits;
    return pool_for(parity->env->pool, tokens, reduce_task, parity, err);
}

/* A chunk is one call, but the plugin may report it in parts: they come in order. */
static tsr_status take_states(void *ctx, uint64_t layer, const float *state, uint64_t tokens, uint64_t width, tsr_error *err) {
    const struct side *side = ctx;
    struct parity *parity = side->parity;
    float **states = &parity->states[side->which];
    if (layer != parity->layers[side->which] + 1) return TSR_OK;
    if (!*states) *states = mem_alloc_array(parity->chunk, width * sizeof **states);
    if (!*states) return tsr_fail(err, TSR_E_NOMEM, "out of memory for hidden states");
    parity->width[side->which] = width;
    memcpy(*states + parity->piece_first * width, state, tokens * width * sizeof *state);
    parity->piece_first += tokens;
    return TSR_OK;
}

/* Positions at the front of the chunk that are not scored. */
static uint64_t unscored(const struct parity *parity, uint64_t tokens) {
    uint64_t before = parity->chunk_start - parity->window_start, skip = parity->options->skip;
    return skip > before ? min_u64(skip - before, tokens) : 0;
}

/* The states of both models where the chunk is scored. */
static tsr_status find_scored(struct parity *parity, uint64_t first, uint64_t tokens, tsr_error *err) {
    for (int i = 0; i < 2; i++) parity->scored[i] = parity->states[i] ? parity->states[i] + first * parity->width[i] : NULL;
    if (!parity->kept) return TSR_OK;
    if (!parity->kept->whole) return parity_kept_add(parity->kept, parity->scored[0], tokens - first, parity->width[0], err);
    parity->width[0] = parity->kept->width;
    parity->scored[0] = parity_kept_next(parity->kept, tokens - first);
    return TSR_OK;
}

/* Logits of both models for some positions at a time, made of the states of the chunk. */
static tsr_status reduce_states(struct parity *parity, uint64_t tokens, tsr_error *err) {
    struct open_model *models[2] = {parity->reference, parity->other};
    float *logits[2] = {parity->logits, parity->other_logits};
    uint64_t first = unscored(parity, tokens);
    tsr_status st = find_scored(parity, first, tokens, err);
    parity->reference_piece = parity->logits;
    parity->other_piece = parity->other_logits;
    for (uint64_t at = first; at < tokens && st == TSR_OK; at += parity->piece) {
        uint64_t count = min_u64(parity->piece, tokens - at);
        for (int i = 0; i < 2 && st == TSR_OK; i++) {
            const float *states = parity->scored[i] + (at - first) * parity->width[i];
            st = parity->heads[i]->apply(models[i]->self, states, count, logits[i], err);
        }
        parity->piece_first = at;
        if (st == TSR_OK) st = pool_for(parity->env->pool, count, reduce_task, parity, err);
    }
    return st;
}

/* ---- collecting ---- */

static tsr_status grow(void **memory, uint64_t *capacity, uint64_t needed, uint64_t size, tsr_error *err) {
    if (needed <= *capacity) return TSR_OK;
    uint64_t bigger = max_u64(needed, *capacity * 2);
    void *grown = mem_resize(*memory, bigger, size);
    if (!grown) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu positions", (unsigned long long)bigger);
    *memory = grown;
    *capacity = bigger;
    return TSR_OK;
}

static void note_flip(struct parity *parity, const struct position *position, uint64_t at) {
    struct parity_result *result = parity->result;
    struct parity_flip flip = {parity->document_number,   at + 1, position->reference_token, position->other_token,
                               position->margin, position->kld};
    uint64_t kept = min_u64(result->flip_count++, PARITY_FLIPS), place = kept;
    while (place > 0 && result->flips[place - 1].kld < flip.kld) place--;
    if (place == PARITY_FLIPS) return;
    uint64_t move = min_u64(kept, PARITY_FLIPS - 1) - place;
    memmove(&result->flips[place + 1], &result->flips[place], move * sizeof flip);
    result->flips[place] = flip;
}

static void note_position(struct parity *parity, const struct position *position, uint64_t at) {
    struct parity_result *result = parity->result;
    struct group *agree = &result->agree[result->windows - 1], *kld = &result->kld[result->windows - 1];
    unsigned bucket = 0;
    while ((double)position->margin > parity_bucket_edges[bucket]) bucket++;
    result->margins[(uint64_t)fmin((double)position->margin * 2, PARITY_MARGINS - 1)]++;
    agree->sum += position->same;
    agree->count++;
    kld->sum += (double)position->kld;
    kld->count++;
    result->buckets[bucket].sum += position->same;
    result->buckets[bucket].count++;
    result->all_kld[result->positions++] = position->kld;
    result->kld_zero += position->kld == 0;
    if (!position->same) note_flip(parity, position, at);
    if (next_token(parity, at) != UINT32_MAX) {
        result->reference_nll += position->reference_nll;
        result->other_nll += position->other_nll;
        result->predicted++;
    }
}

static bool enough(const struct parity *parity) {
    return parity->options->positions && parity->result->positions >= parity->options->positions;
}

static tsr_status collect_chunk(struct parity *parity, uint64_t tokens, tsr_error *err) {
    struct parity_result *result = parity->result;
    void *all = result->all_kld;
    tsr_status st = grow(&all, &parity->capacity_positions, result->positions + tokens, sizeof *result->all_kld, err);
    result->all_kld = all;
    for (uint64_t i = 0; i < tokens && st == TSR_OK && !enough(parity); i++) {
        uint64_t at = parity->chunk_start + i;
        if (at - parity->window_start >= parity->options->skip) note_position(parity, &parity->reduced[i], at);
    }
    return st;
}

/* ---- running ---- */

/* One model's part of a chunk; its cache is made before the first and destroyed behind the last chunk of a window. */
static tsr_status run_model(struct parity *parity, int which, void **sequence, uint64_t tokens, tsr_error *err) {
    struct open_model *model = which ? parity->other : parity->reference;
    struct side side = {parity, which};
    tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = &side};
    tsr_status st = TSR_OK;
    parity->piece_first = 0;
    if (parity->heads[which]) {
        hooks.hidden = take_states;
    } else {
        hooks.logits = take_logits;
    }
    if (!*sequence) {
        st = model->plugin->sequence_create(model->self, parity->window_end - parity->window_start, sequence, err);
    }
    if (st == TSR_OK) {
        st = model->plugin->forward(model->self, *sequence, parity->document->tokens + parity->chunk_start, tokens, &hooks, NULL,
                                    err);
    }
    if (*sequence && (st != TSR_OK || parity->chunk_start + tokens == parity->window_end)) {
        model->plugin->sequence_destroy(model->self, *sequence);
        *sequence = NULL;
    }
    return st;
}

static tsr_status open_window(struct parity *parity, tsr_error *err) {
    struct parity_result *result = parity->result;
    uint64_t capacity = parity->capacity_windows;
    void *agree = result->agree, *kld = result->kld;
    tsr_status st = grow(&agree, &capacity, result->windows + 1, sizeof *result->agree, err);
    result->agree = agree;
    if (st == TSR_OK) st = grow(&kld, &parity->capacity_windows, result->windows + 1, sizeof *result->kld, err);
    result->kld = kld;
    if (st != TSR_OK) return st;
    result->agree[result->windows] = result->kld[result->windows] = (struct group){0};
    result->windows++;
    return TSR_OK;
}

static tsr_status run_window(struct parity *parity, tsr_error *err) {
    void *sequences[2] = {NULL, NULL};
    tsr_status st = open_window(parity, err);
    parity->chunk_start = parity->window_start;
    while (parity->chunk_start < parity->window_end && st == TSR_OK) {
        uint64_t tokens = min_u64(parity->chunk, parity->window_end - parity->chunk_start);
        int first = parity->kept && parity->kept->whole; /* then the reference has run */
        for (int i = first; i < 2 && st == TSR_OK; i++) st = run_model(parity, i, &sequences[i], tokens, err);
        if (st == TSR_OK && parity->heads[0]) st = reduce_states(parity, tokens, err);
        if (st == TSR_OK) st = collect_chunk(parity, tokens, err);
        parity->chunk_start += tokens;
    }
    if (sequences[0]) parity->reference->plugin->sequence_destroy(parity->reference->self, sequences[0]);
    if (sequences[1]) parity->other->plugin->sequence_destroy(parity->other->self, sequences[1]);
    return st;
}

static void report_progress(const struct parity *parity, uint64_t total) {
    struct progress progress = {.stage = "parity",
                                .done_items = parity->result->positions,
                                .total_items = parity->options->positions ? min_u64(parity->options->positions, total) : total};
    if (parity->env->progress) parity->env->progress(parity->env->ctx, &progress);
}

static tsr_status run_documents(struct parity *parity, const struct token_run *documents, uint64_t count, tsr_error *err) {
    tsr_status st = TSR_OK;
    uint64_t total = 0;
    for (uint64_t d = 0; d < count; d++) total += documents[d].count;
    for (uint64_t d = 0; d < count && st == TSR_OK && !enough(parity); d++) {
        parity->document = &documents[d];
        parity->document_number = d;
        for (uint64_t at = 0; at < documents[d].count && st == TSR_OK && !enough(parity); at += parity->options->window) {
            parity->window_start = at;
            parity->window_end = min_u64(at + parity->options->window, documents[d].count);
            if (parity->window_end - at <= parity->options->skip) continue;
            st = run_window(parity, err);
            report_progress(parity, total);
        }
    }
    return st;
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static tsr_status check_models(const struct parity *parity, tsr_error *err) {
    if (parity->other->info.vocabulary != parity->vocabulary) {
        return tsr_fail(err, TSR_E_INPUT, "the models differ in vocabulary: %llu and %llu",
                        (unsigned long long)parity->vocabulary, (unsigned long long)parity->other->info.vocabulary);
    }
    if (parity->options->window < 2) return tsr_fail(err, TSR_E_CONFIG, "parity window: expected 2 tokens or more");
    return TSR_OK;
}

static void finish(struct parity_result *result) {
    if (result->predicted) {
        result->reference_nll /= (double)result->predicted;
        result->other_nll /= (double)result->predicted;
    }
    if (result->positions) qsort(result->all_kld, (size_t)result->positions, sizeof *result->all_kld, compare_floats);
}

static const tsr_logits *head_of(const struct open_model *model) {
    return model_extension(model, TSR_LOGITS_ID);
}

static uint64_t whole_steps(uint64_t floats, uint64_t vocabulary, uint64_t most) {
    return min_u64(max_u64(floats / vocabulary / CHUNK_STEP * CHUNK_STEP, CHUNK_STEP), most);
}

static tsr_status make_buffers(struct parity *parity, tsr_error *err) {
    uint64_t vocabulary = parity->vocabulary;
    parity->heads[0] = head_of(parity->reference);
    parity->heads[1] = head_of(parity->other);
    if (!parity->heads[0] || !parity->heads[1]) parity->heads[0] = parity->heads[1] = NULL;
    bool by_states = parity->heads[0] != NULL;
    parity->layers[0] = parity->reference->info.layers;
    parity->layers[1] = parity->other->info.layers;
    parity->chunk = by_states ? CHUNK_TOKENS_MAX : whole_steps(CHUNK_LOGITS_MAX, vocabulary, CHUNK_TOKENS_MAX);
    parity->piece = whole_steps(HEAD_LOGITS, vocabulary, CHUNK_TOKENS_MAX);
    parity->logits = mem_alloc_array((by_states ? parity->piece : parity->chunk) * vocabulary, sizeof *parity->logits);
    parity->reduced = mem_alloc_array(parity->chunk, sizeof *parity->reduced);
    if (by_states) parity->other_logits = mem_alloc_array(parity->piece * vocabulary, sizeof *parity->other_logits);
    bool all = parity->logits && parity->reduced && (parity->other_logits || !by_states);
    return all ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for logits");
}

tsr_status parity_run(struct open_model *reference, struct open_model *other, const struct token_run *documents,
                      uint64_t document_count, const struct parity_options *options, const struct env *env,
                      struct parity_result *result, tsr_error *err) {
    *result = (struct parity_result){0};
    struct parity parity = {.reference = reference,
                            .other = other,
                            .env = env,
                            .options = options,
                            .result = result,
                            .vocabulary = reference->info.vocabulary};
    tsr_status st = check_models(&parity, err);
    if (st != TSR_OK) return st;
    st = make_buffers(&parity, err);
    parity.kept = parity.heads[0] ? options->kept : NULL;
    if (st == TSR_OK && parity.kept) st = parity_kept_begin(parity.kept, documents, document_count, options, err);
    if (st == TSR_OK) st = run_documents(&parity, documents, document_count, err);
    if (st == TSR_OK && parity.kept) parity_kept_end(parity.kept);
    mem_free(parity.logits);
    mem_free(parity.other_logits);
    mem_free(parity.states[0]);
    mem_free(parity.states[1]);
    mem_free(parity.reduced);
    finish(result);
    if (st == TSR_OK && !result->positions) st = tsr_fail(err, TSR_E_INPUT, "the text has no position to score");
    return st;
}

void parity_clear(struct parity_result *result) {
    mem_free(result->agree);
    mem_free(result->kld);
    mem_free(result->all_kld);
    *result = (struct parity_result){0};
}

double parity_percentile(const struct parity_result *result, double percent) {
    if (!result->positions) return 0;
    double at = percent / 100 * (double)(result->positions - 1);
    return (double)result->all_kld[(uint64_t)(at + 0.5)];
}
