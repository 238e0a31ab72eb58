/* SPDX-License-Identifier: Apache-2.0
 *
 * Projections are made for a piece of tokens, rotated, and stored; then each head of some queries is a task that reads the
 * cache. Half-split rotation, positions from 0 (docs/models/qwen3-tts.md, "Transformer"). */
#include "stack.h"

#include <math.h>
#include <string.h>

#define QUERIES_A_TASK 16
#define SERIAL_WORK 65536 /* multiplications below which tasks cost more than they save */

/* ---- binding ---- */

static tsr_status bind_norm(struct binder *binder, const struct stack_spec *spec, uint64_t width, struct norm *norm,
                            tsr_error *err) {
    tsr_status st = bind_vector(binder, width, &norm->weight, err);
    return st == TSR_OK && spec->layer_norm ? bind_bias(binder, width, &norm->bias, err) : st;
}

static tsr_status bind_attention(struct binder *binder, const struct stack_spec *spec, uint64_t i, struct stack_layer *layer,
                                 tsr_error *err) {
    uint64_t q = spec->heads * spec->head_dim, kv = spec->kv_heads * spec->head_dim;
    const struct {
        const char *name;
        uint64_t rows, columns;
        struct linear *linear;
    } matrices[] = {{"q", q, spec->width, &layer->q},
                    {"k", kv, spec->width, &layer->k},
                    {"v", kv, spec->width, &layer->v},
                    {"o", spec->width, q, &layer->o}};
    tsr_status st = TSR_OK;
    for (int m = 0; m < 4 && st == TSR_OK; m++) {
        bind_name(binder, "layers.%llu.self_attn.%s_proj.weight", (unsigned long long)i, matrices[m].name);
        st = bind_linear(binder, matrices[m].rows, matrices[m].columns, false, matrices[m].linear, err);
    }
    if (st != TSR_OK || !spec->qk_norm) return st;
    bind_name(binder, "layers.%llu.self_attn.q_norm.weight", (unsigned long long)i);
    st = bind_vector(binder, spec->head_dim, &layer->q_norm.weight, err);
    bind_name(binder, "layers.%llu.self_attn.k_norm.weight", (unsigned long long)i);
    return st == TSR_OK ? bind_vector(binder, spec->head_dim, &layer->k_norm.weight, err) : st;
}

static tsr_status bind_mlp(struct binder *binder, const struct stack_spec *spec, uint64_t i, struct stack_layer *layer,
                           tsr_error *err) {
    tsr_status st = TSR_OK;
    if (spec->gated) {
        bind_name(binder, "layers.%llu.mlp.gate_proj.weight", (unsigned long long)i);
        st = bind_linear(binder, spec->inner, spec->width, false, &layer->gate, err);
    }
    bind_name(binder, "layers.%llu.mlp.%s.weight", (unsigned long long)i, spec->gated ? "up_proj" : "fc1");
    if (st == TSR_OK) st = bind_linear(binder, spec->inner, spec->width, false, &layer->up, err);
    bind_name(binder, "layers.%llu.mlp.%s.weight", (unsigned long long)i, spec->gated ? "down_proj" : "fc2");
    return st == TSR_OK ? bind_linear(binder, spec->width, spec->inner, false, &layer->down, err) : st;
}

static tsr_status bind_layer(struct binder *binder, const struct stack_spec *spec, uint64_t i, struct stack_layer *layer,
                             tsr_error *err) {
    bind_name(binder, "layers.%llu.input_layernorm.weight", (unsigned long long)i);
    tsr_status st = bind_norm(binder, spec, spec->width, &layer->attn_norm, err);
    bind_name(binder, "layers.%llu.post_attention_layernorm.weight", (unsigned long long)i);
    if (st == TSR_OK) st = bind_norm(binder, spec, spec->width, &layer->mlp_norm, err);
    if (st == TSR_OK) st = bind_attention(binder, spec, i, layer, err);
    if (st == TSR_OK) st = bind_mlp(binder, spec, i, layer, err);
    if (st != TSR_OK || !spec->layer_scale) return st;
    bind_name(binder, "layers.%llu.self_attn_layer_scale.scale", (unsigned long long)i);
    st = bind_vector(binder, spec->width, &layer->attn_scale, err);
    bind_name(binder, "layers.%llu.mlp_layer_scale.scale", (unsigned long long)i);
    return st == TSR_OK ? bind_vector(binder, spec->width, &layer->mlp_scale, err) : st;
}

tsr_status stack_bind(struct binder *binder, const struct stack_spec *spec, struct stack *stack, tsr_error *err) {
    void *layers = NULL;
    stack->spec = *spec;
    tsr_status st = own_bytes(binder->engine, spec->layers * sizeof *stack->layer, &layers, err);
    stack->layer = layers;
    for (uint64_t i = 0; i < spec->layers && st == TSR_OK; i++) st = bind_layer(binder, spec, i, &stack->layer[i], err);
    if (st != TSR_OK || !spec->final_norm) return st;
    bind_name(binder, "norm.weight");
    return bind_vector(binder, spec->width, &stack->final_norm.weight, err);
}

