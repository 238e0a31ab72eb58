/* SPDX-License-Identifier: Apache-2.0
 *
 * ECAPA-TDNN (Desplanques, Thienpondt, Demuynck 2020, arXiv:2005.07143) over mel bands: who speaks, as one vector. Every
 * convolution keeps the length, its ends reflected. */
#include "encoder.h"

#include <math.h>
#include <string.h>

#define BLOCKS 3

/* ---- binding ---- */

static tsr_status bind_parts(struct binder *binder, const struct speaker_spec *spec, unsigned i, struct speaker_block *block,
                             tsr_error *err) {
    uint64_t width = spec->channels[i] / spec->scale;
    tsr_status st = TSR_OK;
    for (unsigned p = 0; p + 1 < spec->scale && st == TSR_OK; p++) {
        bind_name(binder, "blocks.%u.res2net_block.blocks.%u.conv.weight", i, p);
        st = conv_bind(binder, width, width, spec->kernels[i], true, &block->part[p], err);
        block->part[p].dilation = spec->dilations[i];
    }
    return st;
}

static tsr_status bind_block(struct binder *binder, const struct speaker_spec *spec, unsigned i, struct speaker_block *block,
                             tsr_error *err) {
    uint64_t width = spec->channels[i];
    bind_name(binder, "blocks.%u.tdnn1.conv.weight", i);
    tsr_status st = conv_bind(binder, width, spec->channels[i - 1], 1, true, &block->in, err);
    if (st == TSR_OK) st = bind_parts(binder, spec, i, block, err);
    bind_name(binder, "blocks.%u.tdnn2.conv.weight", i);
    if (st == TSR_OK) st = conv_bind(binder, width, width, 1, true, &block->out, err);
    bind_name(binder, "blocks.%u.se_block.conv1.weight", i);
    if (st == TSR_OK) st = conv_bind(binder, spec->squeeze, width, 1, true, &block->squeeze, err);
    bind_name(binder, "blocks.%u.se_block.conv2.weight", i);
    return st == TSR_OK ? conv_bind(binder, width, spec->squeeze, 1, true, &block->expand, err) : st;
}

tsr_status speaker_encoder_bind(struct binder *binder, const struct spec *spec, struct speaker_encoder *encoder,
                                tsr_error *err) {
    const struct speaker_spec *sizes = &spec->speaker;
    uint64_t mixed = sizes->channels[4];
    void *blocks = NULL;
    encoder->spec = spec;
    binder->prefix = "speaker_encoder.";
    tsr_status st = own_bytes(binder->engine, BLOCKS * sizeof *encoder->block, &blocks, err);
    encoder->block = blocks;
    bind_name(binder, "blocks.0.conv.weight");
    if (st == TSR_OK) st = conv_bind(binder, sizes->channels[0], MEL_BANDS, sizes->kernels[0], true, &encoder->first, err);
    encoder->first.dilation = sizes->dilations[0];
    for (unsigned i = 0; i < BLOCKS && st == TSR_OK; i++) st = bind_block(binder, sizes, i + 1, &encoder->block[i], err);
    bind_name(binder, "mfa.conv.weight");
    if (st == TSR_OK) st = conv_bind(binder, mixed, mixed, sizes->kernels[4], true, &encoder->mix, err);
    encoder->mix.dilation = sizes->dilations[4];
    bind_name(binder, "asp.tdnn.conv.weight");
    if (st == TSR_OK) st = conv_bind(binder, sizes->attention, 3 * mixed, 1, true, &encoder->attention1, err);
    bind_name(binder, "asp.conv.weight");
    if (st == TSR_OK) st = conv_bind(binder, mixed, sizes->attention, 1, true, &encoder->attention2, err);
    bind_name(binder, "fc.weight");
    return st == TSR_OK ? conv_bind(binder, sizes->width, 2 * mixed, 1, true, &encoder->last, err) : st;
}

/* ---- running ---- */

static tsr_status run_same(const struct engine *engine, const struct conv *conv, const float *x, uint64_t rows, float *y,
                           tsr_error *err) {
    struct conv_whole whole = {.x = x, .rows = rows, .out_rows = rows, .padding = PAD_REFLECT};
    whole.left = conv->dilation * (conv->taps - 1) / 2;
    return conv_run(engine, conv, &whole, y, err);
}

static void relu(float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) x[i] = fmaxf(x[i], 0);
}

/* Columns [from, from + width) of x [rows][all], plus those of y if given, into part [rows][width]. */
static void cut(const float *x, uint64_t rows, uint64_t all, uint64_t from, uint64_t width, const float *y, float *part) {
    for (uint64_t t = 0; t < rows; t++) {
        for (uint64_t c = 0; c < width; c++) {
            part[t * width + c] = x[t * all + from + c] + (y ? y[t * width + c] : 0);
        }
    }
}

