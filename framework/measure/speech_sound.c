/* SPDX-License-Identifier: Apache-2.0
 *
 * Speaks, decodes as the official code does, and measures. */
#include "speech_sound.h"

#include <base/alloc.h>
#include <math.h>
#include <reading/meter.h>

struct sounding {
    const struct open_model *reference, *other;
    tsr_speech_info info;
    struct speech_sound_result *result;
    uint64_t frames;
    tsr_error *err;
};

static void widen(struct speech_distance *all, const struct speech_distance *one, bool is_first) {
    all->same_length = (is_first || all->same_length) && one->same_length;
    all->level = fmax(all->level, one->level);
    all->crossings = fmax(all->crossings, one->crossings);
    all->envelope = fmax(all->envelope, one->envelope);
    all->mel = fmax(all->mel, one->mel);
}

/* The raw model's codes through both vocoders. Keeps the first pair. */
static tsr_status compare_vocoders(struct sounding *s, const tsr_speech_prompt *prompt, const tsr_speech_rules *rules) {
    struct speech_sound_result *result = s->result;
    struct speech speech = {0};
    struct speech_distance distance = {0};
    float *raw = NULL, *ours = NULL;
    uint64_t raw_count = 0, our_count = 0;
    tsr_status st = speech_generate(s->reference, prompt, s->frames, rules, NULL, &speech, s->err);
    if (st == TSR_OK && speech.frames) {
        st = speech_decode(s->reference, speech.codes, speech.frames, s->info.chunk_frames, s->info.context_frames, NULL, &raw,
                           &raw_count, s->err);
        if (st == TSR_OK) {
            st = speech_decode(s->other, speech.codes, speech.frames, s->info.chunk_frames, s->info.context_frames, NULL, &ours,
                               &our_count, s->err);
        }
        if (st == TSR_OK) st = speech_compare(raw, raw_count, ours, our_count, s->info.sample_rate, &distance, s->err);
    }
    if (st == TSR_OK && speech.frames) {
        widen(&result->distance, &distance, !result->has_distance);
        result->has_distance = true;
    }
    if (st == TSR_OK && !result->raw) {
        result->raw = raw;
        result->raw_count = raw_count;
        raw = NULL;
    }
    mem_free(raw);
    mem_free(ours);
    speech_clear(&speech);
    return st;
}

static tsr_status check_line(struct sounding *s, const tsr_speech_prompt *prompt, const tsr_speech_rules *rules, uint64_t line) {
    struct speech_sound_result *result = s->result;
    struct speech speech = {0};
    struct speech_report report;
    tsr_status st = speech_generate(s->other, prompt, s->frames, rules, NULL, &speech, s->err);
    if (st == TSR_OK) st = speech_voice(s->other, prompt, NULL, &speech, s->err);
    if (st == TSR_OK) {
        st = speech_check(speech.samples, speech.sample_count, s->info.sample_rate, speech.frames, s->info.samples_per_frame,
                          &report, s->err);
    }
    if (st == TSR_OK) {
        if (result->lines == 0 || (!report.ok && result->worst.ok)) {
            result->worst = report;
            result->worst_line = line;
        }
        result->lines++;
        result->passed += report.ok;
        result->frames += speech.frames;
        if (!result->ours) {
            result->ours = speech.samples;
            result->our_count = speech.sample_count;
            speech.samples = NULL;
        }
    }
    speech_clear(&speech);
    return st;
}

tsr_status speech_sound_run(const struct open_model *reference, const struct open_model *other,
                            const struct tokenizer *tokenizer, const struct speech_lines *lines, uint64_t frames,
                            const struct env *env, struct speech_sound_result *result, tsr_error *err) {
    struct sounding s = {.reference = reference, .other = other, .info = speech_facts(other), .result = result, .frames = frames,
                         .err = err};
    tsr_status st = TSR_OK;
    *result = (struct speech_sound_result){0};
    for (uint64_t i = 0; i < lines->count && st == TSR_OK; i++) {
        const tsr_speech_rules rules = speech_line_rules(i);
        struct progress progress = {.stage = "speech", .done_items = i, .total_items = lines->count};
        struct speech_prompt made = {0};
        if (env->progress) env->progress(env->ctx, &progress);
        st = meter_check_cancel(env, err);
        if (st == TSR_OK) st = speech_line_prompt(other, tokenizer, lines->lines[i], &made, err);
        if (st == TSR_OK) st = check_line(&s, &made.prompt, &rules, i);
        if (st == TSR_OK && reference) st = compare_vocoders(&s, &made.prompt, &rules);
        speech_prompt_clear(&made);
    }
    return st;
}

void speech_sound_clear(struct speech_sound_result *result) {
    mem_free(result->ours);
    mem_free(result->raw);
    *result = (struct speech_sound_result){0};
}
