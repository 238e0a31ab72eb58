/* SPDX-License-Identifier: Apache-2.0
 *
 * Binds tensors to the places of the graph. Every tensor of the file must end up bound or be one of the buffers that the
 * family description lists: a weight that the engine would ignore is an error. */
#include "weights.h"

#include "node_util.h"

#include <stdio.h>

#define NAME_MAX_LENGTH 512

/* State of one binding run. */
struct binder {
    const tsr_model_setup *setup;
    const struct spec *spec;
    struct weights *weights;
    const tsr_node *tensors; /* slot -> name pattern */
    const char *prefix;
    uint8_t *used; /* [count] */
    uint64_t layer, expert, head;
};

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for the model's tables");
}

/* ---- names ---- */

static bool append(char *name, size_t *length, const char *text, size_t size) {
    if (*length + size >= NAME_MAX_LENGTH) return false;
    memcpy(name + *length, text, size);
    *length += size;
    name[*length] = '\0';
    return true;
}

/* Replaces {layer}, {expert} and {head} up to the end of the alternative; puts the prefix in front. */
static bool expand_name(const struct binder *binder, const char *pattern, char name[NAME_MAX_LENGTH]) {
    size_t length = 0;
    if (!append(name, &length, binder->prefix, strlen(binder->prefix))) return false;
    while (*pattern && *pattern != '|') {
        char number[24];
        size_t plain = strcspn(pattern, "{|");
        if (!append(name, &length, pattern, plain)) return false;
        pattern += plain;
        if (*pattern != '{') break;
        uint64_t value = pattern[1] == 'l' ? binder->layer : pattern[1] == 'e' ? binder->expert : binder->head;
        int digits = snprintf(number, sizeof number, "%llu", (unsigned long long)value);
        if (!append(name, &length, number, (size_t)digits)) return false;
        pattern += strcspn(pattern, "}");
        if (*pattern) pattern++;
    }
    return true;
}

static const char *slot_pattern(const struct binder *binder, const char *slot) {
    const tsr_node *node = node_get(binder->tensors, slot);
    return node && node->kind == TSR_NODE_TEXT ? node->text : NULL;
}

static tsr_status fail_slot(const struct binder *binder, const char *slot, tsr_error *err) {
    return tsr_fail(err, TSR_E_CONFIG, "family %s: tensors has no usable name for %s",
                    node_get(binder->spec->family, "family")->text, slot);
}

static tsr_status find_pattern(struct binder *binder, const char *slot, const char *pattern, bool want_bias,
                               char name[NAME_MAX_LENGTH], uint64_t *index, tsr_error *err) {
    const tsr_weights *table = binder->weights->table;
    if (!expand_name(binder, pattern, name)) return fail_slot(binder, slot, err);
    size_t length = strlen(name);
    if (want_bias) {
        if (length < 6 || strcmp(name + length - 6, "weight")) return fail_slot(binder, slot, err);
        memcpy(name + length - 6, "bias", 5);
    }
    tsr_status st = table->find(table->ctx, name, index, err);
    if (st == TSR_OK) binder->used[*index] = 1;
    return st;
}

/* Index of the tensor in a slot, by the first of its alternatives ("a|b") that is there; a name ending in "weight" becomes
 * "bias" with want_bias. */
static tsr_status find_slot(struct binder *binder, const char *slot, bool want_bias, char name[NAME_MAX_LENGTH],
                            uint64_t *index, tsr_error *err) {
    const char *pattern = slot_pattern(binder, slot);
    tsr_status st = TSR_E_INPUT;
    if (!pattern) return fail_slot(binder, slot, err);
    while (pattern) {
        st = find_pattern(binder, slot, pattern, want_bias, name, index, err);
        if (st == TSR_OK) break;
        pattern = strchr(pattern, '|');
        if (pattern) pattern++;
    }
    return st;
}

/* ---- vectors ---- */

