/* SPDX-License-Identifier: Apache-2.0
 *
 * qwen3-tts: speech from text. The tables that the host sees; what they stand on is in graph.h. */
#include "graph.h"

#include <string.h>
#include <tessera/plugin.h>

static int32_t probe(const tsr_model_setup *setup) {
    const tsr_node *type = node_get(setup->config, "model_type");
    return type && type->kind == TSR_NODE_TEXT && !strcmp(type->text, "qwen3_tts") ? 90 : 0;
}

static void destroy(void *self) {
    struct model *model = self;
    if (!model) return;
    const tsr_host *host = model->engine.host;
    engine_clear(&model->engine);
    host->free(host, model);
}

static void list_names(struct model *model) {
    const struct spec *spec = &model->spec;
    uint64_t languages = 0;
    for (uint64_t i = 0; i < spec->speaker_count; i++) model->speakers[i] = spec->speakers[i].name;
    for (uint64_t i = 0; i < spec->language_count; i++) {
        if (!strstr(spec->languages[i].name, "dialect")) model->languages[languages++] = spec->languages[i].name;
    }
}

static tsr_status check_host(const tsr_model_setup *setup, tsr_error *err) {
    if (!TSR_HAS(setup, tsr_model_setup, parts) || !TSR_HAS(setup->weights, tsr_weights, linear_view)) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "this host has no nested checkpoints or no views of tensors");
    }
    return TSR_OK;
}

static tsr_status create(const tsr_model_setup *setup, void **self, tsr_error *err) {
    tsr_status st = check_host(setup, err);
    if (st != TSR_OK) return st;
    struct model *model = setup->host->alloc(setup->host, sizeof *model);
    if (!model) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the model");
    memset(model, 0, sizeof *model);
    model->engine = (struct engine){.host = setup->host, .table = setup->weights, .kernels = speech_kernels_best()};
    st = spec_read(setup->config, setup->parts, &model->spec, err);
    if (st == TSR_OK) st = model_bind(model, err);
    if (st != TSR_OK) {
        destroy(model);
        return st;
    }
    list_names(model);
    *self = model;
    return TSR_OK;
}

static void info(void *self, tsr_model_info *facts) {
    const struct spec *spec = &((struct model *)self)->spec;
    facts->layers = spec->talker.layers;
    facts->hidden = spec->talker.width;
    facts->vocabulary = spec->text_vocabulary;
    facts->context = spec->context;
}

/* ---- token by token: not what this model is ---- */

static tsr_status refuse_sequence(void *self, uint64_t capacity, void **sequence, tsr_error *err) {
    (void)self;
    (void)capacity;
    (void)sequence;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "qwen3-tts speaks: it has no logits over text");
}

static void no_sequence(void *self, void *sequence) {
    (void)self;
    (void)sequence;
}

static tsr_status refuse_forward(void *self, void *sequence, const uint32_t *tokens, uint64_t count, const tsr_hooks *hooks,
                                 float *logits, tsr_error *err) {
    (void)tokens;
    (void)count;
    (void)hooks;
    (void)logits;
    return refuse_sequence(self, 0, sequence, err);
}

/* ---- speech ---- */

static void speech_info(void *self, tsr_speech_info *facts) {
    const struct model *model = self;
    const struct spec *spec = &model->spec;
    uint64_t size = facts->struct_size;
    const tsr_speech_info all = {
        .struct_size = size,
        .sample_rate = spec->sample_rate,
        .samples_per_frame = spec->samples_per_frame,
        .groups = spec->groups,
        .codebook = spec->vocoder.codebook,
        .vocabulary = spec->vocabulary,
        .vector_width = spec->talker.width,
        .chunk_frames = CHUNK_FRAMES,
        .context_frames = CONTEXT_FRAMES,
        .speakers = model->speakers,
        .languages = model->languages,
        .target_prefix = "<|im_start|>assistant\n",
        .target_suffix = "<|im_end|>\n<|im_start|>assistant\n",
        .reference_suffix = "<|im_end|>\n",
        .instruct_prefix = "<|im_start|>user\n",
        .instruct_suffix = "<|im_end|>\n",
        .has_speaker_encoder = spec->speaker.present,
        .has_speech_encoder = spec->encoder.present,
        .takes_instruct = spec->takes_instruct,
        .streams_text = spec->base,
    };
    memcpy(facts, &all, size < sizeof all ? size : sizeof all);
}

static tsr_status create_utterance(void *self, const tsr_speech_prompt *prompt, uint64_t frames, const tsr_speech_rules *rules,
                                   const tsr_speech_hooks *hooks, void **utterance, tsr_error *err) {
    struct utterance *made = NULL;
    tsr_status st = utterance_create(self, prompt, frames, rules, hooks, &made, err);
    *utterance = made;
    return st;
}

