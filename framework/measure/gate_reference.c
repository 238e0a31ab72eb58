/* SPDX-License-Identifier: Apache-2.0
 *
 * Compares one teacher-forced forward and one greedy continuation with golden values. */
#include "gate_reference.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/checked.h>
#include <math.h>
#include <model/sample.h>
#include <string.h>

#define GREEDY_PROMPT 16 /* tokens of input_ids that the continuation starts from */

/* One tensor of the golden file in memory. */
struct golden {
    float *values;
    uint64_t count;
};

struct comparison {
    struct open_model *model;
    struct safetensors st;
    uint32_t *tokens;
    uint64_t token_count;
    struct golden logits, hidden, final_hidden, last_logits;
    uint32_t *greedy;
    uint64_t greedy_count;
    double *layer_worst; /* [layers + 2], in units of that layer's standard deviation */
    uint64_t *layer_seen; /* tokens so far */
    uint64_t logits_seen;
    struct reference_result *result;
};

static double standard_deviation(const float *values, uint64_t count) {
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < count; i++) sum += (double)values[i];
    double mean = count ? sum / (double)count : 0;
    for (uint64_t i = 0; i < count; i++) squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    return count ? sqrt(squares / (double)count) : 0;
}

/* Largest difference; a value that is not finite counts as infinite. */
static double worst_difference(const float *a, const float *b, uint64_t count) {
    double worst = 0;
    for (uint64_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= worst)) worst = isnan(difference) ? INFINITY : difference;
    }
    return worst;
}

/* ---- reading ---- */

static tsr_status read_floats(const struct safetensors *st, const char *name, struct golden *golden, tsr_error *err) {
    const struct safetensors_entry *entry = safetensors_find(st, name);
    if (!entry) return TSR_OK;
    if (entry->dtype != TSR_DTYPE_F32) {
        return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": expected F32", st->file.path, name);
    }
    golden->count = entry->bytes / sizeof(float);
    golden->values = mem_alloc(entry->bytes);
    if (!golden->values) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", st->file.path);
    return fs_read_at(&st->file, entry->offset, golden->values, entry->bytes, err);
}

static tsr_status read_tokens(const struct safetensors *st, const char *name, uint32_t **tokens, uint64_t *count,
                              tsr_error *err) {
    const struct safetensors_entry *entry = safetensors_find(st, name);
    uint8_t bytes[8];
    if (!entry) return TSR_OK;
    if (entry->dtype != TSR_DTYPE_I64) {
        return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": expected I64", st->file.path, name);
    }
    *count = entry->bytes / 8;
    *tokens = mem_alloc_array(*count, sizeof **tokens);
    if (!*tokens) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", st->file.path);
    for (uint64_t i = 0; i < *count; i++) {
        tsr_status status = fs_read_at(&st->file, entry->offset + 8 * i, bytes, 8, err);
        if (status != TSR_OK) return status;
        (*tokens)[i] = (uint32_t)min_u64(load_le(bytes, 8), UINT32_MAX);
    }
    return TSR_OK;
}

static tsr_status check_sizes(const struct comparison *c, tsr_error *err) {
    const tsr_model_info *info = &c->model->info;
    const char *path = c->st.file.path;
    if (!c->token_count || c->logits.count != c->token_count * info->vocabulary) {
        return tsr_fail(err, TSR_E_INPUT, "%s: needs input_ids of T tokens and logits [T, %llu]", path,
                        (unsigned long long)info->vocabulary);
    }
    if (c->hidden.count && c->hidden.count != (info->layers + 1) * c->token_count * info->hidden) {
        return tsr_fail(err, TSR_E_INPUT, "%s: hidden is not [%llu, %llu, %llu]", path, (unsigned long long)info->layers + 1,
                        (unsigned long long)c->token_count, (unsigned long long)info->hidden);
    }
    if (c->final_hidden.count % c->token_count || (c->last_logits.count && c->last_logits.count != info->vocabulary)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: final_hidden or greedy_last_logits has the wrong size", path);
    }
    return TSR_OK;
}

static tsr_status read_golden(struct comparison *c, const char *path, tsr_error *err) {
    uint64_t layers = c->model->info.layers;
    tsr_status st = safetensors_open(path, &c->st, err);
    if (st == TSR_OK) st = read_tokens(&c->st, "input_ids", &c->tokens, &c->token_count, err);
    if (st == TSR_OK) st = read_tokens(&c->st, "greedy_ids", &c->greedy, &c->greedy_count, err);
    if (st == TSR_OK) st = read_floats(&c->st, "logits", &c->logits, err);
    if (st == TSR_OK) st = read_floats(&c->st, "hidden", &c->hidden, err);
    if (st == TSR_OK) st = read_floats(&c->st, "final_hidden", &c->final_hidden, err);
    if (st == TSR_OK) st = read_floats(&c->st, "greedy_last_logits", &c->last_logits, err);
    if (st == TSR_OK) st = check_sizes(c, err);
    if (st != TSR_OK) return st;
    c->layer_worst = mem_alloc_zero(layers + 2, sizeof *c->layer_worst);
    c->layer_seen = mem_alloc_zero(layers + 2, sizeof *c->layer_seen);
    return c->layer_worst && c->layer_seen ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a comparison");
}