/* ---- state ---- */

/* Where each buffer begins in the one allocation, in floats. */
static uint64_t lay_out(const struct stack_spec *spec, struct stack_state *state) {
    uint64_t q = spec->heads * spec->head_dim, kv = spec->kv_heads * spec->head_dim, n = STACK_PIECE;
    const struct {
        float **place;
        uint64_t floats;
    } parts[] = {
        {&state->keys, spec->layers * state->capacity * kv}, {&state->values, spec->layers * state->capacity * kv},
        {&state->normed, n * spec->width}, {&state->q, n * q}, {&state->k, n * kv}, {&state->v, n * kv},
        {&state->heads, n * q}, {&state->branch, n * spec->width}, {&state->gate, n * spec->inner},
        {&state->up, n * spec->inner}, {&state->cosines, n * spec->head_dim / 2}, {&state->sines, n * spec->head_dim / 2},
    };
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (state->memory) *parts[i].place = state->memory + total;
        total += (parts[i].floats + 15) / 16 * 16;
    }
    return total;
}

tsr_status stack_state_init(const struct engine *engine, const struct stack *stack, uint64_t capacity,
                            struct stack_state *state, tsr_error *err) {
    uint64_t window = stack->spec.window;
    *state = (struct stack_state){.capacity = window ? window + STACK_PIECE : capacity};
    if (state->capacity > (UINT64_C(1) << 32)) {
        return tsr_fail(err, TSR_E_LIMIT, "a sequence of %llu positions", (unsigned long long)state->capacity);
    }
    tsr_status st = take_floats(engine, lay_out(&stack->spec, state), 1, "a cache of keys and values", &state->memory, err);
    if (st == TSR_OK) (void)lay_out(&stack->spec, state);
    return st;
}

void stack_state_clear(const struct engine *engine, struct stack_state *state) {
    engine->host->free(engine->host, state->memory);
    *state = (struct stack_state){0};
}

/* ---- attention ---- */

static void fill_rotation(const struct stack_spec *spec, struct stack_state *state, uint64_t tokens) {
    uint64_t half = spec->head_dim / 2;
    for (uint64_t i = 0; i < half; i++) {
        float inverse = (float)(1 / pow(spec->theta, 2 * (double)i / (double)spec->head_dim));
        for (uint64_t t = 0; t < tokens; t++) {
            float angle = (float)(state->length + t) * inverse;
            state->cosines[t * half + i] = cosf(angle);
            state->sines[t * half + i] = sinf(angle);
        }
    }
}

static void rotate(const struct stack_spec *spec, const struct stack_state *state, float *rows, uint64_t heads,
                   uint64_t tokens) {
    uint64_t half = spec->head_dim / 2;
    for (uint64_t t = 0; t < tokens; t++) {
        const float *cosines = state->cosines + t * half, *sines = state->sines + t * half;
        for (uint64_t h = 0; h < heads; h++) {
            float *head = rows + (t * heads + h) * spec->head_dim;
            for (uint64_t i = 0; i < half; i++) {
                float a = head[i], b = head[i + half];
                head[i] = a * cosines[i] - b * sines[i];
                head[i + half] = b * cosines[i] + a * sines[i];
            }
        }
    }
}

struct attending {
    const struct engine *engine;
    const struct stack_spec *spec;
    struct stack_state *state;
    uint64_t tokens;
    const float *keys, *values; /* of the layer */
};

/* Scores of one query against keys first..last, then softmax in place. */
static void weigh_keys(const struct attending *a, const float *query, uint64_t group, uint64_t first, uint64_t last,
                       float *scores) {
    const struct stack_spec *spec = a->spec;
    uint64_t width = spec->kv_heads * spec->head_dim;
    float scale = (float)(1 / sqrt((double)spec->head_dim)), largest = -INFINITY, sum = 0;
    for (uint64_t j = first; j <= last; j++) {
        const float *key = a->keys + j % a->state->capacity * width + group * spec->head_dim;
        scores[j - first] = a->engine->kernels->dot(query, key, spec->head_dim) * scale;
        largest = fmaxf(largest, scores[j - first]);
    }
    for (uint64_t j = first; j <= last; j++) {
        scores[j - first] = expf(scores[j - first] - largest);
        sum += scores[j - first];
    }
    for (uint64_t j = first; j <= last; j++) scores[j - first] /= sum;
}