static tsr_status own(struct weights *weights, void *memory, tsr_error *err) {
    if (weights->owned_count == weights->owned_capacity) {
        uint64_t capacity = weights->owned_capacity ? weights->owned_capacity * 2 : 64;
        void **bigger = weights->host->alloc(weights->host, capacity * sizeof *bigger);
        if (!bigger) return no_memory(err);
        if (weights->owned_count) memcpy(bigger, weights->owned, weights->owned_count * sizeof *bigger);
        weights->host->free(weights->host, weights->owned);
        weights->owned = bigger;
        weights->owned_capacity = capacity;
    }
    weights->owned[weights->owned_count++] = memory;
    return TSR_OK;
}

static tsr_status alloc_owned(struct weights *weights, uint64_t size, void **memory, tsr_error *err) {
    *memory = weights->host->alloc(weights->host, size);
    if (!*memory) return no_memory(err);
    memset(*memory, 0, size);
    tsr_status st = own(weights, *memory, err);
    if (st != TSR_OK) weights->host->free(weights->host, *memory);
    return st;
}

/* Copies a tensor of `count` elements, whatever its shape. */
static tsr_status load_vector(struct binder *binder, uint64_t index, const char *name, uint64_t count, float *dst,
                              tsr_error *err) {
    const tsr_weights *table = binder->weights->table;
    const tsr_tensor *tensor = table->tensor(table->ctx, index);
    if (tensor->rows * tensor->columns != count) {
        return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": has %llu elements, the config asks for %llu", name,
                        (unsigned long long)(tensor->rows * tensor->columns), (unsigned long long)count);
    }
    return table->read_rows(table->ctx, index, 0, tensor->rows, dst, err);
}

static tsr_status bind_vector(struct binder *binder, const char *slot, bool want_bias, uint64_t count,
                              const float **vector, tsr_error *err) {
    char name[NAME_MAX_LENGTH];
    uint64_t index;
    void *memory;
    tsr_status st = find_slot(binder, slot, want_bias, name, &index, err);
    if (st == TSR_OK) st = alloc_owned(binder->weights, count * sizeof(float), &memory, err);
    if (st == TSR_OK) st = load_vector(binder, index, name, count, memory, err);
    if (st == TSR_OK) *vector = memory;
    return st;
}

static tsr_status bind_norm(struct binder *binder, const char *slot, uint64_t count, bool bias, struct norm *norm,
                            tsr_error *err) {
    norm->present = true;
    if (!binder->spec->norm_affine) return TSR_OK;
    tsr_status st = bind_vector(binder, slot, false, count, &norm->weight, err);
    if (st == TSR_OK && bias) st = bind_vector(binder, slot, true, count, &norm->bias, err);
    return st;
}

/* One tensor a head ({head} in the name) laid end to end. */
static tsr_status bind_norm_heads(struct binder *binder, const char *slot, uint64_t heads, struct norm *norm,
                                  tsr_error *err) {
    uint64_t dim = binder->spec->head_dim;
    const char *pattern = slot_pattern(binder, slot);
    if (!pattern || !strstr(pattern, "{head}")) return bind_norm(binder, slot, heads * dim, false, norm, err);
    void *memory = NULL;
    tsr_status st = alloc_owned(binder->weights, heads * dim * sizeof(float), &memory, err);
    for (binder->head = 0; binder->head < heads && st == TSR_OK; binder->head++) {
        char name[NAME_MAX_LENGTH];
        uint64_t index;
        st = find_slot(binder, slot, false, name, &index, err);
        if (st == TSR_OK) st = load_vector(binder, index, name, dim, (float *)memory + binder->head * dim, err);
    }
    norm->present = true;
    norm->weight = memory;
    return st;
}

/* ---- matrices ---- */