/* Res2Net: the first part stays, the second is convolved, each later one with the result before it. In place. */
static tsr_status run_parts(const struct engine *engine, const struct speaker_block *block, uint64_t scale, float *x,
                            uint64_t rows, uint64_t all, tsr_error *err) {
    uint64_t width = all / scale;
    float *memory = NULL;
    tsr_status st = take_floats(engine, 2 * rows, width, "a speaker encoder", &memory, err);
    float *part = memory, *last = memory ? memory + rows * width : NULL;
    for (uint64_t p = 1; p < scale && st == TSR_OK; p++) {
        cut(x, rows, all, p * width, width, p > 1 ? last : NULL, part);
        st = run_same(engine, &block->part[p - 1], part, rows, last, err);
        relu(last, rows * width);
        for (uint64_t t = 0; t < rows; t++) memcpy(x + t * all + p * width, last + t * width, width * sizeof *x);
    }
    engine->host->free(engine->host, memory);
    return st;
}

static void mean_over_time(const float *x, uint64_t rows, uint64_t width, float *mean) {
    for (uint64_t c = 0; c < width; c++) {
        double sum = 0;
        for (uint64_t t = 0; t < rows; t++) sum += (double)x[t * width + c];
        mean[c] = (float)(sum / (double)rows);
    }
}

/* Squeeze and excitation: each channel is scaled by what the means of all say. `room`: squeeze + 2 * width floats. */
static tsr_status run_excitation(const struct engine *engine, const struct speaker_block *block, float *x, uint64_t rows,
                                 float *room, tsr_error *err) {
    uint64_t width = block->expand.out, inner = block->squeeze.out;
    float *mean = room, *factor = room + width, *squeezed = room + 2 * width;
    mean_over_time(x, rows, width, mean);
    tsr_status st = run_linear(engine, &block->squeeze.linear, mean, 1, false, squeezed, err);
    relu(squeezed, inner);
    if (st == TSR_OK) st = run_linear(engine, &block->expand.linear, squeezed, 1, false, factor, err);
    for (uint64_t i = 0; st == TSR_OK && i < rows * width; i++) x[i] *= 1 / (1 + expf(-factor[i % width]));
    return st;
}

/* y = x + block(x), [rows][width] each. */
static tsr_status run_block(const struct engine *engine, const struct speaker_block *block, uint64_t scale, const float *x,
                            uint64_t rows, float *y, tsr_error *err) {
    uint64_t width = block->out.out;
    float *inner = NULL, *room = NULL;
    tsr_status st = take_floats(engine, rows, width, "a speaker encoder", &inner, err);
    if (st == TSR_OK) st = take_floats(engine, 2 * width + block->squeeze.out, 1, "a speaker encoder", &room, err);
    if (st == TSR_OK) st = run_same(engine, &block->in, x, rows, inner, err);
    if (st == TSR_OK) relu(inner, rows * width);
    if (st == TSR_OK) st = run_parts(engine, block, scale, inner, rows, width, err);
    if (st == TSR_OK) st = run_same(engine, &block->out, inner, rows, y, err);
    if (st == TSR_OK) relu(y, rows * width);
    if (st == TSR_OK) st = run_excitation(engine, block, y, rows, room, err);
    for (uint64_t i = 0; st == TSR_OK && i < rows * width; i++) y[i] += x[i];
    engine->host->free(engine->host, inner);
    engine->host->free(engine->host, room);
    return st;
}

/* Mean and standard deviation over time with weights [rows][width] that sum to 1 (NULL: equal ones); biased. */
static void moments(const float *x, const float *weights, uint64_t rows, uint64_t width, float *mean, float *deviation) {
    for (uint64_t c = 0; c < width; c++) {
        double sum = 0, squares = 0;
        for (uint64_t t = 0; t < rows; t++) {
            sum += (weights ? (double)weights[t * width + c] : 1 / (double)rows) * (double)x[t * width + c];
        }
        for (uint64_t t = 0; t < rows; t++) {
            double distance = (double)x[t * width + c] - sum;
            squares += (weights ? (double)weights[t * width + c] : 1 / (double)rows) * distance * distance;
        }
        mean[c] = (float)sum;
        deviation[c] = (float)sqrt(fmax(squares, 1e-12));
    }
}

static void softmax_over_time(float *x, uint64_t rows, uint64_t width) {
    for (uint64_t c = 0; c < width; c++) {
        float largest = -INFINITY, sum = 0;
        for (uint64_t t = 0; t < rows; t++) largest = fmaxf(largest, x[t * width + c]);
        for (uint64_t t = 0; t < rows; t++) sum += (x[t * width + c] = expf(x[t * width + c] - largest));
        for (uint64_t t = 0; t < rows; t++) x[t * width + c] /= sum;
    }
}

