/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs every case of a golden file: prompts from text, free greedy generation, the vocoder, and where the file has them the
 * parts alone: code predictor, decisions, long and cut decoding, both encoders. A golden tensor that nothing was compared
 * with fails the gate too. */
#include "speech_reference.h"

#include "speech_golden.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>
#include <format/json.h>
#include <math.h>
#include <model/sample.h>
#include <stdlib.h>
#include <string.h>

#define JSON_BYTES_MAX ((uint64_t)64 << 20)
#define COSINE_SLACK 1e-6

struct comparison {
    struct open_model *model;
    const tsr_speech *table;
    tsr_speech_info info;
    struct tokenizer *tokenizer;
    struct golden_file golden;
    json_t *description;
    const char *group; /* of the tensors that hooks report */
    double tolerance;
    struct speech_reference_result *result;
    tsr_error *err;
};

static void note_wrong(struct comparison *c, const char *format, ...) TSR_PRINTF(2, 3);
static void note_wrong(struct comparison *c, const char *format, ...) {
    va_list arguments;
    if (c->result->first_wrong[0]) return;
    va_start(arguments, format);
    (void)vsnprintf(c->result->first_wrong, sizeof c->result->first_wrong, format, arguments);
    va_end(arguments);
}

/* ---- hooks ---- */

/* Convolution stages are stored channel by channel. */
static bool is_turned(const char *name) {
    if (text_starts_with(name, "decoder.")) return !text_starts_with(name, "decoder.pre_transformer");
    return text_starts_with(name, "speaker.block") || !strcmp(name, "speaker.mfa") || !strcmp(name, "encoder.conv") ||
           !strcmp(name, "encoder.downsample");
}

static tsr_status see_stage(void *ctx, const char *name, uint64_t first, const float *values, uint64_t rows, uint64_t columns,
                            tsr_error *err) {
    struct comparison *c = ctx;
    struct golden_tensor *tensor = golden_find(&c->golden, c->group, name);
    (void)err;
    if (tensor) golden_compare(tensor, first, values, rows, columns, is_turned(name));
    return TSR_OK;
}

static tsr_speech_hooks watch(struct comparison *c, const char *group) {
    c->group = group;
    return (tsr_speech_hooks){.struct_size = sizeof(tsr_speech_hooks), .ctx = c, .stage = see_stage};
}

/* ---- comparing ---- */

static void compare_ids(struct comparison *c, const char *group, const char *name, const uint32_t *ids, uint64_t count) {
    struct golden_tensor *tensor = golden_find(&c->golden, group, name);
    if (!tensor) return;
    for (uint64_t i = 0; i < count; i++) {
        float value = (float)ids[i];
        golden_compare(tensor, i, &value, 1, 1, false);
    }
}

/* Waves are compared in absolute terms. */
static void compare_wave(struct comparison *c, const char *group, const char *name, const float *samples, uint64_t count) {
    struct golden_tensor *tensor = golden_find(&c->golden, group, name);
    if (!tensor) return;
    golden_compare(tensor, 0, samples, count, 1, false);
    c->result->worst_wave = fmax(c->result->worst_wave, tensor->worst);
}

static bool is_wave(const char *name) {
    return text_ends_with(name, ".wav") || text_ends_with(name, ".wav_tail");
}

static void judge_tensor(struct comparison *c, const struct golden_tensor *tensor) {
    struct speech_reference_result *result = c->result;
    const char *name = tensor->entry->name;
    if (tensor->is_input) return;
    if (tensor->seen != tensor->count) {
        note_wrong(c, "%.90s: %llu of %llu values were produced", name, (unsigned long long)tensor->seen,
                   (unsigned long long)tensor->count);
    }
    if (tensor->exact) {
        result->codes += tensor->count;
        result->wrong_codes += tensor->wrong;
        if (tensor->wrong) note_wrong(c, "%.90s: %llu of %llu differ", name, (unsigned long long)tensor->wrong,
                                      (unsigned long long)tensor->count);
        return;
    }
    double error = is_wave(name) ? tensor->worst : tensor->worst / fmax(tensor->largest, 1e-30), gap = 1 - golden_cosine(tensor);
    result->stages++;
    if (!is_wave(name) && error > result->worst_stage) {
        result->worst_stage = error;
        (void)snprintf(result->worst_stage_name, sizeof result->worst_stage_name, "%s", name);
    }
    result->worst_cosine = fmax(result->worst_cosine, gap);
    if (!(error <= c->tolerance)) note_wrong(c, "%.90s: error %.3g, %.3g is allowed", name, error, c->tolerance);
    if (!(gap <= COSINE_SLACK)) note_wrong(c, "%.90s: cosine %.7f", name, 1 - gap);
}

