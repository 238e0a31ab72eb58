/* SPDX-License-Identifier: Apache-2.0
 *
 * The model and its parts: prompt, talker, code predictor (utterance.c), vocoder, and the two encoders for reference
 * speech. */
#ifndef QWEN3_TTS_GRAPH_H
#define QWEN3_TTS_GRAPH_H

#include "encoder.h"
#include "stack.h"
#include "vocoder.h"

#define CHUNK_FRAMES 300 /* the official wrapper decodes so many frames at once */
#define CONTEXT_FRAMES 25

struct model {
    struct engine engine;
    struct spec spec;
    uint64_t text_embedding, codec_embedding, rest_embedding[GROUPS_MAX]; /* tensor indices */
    struct linear text_first, text_second; /* the text projection */
    struct linear head, rest_head[GROUPS_MAX];
    struct linear projection; /* talker width to predictor width; op NULL when they are equal */
    struct stack talker, predictor;
    struct vocoder vocoder;
    struct speech_encoder encoder;
    struct speaker_encoder speaker;
    const char *speakers[NAMES_MAX], *languages[NAMES_MAX]; /* NULL-terminated */
};

/* Every tensor bound and checked; an unknown one is an error. */
tsr_status model_bind(struct model *model, tsr_error *err);

/* ---- embeddings (prompt.c) ---- */

/* Row of a table. */
tsr_status read_row(const struct model *model, uint64_t table, uint64_t row, float *out, tsr_error *err);
/* out [H] = sum over a frame's codes of their embeddings, talker's first. */
tsr_status embed_frame(const struct model *model, const uint32_t *codes, float *row, float *out, tsr_error *err);
/* TSR_E_INPUT for codes beyond the codebook. */
tsr_status check_codes(const struct model *model, const uint32_t *codes, uint64_t frames, tsr_error *err);

/* What the talker reads: the prompt, then one row more for each frame, then `pad` for ever. */
struct prompt {
    float *prefill; /* [positions][H] */
    float *trailing; /* [trailing_count][H] */
    float *pad;      /* [H] */
    uint64_t positions, trailing_count;
};
/* Zero-initialise; clear in any case. */
tsr_status prompt_build(const struct model *model, const tsr_speech_prompt *request, struct prompt *prompt, tsr_error *err);
void prompt_clear(const struct model *model, struct prompt *prompt);

/* ---- decisions (select.c) ---- */

struct chooser {
    double temperature, top_p;
    uint64_t top_k;
};
/* Penalty, minimum length, suppression (docs/models/qwen3-tts.md, "Decisions"). seen [vocabulary] is 1 for codes chosen
 * before; `count` of them were chosen. */
void process_logits(const struct spec *spec, double penalty, const uint8_t *seen, uint64_t count, float *logits);
/* `order` [count] is room. *state is the random state. */
uint32_t choose(const struct chooser *chooser, const float *logits, uint64_t count, uint32_t *order, double *weights,
                uint64_t *state);

/* ---- utterances (utterance.c) ---- */

struct utterance;
tsr_status utterance_create(struct model *model, const tsr_speech_prompt *request, uint64_t frames,
                            const tsr_speech_rules *rules, const tsr_speech_hooks *hooks, struct utterance **utterance,
                            tsr_error *err);
void utterance_destroy(struct model *model, struct utterance *utterance);
tsr_status utterance_next(struct model *model, struct utterance *utterance, const uint32_t *forced, uint32_t *codes,
                          int32_t *end, tsr_error *err);
tsr_status predict_frame(struct model *model, const float *hidden, const uint32_t *forced, uint32_t *codes, float *logits,
                         tsr_error *err);

#endif
