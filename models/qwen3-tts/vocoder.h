/* SPDX-License-Identifier: Apache-2.0
 *
 * The speech tokenizer's decoder: codes to samples (docs/models/qwen3-tts.md, "Vocoder"). Split residual codebooks, a causal
 * convolution, a transformer with a window, ConvNeXt upsampling, and blocks of transposed convolutions with SnakeBeta. All
 * causal, so it streams. */
#ifndef QWEN3_TTS_VOCODER_H
#define QWEN3_TTS_VOCODER_H

#include "conv.h"
#include "stack.h"

#define UNITS 3 /* residual units of a block, dilations 1, 3, 9 */

/* x + factor * sin^2(frequency x), per channel. */
struct snake {
    const float *frequency, *factor;
};

struct upsample {
    struct up_conv up;
    const float *depthwise; /* [taps][channels] */
    const float *depthwise_bias, *gamma;
    struct norm norm;
    struct linear expand, reduce;
};

struct unit {
    struct snake act1, act2;
    struct conv conv1, conv2;
};

struct block {
    struct snake act;
    struct up_conv up;
    struct unit unit[UNITS];
};

struct vocoder {
    const struct spec *spec;
    uint64_t codebook[GROUPS_MAX];        /* tensor indices of embedding_sum */
    const float *usage[GROUPS_MAX];       /* [codebook] */
    struct conv first_out, rest_out, pre_conv;
    struct linear input, output;
    struct stack stack;
    struct upsample upsample[STAGES_MAX];
    struct conv first;
    struct block block[STAGES_MAX];
    struct snake last_act;
    struct conv last;
};

tsr_status vocoder_bind(struct binder *binder, const struct spec *spec, struct vocoder *vocoder, tsr_error *err);

struct decoder;
tsr_status decoder_create(const struct engine *engine, const struct vocoder *vocoder, uint64_t chunk, uint64_t context,
                          const tsr_speech_hooks *hooks, struct decoder **decoder, tsr_error *err);
void decoder_destroy(struct decoder *decoder);
/* Codes must be below the codebook's size. */
tsr_status decoder_push(struct decoder *decoder, const uint32_t *codes, uint64_t frames, float *samples, tsr_error *err);

#endif
