/* SPDX-License-Identifier: Apache-2.0
 *
 * From a request to the talker's input. Two streams are added position by position: text (embedded and projected) and codec
 * ids (docs/models/qwen3-tts.md, "Prompt", gives the layouts). */
#include "graph.h"

#include <string.h>

#define ROLE_IDS 3         /* "<|im_start|>assistant\n" */
#define TARGET_END_IDS 5   /* "<|im_end|>\n<|im_start|>assistant\n" */
#define REFERENCE_END_IDS 2 /* "<|im_end|>\n" */
#define CODEC_MAX 8

tsr_status read_row(const struct model *model, uint64_t table, uint64_t row, float *out, tsr_error *err) {
    const tsr_weights *weights = model->engine.table;
    return weights->read_rows(weights->ctx, table, row, 1, out, err);
}

static void add_row(float *to, const float *from, uint64_t width) {
    for (uint64_t i = 0; i < width; i++) to[i] += from[i];
}

tsr_status embed_frame(const struct model *model, const uint32_t *codes, float *row, float *out, tsr_error *err) {
    tsr_status st = read_row(model, model->codec_embedding, codes[0], out, err);
    for (uint64_t g = 1; g < model->spec.groups && st == TSR_OK; g++) {
        st = read_row(model, model->rest_embedding[g - 1], codes[g], row, err);
        if (st == TSR_OK) add_row(out, row, model->spec.talker.width);
    }
    return st;
}

tsr_status check_codes(const struct model *model, const uint32_t *codes, uint64_t frames, tsr_error *err) {
    uint64_t groups = model->spec.groups, codebook = model->spec.vocoder.codebook;
    for (uint64_t i = 0; i < frames * groups; i++) {
        if (codes[i] < codebook) continue;
        return tsr_fail(err, TSR_E_INPUT, "codes: frame %llu, group %llu: %u is outside of 0..%llu",
                        (unsigned long long)(i / groups), (unsigned long long)(i % groups), codes[i],
                        (unsigned long long)codebook - 1);
    }
    return TSR_OK;
}

/* ---- what a request asks for ---- */

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_name(const char *a, const char *b) {
    while (*a && lower(*a) == lower(*b)) a++, b++;
    return lower(*a) == lower(*b);
}

static tsr_status fail_name(const char *what, const char *name, const char *const *known, tsr_error *err) {
    char list[160] = "none";
    size_t length = 0;
    for (uint64_t i = 0; known[i] && length + strlen(known[i]) + 3 < sizeof list; i++) {
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", i ? ", " : "", known[i]);
    }
    return tsr_fail(err, TSR_E_CONFIG, "%s: \"%.24s\" is unknown; there are: %s", what, name, list);
}

static tsr_status find_name(const struct named_id *names, uint64_t count, const char *what, const char *name,
                            const char *const *known, const struct named_id **found, tsr_error *err) {
    *found = NULL;
    for (uint64_t i = 0; i < count; i++) {
        bool offered = false;
        for (uint64_t k = 0; known[k]; k++) offered = offered || known[k] == names[i].name;
        if (offered && same_name(names[i].name, name)) *found = &names[i];
    }
    return *found ? TSR_OK : fail_name(what, name, known, err);
}

/* A voice with a dialect of its own speaks it when Chinese or nothing is asked for. */
static const struct named_id *apply_dialect(const struct spec *spec, const struct named_id *speaker,
                                            const struct named_id *language) {
    if (!speaker || !speaker->dialect || (language && strcmp(language->name, "chinese"))) return language;
    for (uint64_t i = 0; i < spec->language_count; i++) {
        if (!strcmp(spec->languages[i].name, speaker->dialect)) return &spec->languages[i];
    }
    return language;
}

struct voice {
    const struct named_id *speaker, *language; /* NULL: none, auto */
};

static tsr_status find_voice(const struct model *model, const tsr_speech_prompt *request, struct voice *voice, tsr_error *err) {
    const struct spec *spec = &model->spec;
    tsr_status st = TSR_OK;
    *voice = (struct voice){NULL, NULL};
    if (request->language && *request->language && !same_name(request->language, "auto")) {
        st = find_name(spec->languages, spec->language_count, "language", request->language, model->languages,
                       &voice->language, err);
    }
    if (st == TSR_OK && request->speaker && *request->speaker) {
        st = find_name(spec->speakers, spec->speaker_count, "speaker", request->speaker, model->speakers, &voice->speaker, err);
    }
    voice->language = apply_dialect(spec, voice->speaker, voice->language);
    return st;
}

