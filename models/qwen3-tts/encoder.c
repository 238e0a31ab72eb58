/* SPDX-License-Identifier: Apache-2.0
 *
 * The speech tokenizer's encoder: convolutions down to 25 rows a second, a transformer, one step down, and the nearest rows of
 * split residual codebooks. All convolutions are causal; rows are as many as make the whole sound. */
#include "encoder.h"

#include <math.h>
#include <string.h>

#define ROWS_A_TASK 4

/* ---- binding ---- */

static tsr_status bind_stage(struct binder *binder, const struct encoder_spec *spec, unsigned i, struct residual *stage,
                             tsr_error *err) {
    uint64_t width = spec->filters << i, ratio = spec->ratios[i];
    bind_name(binder, "encoder.layers.%u.block.1.conv.weight", 3 * i + 1);
    tsr_status st = conv_bind(binder, width / spec->compress, width, spec->residual_kernel, true, &stage->conv1, err);
    bind_name(binder, "encoder.layers.%u.block.3.conv.weight", 3 * i + 1);
    if (st == TSR_OK) st = conv_bind(binder, width, width / spec->compress, 1, true, &stage->conv2, err);
    bind_name(binder, "encoder.layers.%u.conv.weight", 3 * i + 3);
    if (st == TSR_OK) st = conv_bind(binder, 2 * width, width, 2 * ratio, true, &stage->down, err);
    stage->down.stride = ratio;
    return st;
}

static tsr_status bind_codebooks(struct binder *binder, const struct spec *spec, struct speech_encoder *encoder,
                                 tsr_error *err) {
    const struct encoder_spec *sizes = &spec->encoder;
    tsr_status st = TSR_OK;
    for (uint64_t g = 0; g < spec->groups && st == TSR_OK; g++) {
        const char *part = g ? "acoustic" : "semantic";
        unsigned long long layer = g ? g - 1 : 0;
        bind_name(binder, "quantizer.%s_residual_vector_quantizer.layers.%llu.codebook.embed_sum", part, layer);
        st = bind_table(binder, sizes->codebook, sizes->code_width, &encoder->codebook[g], err);
        bind_name(binder, "quantizer.%s_residual_vector_quantizer.layers.%llu.codebook.cluster_usage", part, layer);
        if (st == TSR_OK) st = bind_vector(binder, sizes->codebook, &encoder->usage[g], err);
    }
    bind_name(binder, "quantizer.semantic_residual_vector_quantizer.input_proj.weight");
    if (st == TSR_OK) st = conv_bind(binder, sizes->code_width, sizes->stack.width, 1, false, &encoder->semantic_in, err);
    bind_name(binder, "quantizer.acoustic_residual_vector_quantizer.input_proj.weight");
    return st == TSR_OK ? conv_bind(binder, sizes->code_width, sizes->stack.width, 1, false, &encoder->acoustic_in, err) : st;
}

tsr_status speech_encoder_bind(struct binder *binder, const struct spec *spec, struct speech_encoder *encoder, tsr_error *err) {
    const struct encoder_spec *sizes = &spec->encoder;
    unsigned stages = (unsigned)sizes->ratio_count;
    uint64_t width = sizes->stack.width;
    encoder->spec = spec;
    binder->prefix = "speech_tokenizer/encoder.";
    bind_name(binder, "encoder.layers.0.conv.weight");
    tsr_status st = conv_bind(binder, sizes->filters, 1, sizes->kernel, true, &encoder->first, err);
    for (unsigned i = 0; i < stages && st == TSR_OK; i++) st = bind_stage(binder, sizes, i, &encoder->stage[i], err);
    bind_name(binder, "encoder.layers.%u.conv.weight", 3 * stages + 2);
    if (st == TSR_OK) st = conv_bind(binder, width, sizes->filters << stages, sizes->last_kernel, true, &encoder->last, err);
    bind_name(binder, "downsample.conv.weight");
    if (st == TSR_OK) st = conv_bind(binder, width, width, 2 * sizes->stride, false, &encoder->step, err);
    encoder->step.stride = sizes->stride;
    if (st == TSR_OK) st = bind_codebooks(binder, spec, encoder, err);
    binder->prefix = "speech_tokenizer/encoder.encoder_transformer.";
    return st == TSR_OK ? stack_bind(binder, &sizes->stack, &encoder->stack, err) : st;
}