/* ---- cases ---- */

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static tsr_status take_ids(struct comparison *c, const char *group, const char *name, uint32_t **ids, uint64_t *count) {
    struct golden_tensor *tensor = golden_find(&c->golden, group, name);
    *count = tensor ? tensor->count : 0;
    if (!tensor) return TSR_OK;
    tensor->is_input = true;
    return golden_ids(tensor, ids, c->err);
}

static tsr_status run_prompt(struct comparison *c, const char *name, const json_t *json, const struct speech_prompt *made) {
    const tsr_speech_rules rules = speech_rules_greedy();
    tsr_speech_hooks hooks = watch(c, name);
    json_int_t tokens = json_integer_value(json_object_get(json, "max_new_tokens"));
    const char *stop = text_of(json, "stopped_by");
    struct speech speech = {0};
    tsr_status st = tokens > 1 ? TSR_OK : tsr_fail(c->err, TSR_E_INPUT, "case %.60s: max_new_tokens is missing", name);
    if (st == TSR_OK) {
        st = speech_generate(c->model, &made->prompt, (uint64_t)tokens - 1, &rules, &hooks, &speech, c->err);
    }
    compare_ids(c, name, "codes", speech.codes, speech.frames * c->info.groups);
    if (st == TSR_OK && stop && (speech.end == TSR_SPEECH_END) != !strcmp(stop, "eos")) {
        note_wrong(c, "%.60s: stopped otherwise than by %.20s", name, stop);
    }
    /* Stages of the vocoder are those of a case without reference frames. */
    if (st == TSR_OK && speech.frames) {
        st = speech_voice(c->model, &made->prompt, made->prompt.reference_codes ? NULL : &hooks, &speech, c->err);
    }
    if (st == TSR_OK) compare_wave(c, name, "wav", speech.samples, speech.sample_count);
    speech_clear(&speech);
    return st;
}

static tsr_status run_case(struct comparison *c, const json_t *json) {
    const char *name = text_of(json, "name"), *text = text_of(json, "text");
    struct speech_prompt made = {0};
    uint32_t *codes = NULL;
    uint64_t count = 0;
    if (!name || !text) return tsr_fail(c->err, TSR_E_INPUT, "golden.json: a case has no name or text");
    struct golden_tensor *vector = golden_find(&c->golden, name, "ref_spk_embedding");
    struct speech_request request = {.text = text,
                                     .instruct = text_of(json, "instruct"),
                                     .reference_text = text_of(json, "ref_text"),
                                     .speaker = text_of(json, "speaker"),
                                     .language = text_of(json, "language"),
                                     .streaming = json_is_false(json_object_get(json, "non_streaming_mode"))};
    if (vector && vector->count != c->info.vector_width) {
        return tsr_fail(c->err, TSR_E_INPUT, "%s.ref_spk_embedding: has not the model's width", name);
    }
    if (vector) {
        vector->is_input = true;
        request.speaker_vector = vector->values;
    }
    tsr_status st = take_ids(c, name, "ref_codes", &codes, &count);
    request.reference_codes = codes;
    request.reference_frames = count / c->info.groups;
    if (st == TSR_OK) st = speech_prompt_make(c->model, c->tokenizer, &request, &made, c->err);
    if (st == TSR_OK) {
        compare_ids(c, name, "input_ids", made.target.ids, made.target.count);
        compare_ids(c, name, "instruct_ids", made.instruct.ids, made.instruct.count);
        compare_ids(c, name, "ref_ids", made.reference.ids, made.reference.count);
        st = run_prompt(c, name, json, &made);
    }
    c->result->cases++;
    speech_prompt_clear(&made);
    mem_free(codes);
    return st;
}

