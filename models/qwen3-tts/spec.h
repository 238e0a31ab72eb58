/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes and ids of one Qwen3-TTS model, read from config.json and speech_tokenizer/config.json (docs/models/qwen3-tts.md).
 * Every count is checked against a limit before anything is sized by it; nothing is taken from a size that was published. */
#ifndef QWEN3_TTS_SPEC_H
#define QWEN3_TTS_SPEC_H

#include <stdbool.h>
#include <tessera/model.h>

#define STAGES_MAX 8     /* upsampling or downsampling stages */
#define GROUPS_MAX 64    /* codes a frame */
#define NAMES_MAX 128    /* speakers or languages */
#define SPEAKER_BLOCKS 5 /* channels, kernels and dilations of the speaker encoder */

/* A stack of transformer blocks; the four of this model differ in these. */
struct stack_spec {
    uint64_t layers, width, heads, kv_heads, head_dim, inner;
    uint64_t window;   /* keys a query sees, itself included; 0: all before it */
    double eps, theta;
    bool qk_norm;      /* each head of q and k is normalised */
    bool layer_norm;   /* with bias, instead of RMS */
    bool layer_scale;  /* factors on what attention and MLP add */
    bool gated;        /* silu(gate) * up, instead of gelu(up) */
    bool final_norm;
};

struct named_id {
    const char *name;
    const char *dialect; /* of a speaker: a language that replaces chinese and auto, or NULL */
    uint32_t id;
};

struct ids {
    uint32_t text_pad, text_bos, text_eos;
    uint32_t pad, bos, eos, think, nothink, think_bos, think_eos;
};

struct vocoder_spec {
    uint64_t codebook, groups, code_width, width; /* code_width: of a codebook row; width: of their sum */
    uint64_t latent, channels;
    uint64_t ratios[STAGES_MAX], ratio_count; /* ConvNeXt stages */
    uint64_t rates[STAGES_MAX], rate_count;   /* convolution blocks */
    struct stack_spec stack;
};

struct encoder_spec {
    bool present;
    uint64_t filters, kernel, residual_kernel, last_kernel, compress;
    uint64_t ratios[STAGES_MAX], ratio_count; /* in the order of the encoder: the reverse of the config's */
    uint64_t stride;                          /* of the last step down */
    uint64_t codebook, code_width;
    struct stack_spec stack;
};

struct speaker_spec {
    bool present;
    uint64_t width; /* of the vector */
    uint64_t channels[SPEAKER_BLOCKS], kernels[SPEAKER_BLOCKS], dilations[SPEAKER_BLOCKS];
    uint64_t attention, scale, squeeze;
};

struct spec {
    struct stack_spec talker, predictor;
    uint64_t text_vocabulary, text_width, vocabulary, groups, context;
    struct ids ids;
    struct named_id speakers[NAMES_MAX], languages[NAMES_MAX];
    uint64_t speaker_count, language_count;
    bool base;           /* voice clone: no built-in speakers, text alongside the speech by default */
    bool takes_instruct;
    uint64_t sample_rate, samples_per_frame;
    struct vocoder_spec vocoder;
    struct encoder_spec encoder;
    struct speaker_spec speaker;
};

/* TSR_E_INPUT names file, key, and what was expected. Names point into the config. */
tsr_status spec_read(const tsr_node *config, const tsr_node *parts, struct spec *spec, tsr_error *err);

/* Child of a map by key, or NULL; NULL for what is no map. */
const tsr_node *node_get(const tsr_node *map, const char *key);

#endif
