/* SPDX-License-Identifier: Apache-2.0
 *
 * Binds the decoder's tensors. What is stored as logarithms or sums is turned into what the loops need, once. */
#include "vocoder.h"

#include <math.h>
#include <string.h>

#define PRE_TAPS 3
#define TAPS 7

static tsr_status bind_snake(struct binder *binder, const char *stem, uint64_t width, struct snake *snake, tsr_error *err) {
    const float *alpha = NULL, *beta = NULL;
    bind_name(binder, "%salpha", stem);
    tsr_status st = bind_vector(binder, width, &alpha, err);
    bind_name(binder, "%sbeta", stem);
    if (st == TSR_OK) st = bind_vector(binder, width, &beta, err);
    if (st != TSR_OK) return st;
    float *frequency = (float *)(uintptr_t)alpha, *factor = (float *)(uintptr_t)beta; /* our own copies */
    for (uint64_t i = 0; i < width; i++) {
        frequency[i] = expf(alpha[i]);
        factor[i] = 1.0f / (expf(beta[i]) + 1e-9f);
    }
    *snake = (struct snake){frequency, factor};
    return TSR_OK;
}

static tsr_status bind_codebooks(struct binder *binder, const struct vocoder_spec *spec, struct vocoder *vocoder,
                                 tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t g = 0; g < spec->groups && st == TSR_OK; g++) {
        const char *part = g ? "rest" : "first";
        unsigned long long layer = g ? g - 1 : 0;
        bind_name(binder, "quantizer.rvq_%s.vq.layers.%llu._codebook.embedding_sum", part, layer);
        st = bind_table(binder, spec->codebook, spec->code_width, &vocoder->codebook[g], err);
        bind_name(binder, "quantizer.rvq_%s.vq.layers.%llu._codebook.cluster_usage", part, layer);
        if (st == TSR_OK) st = bind_vector(binder, spec->codebook, &vocoder->usage[g], err);
    }
    for (int i = 0; i < 2 && st == TSR_OK; i++) {
        bind_name(binder, "quantizer.rvq_%s.output_proj.weight", i ? "rest" : "first");
        st = conv_bind(binder, spec->width, spec->code_width, 1, false, i ? &vocoder->rest_out : &vocoder->first_out, err);
    }
    return st;
}

static tsr_status bind_transformer(struct binder *binder, const struct vocoder_spec *spec, struct vocoder *vocoder,
                                   tsr_error *err) {
    const char *prefix = binder->prefix;
    bind_name(binder, "pre_conv.conv.weight");
    tsr_status st = conv_bind(binder, spec->latent, spec->width, PRE_TAPS, true, &vocoder->pre_conv, err);
    bind_name(binder, "pre_transformer.input_proj.weight");
    if (st == TSR_OK) st = bind_linear(binder, spec->stack.width, spec->latent, true, &vocoder->input, err);
    bind_name(binder, "pre_transformer.output_proj.weight");
    if (st == TSR_OK) st = bind_linear(binder, spec->latent, spec->stack.width, true, &vocoder->output, err);
    binder->prefix = "speech_tokenizer/decoder.pre_transformer.";
    if (st == TSR_OK) st = stack_bind(binder, &spec->stack, &vocoder->stack, err);
    binder->prefix = prefix;
    return st;
}

/* [channels][1][taps] as [taps][channels], so that a loop over channels runs through memory. */
static tsr_status bind_depthwise(struct binder *binder, uint64_t channels, struct upsample *up, tsr_error *err) {
    const tsr_weights *table = binder->engine->table;
    const uint64_t shape[] = {channels, 1, TAPS};
    void *stored = NULL, *turned = NULL;
    uint64_t index;
    tsr_status st = bind_tensor(binder, shape, 3, &index, err);
    if (st == TSR_OK) st = own_bytes(binder->engine, channels * TAPS * sizeof(float), &stored, err);
    if (st == TSR_OK) st = own_bytes(binder->engine, channels * TAPS * sizeof(float), &turned, err);
    if (st == TSR_OK) st = table->read_rows(table->ctx, index, 0, channels, stored, err);
    for (uint64_t i = 0; st == TSR_OK && i < channels * TAPS; i++) {
        ((float *)turned)[i % TAPS * channels + i / TAPS] = ((const float *)stored)[i];
    }
    up->depthwise = turned;
    return st == TSR_OK ? bind_bias(binder, channels, &up->depthwise_bias, err) : st;
}