static void attend(const struct attending *a, uint64_t token, uint64_t head, float *scores) {
    const struct stack_spec *spec = a->spec;
    uint64_t last = a->state->length + token, group = head / (spec->heads / spec->kv_heads);
    uint64_t first = spec->window && last + 1 > spec->window ? last + 1 - spec->window : 0;
    uint64_t width = spec->kv_heads * spec->head_dim, at = (token * spec->heads + head) * spec->head_dim;
    float *out = a->state->heads + at;
    weigh_keys(a, a->state->q + at, group, first, last, scores);
    memset(out, 0, spec->head_dim * sizeof *out);
    for (uint64_t j = first; j <= last; j++) {
        const float *value = a->values + j % a->state->capacity * width + group * spec->head_dim;
        a->engine->kernels->add_scaled(out, scores[j - first], value, spec->head_dim);
    }
}

/* One head for some queries. */
static tsr_status attend_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct attending *a = ctx;
    const tsr_host *host = a->engine->host;
    uint64_t head = index % a->spec->heads, first = index / a->spec->heads * QUERIES_A_TASK;
    uint64_t end = first + QUERIES_A_TASK < a->tokens ? first + QUERIES_A_TASK : a->tokens;
    uint64_t keys = a->spec->window ? a->spec->window : a->state->length + end;
    float *scores = host->scratch(host, worker, keys * sizeof *scores);
    if (!scores) return tsr_fail(err, TSR_E_NOMEM, "out of memory for attention scores");
    for (uint64_t t = first; t < end; t++) attend(a, t, head, scores);
    return TSR_OK;
}

static tsr_status attend_all(struct attending *a, tsr_error *err) {
    const struct stack_spec *spec = a->spec;
    float scores[64];
    uint64_t keys = a->state->length + a->tokens;
    if (spec->window && keys > spec->window) keys = spec->window;
    uint64_t blocks = (a->tokens + QUERIES_A_TASK - 1) / QUERIES_A_TASK;
    if (keys > 64 || a->tokens * keys * spec->heads * spec->head_dim > SERIAL_WORK) {
        return a->engine->host->parallel_for(a->engine->host, blocks * spec->heads, attend_task, a, err);
    }
    for (uint64_t t = 0; t < a->tokens; t++) {
        for (uint64_t h = 0; h < spec->heads; h++) attend(a, t, h, scores);
    }
    return TSR_OK;
}

static void store(const struct stack_spec *spec, struct stack_state *state, uint64_t layer, uint64_t tokens) {
    uint64_t width = spec->kv_heads * spec->head_dim, base = layer * state->capacity * width;
    for (uint64_t t = 0; t < tokens; t++) {
        uint64_t slot = (state->length + t) % state->capacity;
        memcpy(state->keys + base + slot * width, state->k + t * width, width * sizeof(float));
        memcpy(state->values + base + slot * width, state->v + t * width, width * sizeof(float));
    }
}

/* ---- one layer ---- */

/* What a layer gets; the piece's first position is state->length. */
struct pass {
    const struct engine *engine;
    const struct stack *stack;
    struct stack_state *state;
    const struct stack_label *label; /* NULL: nothing is reported */
    uint64_t layer, tokens;
    bool one;
};

static tsr_status tell(const struct pass *pass, const char *suffix, const float *values, uint64_t columns, tsr_error *err) {
    char name[80];
    if (!pass->label || !pass->label->hooks) return TSR_OK;
    (void)snprintf(name, sizeof name, "%s.layer%llu%s", pass->label->label, (unsigned long long)pass->layer, suffix);
    return report(pass->label->hooks, name, pass->state->length, values, pass->tokens, columns, err);
}

/* Positions inside of layer 0, where they are asked for. */
static tsr_status tell_detail(const struct pass *pass, const char *q_name, const char *k_name, tsr_error *err) {
    const struct stack_spec *spec = &pass->stack->spec;
    if (!pass->label || !pass->label->detail || pass->layer) return TSR_OK;
    tsr_status st = tell(pass, q_name, pass->state->q, spec->heads * spec->head_dim, err);
    return st == TSR_OK ? tell(pass, k_name, pass->state->k, spec->kv_heads * spec->head_dim, err) : st;
}

static tsr_status project(const struct pass *pass, const struct stack_layer *layer, tsr_error *err) {
    const struct stack_spec *spec = &pass->stack->spec;
    struct stack_state *state = pass->state;
    uint64_t n = pass->tokens;
    tsr_status st = run_linear(pass->engine, &layer->q, state->normed, n, pass->one, state->q, err);
    if (st == TSR_OK) st = run_linear(pass->engine, &layer->k, state->normed, n, pass->one, state->k, err);
    if (st == TSR_OK) st = run_linear(pass->engine, &layer->v, state->normed, n, pass->one, state->v, err);
    if (st != TSR_OK) return st;
    if (spec->qk_norm) {
        run_norm(&layer->q_norm, spec->eps, state->q, state->q, n * spec->heads, spec->head_dim);
        run_norm(&layer->k_norm, spec->eps, state->k, state->k, n * spec->kv_heads, spec->head_dim);
        st = tell_detail(pass, ".q_norm", ".k_norm", err);
    }
    rotate(spec, state, state->q, spec->heads, n);
    rotate(spec, state, state->k, spec->kv_heads, n);
    return st == TSR_OK ? tell_detail(pass, ".q_rope", ".k_rope", err) : st;
}