/* ---- convolutions ---- */

static uint64_t ceil_div(uint64_t a, uint64_t b) {
    return (a + b - 1) / b;
}

/* Left padding of what the window is longer than the stride; as many rows as the sound needs. Fresh memory. */
static tsr_status run_causal(const struct engine *engine, const struct conv *conv, const float *x, uint64_t rows,
                             enum padding padding, float **y, uint64_t *out_rows, tsr_error *err) {
    uint64_t reach = (conv->taps - 1) * conv->dilation + 1;
    struct conv_whole whole = {.x = x, .rows = rows, .padding = padding};
    whole.left = reach > conv->stride ? reach - conv->stride : 0;
    whole.out_rows = *out_rows = ceil_div(rows, conv->stride);
    tsr_status st = take_floats(engine, *out_rows, conv->out, "reference speech", y, err);
    return st == TSR_OK ? conv_run(engine, conv, &whole, *y, err) : st;
}

static void elu(const float *x, float *y, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) y[i] = x[i] > 0 ? x[i] : expm1f(x[i]);
}

/* Frees x. */
static void replace(const struct engine *engine, float **x, float *y) {
    engine->host->free(engine->host, *x);
    *x = y;
}

/* x += conv2(elu(conv1(elu(x)))), then elu and one step down. */
static tsr_status run_stage(const struct engine *engine, const struct residual *stage, float **x, uint64_t *rows,
                            tsr_error *err) {
    uint64_t width = stage->conv1.in, same;
    float *inner = NULL, *added = NULL, *down = NULL, *active = NULL;
    tsr_status st = take_floats(engine, *rows, width, "reference speech", &active, err);
    if (st == TSR_OK) {
        elu(*x, active, *rows * width);
        st = run_causal(engine, &stage->conv1, active, *rows, PAD_ZERO, &inner, &same, err);
    }
    if (st == TSR_OK) {
        elu(inner, inner, *rows * stage->conv1.out);
        st = run_causal(engine, &stage->conv2, inner, *rows, PAD_ZERO, &added, &same, err);
    }
    for (uint64_t i = 0; st == TSR_OK && i < *rows * width; i++) active[i] = (*x)[i] + added[i];
    if (st == TSR_OK) {
        elu(active, active, *rows * width);
        st = run_causal(engine, &stage->down, active, *rows, PAD_ZERO, &down, rows, err);
    }
    replace(engine, &inner, NULL);
    replace(engine, &added, NULL);
    replace(engine, &active, NULL);
    replace(engine, x, down);
    return st;
}

/* Fresh [*rows][width] at the transformer's rate. */
static tsr_status run_convolutions(const struct engine *engine, const struct speech_encoder *encoder, const float *samples,
                                   float **x, uint64_t *rows, tsr_error *err) {
    uint64_t count = *rows;
    float *last = NULL;
    tsr_status st = run_causal(engine, &encoder->first, samples, count, PAD_ZERO, x, rows, err);
    for (uint64_t i = 0; i < encoder->spec->encoder.ratio_count && st == TSR_OK; i++) {
        st = run_stage(engine, &encoder->stage[i], x, rows, err);
    }
    if (st == TSR_OK) {
        elu(*x, *x, *rows * encoder->last.in);
        st = run_causal(engine, &encoder->last, *x, *rows, PAD_ZERO, &last, rows, err);
    }
    replace(engine, x, last);
    return st;
}

/* ---- codes ---- */

/* Rows of one codebook, and where each frame's remainder stands. */
struct quantising {
    const float *table; /* [codebook][width] */
    uint64_t codebook, width, frames, groups, group;
    float *rest; /* [frames][width] */
    uint32_t *codes;
};

