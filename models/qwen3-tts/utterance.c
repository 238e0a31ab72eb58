/* SPDX-License-Identifier: Apache-2.0
 *
 * The generation loop: the talker chooses the first code of a frame, the code predictor the others from the talker's state,
 * and the sum of their embeddings with the next row of text is what the talker reads then. */
#include "graph.h"

#include <math.h>
#include <string.h>

struct utterance {
    tsr_speech_hooks hooks;
    tsr_speech_rules rules;
    struct prompt prompt;
    struct stack_state talker, predictor;
    uint64_t frames_max, frames;
    uint64_t random;
    uint8_t *seen; /* [vocabulary] first codes chosen so far */
    float *memory;
    float *hidden;     /* [H] behind the final norm */
    float *x;          /* [H] */
    float *logits;     /* [vocabulary] */
    float *rest;       /* [groups - 1][codebook] */
    float *row;        /* [H] */
    float *inputs;     /* [groups][H] of the code predictor */
    float *states, *normed; /* [groups][Hc] */
    uint32_t *order;   /* [vocabulary] */
    double *weights;   /* [vocabulary] */
};

/* ---- the code predictor ---- */

/* What one frame's prediction works with. */
struct predicting {
    struct model *model;
    struct stack_state *state;
    const tsr_speech_hooks *hooks; /* of frame 0 only */
    float *inputs, *states, *normed, *logits;
    struct chooser chooser;
    uint32_t *order;
    double *weights;
    uint64_t *random;
};

/* Position `at` of the sequence: project, run, and leave the normed state. */
static tsr_status predict_step(const struct predicting *p, uint64_t at, tsr_error *err) {
    const struct model *model = p->model;
    uint64_t width = model->spec.talker.width, inner = model->spec.predictor.width;
    const struct stack_label label = {p->hooks, "cp.frame0", false};
    float *state = p->states + at * inner, *input = p->inputs + at * width;
    tsr_status st = TSR_OK;
    if (model->projection.op) {
        st = run_linear(&model->engine, &model->projection, input, 1, true, state, err);
    } else {
        memcpy(state, input, inner * sizeof *state);
    }
    if (st == TSR_OK) st = report(p->hooks, "cp.frame0.projected", at, state, 1, inner, err);
    if (st == TSR_OK) {
        st = stack_run(&model->engine, &model->predictor, p->state, state, 1, true, &label, p->normed + at * inner, err);
    }
    return st == TSR_OK ? report(p->hooks, "cp.frame0.norm", at, p->normed + at * inner, 1, inner, err) : st;
}

/* codes[0] is given, the others are chosen, or copied from `forced`. */
static tsr_status predict_codes(const struct predicting *p, const float *hidden, const uint32_t *forced, uint32_t *codes,
                                tsr_error *err) {
    const struct model *model = p->model;
    const struct spec *spec = &model->spec;
    uint64_t width = spec->talker.width, codebook = spec->vocoder.codebook;
    p->state->length = 0;
    memcpy(p->inputs, hidden, width * sizeof *p->inputs);
    tsr_status st = read_row(model, model->codec_embedding, codes[0], p->inputs + width, err);
    if (st == TSR_OK) st = report(p->hooks, "cp.frame0.input", 0, p->inputs, 2, width, err);
    if (st == TSR_OK) st = predict_step(p, 0, err);
    for (uint64_t g = 1; g < spec->groups && st == TSR_OK; g++) {
        float *logits = p->logits + (g - 1) * codebook;
        st = predict_step(p, g, err);
        if (st == TSR_OK) {
            st = run_linear(&model->engine, &model->rest_head[g - 1], p->normed + g * spec->predictor.width, 1, true, logits, err);
        }
        if (st != TSR_OK) return st;
        codes[g] = forced ? forced[g] : choose(&p->chooser, logits, codebook, p->order, p->weights, p->random);
        if (g + 1 < spec->groups) st = read_row(model, model->rest_embedding[g - 1], codes[g], p->inputs + (g + 1) * width, err);
    }
    return st;
}

/* ---- memory ---- */

static uint64_t lay_out(const struct spec *spec, struct utterance *u) {
    uint64_t h = spec->talker.width, hc = spec->predictor.width, g = spec->groups, v = spec->vocabulary;
    const struct {
        float **place;
        uint64_t floats;
    } parts[] = {{&u->hidden, h}, {&u->x, h}, {&u->logits, v}, {&u->rest, g * spec->vocoder.codebook}, {&u->row, h},
                 {&u->inputs, (g + 1) * h}, {&u->states, g * hc}, {&u->normed, g * hc}, {(float **)&u->order, v},
                 {(float **)&u->weights, 2 * v}, {(float **)&u->seen, v}};
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (u->memory) *parts[i].place = u->memory + total;
        total += (parts[i].floats + 15) / 16 * 16;
    }
    return total;
}