static tsr_status bind_upsample(struct binder *binder, const struct vocoder_spec *spec, unsigned i, struct upsample *up,
                                tsr_error *err) {
    uint64_t c = spec->latent;
    bind_name(binder, "upsample.%u.0.conv.weight", i);
    tsr_status st = up_conv_bind(binder, c, c, spec->ratios[i], spec->ratios[i], &up->up, err);
    bind_name(binder, "upsample.%u.1.dwconv.conv.weight", i);
    if (st == TSR_OK) st = bind_depthwise(binder, c, up, err);
    bind_name(binder, "upsample.%u.1.norm.weight", i);
    if (st == TSR_OK) st = bind_vector(binder, c, &up->norm.weight, err);
    if (st == TSR_OK) st = bind_bias(binder, c, &up->norm.bias, err);
    bind_name(binder, "upsample.%u.1.pwconv1.weight", i);
    if (st == TSR_OK) st = bind_linear(binder, 4 * c, c, true, &up->expand, err);
    bind_name(binder, "upsample.%u.1.pwconv2.weight", i);
    if (st == TSR_OK) st = bind_linear(binder, c, 4 * c, true, &up->reduce, err);
    bind_name(binder, "upsample.%u.1.gamma", i);
    return st == TSR_OK ? bind_vector(binder, c, &up->gamma, err) : st;
}

static tsr_status bind_unit(struct binder *binder, unsigned block, unsigned unit, uint64_t channels, struct unit *to,
                            tsr_error *err) {
    static const uint64_t dilations[UNITS] = {1, 3, 9};
    char stem[64];
    (void)snprintf(stem, sizeof stem, "decoder.%u.block.%u.act1.", block, unit + 2);
    tsr_status st = bind_snake(binder, stem, channels, &to->act1, err);
    (void)snprintf(stem, sizeof stem, "decoder.%u.block.%u.act2.", block, unit + 2);
    if (st == TSR_OK) st = bind_snake(binder, stem, channels, &to->act2, err);
    bind_name(binder, "decoder.%u.block.%u.conv1.conv.weight", block, unit + 2);
    if (st == TSR_OK) st = conv_bind(binder, channels, channels, TAPS, true, &to->conv1, err);
    to->conv1.dilation = dilations[unit];
    bind_name(binder, "decoder.%u.block.%u.conv2.conv.weight", block, unit + 2);
    return st == TSR_OK ? conv_bind(binder, channels, channels, 1, true, &to->conv2, err) : st;
}

static tsr_status bind_block(struct binder *binder, const struct vocoder_spec *spec, unsigned i, struct block *block,
                             tsr_error *err) {
    uint64_t in = spec->channels >> i, out = in / 2, rate = spec->rates[i];
    char stem[64];
    (void)snprintf(stem, sizeof stem, "decoder.%u.block.0.", i + 1);
    tsr_status st = bind_snake(binder, stem, in, &block->act, err);
    bind_name(binder, "decoder.%u.block.1.conv.weight", i + 1);
    if (st == TSR_OK) st = up_conv_bind(binder, in, out, 2 * rate, rate, &block->up, err);
    for (unsigned u = 0; u < UNITS && st == TSR_OK; u++) st = bind_unit(binder, i + 1, u, out, &block->unit[u], err);
    return st;
}

static tsr_status bind_stages(struct binder *binder, const struct vocoder_spec *spec, struct vocoder *vocoder, tsr_error *err) {
    unsigned blocks = (unsigned)spec->rate_count;
    uint64_t width = spec->channels >> blocks;
    char stem[64];
    tsr_status st = TSR_OK;
    for (unsigned i = 0; i < spec->ratio_count && st == TSR_OK; i++) {
        st = bind_upsample(binder, spec, i, &vocoder->upsample[i], err);
    }
    bind_name(binder, "decoder.0.conv.weight");
    if (st == TSR_OK) st = conv_bind(binder, spec->channels, spec->latent, TAPS, true, &vocoder->first, err);
    for (unsigned i = 0; i < blocks && st == TSR_OK; i++) st = bind_block(binder, spec, i, &vocoder->block[i], err);
    (void)snprintf(stem, sizeof stem, "decoder.%u.", blocks + 1);
    if (st == TSR_OK) st = bind_snake(binder, stem, width, &vocoder->last_act, err);
    bind_name(binder, "decoder.%u.conv.weight", blocks + 2);
    return st == TSR_OK ? conv_bind(binder, 1, width, TAPS, true, &vocoder->last, err) : st;
}

tsr_status vocoder_bind(struct binder *binder, const struct spec *spec, struct vocoder *vocoder, tsr_error *err) {
    vocoder->spec = spec;
    binder->prefix = "speech_tokenizer/decoder.";
    tsr_status st = bind_codebooks(binder, &spec->vocoder, vocoder, err);
    if (st == TSR_OK) st = bind_transformer(binder, &spec->vocoder, vocoder, err);
    return st == TSR_OK ? bind_stages(binder, &spec->vocoder, vocoder, err) : st;
}