static void destroy_utterance(void *self, void *utterance) {
    utterance_destroy(self, utterance);
}

static tsr_status next_frame(void *self, void *utterance, const uint32_t *forced, uint32_t *codes, int32_t *end, tsr_error *err) {
    return utterance_next(self, utterance, forced, codes, end, err);
}

static tsr_status predict(void *self, const float *hidden, const uint32_t *forced, uint32_t *codes, float *logits,
                          tsr_error *err) {
    return predict_frame(self, hidden, forced, codes, logits, err);
}

static tsr_status process(void *self, const tsr_speech_rules *rules, const uint32_t *history, uint64_t count, float *logits,
                          tsr_error *err) {
    const struct model *model = self;
    const tsr_host *host = model->engine.host;
    uint8_t *seen = host->alloc(host, model->spec.vocabulary);
    if (!seen) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a history");
    memset(seen, 0, model->spec.vocabulary);
    for (uint64_t i = 0; i < count; i++) {
        if (history[i] < model->spec.vocabulary) seen[history[i]] = 1;
    }
    process_logits(&model->spec, rules->repetition_penalty, seen, count, logits);
    host->free(host, seen);
    return TSR_OK;
}

static tsr_status create_decoder(void *self, uint64_t chunk, uint64_t context, const tsr_speech_hooks *hooks, void **decoder,
                                 tsr_error *err) {
    const struct model *model = self;
    struct decoder *made = NULL;
    tsr_status st = decoder_create(&model->engine, &model->vocoder, chunk, context, hooks, &made, err);
    *decoder = made;
    return st;
}

static void destroy_decoder(void *self, void *decoder) {
    (void)self;
    decoder_destroy(decoder);
}

static tsr_status push_codes(void *self, void *decoder, const uint32_t *codes, uint64_t frames, float *samples, tsr_error *err) {
    tsr_status st = check_codes(self, codes, frames, err);
    return st == TSR_OK ? decoder_push(decoder, codes, frames, samples, err) : st;
}

static tsr_status check_reference(const struct model *model, uint64_t count, tsr_error *err) {
    if (count == 0) return tsr_fail(err, TSR_E_INPUT, "reference speech: is empty");
    if (count <= REFERENCE_SECONDS_MAX * model->spec.sample_rate) return TSR_OK;
    return tsr_fail(err, TSR_E_LIMIT, "reference speech: longer than %d seconds", REFERENCE_SECONDS_MAX);
}

static tsr_status encode_speaker(void *self, const float *samples, uint64_t count, const tsr_speech_hooks *hooks, float *vector,
                                 tsr_error *err) {
    const struct model *model = self;
    if (!model->spec.speaker.present) return tsr_fail(err, TSR_E_UNSUPPORTED, "the model has no speaker encoder");
    tsr_status st = check_reference(model, count, err);
    return st == TSR_OK ? speaker_encoder_run(&model->engine, &model->speaker, samples, count, hooks, vector, err) : st;
}

static tsr_status encode_speech(void *self, const float *samples, uint64_t count, const tsr_speech_hooks *hooks, uint32_t *codes,
                                tsr_error *err) {
    const struct model *model = self;
    if (!model->spec.encoder.present) return tsr_fail(err, TSR_E_UNSUPPORTED, "the model has no speech encoder");
    tsr_status st = check_reference(model, count, err);
    return st == TSR_OK ? speech_encoder_run(&model->engine, &model->encoder, samples, count, hooks, codes, err) : st;
}

static const tsr_speech SPEECH = {
    .struct_size = sizeof(tsr_speech),
    .info = speech_info,
    .utterance_create = create_utterance,
    .utterance_destroy = destroy_utterance,
    .utterance_next = next_frame,
    .predict = predict,
    .process = process,
    .decoder_create = create_decoder,
    .decoder_destroy = destroy_decoder,
    .decoder_push = push_codes,
    .encode_speaker = encode_speaker,
    .encode_speech = encode_speech,
};

static const void *get_extension(const char *id) {
    return !strcmp(id, TSR_SPEECH_ID) ? &SPEECH : NULL;
}

static const tsr_model MODEL = {
    .struct_size = sizeof(tsr_model),
    .id = "org.tessera.qwen3-tts",
    .name = "qwen3-tts",
    .description = "Qwen3-TTS 12 Hz: text to speech at 24 kHz",
    .probe = probe,
    .create = create,
    .destroy = destroy,
    .info = info,
    .sequence_create = refuse_sequence,
    .sequence_destroy = no_sequence,
    .forward = refuse_forward,
    .get_extension = get_extension,
};

static const tsr_model *const MODELS[] = {&MODEL, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-qwen3-tts",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .models = MODELS,
};