static tsr_status allocate(struct model *model, uint64_t positions, struct utterance *u, tsr_error *err) {
    const struct spec *spec = &model->spec;
    tsr_status st = take_floats(&model->engine, lay_out(spec, u), 1, "an utterance", &u->memory, err);
    if (st != TSR_OK) return st;
    (void)lay_out(spec, u);
    memset(u->seen, 0, spec->vocabulary);
    st = stack_state_init(&model->engine, &model->predictor, spec->groups, &u->predictor, err);
    return st == TSR_OK && positions ? stack_state_init(&model->engine, &model->talker, positions, &u->talker, err) : st;
}

void utterance_destroy(struct model *model, struct utterance *u) {
    const tsr_host *host = model->engine.host;
    if (!u) return;
    prompt_clear(model, &u->prompt);
    stack_state_clear(&model->engine, &u->talker);
    stack_state_clear(&model->engine, &u->predictor);
    host->free(host, u->memory);
    host->free(host, u);
}

static struct predicting predicting_of(struct model *model, struct utterance *u) {
    return (struct predicting){.model = model,
                               .state = &u->predictor,
                               .hooks = u->hooks.stage && u->frames == 0 ? &u->hooks : NULL,
                               .inputs = u->inputs,
                               .states = u->states,
                               .normed = u->normed,
                               .logits = u->rest,
                               .chooser = {u->rules.rest_temperature, u->rules.rest_top_p, u->rules.rest_top_k},
                               .order = u->order,
                               .weights = u->weights,
                               .random = &u->random};
}

/* ---- the talker ---- */

/* Reads the prompt; the state behind its last position stays. */
static tsr_status read_prompt(struct model *model, struct utterance *u, tsr_error *err) {
    const struct stack_label label = {&u->hooks, "talker", true};
    const struct prompt *prompt = &u->prompt;
    uint64_t width = model->spec.talker.width;
    float *normed = NULL;
    tsr_status st = report(&u->hooks, "prefill", 0, prompt->prefill, prompt->positions, width, err);
    if (st == TSR_OK) st = report(&u->hooks, "trailing", 0, prompt->trailing, prompt->trailing_count, width, err);
    if (st == TSR_OK) st = report(&u->hooks, "tts_pad", 0, prompt->pad, 1, width, err);
    if (st == TSR_OK) st = take_floats(&model->engine, prompt->positions, width, "a prompt", &normed, err);
    if (st == TSR_OK) {
        st = stack_run(&model->engine, &model->talker, &u->talker, prompt->prefill, prompt->positions, false,
                       u->hooks.stage ? &label : NULL, normed, err);
    }
    if (st == TSR_OK) memcpy(u->hidden, normed + (prompt->positions - 1) * width, width * sizeof *normed);
    model->engine.host->free(model->engine.host, normed);
    return st;
}

static tsr_status check_rules(const tsr_speech_rules *rules, tsr_error *err) {
    bool good = rules->temperature >= 0 && rules->rest_temperature >= 0 && rules->top_p > 0 && rules->top_p <= 1 &&
                rules->rest_top_p > 0 && rules->rest_top_p <= 1 && rules->repetition_penalty > 0;
    return good ? TSR_OK : tsr_fail(err, TSR_E_CONFIG, "temperature, top-p or repetition penalty is out of range");
}

static tsr_status start(struct model *model, const tsr_speech_prompt *request, struct utterance *u, tsr_error *err) {
    uint64_t context = model->spec.context;
    tsr_status st = check_rules(&u->rules, err);
    if (st == TSR_OK) st = prompt_build(model, request, &u->prompt, err);
    if (st != TSR_OK) return st;
    if (u->frames_max > context || u->prompt.positions > context - u->frames_max) {
        return tsr_fail(err, TSR_E_LIMIT, "text: %llu positions and %llu frames, the model has room for %llu",
                        (unsigned long long)u->prompt.positions, (unsigned long long)u->frames_max, (unsigned long long)context);
    }
    st = allocate(model, u->prompt.positions + u->frames_max, u, err);
    return st == TSR_OK ? read_prompt(model, u, err) : st;
}

static tsr_status create_bare(struct model *model, struct utterance **utterance, tsr_error *err) {
    struct utterance *u = model->engine.host->alloc(model->engine.host, sizeof *u);
    if (!u) return tsr_fail(err, TSR_E_NOMEM, "out of memory for an utterance");
    memset(u, 0, sizeof *u);
    *utterance = u;
    return TSR_OK;
}