static tsr_status run_cases(struct comparison *c) {
    const json_t *cases = json_object_get(c->description, "cases");
    tsr_status st = json_array_size(cases) ? TSR_OK : tsr_fail(c->err, TSR_E_INPUT, "golden.json: has no cases");
    for (size_t i = 0; i < json_array_size(cases) && st == TSR_OK; i++) st = run_case(c, json_array_get(cases, i));
    return st;
}

/* ---- parts alone ---- */

static tsr_status run_predictor(struct comparison *c) {
    struct golden_tensor *hidden = golden_find(&c->golden, "cp_teacher", "hidden");
    struct golden_tensor *logits = golden_find(&c->golden, "cp_teacher", "logits");
    uint64_t rest = (c->info.groups - 1) * c->info.codebook, count = 0;
    uint32_t *codes = NULL, *chosen = mem_alloc_array(c->info.groups, sizeof *chosen);
    float *ours = mem_alloc_array(rest, sizeof *ours);
    tsr_status st = chosen && ours ? TSR_OK : tsr_fail(c->err, TSR_E_NOMEM, "out of memory for logits");
    if (st == TSR_OK && hidden && logits) st = take_ids(c, "cp_teacher", "codes", &codes, &count);
    if (hidden) hidden->is_input = true;
    uint64_t frames = count / c->info.groups;
    if (hidden && hidden->count < frames * c->info.vector_width) frames = 0;
    for (uint64_t f = 0; f < frames && st == TSR_OK; f++) {
        chosen[0] = codes[f * c->info.groups];
        st = c->table->predict(c->model->self, hidden->values + f * c->info.vector_width, codes + f * c->info.groups, chosen, ours,
                               c->err);
        golden_compare(logits, f * (c->info.groups - 1), ours, c->info.groups - 1, c->info.codebook, false);
    }
    mem_free(ours);
    mem_free(chosen);
    mem_free(codes);
    return st;
}

static tsr_status run_selection(struct comparison *c) {
    struct golden_tensor *logits = golden_find(&c->golden, "selection", "logits");
    struct golden_tensor *scores = golden_find(&c->golden, "selection", "scores");
    const tsr_speech_rules rules = speech_rules_greedy();
    uint64_t vocabulary = c->info.vocabulary;
    if (!logits || !scores) return TSR_OK;
    uint64_t rows = logits->count / vocabulary;
    uint32_t *history = mem_alloc_array(rows, sizeof *history);
    float *row = mem_alloc_array(vocabulary, sizeof *row);
    tsr_status st = history && row ? TSR_OK : tsr_fail(c->err, TSR_E_NOMEM, "out of memory for logits");
    logits->is_input = true;
    for (uint64_t i = 0; i < rows && st == TSR_OK; i++) {
        memcpy(row, logits->values + i * vocabulary, vocabulary * sizeof *row);
        st = c->table->process(c->model->self, &rules, history, i, row, c->err);
        golden_compare(scores, i, row, 1, vocabulary, false);
        history[i] = (uint32_t)sample_best(row, vocabulary);
    }
    if (st == TSR_OK) compare_ids(c, "selection", "tokens", history, rows);
    mem_free(row);
    mem_free(history);
    return st;
}

/* codes of one group, decoded in chunks, against the wave of another. */
static tsr_status run_decoding(struct comparison *c, const char *codes_group, const char *wave_group, const char *name,
                               uint64_t chunk, uint64_t context) {
    struct golden_tensor *wave = golden_find(&c->golden, wave_group, name);
    uint32_t *codes = NULL;
    uint64_t count = 0, samples = 0;
    float *ours = NULL;
    if (!wave) return TSR_OK;
    tsr_status st = take_ids(c, codes_group, "codes", &codes, &count);
    if (st == TSR_OK) {
        st = speech_decode(c->model, codes, count / c->info.groups, chunk, context, NULL, &ours, &samples, c->err);
    }
    /* A tail holds the last samples. */
    uint64_t from = samples > wave->count && text_ends_with(name, "_tail") ? samples - wave->count : 0;
    if (st == TSR_OK) compare_wave(c, wave_group, name, ours + from, samples - from);
    mem_free(ours);
    mem_free(codes);
    return st;
}