static tsr_status check_matrix(const struct binder *binder, uint64_t index, const char *name, const struct linear *linear,
                               tsr_error *err) {
    const tsr_weights *table = binder->weights->table;
    const tsr_tensor *tensor = table->tensor(table->ctx, index);
    bool turned = binder->spec->conv1d && strcmp(name + strlen(name) - 7, ".weight") == 0 && tensor->rank == 2 &&
                  index != binder->weights->embed;
    uint64_t rows = turned ? linear->columns : linear->rows, columns = turned ? linear->rows : linear->columns;
    if (tensor->rank != 2 || tensor->shape[0] != rows || tensor->shape[1] != columns) {
        return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": shape [%llu, %llu] of rank %llu, the config asks for [%llu, %llu]",
                        name, (unsigned long long)(tensor->rank > 0 ? tensor->shape[0] : 0),
                        (unsigned long long)(tensor->rank > 1 ? tensor->shape[1] : 0), (unsigned long long)tensor->rank,
                        (unsigned long long)rows, (unsigned long long)columns);
    }
    return TSR_OK;
}

/* Matrix of a slot, [rows][columns] by meaning; `conv1d` models store it turned. */
static tsr_status bind_linear(struct binder *binder, const char *slot, uint64_t rows, uint64_t columns, bool bias,
                              struct linear *linear, tsr_error *err) {
    char name[NAME_MAX_LENGTH];
    const tsr_weights *table = binder->weights->table;
    linear->rows = rows;
    linear->columns = columns;
    tsr_status st = find_slot(binder, slot, false, name, &linear->tensor, err);
    if (st == TSR_OK) st = check_matrix(binder, linear->tensor, name, linear, err);
    if (st == TSR_OK) {
        linear->turned = binder->spec->conv1d && linear->tensor != binder->weights->embed;
        st = table->linear(table->ctx, linear->tensor, 0, rows, linear->turned, &linear->op, err);
    }
    if (st == TSR_OK && bias) st = bind_vector(binder, slot, true, rows, &linear->bias, err);
    return st;
}

/* ---- parts of a layer ---- */

static tsr_status bind_qk_norm(struct binder *binder, struct layer_weights *layer, tsr_error *err) {
    const struct spec *spec = binder->spec;
    tsr_status st;
    switch (spec->qk_norm) {
    case QK_NORM_SHARED:
        st = bind_norm(binder, "q_norm", spec->head_dim, spec->qk_norm_bias, &layer->q_norm, err);
        if (st != TSR_OK) return st;
        return bind_norm(binder, "k_norm", spec->head_dim, spec->qk_norm_bias, &layer->k_norm, err);
    case QK_NORM_HEADS:
        st = bind_norm_heads(binder, "q_norm", spec->heads, &layer->q_norm, err);
        return st == TSR_OK ? bind_norm_heads(binder, "k_norm", spec->kv_heads, &layer->k_norm, err) : st;
    case QK_NORM_ALL:
        st = bind_norm(binder, "q_norm", spec->heads * spec->head_dim, false, &layer->q_norm, err);
        if (st != TSR_OK) return st;
        return bind_norm(binder, "k_norm", spec->kv_heads * spec->head_dim, false, &layer->k_norm, err);
    default: return TSR_OK;
    }
}

static tsr_status bind_latent(struct binder *binder, struct layer_weights *layer, tsr_error *err) {
    const struct spec *spec = binder->spec;
    uint64_t q_rows = spec->heads * spec->head_dim, kv_rows = spec->heads * (spec->nope_dim + spec->v_head_dim);
    tsr_status st = TSR_OK;
    if (spec->q_rank) {
        st = bind_linear(binder, "q_a", spec->q_rank, spec->hidden, spec->q_bias, &layer->q_a, err);
        if (st == TSR_OK) st = bind_norm(binder, "q_a_norm", spec->q_rank, false, &layer->q_a_norm, err);
        if (st == TSR_OK) st = bind_linear(binder, "q_b", q_rows, spec->q_rank, false, &layer->q_b, err);
    } else {
        st = bind_linear(binder, "q", q_rows, spec->hidden, false, &layer->q, err);
    }
    if (st == TSR_OK) {
        st = bind_linear(binder, "kv_a", spec->kv_rank + spec->rope_dim, spec->hidden, spec->q_bias, &layer->kv_a, err);
    }
    if (st == TSR_OK) st = bind_norm(binder, "kv_a_norm", spec->kv_rank, false, &layer->kv_a_norm, err);
    if (st == TSR_OK) st = bind_linear(binder, "kv_b", kv_rows, spec->kv_rank, false, &layer->kv_b, err);
    return st;
}

