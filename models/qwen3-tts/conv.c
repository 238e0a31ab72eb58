/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows are gathered tile by tile, so memory is bounded however long the sound is. */
#include "conv.h"

#include <string.h>

#define TILE_FLOATS (UINT64_C(1) << 20) /* of gathered windows */
#define TILE_ROWS_MIN 64
#define ROWS_A_TASK 32

tsr_status conv_bind(struct binder *binder, uint64_t out, uint64_t in, uint64_t taps, bool has_bias, struct conv *conv,
                     tsr_error *err) {
    const tsr_weights *table = binder->engine->table;
    const uint64_t shape[] = {out, in, taps};
    uint64_t index;
    *conv = (struct conv){.linear = {.rows = out, .columns = in * taps}, .in = in, .out = out, .taps = taps, .dilation = 1,
                          .stride = 1};
    tsr_status st = bind_tensor(binder, shape, 3, &index, err);
    if (st == TSR_OK) st = table->linear_view(table->ctx, index, in * taps, 0, &conv->linear.op, err);
    return st == TSR_OK && has_bias ? bind_bias(binder, out, &conv->linear.bias, err) : st;
}

/* ---- gathering ---- */

struct gathering {
    const struct conv *conv;
    const struct conv_whole *whole;
    uint64_t first, count; /* outputs of the tile */
    float *windows;        /* [count][in * taps] */
};

/* Row of x that stands for row `at`, or NULL for silence. */
static const float *row_at(const struct gathering *g, int64_t at) {
    const struct conv_whole *whole = g->whole;
    int64_t rows = (int64_t)whole->rows;
    if (at < 0) {
        if (whole->padding == PAD_ZERO) return NULL;
        at = whole->padding == PAD_EDGE ? 0 : -at;
    }
    if (at >= rows) {
        if (whole->padding == PAD_ZERO) return NULL;
        at = whole->padding == PAD_EDGE ? rows - 1 : 2 * (rows - 1) - at;
    }
    if (at < 0 || at >= rows) return NULL;
    return whole->x + (uint64_t)at * g->conv->in;
}

static void gather_one(const struct gathering *g, uint64_t i) {
    const struct conv *conv = g->conv;
    float *window = g->windows + i * conv->in * conv->taps;
    for (uint64_t tap = 0; tap < conv->taps; tap++) {
        int64_t at = (int64_t)((g->first + i) * conv->stride + tap * conv->dilation) - (int64_t)g->whole->left;
        const float *row = row_at(g, at);
        for (uint64_t c = 0; c < conv->in; c++) window[c * conv->taps + tap] = row ? row[c] : 0;
    }
}

static tsr_status gather_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct gathering *g = ctx;
    uint64_t end = (index + 1) * ROWS_A_TASK < g->count ? (index + 1) * ROWS_A_TASK : g->count;
    (void)worker;
    (void)err;
    for (uint64_t i = index * ROWS_A_TASK; i < end; i++) gather_one(g, i);
    return TSR_OK;
}

tsr_status conv_run(const struct engine *engine, const struct conv *conv, const struct conv_whole *whole, float *y,
                    tsr_error *err) {
    uint64_t columns = conv->in * conv->taps, tile = TILE_FLOATS / columns;
    if (tile < TILE_ROWS_MIN) tile = TILE_ROWS_MIN;
    if (tile > whole->out_rows) tile = whole->out_rows;
    struct gathering g = {.conv = conv, .whole = whole};
    tsr_status st = take_floats(engine, tile, columns, "windows of a convolution", &g.windows, err);
    for (; g.first < whole->out_rows && st == TSR_OK; g.first += tile) {
        g.count = whole->out_rows - g.first < tile ? whole->out_rows - g.first : tile;
        st = engine->host->parallel_for(engine->host, (g.count + ROWS_A_TASK - 1) / ROWS_A_TASK, gather_task, &g, err);
        if (st == TSR_OK) st = run_linear(engine, &conv->linear, g.windows, g.count, false, y + g.first * conv->out, err);
    }
    engine->host->free(engine->host, g.windows);
    return st;
}

/* ---- streaming ---- */