static tsr_status run_decodings(struct comparison *c) {
    tsr_status st = run_decoding(c, "decode_whole", "decode_whole", "wav", 0, 0);
    if (st == TSR_OK) st = run_decoding(c, "decode_whole", "decode_chunk10_ctx3", "wav", 10, 3);
    if (st == TSR_OK) st = run_decoding(c, "decode_whole", "decode_chunk5_ctx9", "wav", 5, 9);
    if (st == TSR_OK) st = run_decoding(c, "decode_long", "decode_long", "wav", c->info.chunk_frames, c->info.context_frames);
    if (st != TSR_OK) return st;
    return run_decoding(c, "decode_long", "decode_long", "wav_tail", c->info.chunk_frames, c->info.context_frames);
}

static tsr_status run_encoders(struct comparison *c, const char *group) {
    struct golden_tensor *audio = golden_find(&c->golden, group, "audio");
    tsr_speech_hooks hooks = watch(c, group);
    if (!audio) return TSR_OK;
    audio->is_input = true;
    uint64_t frames = ceil_div(audio->count, c->info.samples_per_frame);
    uint32_t *codes = mem_alloc_array(frames, c->info.groups * sizeof *codes);
    float *vector = mem_alloc_array(c->info.vector_width, sizeof *vector);
    tsr_status st = codes && vector ? TSR_OK : tsr_fail(c->err, TSR_E_NOMEM, "out of memory for reference speech");
    if (st == TSR_OK) st = c->table->encode_speaker(c->model->self, audio->values, audio->count, &hooks, vector, c->err);
    if (st == TSR_OK) st = c->table->encode_speech(c->model->self, audio->values, audio->count, &hooks, codes, c->err);
    if (st == TSR_OK) compare_ids(c, group, "codes", codes, frames * c->info.groups);
    mem_free(vector);
    mem_free(codes);
    return st;
}

/* ---- the whole ---- */

/* The path with ".json" for ".safetensors". */
static tsr_status read_description(struct comparison *c, const char *golden_path) {
    static const char suffix[] = ".safetensors";
    struct str path = {0};
    char *text = NULL;
    uint64_t size = 0;
    size_t length = strlen(golden_path);
    str_add(&path, golden_path, text_ends_with(golden_path, suffix) ? length - (sizeof suffix - 1) : length);
    str_add_text(&path, ".json");
    tsr_status st = path.failed ? tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a path")
                                : fs_read_whole(path.text, JSON_BYTES_MAX, &text, &size, c->err);
    if (st == TSR_OK) st = json_parse(text, size, path.text, &c->description, c->err);
    mem_free(text);
    str_clear(&path);
    return st;
}

static tsr_status run_parts(struct comparison *c) {
    tsr_status st = run_cases(c);
    if (st == TSR_OK) st = run_predictor(c);
    if (st == TSR_OK) st = run_selection(c);
    if (st == TSR_OK) st = run_decodings(c);
    if (st == TSR_OK) st = run_encoders(c, "ref_long");
    return st == TSR_OK ? run_encoders(c, "ref_short") : st;
}

tsr_status gate_speech_reference(struct open_model *model, const char *golden_path, double tolerance,
                                 struct speech_reference_result *result, tsr_error *err) {
    struct comparison c = {.model = model, .table = speech_table(model), .info = speech_facts(model), .tolerance = tolerance,
                           .result = result, .err = err};
    *result = (struct speech_reference_result){0};
    tsr_status st = golden_open(golden_path, &c.golden, err);
    if (st == TSR_OK) st = read_description(&c, golden_path);
    if (st == TSR_OK) st = tokenizer_open(model->root, &c.tokenizer, err);
    if (st == TSR_OK) st = run_parts(&c);
    for (uint64_t i = 0; st == TSR_OK && i < c.golden.st.count; i++) judge_tensor(&c, &c.golden.tensors[i]);
    result->passed = st == TSR_OK && !result->first_wrong[0];
    tokenizer_close(c.tokenizer);
    json_decref(c.description);
    golden_close(&c.golden);
    return st;
}