static tsr_status bind_heads(struct binder *binder, struct layer_weights *layer, tsr_error *err) {
    const struct spec *spec = binder->spec;
    uint64_t q_rows = spec->heads * spec->head_dim, k_rows = spec->kv_heads * spec->head_dim,
             v_rows = spec->kv_heads * spec->v_head_dim;
    tsr_status st;
    if (spec->qkv != QKV_SEPARATE) {
        return bind_linear(binder, "qkv", q_rows + k_rows + v_rows, spec->hidden, spec->qkv_bias, &layer->qkv, err);
    }
    st = bind_linear(binder, "q", q_rows, spec->hidden, spec->q_bias, &layer->q, err);
    if (st == TSR_OK) st = bind_linear(binder, "k", k_rows, spec->hidden, spec->k_bias, &layer->k, err);
    if (st == TSR_OK) st = bind_linear(binder, "v", v_rows, spec->hidden, spec->v_bias, &layer->v, err);
    return st;
}

static tsr_status bind_attention(struct binder *binder, struct layer_weights *layer, tsr_error *err) {
    const struct spec *spec = binder->spec;
    tsr_status st = spec->attention == ATTENTION_LATENT ? bind_latent(binder, layer, err) : bind_heads(binder, layer, err);
    if (st == TSR_OK) st = bind_qk_norm(binder, layer, err);
    if (st == TSR_OK) {
        st = bind_linear(binder, "o", spec->hidden, spec->heads * spec->v_head_dim, spec->o_bias, &layer->o, err);
    }
    return st;
}

struct mlp_slots {
    const char *gate, *up, *down;
};

static tsr_status bind_mlp(struct binder *binder, const struct mlp_slots *slots, uint64_t width, bool bias,
                           struct mlp_weights *mlp, tsr_error *err) {
    const struct spec *spec = binder->spec;
    tsr_status st = TSR_OK;
    if (spec->mlp == MLP_GATED) {
        st = bind_linear(binder, slots->gate, width, spec->hidden, bias, &mlp->gate, err);
    } else if (spec->mlp == MLP_FUSED) {
        st = bind_linear(binder, slots->gate, 2 * width, spec->hidden, bias, &mlp->gate, err);
    }
    if (st == TSR_OK && spec->mlp != MLP_FUSED) {
        st = bind_linear(binder, slots->up, width, spec->hidden, bias, &mlp->up, err);
    }
    if (st == TSR_OK) st = bind_linear(binder, slots->down, spec->hidden, width, bias, &mlp->down, err);
    return st;
}

static tsr_status bind_experts(struct binder *binder, struct layer_weights *layer, tsr_error *err) {
    static const struct mlp_slots expert_slots = {"expert_gate", "expert_up", "expert_down"};
    static const struct mlp_slots shared_slots = {"shared_gate", "shared_up", "shared_down"};
    const struct spec *spec = binder->spec;
    void *memory;
    tsr_status st = alloc_owned(binder->weights, spec->experts * sizeof *layer->experts, &memory, err);
    if (st != TSR_OK) return st;
    layer->experts = memory;
    st = bind_linear(binder, "router", spec->experts, spec->hidden, false, &layer->router, err);
    if (st == TSR_OK && spec->router_correction) {
        st = bind_vector(binder, "router_correction", false, spec->experts, &layer->router_correction, err);
    }
    for (binder->expert = 0; binder->expert < spec->experts && st == TSR_OK; binder->expert++) {
        st = bind_mlp(binder, &expert_slots, spec->expert_intermediate, false, &layer->experts[binder->expert], err);
    }
    if (st == TSR_OK && spec->shared_intermediate) {
        st = bind_mlp(binder, &shared_slots, spec->shared_intermediate, false, &layer->shared, err);
    }
    if (st == TSR_OK && spec->shared_gate) {
        st = bind_linear(binder, "shared_expert_gate", 1, spec->hidden, false, &layer->shared_gate, err);
    }
    return st;
}