tsr_status conv_input_init(const struct engine *engine, uint64_t history, uint64_t width, uint64_t piece,
                           struct conv_input *input, tsr_error *err) {
    *input = (struct conv_input){.history = history, .capacity = history + piece, .width = width};
    tsr_status st = take_floats(engine, input->capacity, width, "rows of a convolution", &input->rows, err);
    if (st == TSR_OK) conv_input_reset(input);
    return st;
}

void conv_input_clear(const struct engine *engine, struct conv_input *input) {
    engine->host->free(engine->host, input->rows);
    *input = (struct conv_input){0};
}

void conv_input_reset(struct conv_input *input) {
    memset(input->rows, 0, input->history * input->width * sizeof *input->rows);
}

float *conv_input_next(const struct conv_input *input) {
    return input->rows + input->history * input->width;
}

void conv_input_advance(struct conv_input *input, uint64_t rows) {
    memmove(input->rows, input->rows + rows * input->width, input->history * input->width * sizeof *input->rows);
}

tsr_status conv_stream(const struct engine *engine, const struct conv *conv, struct conv_input *input, uint64_t rows,
                       float *y, tsr_error *err) {
    const struct conv_whole whole = {.x = input->rows, .rows = input->history + rows, .out_rows = rows, .padding = PAD_ZERO};
    tsr_status st = conv->taps == 1 ? run_linear(engine, &conv->linear, conv_input_next(input), rows, false, y, err)
                                    : conv_run(engine, conv, &whole, y, err);
    conv_input_advance(input, rows);
    return st;
}

/* ---- transposed ---- */

tsr_status up_conv_bind(struct binder *binder, uint64_t in, uint64_t out, uint64_t taps, uint64_t stride,
                        struct up_conv *conv, tsr_error *err) {
    const tsr_weights *table = binder->engine->table;
    const uint64_t shape[] = {in, out, taps};
    uint64_t index;
    *conv = (struct up_conv){.linear = {.rows = out * taps, .columns = in}, .in = in, .out = out, .taps = taps, .stride = stride};
    tsr_status st = bind_tensor(binder, shape, 3, &index, err);
    if (st == TSR_OK) st = table->linear_view(table->ctx, index, out * taps, 1, &conv->linear.op, err);
    return st == TSR_OK ? bind_bias(binder, out, &conv->bias, err) : st;
}

struct spreading {
    const struct up_conv *conv;
    const float *products; /* row 0 is the first of the history */
    uint64_t history, rows;
    float *y;
};

/* The `stride` samples that begin with input row t: taps j + m * stride of the rows m before. */
static void spread_one(const struct spreading *s, uint64_t t) {
    const struct up_conv *conv = s->conv;
    for (uint64_t j = 0; j < conv->stride; j++) {
        float *y = s->y + (t * conv->stride + j) * conv->out;
        memcpy(y, conv->bias, conv->out * sizeof *y);
        for (uint64_t m = 0; j + m * conv->stride < conv->taps; m++) {
            const float *from = s->products + (s->history + t - m) * conv->linear.rows + j + m * conv->stride;
            for (uint64_t o = 0; o < conv->out; o++) y[o] += from[o * conv->taps];
        }
    }
}

static tsr_status spread_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct spreading *s = ctx;
    uint64_t end = (index + 1) * ROWS_A_TASK < s->rows ? (index + 1) * ROWS_A_TASK : s->rows;
    (void)worker;
    (void)err;
    for (uint64_t t = index * ROWS_A_TASK; t < end; t++) spread_one(s, t);
    return TSR_OK;
}

tsr_status up_conv_stream(const struct engine *engine, const struct up_conv *conv, const float *x, uint64_t rows,
                          struct conv_input *products, float *y, tsr_error *err) {
    struct spreading s = {conv, products->rows, products->history, rows, y};
    tsr_status st = run_linear(engine, &conv->linear, x, rows, false, conv_input_next(products), err);
    if (st == TSR_OK) {
        st = engine->host->parallel_for(engine->host, (rows + ROWS_A_TASK - 1) / ROWS_A_TASK, spread_task, &s, err);
    }
    conv_input_advance(products, rows);
    return st;
}
