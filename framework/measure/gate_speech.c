/* SPDX-License-Identifier: Apache-2.0
 *
 * Judges what speech_parity and speech_sound measured. The talker and the code predictor are judged apart: a frame has one code
 * of the first and many of the second, which would hide it. */
#include "gate_speech.h"

#include "speech_picture.h"

#include <base/alloc.h>
#include <base/str.h>
#include <format/wave.h>
#include <math.h>

/* ---- parity ---- */

struct part {
    struct judgement top1, kld;
};

static tsr_status judge_part(const struct gate_speech *g, const struct speech_parity_result *result, uint64_t first, uint64_t end,
                             struct part *part) {
    double confidence = g->gates->parity.confidence, max_kld = g->gates->parity.max_kld;
    struct group *agree = speech_parity_windows(result, false, first, end), *kld = speech_parity_windows(result, true, first, end);
    tsr_status st = agree && kld ? TSR_OK : tsr_fail(g->err, TSR_E_NOMEM, "out of memory for decisions");
    if (st == TSR_OK) {
        part->top1 = judge_proportion(agree, result->windows, g->gates->parity.min_top1, confidence);
        part->kld = judge_mean(kld, result->windows, max_kld >= 0 ? max_kld : INFINITY, confidence);
    }
    mem_free(agree);
    mem_free(kld);
    return st;
}

static enum verdict verdict_of(const struct gate_speech *g, const struct part *part) {
    enum verdict verdict = VERDICT_PASS; /* a text without thresholds is measured, not judged */
    if (part->kld.effective > 0 && !isfinite(part->kld.estimate)) verdict = VERDICT_FAIL; /* logits that are no numbers */
    if (g->gates->parity.min_top1 > 0) verdict = verdict_worse(verdict, part->top1.verdict);
    if (g->gates->parity.max_kld >= 0) verdict = verdict_worse(verdict, part->kld.verdict);
    return verdict;
}

static void add_part(struct members *members, const struct part *part, double confidence) {
    gate_json_judgement(members, "top1", &part->top1, confidence);
    gate_json_judgement(members, "kld", &part->kld, confidence);
}

/* Each code group by itself: information, not judged. */
static tsr_status add_groups(const struct gate_speech *g, const struct speech_parity_result *result, struct members *members) {
    struct members list = members_list();
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < result->groups && st == TSR_OK; i++) {
        struct part part = {0};
        struct members object = members_object();
        st = judge_part(g, result, i, i + 1, &part);
        members_count(&object, "group", i);
        gate_json_number(&object, "top1", part.top1.estimate);
        gate_json_number(&object, "top1_bound", part.top1.bound);
        gate_json_number(&object, "kld", part.kld.estimate);
        gate_json_number(&object, "kld_bound", part.kld.bound);
        members_append(&list, &object);
    }
    members_nest(members, "by_group", &list);
    return st;
}

static tsr_status judge_parity(const struct gate_speech *g, const struct speech_parity_result *result, struct gate_entry *entry) {
    double confidence = g->gates->parity.confidence;
    struct part talker = {0}, predictor = {0};
    tsr_status st = judge_part(g, result, 0, 1, &talker);
    if (st == TSR_OK) st = judge_part(g, result, 1, result->groups, &predictor);
    if (st != TSR_OK) return st;
    struct members first = members_object(), rest = members_object();
    add_part(&first, &talker, confidence);
    add_part(&rest, &predictor, confidence);
    members_nest(&entry->members, "talker", &first);
    members_nest(&entry->members, "predictor", &rest);
    gate_entry_say(entry, verdict_worse(verdict_of(g, &talker), verdict_of(g, &predictor)),
                   "talker top-1 %.4f (at least %.4f), KLD %.4g; predictor top-1 %.4f (at least %.4f), KLD %.4g; %llu codes",
                   talker.top1.estimate, talker.top1.bound, talker.kld.estimate, predictor.top1.estimate, predictor.top1.bound,
                   predictor.kld.estimate, (unsigned long long)result->decisions);
    return add_groups(g, result, &entry->members);
}

tsr_status gate_speech_parity(const struct gate_speech *g, struct gate_entry *entry) {
    struct speech_lines lines = {0};
    struct speech_parity_result result = {0};
    if (!g->reference) {
        gate_entry_say(entry, VERDICT_NOT_RUN, "needs the raw model (--reference): speech has no perplexity");
        return TSR_OK;
    }
    tsr_status st = speech_lines_read(g->text, &lines, g->err);
    if (st == TSR_OK) {
        st = speech_parity_run(g->reference, g->other, g->tokenizer, &lines, g->gates->parity.positions, g->env, &result, g->err);
    }
    if (st == TSR_OK) {
        members_count(&entry->members, "positions", result.decisions);
        members_count(&entry->members, "frames", result.frames);
        members_count(&entry->members, "lines", result.lines);
        members_count(&entry->members, "windows", result.windows);
        members_count(&entry->members, "flips", result.flips);
        members_digest(&entry->members, "text_xxh3_128", &lines.digest);
        st = judge_parity(g, &result, entry);
    }
    speech_parity_clear(&result);
    speech_lines_clear(&lines);
    return st;
}

/* ---- rollout ---- */