static tsr_status bind_layer_norms(struct binder *binder, struct layer_weights *layer, tsr_error *err) {
    const struct spec *spec = binder->spec;
    const struct {
        const char *slot;
        bool wanted;
        struct norm *norm;
    } norms[] = {
        {"attn_norm", spec->attn_norm, &layer->attn_norm},
        {"attn_post_norm", spec->attn_post_norm, &layer->attn_post_norm},
        {"mlp_norm", spec->mlp_norm, &layer->mlp_norm},
        {"mlp_post_norm", spec->mlp_post_norm, &layer->mlp_post_norm},
    };
    tsr_status st = TSR_OK;
    for (size_t i = 0; i < sizeof norms / sizeof norms[0] && st == TSR_OK; i++) {
        if (norms[i].wanted) st = bind_norm(binder, norms[i].slot, spec->hidden, spec->norm_bias, norms[i].norm, err);
    }
    return st;
}

static tsr_status bind_layer(struct binder *binder, struct layer_weights *layer, tsr_error *err) {
    static const struct mlp_slots slots = {"gate", "up", "down"};
    const struct spec *spec = binder->spec;
    tsr_status st = bind_layer_norms(binder, layer, err);
    if (st == TSR_OK) st = bind_attention(binder, layer, err);
    if (st != TSR_OK) return st;
    if (spec->layer[binder->layer].sparse) return bind_experts(binder, layer, err);
    return bind_mlp(binder, &slots, spec->intermediate, spec->mlp_bias, &layer->mlp, err);
}

/* ---- the whole model ---- */

/* The first prefix under which the embedding is there. */
static tsr_status choose_prefix(struct binder *binder, tsr_error *err) {
    const tsr_node *prefixes = node_get(binder->spec->family, "prefixes");
    char name[NAME_MAX_LENGTH];
    binder->prefix = "";
    for (uint64_t i = 0; prefixes && i < prefixes->count; i++) {
        binder->prefix = prefixes->children[i].text;
        if (find_slot(binder, "embed", false, name, &binder->weights->embed, NULL) == TSR_OK) return TSR_OK;
    }
    if (prefixes && prefixes->count) binder->prefix = prefixes->children[0].text;
    return find_slot(binder, "embed", false, name, &binder->weights->embed, err);
}

static tsr_status check_table(struct binder *binder, uint64_t index, const char *what, uint64_t rows_min, uint64_t columns,
                              tsr_error *err) {
    const tsr_weights *table = binder->weights->table;
    const tsr_tensor *tensor = table->tensor(table->ctx, index);
    if (tensor->rank != 2 || tensor->shape[0] < rows_min || tensor->shape[1] != columns) {
        return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": shape does not fit the %s, [%llu or more, %llu] is needed",
                        tensor->name, what, (unsigned long long)rows_min, (unsigned long long)columns);
    }
    return TSR_OK;
}

static tsr_status bind_embedding(struct binder *binder, tsr_error *err) {
    const struct spec *spec = binder->spec;
    struct weights *weights = binder->weights;
    char name[NAME_MAX_LENGTH];
    tsr_status st = choose_prefix(binder, err);
    if (st == TSR_OK) st = check_table(binder, weights->embed, "vocabulary", spec->vocabulary, spec->embed_width, err);
    if (st == TSR_OK && spec->learned_positions) {
        st = find_slot(binder, "position_embed", false, name, &weights->positions, err);
        if (st == TSR_OK) st = check_table(binder, weights->positions, "positions", 1, spec->hidden, err);
    }
    if (st == TSR_OK && spec->embed_norm) {
        st = bind_norm(binder, "embed_norm", spec->hidden, spec->norm_bias, &weights->embed_norm, err);
    }
    if (st == TSR_OK && spec->embed_width != spec->hidden) {
        st = bind_linear(binder, "project_in", spec->hidden, spec->embed_width, false, &weights->project_in, err);
        if (st == TSR_OK) {
            st = bind_linear(binder, "project_out", spec->embed_width, spec->hidden, false, &weights->project_out, err);
        }
    }
    return st;
}

