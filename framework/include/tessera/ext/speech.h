/* SPDX-License-Identifier: Apache-2.0
 *
 * Model extension "tessera.model.speech/0", from tsr_model.get_extension: text to codes to a waveform, and recorded speech
 * to codes and to a speaker vector. A frame is `groups` codes and `samples_per_frame` samples. The host makes token ids of
 * texts and writes sound files; the plugin knows prompts, decisions and the vocoder.
 *
 * Thread rules: everything is [instance] per model, its utterances and decoders included: one thread at a time. What is
 * given to an operation is lent for the call, unless said otherwise. Outputs are unspecified after a failure. */
#ifndef TESSERA_EXT_SPEECH_H
#define TESSERA_EXT_SPEECH_H

#include "../host.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_SPEECH_ID "tessera.model.speech/0"

/* Facts about a created model; pointers live as long as it does. */
typedef struct tsr_speech_info {
    uint64_t struct_size;
    uint64_t sample_rate; /* Hz */
    uint64_t samples_per_frame;
    uint64_t groups;       /* codes a frame */
    uint64_t codebook;     /* codes are 0..codebook-1 */
    uint64_t vocabulary;   /* of the first code's logits, control ids included */
    uint64_t vector_width; /* of a speaker vector */
    uint64_t chunk_frames, context_frames; /* how the official implementation cuts long sequences for the vocoder */
    const char *const *speakers;  /* NULL-terminated; none: the model has no built-in voices */
    const char *const *languages; /* NULL-terminated, without "auto" */
    /* Texts around a target, a reference transcript and an instruction; the host makes ids of prefix, text and suffix as
     * one string. */
    const char *target_prefix, *target_suffix;
    const char *reference_suffix; /* its prefix is the target's */
    const char *instruct_prefix, *instruct_suffix;
    int32_t has_speaker_encoder; /* encode_speaker works */
    int32_t has_speech_encoder;  /* encode_speech works */
    int32_t takes_instruct;      /* 0: an instruction would be ignored */
    int32_t streams_text;        /* 1: text alongside the speech is this model's usual layout */
} tsr_speech_info;

/* What is to be said, and by whom. */
typedef struct tsr_speech_prompt {
    uint64_t struct_size;
    const uint32_t *target; /* [target_count] ids of target_prefix, text, target_suffix */
    uint64_t target_count;
    const uint32_t *instruct; /* the same for an instruction, or NULL */
    uint64_t instruct_count;
    const uint32_t *reference; /* the same for the transcript of reference_codes, or NULL */
    uint64_t reference_count;
    const uint32_t *reference_codes; /* [reference_frames][groups] speech that the answer continues, or NULL */
    uint64_t reference_frames;
    const float *speaker_vector; /* [vector_width], or NULL */
    const char *speaker;         /* one of info.speakers, or NULL */
    const char *language;        /* one of info.languages, or NULL for auto */
    int32_t streaming;           /* 1: text alongside the speech; 0: all text first */
    int32_t reserved;
} tsr_speech_prompt;

/* How codes are chosen. A temperature of 0 takes the most probable one. */
typedef struct tsr_speech_rules {
    uint64_t struct_size;
    double temperature, top_p; /* of the first code of a frame; top_p 1: all */
    uint64_t top_k;            /* 0: all */
    double rest_temperature, rest_top_p; /* of the others */
    uint64_t rest_top_k;
    double repetition_penalty; /* on first codes that were chosen before; 1: none */
    uint64_t seed;
} tsr_speech_rules;

/* Sees intermediate values. Names are those of docs/models/qwen3-tts.md; rows are positions in time, `first` is the
 * position of the first. */
typedef struct tsr_speech_hooks {
    uint64_t struct_size;
    void *ctx;
    tsr_status (*stage)(void *ctx, const char *name, uint64_t first, const float *values, uint64_t rows, uint64_t columns,
                        tsr_error *err);
} tsr_speech_hooks;

enum { TSR_SPEECH_FRAME = 0, TSR_SPEECH_END = 1, TSR_SPEECH_LENGTH = 2 };

typedef struct tsr_speech {
    uint64_t struct_size;
    void (*info)(void *self, tsr_speech_info *info);
    /* Runs the prompt. At most `frames` frames can follow. `rules` and `hooks` are copied; hooks may be NULL. TSR_E_CONFIG
     * for a speaker or language that the model does not have; TSR_E_INPUT for an empty text or codes out of range;
     * TSR_E_LIMIT for a prompt beyond the model's context. */
    tsr_status (*utterance_create)(void *self, const tsr_speech_prompt *prompt, uint64_t frames, const tsr_speech_rules *rules,
                                   const tsr_speech_hooks *hooks, void **utterance, tsr_error *err);
    void (*utterance_destroy)(void *self, void *utterance);
    /* The next frame in codes[groups], *end TSR_SPEECH_FRAME; or *end says why there is none. With forced[groups] the same
     * decisions are computed and reported to the hooks, but these codes are returned and fed back; with the end chosen and
     * codes forced it goes on. */
    tsr_status (*utterance_next)(void *self, void *utterance, const uint32_t *forced, uint32_t *codes, int32_t *end,
                                 tsr_error *err);
    /* Codes 1..groups-1 of one frame from hidden[width] and codes[0], greedily; with forced[groups] those are fed instead.
     * logits [groups-1][codebook] or NULL. */
    tsr_status (*predict)(void *self, const float *hidden, const uint32_t *forced, uint32_t *codes, float *logits,
                          tsr_error *err);
    /* Logits of the first code after penalty, minimum length and suppression, given the first codes chosen so far. */
    tsr_status (*process)(void *self, const tsr_speech_rules *rules, const uint32_t *history, uint64_t count, float *logits,
                          tsr_error *err);
    /* A vocoder that keeps its state: memory does not grow, and samples do not depend on how frames are cut into calls.
     * With `chunk` > 0 it starts anew every `chunk` frames behind `context` frames that are decoded again and dropped, as
     * the official implementation does. */
    tsr_status (*decoder_create)(void *self, uint64_t chunk, uint64_t context, const tsr_speech_hooks *hooks, void **decoder,
                                 tsr_error *err);
    void (*decoder_destroy)(void *self, void *decoder);
    /* codes [frames][groups] -> samples [frames * samples_per_frame], -1..1. TSR_E_INPUT for a code out of range. */
    tsr_status (*decoder_push)(void *self, void *decoder, const uint32_t *codes, uint64_t frames, float *samples,
                               tsr_error *err);
    /* Mono samples at sample_rate -> vector[vector_width]. TSR_E_UNSUPPORTED without the encoder. */
    tsr_status (*encode_speaker)(void *self, const float *samples, uint64_t count, const tsr_speech_hooks *hooks,
                                 float *vector, tsr_error *err);
    /* Mono samples -> codes [ceil(count / samples_per_frame)][groups]. */
    tsr_status (*encode_speech)(void *self, const float *samples, uint64_t count, const tsr_speech_hooks *hooks,
                                uint32_t *codes, tsr_error *err);
} tsr_speech;

#ifdef __cplusplus
}
#endif
#endif
