/* SPDX-License-Identifier: Apache-2.0
 *
 * Both models stand at the same frame; hooks keep their scores, which are reduced before either goes on. */
#include "speech_parity.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <math.h>
#include <numeric/divergence.h>
#include <reading/meter.h>
#include <string.h>

/* Scores of one model at one frame. */
struct scores {
    float *first; /* [vocabulary], behind penalty and suppression */
    float *rest;  /* [groups - 1][codebook] */
    uint64_t vocabulary, rest_count;
};

struct forcing {
    const struct open_model *models[2]; /* raw, other */
    const tsr_speech *tables[2];
    tsr_speech_info info;
    struct scores scores[2];
    float *kept[2]; /* [vocabulary]: the scores that are not suppressed */
    uint32_t *codes, *ignored;
    uint64_t wanted; /* decisions; 0: all */
    const struct env *env;
    struct speech_parity_result *result;
    tsr_error *err;
};

static tsr_status keep_scores(void *ctx, const char *name, uint64_t first, const float *values, uint64_t rows, uint64_t columns,
                              tsr_error *err) {
    struct scores *scores = ctx;
    uint64_t count = rows * columns;
    (void)first;
    (void)err;
    if (!strcmp(name, "talker_scores")) memcpy(scores->first, values, min_u64(count, scores->vocabulary) * sizeof *values);
    if (!strcmp(name, "cp_logits")) memcpy(scores->rest, values, min_u64(count, scores->rest_count) * sizeof *values);
    return TSR_OK;
}

/* ---- reducing ---- */

static void note(struct forcing *f, uint64_t group, const float *p, const float *q, uint64_t count) {
    struct speech_parity_result *result = f->result;
    uint64_t at = (result->windows - 1) * result->groups + group;
    struct divergence divergence;
    divergence_of(p, q, count, &divergence);
    bool same = divergence_agrees(&divergence);
    result->agree[at].sum += same;
    result->agree[at].count++;
    result->kld[at].sum += divergence.kld;
    result->kld[at].count++;
    result->flips += !same;
    result->decisions++;
}

/* Ids that either model suppresses are no choice; both rule out the same ones. */
static void reduce_first(struct forcing *f) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < f->info.vocabulary; i++) {
        float p = f->scores[0].first[i], q = f->scores[1].first[i];
        if (isinf(p) && isinf(q)) continue;
        f->kept[0][count] = p;
        f->kept[1][count++] = q;
    }
    note(f, 0, f->kept[0], f->kept[1], count);
}

static void reduce_rest(struct forcing *f) {
    for (uint64_t g = 1; g < f->info.groups; g++) {
        uint64_t at = (g - 1) * f->info.codebook;
        note(f, g, f->scores[0].rest + at, f->scores[1].rest + at, f->info.codebook);
    }
}

static tsr_status open_window(struct forcing *f) {
    struct speech_parity_result *result = f->result;
    if (result->windows == result->capacity) {
        uint64_t capacity = max_u64(64, 2 * result->capacity), row = result->groups * sizeof(struct group);
        struct group *agree = mem_resize(result->agree, capacity, row);
        if (agree) result->agree = agree;
        struct group *kld = mem_resize(result->kld, capacity, row);
        if (kld) result->kld = kld;
        if (!agree || !kld) return tsr_fail(f->err, TSR_E_NOMEM, "out of memory for decisions");
        result->capacity = capacity;
    }
    memset(result->agree + result->windows * result->groups, 0, result->groups * sizeof(struct group));
    memset(result->kld + result->windows * result->groups, 0, result->groups * sizeof(struct group));
    result->windows++;
    return TSR_OK;
}

/* ---- one line ---- */

static bool enough(const struct forcing *f) {
    return f->wanted && f->result->decisions >= f->wanted;
}