static tsr_status bind_head(struct binder *binder, tsr_error *err) {
    const struct spec *spec = binder->spec;
    struct weights *weights = binder->weights;
    struct linear *head = &weights->lm_head;
    tsr_status st = TSR_OK;
    if (spec->final_norm) st = bind_norm(binder, "final_norm", spec->hidden, spec->norm_bias, &weights->final_norm, err);
    if (st != TSR_OK) return st;
    const char *prefix = binder->prefix;
    binder->prefix = ""; /* the output matrix stands beside the base model, not in it */
    if (!spec->tied) {
        st = bind_linear(binder, "lm_head", spec->vocabulary, spec->embed_width, spec->lm_head_bias, head, err);
    } else {
        char name[NAME_MAX_LENGTH];
        uint64_t ignored; /* a copy that some files carry although it is tied */
        if (slot_pattern(binder, "lm_head")) (void)find_slot(binder, "lm_head", false, name, &ignored, NULL);
        *head = (struct linear){.rows = spec->vocabulary, .columns = spec->embed_width, .tensor = weights->embed};
        st = weights->table->linear(weights->table->ctx, weights->embed, 0, spec->vocabulary, 0, &head->op, err);
    }
    binder->prefix = prefix;
    return st;
}

/* "*" matches any run of characters. */
static bool glob_matches(const char *glob, const char *name) {
    const char *star = NULL, *resume = NULL;
    while (*name) {
        if (*glob == '*') {
            star = ++glob;
            resume = name;
        } else if (*glob == *name) {
            glob++;
            name++;
        } else if (star) {
            glob = star;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*') glob++;
    return !*glob;
}

static tsr_status check_all_used(const struct binder *binder, tsr_error *err) {
    const tsr_weights *table = binder->weights->table;
    const tsr_node *buffers = node_get(binder->spec->family, "buffers");
    for (uint64_t i = 0; i < table->count(table->ctx); i++) {
        bool known = binder->used[i];
        const char *name = table->tensor(table->ctx, i)->name;
        for (uint64_t j = 0; buffers && j < buffers->count && !known; j++) {
            known = glob_matches(buffers->children[j].text, name);
        }
        if (!known) {
            return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor \"%s\": is in the checkpoint and family %s does not use it", name,
                            node_get(binder->spec->family, "family")->text);
        }
    }
    return TSR_OK;
}

tsr_status weights_init(const tsr_model_setup *setup, const struct spec *spec, struct weights *weights, tsr_error *err) {
    weights->table = setup->weights;
    weights->host = setup->host;
    struct binder binder = {.setup = setup, .spec = spec, .weights = weights};
    binder.tensors = node_get(spec->family, "tensors");
    uint64_t count = weights->table->count(weights->table->ctx);
    void *layers = NULL;
    binder.used = setup->host->alloc(setup->host, count + 1);
    if (!binder.used) return no_memory(err);
    memset(binder.used, 0, count + 1);
    tsr_status st = alloc_owned(weights, spec->layers * sizeof *weights->layer, &layers, err);
    weights->layer = layers;
    if (st == TSR_OK) st = bind_embedding(&binder, err);
    for (binder.layer = 0; binder.layer < spec->layers && st == TSR_OK; binder.layer++) {
        st = bind_layer(&binder, &weights->layer[binder.layer], err);
    }
    if (st == TSR_OK) st = bind_head(&binder, err);
    if (st == TSR_OK) st = check_all_used(&binder, err);
    setup->host->free(setup->host, binder.used);
    return st;
}

void weights_clear(struct weights *weights) {
    for (uint64_t i = 0; i < weights->owned_count; i++) weights->host->free(weights->host, weights->owned[i]);
    if (weights->host) weights->host->free(weights->host, weights->owned);
    *weights = (struct weights){0};
}