/* ---- rows ---- */

/* The prompt under construction. */
struct building {
    const struct model *model;
    const tsr_speech_prompt *request;
    struct prompt *prompt;
    uint64_t width;
    float *codec;  /* [CODEC_MAX][H] the list C of control ids and voice */
    uint64_t codec_count;
    float *text, *reference, *instruct; /* projected; [.._count][H] */
    uint64_t text_count, reference_count, instruct_count;
    float *role, *marks; /* [3][H]: role; pad, bos, eos */
    tsr_error *err;
};

/* out [count][H] = projection of the text embeddings of ids. */
static tsr_status project_text(const struct building *b, const uint32_t *ids, uint64_t count, float *out) {
    const struct model *model = b->model;
    const struct spec *spec = &model->spec;
    float *embedded = NULL, *inner = NULL;
    tsr_status st = take_floats(&model->engine, count, spec->text_width, "text embeddings", &embedded, b->err);
    if (st == TSR_OK) st = take_floats(&model->engine, count, spec->text_width, "text embeddings", &inner, b->err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        if (ids[i] >= spec->text_vocabulary) {
            st = tsr_fail(b->err, TSR_E_INPUT, "text: token %u is outside of the model's %llu", ids[i],
                          (unsigned long long)spec->text_vocabulary);
        } else {
            st = read_row(model, model->text_embedding, ids[i], embedded + i * spec->text_width, b->err);
        }
    }
    if (st == TSR_OK) st = run_linear(&model->engine, &model->text_first, embedded, count, false, inner, b->err);
    for (uint64_t i = 0; st == TSR_OK && i < count * spec->text_width; i++) inner[i] = silu(inner[i]);
    if (st == TSR_OK) st = run_linear(&model->engine, &model->text_second, inner, count, false, out, b->err);
    model->engine.host->free(model->engine.host, embedded);
    model->engine.host->free(model->engine.host, inner);
    return st;
}

static tsr_status take_text(const struct building *b, const uint32_t *ids, uint64_t count, float **rows) {
    tsr_status st = take_floats(&b->model->engine, count, b->width, "a text", rows, b->err);
    return st == TSR_OK && count ? project_text(b, ids, count, *rows) : st;
}

static tsr_status project_all(struct building *b) {
    const tsr_speech_prompt *request = b->request;
    const struct ids *ids = &b->model->spec.ids;
    const uint32_t marks[] = {ids->text_pad, ids->text_bos, ids->text_eos};
    b->text_count = request->target_count - ROLE_IDS - TARGET_END_IDS;
    if (request->reference_codes) b->reference_count = request->reference_count - ROLE_IDS - REFERENCE_END_IDS;
    if (request->instruct && b->model->spec.takes_instruct) b->instruct_count = request->instruct_count;
    tsr_status st = take_text(b, request->target, ROLE_IDS, &b->role);
    if (st == TSR_OK) st = take_text(b, marks, 3, &b->marks);
    if (st == TSR_OK) st = take_text(b, request->target + ROLE_IDS, b->text_count, &b->text);
    if (st == TSR_OK && b->reference_count) {
        st = take_text(b, request->reference + ROLE_IDS, b->reference_count, &b->reference);
    }
    if (st == TSR_OK && b->instruct_count) st = take_text(b, request->instruct, b->instruct_count, &b->instruct);
    return st;
}

static tsr_status add_codec(struct building *b, uint32_t id) {
    return read_row(b->model, b->model->codec_embedding, id, b->codec + b->codec_count++ * b->width, b->err);
}

/* The list C: whether and in what to think, the voice, pad and bos. */
static tsr_status list_codec(struct building *b, const struct voice *voice) {
    const struct ids *ids = &b->model->spec.ids;
    tsr_status st = take_floats(&b->model->engine, CODEC_MAX, b->width, "a prompt", &b->codec, b->err);
    if (st == TSR_OK) st = add_codec(b, voice->language ? ids->think : ids->nothink);
    if (st == TSR_OK) st = add_codec(b, ids->think_bos);
    if (st == TSR_OK && voice->language) st = add_codec(b, voice->language->id);
    if (st == TSR_OK) st = add_codec(b, ids->think_eos);
    if (st == TSR_OK && b->request->speaker_vector) {
        memcpy(b->codec + b->codec_count++ * b->width, b->request->speaker_vector, b->width * sizeof(float));
    } else if (st == TSR_OK && voice->speaker) {
        st = add_codec(b, voice->speaker->id);
    }
    if (st == TSR_OK) st = add_codec(b, ids->pad);
    return st == TSR_OK ? add_codec(b, ids->bos) : st;
}