tsr_status gate_speech_rollout(const struct gate_speech *g, struct gate_entry *entry) {
    struct speech_lines lines = {0};
    struct rollout_result result = {0};
    tsr_status st = speech_lines_read(g->text, &lines, g->err);
    if (st == TSR_OK) {
        st = speech_rollout_run(g->reference, g->other, g->tokenizer, &lines, g->gates->rollout.tokens, g->env, &result, g->err);
    }
    if (st == TSR_OK) {
        double match = result.tokens ? (double)result.matched / (double)result.tokens : 0;
        gate_json_rollout(&entry->members, &result);
        gate_json_number(&entry->members, "threshold", g->gates->rollout.min_match);
        gate_entry_say(entry, match >= g->gates->rollout.min_match ? VERDICT_PASS : VERDICT_FAIL,
                       "%llu of %llu codes before the first difference, %llu of %llu lines to the end",
                       (unsigned long long)result.matched, (unsigned long long)result.tokens,
                       (unsigned long long)result.equal_prompts, (unsigned long long)result.prompts);
    }
    speech_lines_clear(&lines);
    return st;
}

/* ---- sound ---- */

static void add_measures(struct members *members, const struct speech_report *report) {
    struct members object = members_object();
    for (int i = 0; i < SPEECH_MEASURES; i++) {
        const struct speech_measure *measure = &report->measures[i];
        struct members one = members_object();
        gate_json_number(&one, "value", measure->value);
        gate_json_number(&one, "low", measure->low);
        gate_json_number(&one, "high", measure->high);
        members_bool(&one, "ok", measure->ok);
        members_nest(&object, measure->name, &one);
    }
    members_nest(members, "measures", &object);
}

static void add_distance(struct members *members, const struct speech_distance *distance) {
    struct members object = members_object();
    members_bool(&object, "same_length", distance->same_length);
    gate_json_number(&object, "level", distance->level);
    gate_json_number(&object, "zero_crossings", distance->crossings);
    gate_json_number(&object, "envelope", distance->envelope);
    gate_json_number(&object, "log_mel", distance->mel);
    members_nest(members, "distance", &object);
}

static bool is_near(const struct speech_distance *distance, double most, double most_mel) {
    return distance->same_length && distance->level <= most && distance->crossings <= most && distance->envelope <= most &&
           distance->mel <= most_mel;
}

static void judge_sound(const struct gate_speech *g, const struct speech_sound_result *result, struct gate_entry *entry) {
    const struct speech_measure *wrong = speech_first_wrong(&result->worst);
    if (wrong) {
        gate_entry_say(entry, VERDICT_FAIL, "line %llu: %s is %.4g, speech has %.4g to %.4g; %llu of %llu lines pass",
                       (unsigned long long)result->worst_line + 1, wrong->name, wrong->value, wrong->low, wrong->high,
                       (unsigned long long)result->passed, (unsigned long long)result->lines);
    } else if (result->has_distance && !is_near(&result->distance, g->gates->speech.max_difference, g->gates->speech.max_mel)) {
        gate_entry_say(entry, VERDICT_FAIL, "the raw model's codes sound otherwise: level %.3g, crossings %.3g, envelope %.3g, mel %.3g",
                       result->distance.level, result->distance.crossings, result->distance.envelope, result->distance.mel);
    } else {
        gate_entry_say(entry, VERDICT_PASS, "%llu lines look like speech%s: necessary, not sufficient",
                       (unsigned long long)result->lines, result->has_distance ? " and sound like the raw model" : "");
    }
}

static tsr_status draw(const struct gate_speech *g, const struct speech_sound_result *result) {
    const struct picture_sound sounds[] = {{"raw", result->raw, result->raw_count}, {"tested", result->ours, result->our_count}};
    uint64_t skip = result->raw ? 0 : 1;
    if (!g->gates->speech.picture) return TSR_OK;
    return speech_picture_write(g->gates->speech.picture, sounds + skip, 2 - skip, speech_facts(g->other).sample_rate, g->err);
}

static tsr_status keep_sound(const struct gate_speech *g, const char *which, const float *samples, uint64_t count) {
    struct wave_writer *writer = NULL;
    struct str path = {0};
    str_add_format(&path, "%s-%s.wav", g->gates->speech.sounds, which);
    tsr_status st = path.failed ? tsr_fail(g->err, TSR_E_NOMEM, "out of memory for a path") : TSR_OK;
    if (st == TSR_OK) st = wave_create(path.text, speech_facts(g->other).sample_rate, WAVE_PCM16, &writer, g->err);
    if (st == TSR_OK) st = wave_write(writer, samples, count, g->err);
    if (st == TSR_OK) {
        st = wave_finish(writer, g->err);
    } else {
        wave_abandon(writer);
    }
    str_clear(&path);
    return st;
}

static tsr_status keep_sounds(const struct gate_speech *g, const struct speech_sound_result *result) {
    tsr_status st = TSR_OK;
    if (!g->gates->speech.sounds) return TSR_OK;
    if (result->raw) st = keep_sound(g, "raw", result->raw, result->raw_count);
    return st == TSR_OK ? keep_sound(g, "tested", result->ours, result->our_count) : st;
}

tsr_status gate_speech_sound(const struct gate_speech *g, struct gate_entry *entry) {
    struct speech_lines lines = {0};
    struct speech_sound_result result = {0};
    tsr_status st = speech_lines_read(g->text, &lines, g->err);
    if (st == TSR_OK) {
        st = speech_sound_run(g->reference, g->other, g->tokenizer, &lines, g->gates->speech.frames, g->env, &result, g->err);
    }
    if (st == TSR_OK) {
        members_count(&entry->members, "lines", result.lines);
        members_count(&entry->members, "lines_passed", result.passed);
        members_count(&entry->members, "frames", result.frames);
        members_count(&entry->members, "measured_line", result.worst_line + 1);
        add_measures(&entry->members, &result.worst);
        if (result.has_distance) add_distance(&entry->members, &result.distance);
        judge_sound(g, &result, entry);
        st = draw(g, &result);
        if (st == TSR_OK) st = keep_sounds(g, &result);
    }
    speech_sound_clear(&result);
    speech_lines_clear(&lines);
    return st;
}