static void quantise_one(const struct quantising *q, uint64_t frame) {
    float *rest = q->rest + frame * q->width;
    double best = INFINITY;
    uint64_t nearest = 0;
    for (uint64_t i = 0; i < q->codebook; i++) {
        const float *row = q->table + i * q->width;
        double distance = 0;
        for (uint64_t c = 0; c < q->width; c++) distance += ((double)rest[c] - (double)row[c]) * ((double)rest[c] - (double)row[c]);
        if (distance < best) {
            best = distance;
            nearest = i;
        }
    }
    q->codes[frame * q->groups + q->group] = (uint32_t)nearest;
    for (uint64_t c = 0; c < q->width; c++) rest[c] -= q->table[nearest * q->width + c];
}

static tsr_status quantise_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct quantising *q = ctx;
    uint64_t end = (index + 1) * ROWS_A_TASK < q->frames ? (index + 1) * ROWS_A_TASK : q->frames;
    (void)worker;
    (void)err;
    for (uint64_t f = index * ROWS_A_TASK; f < end; f++) quantise_one(q, f);
    return TSR_OK;
}

static tsr_status read_codebook(const struct engine *engine, const struct speech_encoder *encoder, uint64_t group,
                                float *table, tsr_error *err) {
    const struct encoder_spec *spec = &encoder->spec->encoder;
    const tsr_weights *weights = engine->table;
    tsr_status st = weights->read_rows(weights->ctx, encoder->codebook[group], 0, spec->codebook, table, err);
    for (uint64_t i = 0; st == TSR_OK && i < spec->codebook * spec->code_width; i++) {
        table[i] /= fmaxf(encoder->usage[group][i / spec->code_width], 1e-5f);
    }
    return st;
}

/* Both branches see the same rows; inside of the second each codebook takes what those before it left. */
static tsr_status quantise(const struct engine *engine, const struct speech_encoder *encoder, const float *x, uint64_t frames,
                           uint32_t *codes, tsr_error *err) {
    const struct encoder_spec *spec = &encoder->spec->encoder;
    float *table = NULL, *rest = NULL;
    tsr_status st = take_floats(engine, spec->codebook, spec->code_width, "a codebook", &table, err);
    if (st == TSR_OK) st = take_floats(engine, frames, spec->code_width, "reference speech", &rest, err);
    struct quantising q = {.table = table, .codebook = spec->codebook, .width = spec->code_width, .frames = frames,
                           .groups = encoder->spec->groups, .rest = rest, .codes = codes};
    for (q.group = 0; q.group < q.groups && st == TSR_OK; q.group++) {
        const struct conv *in = q.group ? &encoder->acoustic_in : &encoder->semantic_in;
        if (q.group < 2) st = run_linear(engine, &in->linear, x, frames, false, rest, err);
        if (st == TSR_OK) st = read_codebook(engine, encoder, q.group, table, err);
        if (st == TSR_OK) st = engine->host->parallel_for(engine->host, ceil_div(frames, ROWS_A_TASK), quantise_task, &q, err);
    }
    replace(engine, &table, NULL);
    replace(engine, &rest, NULL);
    return st;
}

tsr_status speech_encoder_run(const struct engine *engine, const struct speech_encoder *encoder, const float *samples,
                              uint64_t count, const tsr_speech_hooks *hooks, uint32_t *codes, tsr_error *err) {
    uint64_t rows = count, frames = 0, width = encoder->spec->encoder.stack.width;
    float *x = NULL, *coarse = NULL;
    struct stack_state state = {0};
    tsr_status st = run_convolutions(engine, encoder, samples, &x, &rows, err);
    if (st == TSR_OK) st = report(hooks, "encoder.conv", 0, x, rows, width, err);
    if (st == TSR_OK) st = stack_state_init(engine, &encoder->stack, rows, &state, err);
    if (st == TSR_OK) st = stack_run(engine, &encoder->stack, &state, x, rows, false, NULL, NULL, err);
    if (st == TSR_OK) st = report(hooks, "encoder.transformer", 0, x, rows, width, err);
    if (st == TSR_OK) st = run_causal(engine, &encoder->step, x, rows, PAD_EDGE, &coarse, &frames, err);
    if (st == TSR_OK) st = report(hooks, "encoder.downsample", 0, coarse, frames, width, err);
    if (st == TSR_OK) st = quantise(engine, encoder, coarse, frames, codes, err);
    stack_state_clear(engine, &state);
    replace(engine, &x, NULL);
    replace(engine, &coarse, NULL);
    return st;
}