static const float *pad_row(const struct building *b) {
    return b->marks;
}
static const float *bos_row(const struct building *b) {
    return b->marks + b->width;
}
static const float *eos_row(const struct building *b) {
    return b->marks + 2 * b->width;
}
static const float *codec_pad(const struct building *b) {
    return b->codec + (b->codec_count - 2) * b->width;
}
static const float *codec_bos(const struct building *b) {
    return b->codec + (b->codec_count - 1) * b->width;
}

/* Appends a + b (b may be NULL) to the prefill, whose room was counted before. */
static void put(struct building *b, const float *first, const float *second) {
    float *row = b->prompt->prefill + b->prompt->positions++ * b->width;
    memcpy(row, first, b->width * sizeof *row);
    if (second) add_row(row, second, b->width);
}

static tsr_status take_trailing(struct building *b, uint64_t count) {
    b->prompt->trailing_count = count;
    return take_floats(&b->model->engine, count, b->width, "a text", &b->prompt->trailing, b->err);
}

static void set_trailing(struct building *b, uint64_t i, const float *row) {
    memcpy(b->prompt->trailing + i * b->width, row, b->width * sizeof *row);
}

static void put_front(struct building *b) {
    for (uint64_t i = 0; i < b->instruct_count; i++) put(b, b->instruct + i * b->width, NULL);
    for (uint64_t i = 0; i < ROLE_IDS; i++) put(b, b->role + i * b->width, NULL);
    for (uint64_t j = 0; j + 1 < b->codec_count; j++) {
        put(b, j + 2 < b->codec_count ? pad_row(b) : bos_row(b), b->codec + j * b->width);
    }
}

/* All text before the speech. */
static tsr_status put_whole_text(struct building *b) {
    tsr_status st = take_trailing(b, 1);
    if (st != TSR_OK) return st;
    for (uint64_t i = 0; i < b->text_count; i++) put(b, b->text + i * b->width, codec_pad(b));
    put(b, eos_row(b), codec_pad(b));
    put(b, pad_row(b), codec_bos(b));
    set_trailing(b, 0, pad_row(b));
    return TSR_OK;
}

/* One token of text now, the others with the frames. */
static tsr_status put_streaming_text(struct building *b) {
    tsr_status st = take_trailing(b, b->text_count);
    if (st != TSR_OK) return st;
    put(b, b->text, codec_bos(b));
    for (uint64_t i = 1; i < b->text_count; i++) set_trailing(b, i - 1, b->text + i * b->width);
    set_trailing(b, b->text_count - 1, eos_row(b));
    return TSR_OK;
}

/* ---- speech that continues a reference ---- */

/* Row i of the text stream X = reference text, text, eos. */
static const float *stream_text(const struct building *b, uint64_t i) {
    if (i < b->reference_count) return b->reference + i * b->width;
    i -= b->reference_count;
    return i < b->text_count ? b->text + i * b->width : eos_row(b);
}

static tsr_status put_continuation(struct building *b, const float *speech, uint64_t speech_count) {
    uint64_t text_count = b->reference_count + b->text_count + 1;
    bool more_text = b->request->streaming && text_count > speech_count;
    tsr_status st = take_trailing(b, more_text ? text_count - speech_count : 1);
    if (st != TSR_OK) return st;
    if (!b->request->streaming) {
        for (uint64_t i = 0; i < text_count; i++) put(b, stream_text(b, i), codec_pad(b));
        for (uint64_t i = 0; i < speech_count; i++) put(b, speech + i * b->width, pad_row(b));
    }
    for (uint64_t i = 0; b->request->streaming && i < speech_count; i++) {
        put(b, i < text_count ? stream_text(b, i) : pad_row(b), speech + i * b->width);
    }
    for (uint64_t i = 0; more_text && i < text_count - speech_count; i++) set_trailing(b, i, stream_text(b, speech_count + i));
    if (!more_text) set_trailing(b, 0, pad_row(b));
    return TSR_OK;
}