/* The raw model chooses, the other is shown the choice. *more is false at the end of the line. */
static tsr_status run_frame(struct forcing *f, void *const utterances[2], uint64_t frame, bool *more) {
    int32_t end = TSR_SPEECH_FRAME, other_end;
    tsr_status st = meter_check_cancel(f->env, f->err);
    if (st == TSR_OK && frame % SPEECH_WINDOW_FRAMES == 0) st = open_window(f);
    if (st == TSR_OK) st = f->tables[0]->utterance_next(f->models[0]->self, utterances[0], NULL, f->codes, &end, f->err);
    *more = end == TSR_SPEECH_FRAME;
    if (st == TSR_OK) {
        st = f->tables[1]->utterance_next(f->models[1]->self, utterances[1], *more ? f->codes : NULL, f->ignored, &other_end, f->err);
    }
    if (st != TSR_OK) return st;
    reduce_first(f);
    if (*more) reduce_rest(f);
    f->result->frames += *more;
    return TSR_OK;
}

static tsr_status run_line(struct forcing *f, const tsr_speech_prompt *prompt, uint64_t line) {
    const tsr_speech_rules rules = speech_line_rules(line);
    void *utterances[2] = {NULL, NULL};
    bool more = true;
    tsr_status st = TSR_OK;
    for (int i = 0; i < 2 && st == TSR_OK; i++) {
        const tsr_speech_hooks hooks = {.struct_size = sizeof hooks, .ctx = &f->scores[i], .stage = keep_scores};
        st = f->tables[i]->utterance_create(f->models[i]->self, prompt, SPEECH_LINE_FRAMES, &rules, &hooks, &utterances[i], f->err);
    }
    for (uint64_t frame = 0; st == TSR_OK && more && !enough(f); frame++) st = run_frame(f, utterances, frame, &more);
    for (int i = 0; i < 2; i++) {
        if (utterances[i]) f->tables[i]->utterance_destroy(f->models[i]->self, utterances[i]);
    }
    f->result->lines++;
    return st;
}

/* ---- the whole ---- */

static tsr_status allocate(struct forcing *f) {
    uint64_t rest = (f->info.groups - 1) * f->info.codebook;
    f->codes = mem_alloc_array(f->info.groups, sizeof *f->codes);
    f->ignored = mem_alloc_array(f->info.groups, sizeof *f->ignored);
    bool got = f->codes && f->ignored;
    for (int i = 0; i < 2; i++) {
        f->kept[i] = mem_alloc_array(f->info.vocabulary, sizeof(float));
        f->scores[i] = (struct scores){mem_alloc_zero(f->info.vocabulary, sizeof(float)), mem_alloc_zero(rest, sizeof(float)),
                                       f->info.vocabulary, rest};
        got = got && f->kept[i] && f->scores[i].first && f->scores[i].rest;
    }
    return got ? TSR_OK : tsr_fail(f->err, TSR_E_NOMEM, "out of memory for scores");
}

static void clear(struct forcing *f) {
    for (int i = 0; i < 2; i++) {
        mem_free(f->kept[i]);
        mem_free(f->scores[i].first);
        mem_free(f->scores[i].rest);
    }
    mem_free(f->codes);
    mem_free(f->ignored);
}

static tsr_status check_models(const struct open_model *reference, const struct open_model *other, tsr_error *err) {
    tsr_speech_info a = speech_facts(reference), b = speech_facts(other);
    if (a.groups == b.groups && a.codebook == b.codebook && a.vocabulary == b.vocabulary) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "the models differ in their codes: %llu of %llu and %llu of %llu", (unsigned long long)a.groups,
                    (unsigned long long)a.codebook, (unsigned long long)b.groups, (unsigned long long)b.codebook);
}

static void report_progress(const struct env *env, const char *stage, uint64_t done, uint64_t total) {
    struct progress progress = {.stage = stage, .done_items = done, .total_items = total};
    if (env->progress) env->progress(env->ctx, &progress);
}