tsr_status utterance_create(struct model *model, const tsr_speech_prompt *request, uint64_t frames,
                            const tsr_speech_rules *rules, const tsr_speech_hooks *hooks, struct utterance **utterance,
                            tsr_error *err) {
    struct utterance *u = NULL;
    tsr_status st = create_bare(model, &u, err);
    if (st != TSR_OK) return st;
    u->frames_max = frames;
    u->rules = *rules;
    u->random = rules->seed;
    if (hooks) u->hooks = *hooks;
    st = start(model, request, u, err);
    if (st == TSR_OK) {
        *utterance = u;
    } else {
        utterance_destroy(model, u);
    }
    return st;
}

/* The first code, or the end. */
static tsr_status choose_first(struct model *model, struct utterance *u, uint32_t *code, tsr_error *err) {
    const struct spec *spec = &model->spec;
    const struct chooser chooser = {u->rules.temperature, u->rules.top_p, u->rules.top_k};
    uint64_t s = u->frames;
    float token;
    tsr_status st = report(&u->hooks, "talker_hidden", s, u->hidden, 1, spec->talker.width, err);
    if (st == TSR_OK) st = run_linear(&model->engine, &model->head, u->hidden, 1, true, u->logits, err);
    if (st == TSR_OK) st = report(&u->hooks, "talker_logits", s, u->logits, 1, spec->vocabulary, err);
    if (st != TSR_OK) return st;
    process_logits(spec, u->rules.repetition_penalty, u->seen, s, u->logits);
    st = report(&u->hooks, "talker_scores", s, u->logits, 1, spec->vocabulary, err);
    *code = choose(&chooser, u->logits, spec->vocabulary, u->order, u->weights, &u->random);
    token = (float)*code;
    return st == TSR_OK ? report(&u->hooks, "tokens", s, &token, 1, 1, err) : st;
}

/* The talker reads the frame. */
static tsr_status feed_back(struct model *model, struct utterance *u, const uint32_t *codes, tsr_error *err) {
    uint64_t width = model->spec.talker.width, s = u->frames;
    tsr_status st = embed_frame(model, codes, u->row, u->x, err);
    if (st != TSR_OK) return st;
    const float *text = s < u->prompt.trailing_count ? u->prompt.trailing + s * width : u->prompt.pad;
    for (uint64_t i = 0; i < width; i++) u->x[i] += text[i];
    st = report(&u->hooks, "feedback", s, u->x, 1, width, err);
    if (st != TSR_OK) return st;
    return stack_run(&model->engine, &model->talker, &u->talker, u->x, 1, true, NULL, u->hidden, err);
}

tsr_status utterance_next(struct model *model, struct utterance *u, const uint32_t *forced, uint32_t *codes, int32_t *end,
                          tsr_error *err) {
    const struct spec *spec = &model->spec;
    struct predicting p = predicting_of(model, u);
    tsr_status st = forced ? check_codes(model, forced, 1, err) : TSR_OK;
    if (st == TSR_OK) st = choose_first(model, u, &codes[0], err);
    if (st != TSR_OK) return st;
    *end = !forced && codes[0] == spec->ids.eos ? TSR_SPEECH_END : u->frames == u->frames_max ? TSR_SPEECH_LENGTH : TSR_SPEECH_FRAME;
    if (*end != TSR_SPEECH_FRAME) return TSR_OK;
    if (forced) codes[0] = forced[0];
    u->seen[codes[0]] = 1;
    st = predict_codes(&p, u->hidden, forced, codes, err);
    if (st == TSR_OK) {
        st = report(&u->hooks, "cp_logits", u->frames * (spec->groups - 1), u->rest, spec->groups - 1, spec->vocoder.codebook, err);
    }
    if (st == TSR_OK) st = feed_back(model, u, codes, err);
    u->frames++;
    return st;
}

tsr_status predict_frame(struct model *model, const float *hidden, const uint32_t *forced, uint32_t *codes, float *logits,
                         tsr_error *err) {
    struct utterance *u = NULL;
    tsr_status st = codes[0] < model->spec.vocoder.codebook ? TSR_OK : check_codes(model, codes, 1, err);
    if (st == TSR_OK && forced) st = check_codes(model, forced, 1, err);
    if (st == TSR_OK) st = create_bare(model, &u, err);
    if (st == TSR_OK) st = allocate(model, 0, u, err);
    if (st == TSR_OK) {
        struct predicting p = predicting_of(model, u);
        if (logits) p.logits = logits;
        st = predict_codes(&p, hidden, forced, codes, err);
    }
    utterance_destroy(model, u);
    return st;
}