/* The codec stream Y = bos, reference frames. */
static tsr_status put_reference(struct building *b) {
    uint64_t frames = b->request->reference_frames;
    float *speech = NULL, *row = NULL;
    tsr_status st = take_floats(&b->model->engine, frames + 1, b->width, "reference speech", &speech, b->err);
    if (st == TSR_OK) st = take_floats(&b->model->engine, 1, b->width, "reference speech", &row, b->err);
    if (st == TSR_OK) memcpy(speech, codec_bos(b), b->width * sizeof *speech);
    for (uint64_t f = 0; f < frames && st == TSR_OK; f++) {
        const uint32_t *codes = b->request->reference_codes + f * b->model->spec.groups;
        st = embed_frame(b->model, codes, row, speech + (f + 1) * b->width, b->err);
    }
    if (st == TSR_OK) st = put_continuation(b, speech, frames + 1);
    b->model->engine.host->free(b->model->engine.host, speech);
    b->model->engine.host->free(b->model->engine.host, row);
    return st;
}

/* ---- the whole ---- */

static tsr_status check_request(const struct model *model, const tsr_speech_prompt *request, tsr_error *err) {
    if (request->target_count <= ROLE_IDS + TARGET_END_IDS) return tsr_fail(err, TSR_E_INPUT, "text: is empty");
    if (!request->reference_codes) return TSR_OK;
    if (!request->reference || request->reference_count <= ROLE_IDS + REFERENCE_END_IDS) {
        return tsr_fail(err, TSR_E_INPUT, "reference text: is empty");
    }
    return check_codes(model, request->reference_codes, request->reference_frames, err);
}

static tsr_status take_prefill(struct building *b) {
    uint64_t rows = b->instruct_count + ROLE_IDS + b->codec_count + b->text_count + b->reference_count +
                    b->request->reference_frames + 4;
    if (rows > b->model->spec.context) {
        return tsr_fail(b->err, TSR_E_LIMIT, "text: %llu positions, the model has %llu", (unsigned long long)rows,
                        (unsigned long long)b->model->spec.context);
    }
    tsr_status st = take_floats(&b->model->engine, rows, b->width, "a prompt", &b->prompt->prefill, b->err);
    if (st == TSR_OK) st = take_floats(&b->model->engine, 1, b->width, "a prompt", &b->prompt->pad, b->err);
    if (st == TSR_OK) memcpy(b->prompt->pad, pad_row(b), b->width * sizeof(float));
    return st;
}

/* Before anything is computed: a text that cannot fit. */
static tsr_status check_lengths(const struct model *model, const tsr_speech_prompt *request, tsr_error *err) {
    uint64_t limit = model->spec.context, rows = request->target_count;
    if (rows < limit) rows += request->instruct_count < limit ? request->instruct_count : limit;
    if (rows < limit) rows += request->reference_count < limit ? request->reference_count : limit;
    if (rows < limit) rows += request->reference_frames < limit ? request->reference_frames : limit;
    if (rows <= limit) return TSR_OK;
    return tsr_fail(err, TSR_E_LIMIT, "text: too long: %llu positions or more, the model has %llu", (unsigned long long)rows,
                    (unsigned long long)limit);
}

tsr_status prompt_build(const struct model *model, const tsr_speech_prompt *request, struct prompt *prompt, tsr_error *err) {
    struct building b = {.model = model, .request = request, .prompt = prompt, .width = model->spec.talker.width, .err = err};
    struct voice voice;
    *prompt = (struct prompt){0};
    tsr_status st = check_lengths(model, request, err);
    if (st == TSR_OK) st = check_request(model, request, err);
    if (st == TSR_OK) st = find_voice(model, request, &voice, err);
    if (st == TSR_OK) st = project_all(&b);
    if (st == TSR_OK) st = list_codec(&b, &voice);
    if (st == TSR_OK) st = take_prefill(&b);
    if (st == TSR_OK) put_front(&b);
    if (st == TSR_OK && request->reference_codes) {
        st = put_reference(&b);
    } else if (st == TSR_OK) {
        st = request->streaming ? put_streaming_text(&b) : put_whole_text(&b);
    }
    const tsr_host *host = model->engine.host;
    float *owned[] = {b.codec, b.text, b.reference, b.instruct, b.role, b.marks};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) host->free(host, owned[i]);
    return st;
}

void prompt_clear(const struct model *model, struct prompt *prompt) {
    const tsr_host *host = model->engine.host;
    host->free(host, prompt->prefill);
    host->free(host, prompt->trailing);
    host->free(host, prompt->pad);
    *prompt = (struct prompt){0};
}
