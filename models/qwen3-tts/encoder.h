/* SPDX-License-Identifier: Apache-2.0
 *
 * What turns recorded speech into a prompt: codes of the speech tokenizer's encoder (Mimi), and the speaker vector of an
 * ECAPA-TDNN over mel bands (docs/models/qwen3-tts.md, "Voice clone"). Sounds are whole and short. */
#ifndef QWEN3_TTS_ENCODER_H
#define QWEN3_TTS_ENCODER_H

#include "conv.h"
#include "stack.h"

#define REFERENCE_SECONDS_MAX 120
#define MEL_BANDS 128

/* ---- codes ---- */

struct residual {
    struct conv conv1, conv2, down;
};

struct speech_encoder {
    const struct spec *spec;
    struct conv first, last, step; /* step: from the convolutions' rate to the codes' */
    struct residual stage[STAGES_MAX];
    struct stack stack;
    struct conv semantic_in, acoustic_in;
    uint64_t codebook[GROUPS_MAX]; /* tensor indices of embed_sum */
    const float *usage[GROUPS_MAX];
};

tsr_status speech_encoder_bind(struct binder *binder, const struct spec *spec, struct speech_encoder *encoder, tsr_error *err);
/* codes [ceil(count / samples_per_frame)][groups]. */
tsr_status speech_encoder_run(const struct engine *engine, const struct speech_encoder *encoder, const float *samples,
                              uint64_t count, const tsr_speech_hooks *hooks, uint32_t *codes, tsr_error *err);

/* ---- speaker vector ---- */

struct speaker_block {
    struct conv in, out, squeeze, expand;
    struct conv part[256];
};

struct speaker_encoder {
    const struct spec *spec;
    struct conv first, mix, attention1, attention2, last;
    struct speaker_block *block; /* [3] */
};

tsr_status speaker_encoder_bind(struct binder *binder, const struct spec *spec, struct speaker_encoder *encoder,
                                tsr_error *err);
tsr_status speaker_encoder_run(const struct engine *engine, const struct speaker_encoder *encoder, const float *samples,
                               uint64_t count, const tsr_speech_hooks *hooks, float *vector, tsr_error *err);

/* Log mel bands [*frames][MEL_BANDS] of 24 kHz sound in fresh memory of the host. */
tsr_status mel_bands(const struct engine *engine, const float *samples, uint64_t count, uint64_t sample_rate, float **bands,
                     uint64_t *frames, tsr_error *err);

#endif
