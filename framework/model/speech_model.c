/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts become ids with what the model wants around them, as one string; codes become samples in official chunks. */
#include "speech_model.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>
#include <string.h>

const tsr_speech *speech_table(const struct open_model *model) {
    return model_extension(model, TSR_SPEECH_ID);
}

tsr_speech_info speech_facts(const struct open_model *model) {
    tsr_speech_info info = {.struct_size = sizeof info};
    speech_table(model)->info(model->self, &info);
    return info;
}

/* ---- prompts ---- */

static bool is_blank(const char *text) {
    return text[strspn(text, " \t\r\n")] == '\0';
}

static tsr_status encode(const struct tokenizer *tokenizer, const char *prefix, const char *text, const char *suffix,
                         const char *what, struct token_ids *ids, tsr_error *err) {
    struct str whole = {0};
    if (is_blank(text)) return tsr_fail(err, TSR_E_INPUT, "%s: is empty", what);
    if (!text_is_utf8(text, strlen(text))) return tsr_fail(err, TSR_E_INPUT, "%s: is not UTF-8", what);
    str_add_text(&whole, prefix);
    str_add_text(&whole, text);
    str_add_text(&whole, suffix);
    tsr_status st = whole.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", what)
                                 : tokenizer_encode(tokenizer, whole.text, whole.length, false, ids, err);
    str_clear(&whole);
    return st;
}

tsr_status speech_prompt_make(const struct open_model *model, const struct tokenizer *tokenizer,
                              const struct speech_request *request, struct speech_prompt *made, tsr_error *err) {
    tsr_speech_info info = speech_facts(model);
    tsr_status st = encode(tokenizer, info.target_prefix, request->text, info.target_suffix, "text", &made->target, err);
    if (st == TSR_OK && request->instruct && *request->instruct) {
        st = encode(tokenizer, info.instruct_prefix, request->instruct, info.instruct_suffix, "instruction", &made->instruct, err);
    }
    if (st == TSR_OK && request->reference_codes) {
        const char *text = request->reference_text ? request->reference_text : "";
        st = encode(tokenizer, info.target_prefix, text, info.reference_suffix, "reference text", &made->reference, err);
    }
    made->prompt = (tsr_speech_prompt){
        .struct_size = sizeof made->prompt,
        .target = made->target.ids,
        .target_count = made->target.count,
        .instruct = made->instruct.count ? made->instruct.ids : NULL,
        .instruct_count = made->instruct.count,
        .reference = made->reference.count ? made->reference.ids : NULL,
        .reference_count = made->reference.count,
        .reference_codes = request->reference_codes,
        .reference_frames = request->reference_frames,
        .speaker_vector = request->speaker_vector,
        .speaker = request->speaker,
        .language = request->language,
        .streaming = request->streaming,
    };
    return st;
}

void speech_prompt_clear(struct speech_prompt *made) {
    token_ids_clear(&made->target);
    token_ids_clear(&made->instruct);
    token_ids_clear(&made->reference);
    *made = (struct speech_prompt){0};
}

tsr_speech_rules speech_rules_greedy(void) {
    return (tsr_speech_rules){.struct_size = sizeof(tsr_speech_rules), .top_p = 1, .rest_top_p = 1, .repetition_penalty = 1.05};
}

/* ---- codes ---- */

void speech_clear(struct speech *speech) {
    mem_free(speech->codes);
    mem_free(speech->samples);
    *speech = (struct speech){0};
}

tsr_status speech_add_frame(struct speech *speech, const uint32_t *codes, uint64_t groups, tsr_error *err) {
    if (speech->frames == speech->capacity) {
        uint64_t capacity = max_u64(256, 2 * speech->capacity);
        uint32_t *grown = mem_resize(speech->codes, capacity, groups * sizeof *grown);
        if (!grown) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu frames", (unsigned long long)capacity);
        speech->codes = grown;
        speech->capacity = capacity;
    }
    memcpy(speech->codes + speech->frames++ * groups, codes, groups * sizeof *codes);
    return TSR_OK;
}

tsr_status speech_generate(const struct open_model *model, const tsr_speech_prompt *prompt, uint64_t frames,
                           const tsr_speech_rules *rules, const tsr_speech_hooks *hooks, struct speech *speech, tsr_error *err) {
    const tsr_speech *table = speech_table(model);
    uint64_t groups = speech_facts(model).groups;
    uint32_t *codes = mem_alloc_array(groups, sizeof *codes);
    void *utterance = NULL;
    tsr_status st = codes ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a frame");
    if (st == TSR_OK) st = table->utterance_create(model->self, prompt, frames, rules, hooks, &utterance, err);
    speech->end = TSR_SPEECH_FRAME;
    while (st == TSR_OK && speech->end == TSR_SPEECH_FRAME) {
        st = table->utterance_next(model->self, utterance, NULL, codes, &speech->end, err);
        if (st == TSR_OK && speech->end == TSR_SPEECH_FRAME) st = speech_add_frame(speech, codes, groups, err);
    }
    if (utterance) table->utterance_destroy(model->self, utterance);
    mem_free(codes);
    return st;
}

/* ---- samples ---- */

tsr_status speech_decode(const struct open_model *model, const uint32_t *codes, uint64_t frames, uint64_t chunk,
                         uint64_t context, const tsr_speech_hooks *hooks, float **samples, uint64_t *count, tsr_error *err) {
    const tsr_speech *table = speech_table(model);
    uint64_t hop = speech_facts(model).samples_per_frame;
    void *decoder = NULL;
    *count = frames * hop;
    *samples = mem_alloc_array(frames, hop * sizeof **samples);
    tsr_status st = *samples ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu frames", (unsigned long long)frames);
    if (st == TSR_OK) st = table->decoder_create(model->self, chunk, context, hooks, &decoder, err);
    if (st == TSR_OK) st = table->decoder_push(model->self, decoder, codes, frames, *samples, err);
    if (decoder) table->decoder_destroy(model->self, decoder);
    return st;
}

uint64_t speech_cut(uint64_t reference, uint64_t total, uint64_t samples) {
    return total ? (uint64_t)((double)reference / (double)total * (double)samples) : 0;
}

tsr_status speech_voice(const struct open_model *model, const tsr_speech_prompt *prompt, const tsr_speech_hooks *hooks,
                        struct speech *speech, tsr_error *err) {
    tsr_speech_info info = speech_facts(model);
    uint64_t before = prompt->reference_codes ? prompt->reference_frames : 0, total = before + speech->frames;
    uint32_t *codes = mem_alloc_array(total, info.groups * sizeof *codes);
    if (!codes) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu frames", (unsigned long long)total);
    if (before) memcpy(codes, prompt->reference_codes, before * info.groups * sizeof *codes);
    if (speech->frames) memcpy(codes + before * info.groups, speech->codes, speech->frames * info.groups * sizeof *codes);
    tsr_status st = speech_decode(model, codes, total, info.chunk_frames, info.context_frames, hooks, &speech->samples,
                                  &speech->sample_count, err);
    mem_free(codes);
    if (st != TSR_OK) return st;
    uint64_t cut = speech_cut(before, total, speech->sample_count);
    speech->sample_count -= cut;
    memmove(speech->samples, speech->samples + cut, speech->sample_count * sizeof *speech->samples);
    return TSR_OK;
}