static tsr_status run_attention(const struct pass *pass, const struct stack_layer *layer, tsr_error *err) {
    const struct stack_spec *spec = &pass->stack->spec;
    struct stack_state *state = pass->state;
    uint64_t base = pass->layer * state->capacity * spec->kv_heads * spec->head_dim;
    struct attending attending = {pass->engine, spec, state, pass->tokens, state->keys + base, state->values + base};
    tsr_status st = project(pass, layer, err);
    if (st != TSR_OK) return st;
    store(spec, state, pass->layer, pass->tokens);
    st = attend_all(&attending, err);
    if (st == TSR_OK) st = run_linear(pass->engine, &layer->o, state->heads, pass->tokens, pass->one, state->branch, err);
    bool told = pass->label && pass->label->detail && pass->layer == 0;
    return st == TSR_OK && told ? tell(pass, ".attn_out", state->branch, spec->width, err) : st;
}

static tsr_status run_mlp(const struct pass *pass, const struct stack_layer *layer, tsr_error *err) {
    const struct stack_spec *spec = &pass->stack->spec;
    struct stack_state *state = pass->state;
    uint64_t count = pass->tokens * spec->inner;
    tsr_status st = run_linear(pass->engine, &layer->up, state->normed, pass->tokens, pass->one, state->up, err);
    if (st == TSR_OK && spec->gated) {
        st = run_linear(pass->engine, &layer->gate, state->normed, pass->tokens, pass->one, state->gate, err);
        for (uint64_t i = 0; i < count; i++) state->up[i] *= silu(state->gate[i]);
    } else {
        for (uint64_t i = 0; i < count; i++) state->up[i] = gelu(state->up[i]);
    }
    return st == TSR_OK ? run_linear(pass->engine, &layer->down, state->up, pass->tokens, pass->one, state->branch, err) : st;
}

static void add_branch(const struct pass *pass, const float *scale, float *x) {
    uint64_t width = pass->stack->spec.width;
    for (uint64_t t = 0; t < pass->tokens; t++) {
        for (uint64_t i = 0; i < width; i++) {
            float added = pass->state->branch[t * width + i];
            x[t * width + i] += scale ? scale[i] * added : added;
        }
    }
}

static tsr_status run_layer(const struct pass *pass, float *x, tsr_error *err) {
    const struct stack_spec *spec = &pass->stack->spec;
    const struct stack_layer *layer = &pass->stack->layer[pass->layer];
    run_norm(&layer->attn_norm, spec->eps, x, pass->state->normed, pass->tokens, spec->width);
    tsr_status st = run_attention(pass, layer, err);
    if (st != TSR_OK) return st;
    add_branch(pass, layer->attn_scale, x);
    run_norm(&layer->mlp_norm, spec->eps, x, pass->state->normed, pass->tokens, spec->width);
    st = run_mlp(pass, layer, err);
    if (st != TSR_OK) return st;
    add_branch(pass, layer->mlp_scale, x);
    return tell(pass, "", x, spec->width, err);
}

tsr_status stack_run(const struct engine *engine, const struct stack *stack, struct stack_state *state, float *x,
                     uint64_t tokens, bool one, const struct stack_label *label, float *normed, tsr_error *err) {
    const struct stack_spec *spec = &stack->spec;
    tsr_status st = TSR_OK;
    if (!spec->window && (tokens > state->capacity || state->length > state->capacity - tokens)) {
        return tsr_fail(err, TSR_E_LIMIT, "%llu positions do not fit a sequence of %llu",
                        (unsigned long long)(state->length + tokens), (unsigned long long)state->capacity);
    }
    for (uint64_t done = 0; done < tokens && st == TSR_OK;) {
        struct pass pass = {.engine = engine, .stack = stack, .state = state, .label = label, .one = one};
        pass.tokens = tokens - done < STACK_PIECE ? tokens - done : STACK_PIECE;
        fill_rotation(spec, state, pass.tokens);
        for (pass.layer = 0; pass.layer < spec->layers && st == TSR_OK; pass.layer++) {
            if (engine->host->cancelled(engine->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
            st = run_layer(&pass, x + done * spec->width, err);
        }
        if (normed) run_norm(&stack->final_norm, spec->eps, x + done * spec->width, normed + done * spec->width, pass.tokens, spec->width);
        state->length += pass.tokens;
        done += pass.tokens;
    }
    return st;
}
