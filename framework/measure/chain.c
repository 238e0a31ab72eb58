/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the reference's hidden states of one chunk of tokens, all layers, and compares the other model's as they come. */
#include "chain.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <math.h>
#include <string.h>

#define CHUNK 64

struct chain {
    struct chain_result *result;
    float **kept;         /* [count], [CHUNK][width] each */
    uint64_t *width;      /* [count] */
    double *energy, *error; /* [count] */
};

static tsr_status keep(void *ctx, uint64_t layer, const float *state, uint64_t tokens, uint64_t width, tsr_error *err) {
    struct chain *chain = ctx;
    if (!chain->kept[layer]) {
        chain->kept[layer] = mem_alloc_array(CHUNK * width, sizeof(float));
        chain->width[layer] = width;
        if (!chain->kept[layer]) return tsr_fail(err, TSR_E_NOMEM, "out of memory for hidden states");
    }
    memcpy(chain->kept[layer], state, tokens * width * sizeof *state);
    return TSR_OK;
}

static void compare_token(struct chain *chain, uint64_t layer, const float *a, const float *b) {
    double aa = 0, bb = 0, ab = 0, difference = 0;
    for (uint64_t i = 0; i < chain->width[layer]; i++) {
        double x = (double)a[i], y = (double)b[i];
        aa += x * x;
        bb += y * y;
        ab += x * y;
        difference += (x - y) * (x - y);
    }
    double cosine = aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : aa == bb ? 1 : 0;
    if (!isfinite(cosine)) cosine = -1;
    struct chain_layer *to = &chain->result->layers[layer];
    to->mean_cosine += cosine;
    to->worst_cosine = fmin(to->worst_cosine, cosine);
    chain->energy[layer] += aa;
    chain->error[layer] += difference;
}

static tsr_status compare(void *ctx, uint64_t layer, const float *state, uint64_t tokens, uint64_t width, tsr_error *err) {
    struct chain *chain = ctx;
    if (!chain->kept[layer] || chain->width[layer] != width) {
        return tsr_fail(err, TSR_E_INPUT, "the models differ in the width of layer %llu", (unsigned long long)layer);
    }
    for (uint64_t t = 0; t < tokens; t++) compare_token(chain, layer, chain->kept[layer] + t * width, state + t * width);
    return TSR_OK;
}

static tsr_status run_chunks(struct chain *chain, struct open_model *const models[2], const struct token_run *text,
                             uint64_t tokens, tsr_error *err) {
    tsr_hooks hooks[2] = {{.struct_size = sizeof hooks[0], .ctx = chain, .hidden = keep},
                          {.struct_size = sizeof hooks[0], .ctx = chain, .hidden = compare}};
    void *sequences[2] = {NULL, NULL};
    tsr_status st = TSR_OK;
    for (int i = 0; i < 2 && st == TSR_OK; i++) {
        st = models[i]->plugin->sequence_create(models[i]->self, tokens, &sequences[i], err);
    }
    for (uint64_t at = 0; at < tokens && st == TSR_OK; at += CHUNK) {
        for (int i = 0; i < 2 && st == TSR_OK; i++) {
            st = models[i]->plugin->forward(models[i]->self, sequences[i], text->tokens + at, min_u64(CHUNK, tokens - at),
                                            &hooks[i], NULL, err);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (sequences[i]) models[i]->plugin->sequence_destroy(models[i]->self, sequences[i]);
    }
    return st;
}

static void finish(struct chain *chain) {
    struct chain_result *result = chain->result;
    for (uint64_t i = 0; i < result->count; i++) {
        struct chain_layer *layer = &result->layers[i];
        layer->mean_cosine /= (double)result->tokens;
        layer->relative_error = chain->energy[i] > 0 ? chain->error[i] / chain->energy[i] : chain->error[i] > 0 ? INFINITY : 0;
    }
}

tsr_status chain_run(struct open_model *reference, struct open_model *other, const struct token_run *text, uint64_t tokens,
                     struct chain_result *result, tsr_error *err) {
    struct open_model *const models[2] = {reference, other};
    uint64_t count = reference->info.layers + 2;
    *result = (struct chain_result){.count = count, .tokens = min_u64(tokens, text->count)};
    struct chain chain = {.result = result};
    if (!result->tokens) return tsr_fail(err, TSR_E_INPUT, "the text has no token");
    if (other->info.layers != reference->info.layers) return tsr_fail(err, TSR_E_INPUT, "the models differ in layers");
    result->layers = mem_alloc_zero(count, sizeof *result->layers);
    chain.kept = mem_alloc_zero(count, sizeof *chain.kept);
    chain.width = mem_alloc_zero(count, sizeof *chain.width);
    chain.energy = mem_alloc_zero(count, sizeof *chain.energy);
    chain.error = mem_alloc_zero(count, sizeof *chain.error);
    tsr_status st = TSR_OK;
    if (!result->layers || !chain.kept || !chain.width || !chain.energy || !chain.error) {
        st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the chain gate");
    }
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) result->layers[i].worst_cosine = 1;
    if (st == TSR_OK) st = run_chunks(&chain, models, text, result->tokens, err);
    if (st == TSR_OK) finish(&chain);
    for (uint64_t i = 0; chain.kept && i < count; i++) mem_free(chain.kept[i]);
    mem_free(chain.kept);
    mem_free(chain.width);
    mem_free(chain.energy);
    mem_free(chain.error);
    return st;
}

void chain_clear(struct chain_result *result) {
    mem_free(result->layers);
    *result = (struct chain_result){0};
}
