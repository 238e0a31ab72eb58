/* SPDX-License-Identifier: Apache-2.0
 *
 * Every tensor of the two checkpoints to its place. One that would be ignored is an error, but for those that only training or
 * encoding to codes beyond ours needs. */
#include "graph.h"

#include <string.h>

static tsr_status bind_text(struct binder *binder, struct model *model, tsr_error *err) {
    const struct spec *spec = &model->spec;
    binder->prefix = "talker.";
    bind_name(binder, "model.text_embedding.weight");
    tsr_status st = bind_table(binder, spec->text_vocabulary, spec->text_width, &model->text_embedding, err);
    bind_name(binder, "text_projection.linear_fc1.weight");
    if (st == TSR_OK) st = bind_linear(binder, spec->text_width, spec->text_width, true, &model->text_first, err);
    bind_name(binder, "text_projection.linear_fc2.weight");
    return st == TSR_OK ? bind_linear(binder, spec->talker.width, spec->text_width, true, &model->text_second, err) : st;
}

static tsr_status bind_talker(struct binder *binder, struct model *model, tsr_error *err) {
    const struct spec *spec = &model->spec;
    bind_name(binder, "model.codec_embedding.weight");
    tsr_status st = bind_table(binder, spec->vocabulary, spec->talker.width, &model->codec_embedding, err);
    bind_name(binder, "codec_head.weight");
    if (st == TSR_OK) st = bind_linear(binder, spec->vocabulary, spec->talker.width, false, &model->head, err);
    binder->prefix = "talker.model.";
    return st == TSR_OK ? stack_bind(binder, &spec->talker, &model->talker, err) : st;
}

static tsr_status bind_predictor(struct binder *binder, struct model *model, tsr_error *err) {
    const struct spec *spec = &model->spec;
    uint64_t codebook = spec->vocoder.codebook, width = spec->predictor.width;
    tsr_status st = TSR_OK;
    binder->prefix = "talker.code_predictor.";
    for (uint64_t g = 0; g + 1 < spec->groups && st == TSR_OK; g++) {
        bind_name(binder, "model.codec_embedding.%llu.weight", (unsigned long long)g);
        st = bind_table(binder, codebook, spec->talker.width, &model->rest_embedding[g], err);
        bind_name(binder, "lm_head.%llu.weight", (unsigned long long)g);
        if (st == TSR_OK) st = bind_linear(binder, codebook, width, false, &model->rest_head[g], err);
    }
    if (st == TSR_OK && width != spec->talker.width) {
        bind_name(binder, "small_to_mtp_projection.weight");
        st = bind_linear(binder, width, spec->talker.width, true, &model->projection, err);
    }
    binder->prefix = "talker.code_predictor.model.";
    return st == TSR_OK ? stack_bind(binder, &spec->predictor, &model->predictor, err) : st;
}

static bool has(const char *name, const char *part) {
    return strstr(name, part) != NULL;
}

/* Tensors that inference has no use for. */
static bool is_known_rest(const char *name) {
    static const char decoder[] = "speech_tokenizer/decoder.quantizer.", encoder[] = "speech_tokenizer/encoder.";
    if (!strncmp(name, decoder, sizeof decoder - 1)) return has(name, ".input_proj.");
    if (strncmp(name, encoder, sizeof encoder - 1)) return false;
    return has(name, "codebook.initialized") || has(name, ".output_proj.") || has(name, "acoustic_residual_vector_quantizer.layers.");
}

static tsr_status check_all_used(const struct binder *binder, const struct model *model, tsr_error *err) {
    const tsr_weights *table = binder->engine->table;
    for (uint64_t i = 0; i < table->count(table->ctx); i++) {
        const char *name = table->tensor(table->ctx, i)->name;
        bool unbound = !model->spec.speaker.present && !strncmp(name, "speaker_encoder.", 16);
        if (binder->used[i] || is_known_rest(name) || unbound) continue;
        return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor \"%s\": is in the checkpoint and the model does not use it", name);
    }
    return TSR_OK;
}

static tsr_status bind_all(struct binder *binder, struct model *model, tsr_error *err) {
    tsr_status st = bind_text(binder, model, err);
    if (st == TSR_OK) st = bind_talker(binder, model, err);
    if (st == TSR_OK) st = bind_predictor(binder, model, err);
    if (st == TSR_OK) st = vocoder_bind(binder, &model->spec, &model->vocoder, err);
    if (st == TSR_OK && model->spec.encoder.present) st = speech_encoder_bind(binder, &model->spec, &model->encoder, err);
    if (st == TSR_OK && model->spec.speaker.present) st = speaker_encoder_bind(binder, &model->spec, &model->speaker, err);
    return st == TSR_OK ? check_all_used(binder, model, err) : st;
}

tsr_status model_bind(struct model *model, tsr_error *err) {
    const tsr_host *host = model->engine.host;
    const tsr_weights *table = model->engine.table;
    uint64_t count = table->count(table->ctx);
    struct binder binder = {.engine = &model->engine, .prefix = ""};
    binder.used = host->alloc(host, count + 1);
    if (!binder.used) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the model's tables");
    memset(binder.used, 0, count + 1);
    /* An encoder that only a config speaks of is not there: published decoders have been saved alone. */
    bind_name(&binder, "speech_tokenizer/encoder.encoder.layers.0.conv.weight");
    model->spec.encoder.present = model->spec.encoder.present && bind_has(&binder);
    tsr_status st = bind_all(&binder, model, err);
    host->free(host, binder.used);
    return st;
}