/* Attentive statistics: pooled [2 * width] = weighted mean and deviation of x [rows][width]. */
static tsr_status pool(const struct engine *engine, const struct speaker_encoder *encoder, const float *x, uint64_t rows,
                       float *pooled, tsr_error *err) {
    uint64_t width = encoder->mix.out, inner_width = encoder->attention1.out;
    float *context = NULL, *inner = NULL, *weights = NULL;
    tsr_status st = take_floats(engine, rows, 3 * width, "a speaker encoder", &context, err);
    if (st == TSR_OK) st = take_floats(engine, rows, inner_width, "a speaker encoder", &inner, err);
    if (st == TSR_OK) st = take_floats(engine, rows, width, "a speaker encoder", &weights, err);
    if (st == TSR_OK) moments(x, NULL, rows, width, pooled, pooled + width);
    for (uint64_t t = 0; t < rows && st == TSR_OK; t++) {
        memcpy(context + t * 3 * width, x + t * width, width * sizeof *x);
        memcpy(context + t * 3 * width + width, pooled, 2 * width * sizeof *x);
    }
    if (st == TSR_OK) st = run_linear(engine, &encoder->attention1.linear, context, rows, false, inner, err);
    for (uint64_t i = 0; st == TSR_OK && i < rows * inner_width; i++) inner[i] = tanhf(fmaxf(inner[i], 0));
    if (st == TSR_OK) st = run_linear(engine, &encoder->attention2.linear, inner, rows, false, weights, err);
    if (st == TSR_OK) {
        softmax_over_time(weights, rows, width);
        moments(x, weights, rows, width, pooled, pooled + width);
    }
    engine->host->free(engine->host, context);
    engine->host->free(engine->host, inner);
    engine->host->free(engine->host, weights);
    return st;
}

/* Buffers of one run. */
struct running {
    float *bands, *blocks[BLOCKS + 1], *joined, *mixed, *pooled;
    uint64_t rows;
};

/* Outputs of the blocks side by side: [rows][3 * width]. */
static void join(struct running *run, uint64_t width) {
    for (uint64_t t = 0; t < run->rows; t++) {
        for (uint64_t b = 0; b < BLOCKS; b++) {
            memcpy(run->joined + (t * BLOCKS + b) * width, run->blocks[b + 1] + t * width, width * sizeof *run->joined);
        }
    }
}

static tsr_status run_blocks(const struct engine *engine, const struct speaker_encoder *encoder, struct running *run,
                             const tsr_speech_hooks *hooks, tsr_error *err) {
    static const char *const names[] = {"speaker.block0", "speaker.block1", "speaker.block2", "speaker.block3"};
    uint64_t width = encoder->first.out;
    tsr_status st = TSR_OK;
    for (int b = 0; b <= BLOCKS && st == TSR_OK; b++) {
        st = take_floats(engine, run->rows, width, "a speaker encoder", &run->blocks[b], err);
        if (st == TSR_OK && b == 0) {
            st = run_same(engine, &encoder->first, run->bands, run->rows, run->blocks[0], err);
            relu(run->blocks[0], run->rows * width);
        } else if (st == TSR_OK) {
            st = run_block(engine, &encoder->block[b - 1], encoder->spec->speaker.scale, run->blocks[b - 1], run->rows,
                           run->blocks[b], err);
        }
        if (st == TSR_OK) st = report(hooks, names[b], 0, run->blocks[b], run->rows, width, err);
    }
    return st;
}

tsr_status speaker_encoder_run(const struct engine *engine, const struct speaker_encoder *encoder, const float *samples,
                               uint64_t count, const tsr_speech_hooks *hooks, float *vector, tsr_error *err) {
    uint64_t width = encoder->first.out, mixed = encoder->mix.out;
    struct running run = {0};
    tsr_status st = mel_bands(engine, samples, count, encoder->spec->sample_rate, &run.bands, &run.rows, err);
    if (st == TSR_OK) st = report(hooks, "mel", 0, run.bands, run.rows, MEL_BANDS, err);
    if (st == TSR_OK) st = run_blocks(engine, encoder, &run, hooks, err);
    if (st == TSR_OK) st = take_floats(engine, run.rows, BLOCKS * width, "a speaker encoder", &run.joined, err);
    if (st == TSR_OK) st = take_floats(engine, run.rows, mixed, "a speaker encoder", &run.mixed, err);
    if (st == TSR_OK) st = take_floats(engine, 2, mixed, "a speaker encoder", &run.pooled, err);
    if (st == TSR_OK) {
        join(&run, width);
        st = run_same(engine, &encoder->mix, run.joined, run.rows, run.mixed, err);
        relu(run.mixed, run.rows * mixed);
    }
    if (st == TSR_OK) st = report(hooks, "speaker.mfa", 0, run.mixed, run.rows, mixed, err);
    if (st == TSR_OK) st = pool(engine, encoder, run.mixed, run.rows, run.pooled, err);
    if (st == TSR_OK) st = report(hooks, "speaker.asp", 0, run.pooled, 1, 2 * mixed, err);
    if (st == TSR_OK) st = run_linear(engine, &encoder->last.linear, run.pooled, 1, false, vector, err);
    if (st == TSR_OK) st = report(hooks, "xvector", 0, vector, 1, encoder->last.out, err);
    float *owned[] = {run.bands, run.blocks[0], run.blocks[1], run.blocks[2], run.blocks[3], run.joined, run.mixed, run.pooled};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) engine->host->free(engine->host, owned[i]);
    return st;
}