tsr_status speech_parity_run(const struct open_model *reference, const struct open_model *other,
                             const struct tokenizer *tokenizer, const struct speech_lines *lines, uint64_t decisions,
                             const struct env *env, struct speech_parity_result *result, tsr_error *err) {
    struct forcing f = {.models = {reference, other}, .tables = {speech_table(reference), speech_table(other)}, .env = env,
                        .info = speech_facts(reference), .wanted = decisions, .result = result, .err = err};
    *result = (struct speech_parity_result){.groups = f.info.groups};
    tsr_status st = check_models(reference, other, err);
    if (st == TSR_OK) st = allocate(&f);
    for (uint64_t i = 0; i < lines->count && st == TSR_OK && !enough(&f); i++) {
        struct speech_prompt made = {0};
        st = speech_line_prompt(reference, tokenizer, lines->lines[i], &made, err);
        if (st == TSR_OK) st = run_line(&f, &made.prompt, i);
        speech_prompt_clear(&made);
        report_progress(env, "parity", i + 1, lines->count);
    }
    clear(&f);
    return st;
}

void speech_parity_clear(struct speech_parity_result *result) {
    mem_free(result->agree);
    mem_free(result->kld);
    *result = (struct speech_parity_result){0};
}

struct group *speech_parity_windows(const struct speech_parity_result *result, bool of_kld, uint64_t first, uint64_t end) {
    struct group *windows = mem_alloc_zero(result->windows, sizeof *windows);
    const struct group *from = of_kld ? result->kld : result->agree;
    for (uint64_t w = 0; windows && w < result->windows; w++) {
        for (uint64_t g = first; g < end; g++) {
            windows[w].sum += from[w * result->groups + g].sum;
            windows[w].count += from[w * result->groups + g].count;
        }
    }
    return windows;
}

/* ---- rollout ---- */

static void compare_codes(const struct speech *a, const struct speech *b, uint64_t groups, uint64_t line,
                          struct rollout_result *result) {
    uint64_t count = a->frames * groups, both = min_u64(count, b->frames * groups), at = 0;
    while (at < both && a->codes[at] == b->codes[at]) at++;
    bool equal = at == count && a->frames == b->frames && a->end == b->end;
    result->prompts++;
    result->tokens += max_u64(count, 1); /* an answer of no frames is a decision too */
    result->matched += equal ? max_u64(count, 1) : at;
    result->equal_prompts += equal;
    if (equal || result->first_prompt != UINT64_MAX) return;
    result->first_prompt = line;
    result->first_position = at;
}

tsr_status speech_rollout_run(const struct open_model *reference, const struct open_model *other,
                              const struct tokenizer *tokenizer, const struct speech_lines *lines, uint64_t frames,
                              const struct env *env, struct rollout_result *result, tsr_error *err) {
    const tsr_speech_rules rules = speech_rules_greedy();
    uint64_t groups = speech_facts(reference).groups;
    *result = (struct rollout_result){.first_prompt = UINT64_MAX};
    tsr_status st = check_models(reference, other, err);
    for (uint64_t i = 0; i < lines->count && st == TSR_OK; i++) {
        struct speech_prompt made = {0};
        struct speech a = {0}, b = {0};
        st = speech_line_prompt(reference, tokenizer, lines->lines[i], &made, err);
        if (st == TSR_OK) st = meter_check_cancel(env, err);
        if (st == TSR_OK) st = speech_generate(reference, &made.prompt, frames, &rules, NULL, &a, err);
        if (st == TSR_OK) st = speech_generate(other, &made.prompt, frames, &rules, NULL, &b, err);
        if (st == TSR_OK) compare_codes(&a, &b, groups, i, result);
        speech_clear(&a);
        speech_clear(&b);
        speech_prompt_clear(&made);
        report_progress(env, "rollout", i + 1, lines->count);
    }
    if (result->first_prompt == UINT64_MAX) result->first_prompt = result->prompts;
    return st;
}
