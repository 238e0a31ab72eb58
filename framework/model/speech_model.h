/* SPDX-License-Identifier: Apache-2.0
 *
 * A model that speaks, from the host's side: its extension, prompts made from texts, and speech made whole. */
#ifndef MODEL_SPEECH_MODEL_H
#define MODEL_SPEECH_MODEL_H

#include "model_open.h"

#include <tessera/ext/speech.h>
#include <tokenizer/tokenizer.h>

/* The model's speech table, or NULL for one that does not speak. */
const tsr_speech *speech_table(const struct open_model *model);
tsr_speech_info speech_facts(const struct open_model *model);

/* What is to be said; texts in UTF-8, NULL where there is none. */
struct speech_request {
    const char *text, *instruct, *reference_text;
    const char *speaker, *language;
    const float *speaker_vector;       /* [vector_width] */
    const uint32_t *reference_codes;   /* [reference_frames][groups] */
    uint64_t reference_frames;
    bool streaming;
};

/* A request with its token ids. Zero-initialise; clear in any case. */
struct speech_prompt {
    tsr_speech_prompt prompt;
    struct token_ids target, instruct, reference;
};
/* The request must outlive it. TSR_E_INPUT for text that is not UTF-8 or empty. */
tsr_status speech_prompt_make(const struct open_model *model, const struct tokenizer *tokenizer,
                              const struct speech_request *request, struct speech_prompt *made, tsr_error *err);
void speech_prompt_clear(struct speech_prompt *made);

/* Greedy, with the official repetition penalty. */
tsr_speech_rules speech_rules_greedy(void);

/* Frames and samples in growing memory. Zero-initialise; clear in any case. */
struct speech {
    uint32_t *codes; /* [frames][groups] */
    uint64_t frames, capacity;
    int32_t end; /* TSR_SPEECH_END or TSR_SPEECH_LENGTH */
    float *samples;
    uint64_t sample_count;
};
void speech_clear(struct speech *speech);
/* Appends one frame. */
tsr_status speech_add_frame(struct speech *speech, const uint32_t *codes, uint64_t groups, tsr_error *err);

/* Codes of a prompt until its end or `frames`. */
tsr_status speech_generate(const struct open_model *model, const tsr_speech_prompt *prompt, uint64_t frames,
                           const tsr_speech_rules *rules, const tsr_speech_hooks *hooks, struct speech *speech, tsr_error *err);
/* Samples of all codes in fresh memory (mem_free), as the official implementation cuts them, or in one piece with chunk 0. */
tsr_status speech_decode(const struct open_model *model, const uint32_t *codes, uint64_t frames, uint64_t chunk,
                         uint64_t context, const tsr_speech_hooks *hooks, float **samples, uint64_t *count, tsr_error *err);
/* speech->samples from the prompt's reference frames and speech->codes: all are decoded together, and the reference's part
 * is cut off as the official implementation does it (in about 4 % of lengths one sample early). */
tsr_status speech_voice(const struct open_model *model, const tsr_speech_prompt *prompt, const tsr_speech_hooks *hooks,
                        struct speech *speech, tsr_error *err);
/* Samples in front that belong to `reference` of `total` frames. */
uint64_t speech_cut(uint64_t reference, uint64_t total, uint64_t samples);

#endif