static void clear(struct comparison *c) {
    safetensors_close(&c->st);
    mem_free(c->tokens);
    mem_free(c->greedy);
    mem_free(c->logits.values);
    mem_free(c->hidden.values);
    mem_free(c->final_hidden.values);
    mem_free(c->last_logits.values);
    mem_free(c->layer_worst);
    mem_free(c->layer_seen);
}

/* ---- comparing ---- */

static tsr_status see_hidden(void *ctx, uint64_t layer, const float *state, uint64_t tokens, uint64_t width,
                             tsr_error *err) {
    struct comparison *c = ctx;
    bool is_final = layer == c->model->info.layers + 1;
    const struct golden *golden = is_final ? &c->final_hidden : &c->hidden;
    (void)err;
    if (!golden->count || golden->count / (is_final ? 1 : c->model->info.layers + 1) != c->token_count * width) return TSR_OK;
    const float *expected = golden->values + (is_final ? 0 : layer * c->token_count * width);
    double scale = standard_deviation(expected, c->token_count * width);
    double worst = worst_difference(state, expected + c->layer_seen[layer] * width, tokens * width) / scale;
    if (worst > c->layer_worst[layer]) c->layer_worst[layer] = worst;
    c->layer_seen[layer] += tokens;
    return TSR_OK;
}

static tsr_status see_logits(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                             tsr_error *err) {
    struct comparison *c = ctx;
    (void)err;
    double worst = worst_difference(logits, c->logits.values + first * vocabulary, tokens * vocabulary);
    if (worst > c->result->worst_logit) c->result->worst_logit = worst;
    c->logits_seen += tokens;
    return TSR_OK;
}

static tsr_status compare_forced(struct comparison *c, tsr_error *err) {
    const tsr_model *plugin = c->model->plugin;
    tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = c, .hidden = see_hidden, .logits = see_logits};
    void *sequence = NULL;
    tsr_status st = plugin->sequence_create(c->model->self, c->token_count, &sequence, err);
    if (st == TSR_OK) st = plugin->forward(c->model->self, sequence, c->tokens, c->token_count, &hooks, NULL, err);
    if (sequence) plugin->sequence_destroy(c->model->self, sequence);
    c->result->worst_logit /= standard_deviation(c->logits.values, c->logits.count);
    if (c->logits_seen != c->token_count) c->result->worst_logit = INFINITY;
    for (uint64_t i = 0; i < c->model->info.layers + 2; i++) {
        if (c->layer_worst[i] > c->result->worst_hidden) {
            c->result->worst_hidden = c->layer_worst[i];
            c->result->worst_layer = i;
        }
    }
    return st;
}

static tsr_status continue_greedily(struct comparison *c, void *sequence, float *logits, tsr_error *err) {
    const tsr_model *plugin = c->model->plugin;
    struct reference_result *result = c->result;
    tsr_status st = plugin->forward(c->model->self, sequence, c->tokens, GREEDY_PROMPT, NULL, logits, err);
    for (uint64_t i = 0; i < c->greedy_count && st == TSR_OK; i++) {
        uint32_t token = (uint32_t)sample_best(logits, c->model->info.vocabulary);
        if (token != c->greedy[i]) {
            result->first_wrong_token = i;
            result->wrong_token = token;
            result->expected_token = c->greedy[i];
            return TSR_OK;
        }
        if (i + 1 < c->greedy_count) st = plugin->forward(c->model->self, sequence, &token, 1, NULL, logits, err);
    }
    result->first_wrong_token = c->greedy_count;
    if (c->last_logits.count) {
        result->worst_last_logit = worst_difference(logits, c->last_logits.values, c->last_logits.count) /
                                   standard_deviation(c->logits.values, c->logits.count);
    }
    return st;
}

static tsr_status compare_greedy(struct comparison *c, tsr_error *err) {
    const tsr_model *plugin = c->model->plugin;
    void *sequence = NULL;
    if (!c->greedy_count || c->token_count < GREEDY_PROMPT) return TSR_OK;
    c->result->has_greedy = true;
    c->result->greedy_tokens = c->greedy_count;
    float *logits = mem_alloc_array(c->model->info.vocabulary, sizeof *logits);
    tsr_status st = logits ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for logits");
    if (st == TSR_OK) {
        st = plugin->sequence_create(c->model->self, GREEDY_PROMPT + c->greedy_count, &sequence, err);
    }
    if (st == TSR_OK) st = continue_greedily(c, sequence, logits, err);
    if (sequence) plugin->sequence_destroy(c->model->self, sequence);
    mem_free(logits);
    return st;
}

tsr_status gate_reference(struct open_model *model, const char *golden_path, double tolerance,
                          struct reference_result *result, tsr_error *err) {
    struct comparison c = {.model = model, .result = result};
    *result = (struct reference_result){0};
    tsr_status st = read_golden(&c, golden_path, err);
    if (st == TSR_OK) st = compare_forced(&c, err);
    if (st == TSR_OK) st = compare_greedy(&c, err);
    clear(&c);
    result->passed = st == TSR_OK && result->worst_logit <= tolerance && result->worst_hidden <= tolerance &&
                     result->worst_last_logit <= tolerance && result->first_wrong_token == result->greedy_tokens;
    return st;
}
