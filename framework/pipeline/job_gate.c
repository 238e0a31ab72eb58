/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens what the wanted gates need, runs each, and reduces to one verdict. A gate that cannot run says why and is NOT_RUN;
 * that counts as passed only where the config calls it optional. */
#include "job_gate.h"

#include "plan_json.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/str.h>
#include <format/json.h>
#include <math.h>
#include <measure/gate_blame.h>
#include <measure/gate_controls.h>
#include <measure/gate_json.h>
#include <measure/gate_speech.h>
#include <reading/output_digest.h>
#include <string.h>

#define RECEIPT_BYTES_MAX ((uint64_t)1 << 30)

/* What parity keeps decoded of a compressed model. Decoding the rest again for each chunk of 512 positions costs far less
 * than the chunk; logits, caches and activations take the rest of 300 MiB. */
#define PARITY_DECODED_BYTES ((uint64_t)112 << 20)

struct gating {
    const struct job_gate_options *options;
    const struct registry *registry;
    const struct job_paths *paths;
    const struct env *env;
    struct arena arena;
    struct gate_config gates;
    const char *base; /* folder of the config, for its texts */
    struct open_model reference, other;
    bool has_reference, has_other;
    bool alone; /* no reference: the output is measured against itself */
    bool is_output; /* compressed: has the next */
    struct digest digest;
    char why_no_model[TSR_ERROR_TEXT];
    struct tokenizer *tokenizer;
    json_t *diff; /* of reference and output, NULL without a reference */
    bool identical;
    bool engine_verified;
    struct members list;
    enum verdict verdict;
    char failed[TSR_ERROR_TEXT]; /* "parity: ..." of the worst gate */
    tsr_error *err;
};

/* What products of the output ran for a gate. */
static void say_path(struct gating *g, struct gate_entry *entry) {
    members_text(&entry->members, "path", model_weights_path(g->other.weights));
}

static void finish_gate(struct gating *g, struct gate_entry *entry, const char *name, bool optional) {
    enum verdict counted = entry->verdict == VERDICT_NOT_RUN && optional ? VERDICT_PASS : entry->verdict;
    if (counted != VERDICT_PASS && verdict_worse(counted, g->verdict) != g->verdict) {
        (void)snprintf(g->failed, sizeof g->failed, "%s: %s: %.180s", name, verdict_name(entry->verdict), entry->reason);
    }
    g->verdict = verdict_worse(counted, g->verdict);
    gate_entry_end(&g->list, entry);
}

/* ---- what gates need ---- */

static tsr_status read_config(struct gating *g) {
    struct config config;
    g->gates = g->options->gates;
    g->base = g->options->base;
    if (!g->options->config) return TSR_OK;
    tsr_status st = plan_config(g->options->config, g->registry, g->paths, &g->arena, &config, g->err);
    if (st != TSR_OK) return st;
    g->gates = config.gates;
    size_t length = (size_t)(fs_base_name(config.path) - config.path);
    g->base = length ? arena_dup(&g->arena, config.path, length - 1) : ".";
    return g->base ? TSR_OK : tsr_fail(g->err, TSR_E_NOMEM, "out of memory for a path");
}

/* A relative path is looked for beside the config, then as it is. */
static const char *locate(struct gating *g, const char *path) {
    if (path[0] == '/' || !g->base) return path;
    const char *beside = arena_format(&g->arena, "%s/%s", g->base, path);
    return beside && fs_kind_of(beside) == FS_FILE ? beside : path;
}

static bool wants_model(const struct gating *g) {
    return g->gates.parity.wanted || g->gates.rollout.wanted || g->gates.chain.wanted || g->gates.reference.wanted ||
           g->gates.speech.wanted;
}

/* A model that no plugin knows is no error here: its gates are NOT_RUN. */
static tsr_status open_one(struct gating *g, const char *path, struct open_model *model, bool *has) {
    struct model_paths paths = {g->paths->family_folders, g->paths->family_folder_count, g->env->memory_bytes / 3};
    tsr_status st = model_open(path, g->registry, &paths, g->env, model, g->err);
    *has = st == TSR_OK;
    if (st != TSR_E_UNSUPPORTED) return st;
    if (g->err) (void)snprintf(g->why_no_model, sizeof g->why_no_model, "%s", g->err->message);
    return TSR_OK;
}

static tsr_status open_models(struct gating *g) {
    if (!wants_model(g)) return TSR_OK;
    tsr_status st = open_one(g, g->options->output, &g->other, &g->has_other);
    if (st != TSR_OK || !g->has_other) return st;
    model_weights_choose(g->other.weights, g->options->path);
    if (g->options->reference) st = open_one(g, g->options->reference, &g->reference, &g->has_reference);
    bool needs_text = g->gates.parity.wanted || g->gates.rollout.wanted || g->gates.chain.wanted || g->gates.speech.wanted;
    if (st == TSR_OK && needs_text) st = gate_tokenizer(&g->other, &g->tokenizer, g->err);
    return st;
}

/* What the findings are about: a report shows them with these bytes alone. */
static tsr_status know_output(struct gating *g) {
    struct reader reader = {0};
    tsr_status st = reader_open(g->options->output, g->registry, g->env, &reader, g->err);
    g->is_output = st == TSR_OK && reader.compressed && fs_kind_of(g->options->output) == FS_FOLDER;
    reader_close(&reader);
    return g->is_output ? output_digest(g->options->output, &g->digest, g->err) : st;
}

static tsr_status compare_weights(struct gating *g) {
    if (!g->options->reference || g->options->weights_differ) return TSR_OK;
    tsr_status st = job_diff(g->options->reference, g->options->output, g->registry, g->env, &g->diff, g->err);
    if (st != TSR_OK) return st;
    const json_t *totals = json_object_get(g->diff, "totals");
    g->identical = json_integer_value(json_object_get(totals, "differing")) == 0 &&
                   json_integer_value(json_object_get(totals, "missing")) == 0;
    return TSR_OK;
}

/* ---- the gates ---- */

/* Bytes of a folder's files, or of one file; what a run leaves for information is not part of the output. */
static tsr_status bytes_on_disk(const char *path, uint64_t *bytes, tsr_error *err) {
    struct fs_list list = {0};
    *bytes = 0;
    tsr_status st = fs_list(path, true, &list, err);
    for (uint64_t i = 0; i < list.count && st == TSR_OK; i++) {
        struct fs_file file = {0};
        if (!strcmp(list.names[i], "tessera.run.json")) continue;
        bool counted = text_ends_with(list.names[i], ".safetensors") || text_ends_with(list.names[i], ".index.json") ||
                       !strcmp(list.names[i], "tessera.json");
        char *full = fs_join(path, list.names[i]);
        st = full ? fs_open(full, &file, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
        if (counted) *bytes += file.size;
        fs_close(&file);
        mem_free(full);
    }
    fs_list_clear(&list);
    return st;
}

static tsr_status run_storage(struct gating *g) {
    struct gate_entry entry = gate_entry_begin("storage");
    struct reader reader = {0};
    uint64_t source = 0, stored = 0;
    tsr_status st = reader_open(g->options->output, g->registry, g->env, &reader, g->err);
    for (uint64_t i = 0; st == TSR_OK && reader.compressed && i < reader.stored.source_count; i++) {
        source += reader.stored.sources[i].bytes;
    }
    if (st == TSR_OK) st = bytes_on_disk(g->options->output, &stored, g->err);
    if (st == TSR_OK && !source) {
        gate_entry_say(&entry, VERDICT_NOT_RUN, "the output is not compressed");
    } else if (st == TSR_OK) {
        double ratio = (double)source / (double)stored, wanted = g->gates.storage.min_ratio;
        members_count(&entry.members, "source_bytes", source);
        members_count(&entry.members, "stored_bytes", stored);
        gate_json_number(&entry.members, "ratio", ratio);
        gate_json_number(&entry.members, "threshold", wanted);
        gate_entry_say(&entry, ratio >= wanted ? VERDICT_PASS : VERDICT_FAIL, "%.4f:1 on disk, %.4f:1 is asked", ratio, wanted);
    }
    reader_close(&reader);
    finish_gate(g, &entry, "storage", g->gates.storage.optional);
    return st;
}

/* Without a model, or without a reference where one is needed, a gate is NOT_RUN. */
static bool can_run(const struct gating *g, struct gate_entry *entry, bool needs_reference) {
    if (!g->has_other) {
        gate_entry_say(entry, VERDICT_NOT_RUN, "%s", g->why_no_model);
    } else if (needs_reference && !g->has_reference) {
        gate_entry_say(entry, VERDICT_NOT_RUN, "needs the raw model (--reference)");
    } else {
        return true;
    }
    return false;
}

/* A model that speaks has cases of its own kind. */
static tsr_status run_speech_reference(struct gating *g, struct open_model *model, struct gate_entry *entry) {
    struct speech_reference_result result;
    double asked = g->gates.reference.tolerance, tolerance = asked < 0 ? SPEECH_TOLERANCE : asked;
    tsr_status st = gate_speech_reference(model, locate(g, g->gates.reference.fixture), tolerance, &result, g->err);
    if (st != TSR_OK) return st;
    gate_json_speech_reference(&entry->members, &result);
    gate_json_number(&entry->members, "tolerance", tolerance);
    gate_entry_say(entry, result.passed ? VERDICT_PASS : VERDICT_FAIL,
                   "%llu cases, %llu of %llu codes equal, worst stage %.2e, worst wave %.2e%s%s",
                   (unsigned long long)result.cases, (unsigned long long)(result.codes - result.wrong_codes),
                   (unsigned long long)result.codes, result.worst_stage, result.worst_wave, result.passed ? "" : "; ",
                   result.first_wrong);
    g->engine_verified = result.passed;
    return TSR_OK;
}

static tsr_status run_reference(struct gating *g) {
    struct gate_entry entry = gate_entry_begin("reference");
    struct reference_result result;
    tsr_status st = TSR_OK;
    if (can_run(g, &entry, false)) {
        struct open_model *model = g->has_reference ? &g->reference : &g->other;
        double asked = g->gates.reference.tolerance, tolerance = asked < 0 ? REFERENCE_TOLERANCE : asked;
        if (speech_table(model)) {
            st = run_speech_reference(g, model, &entry);
            finish_gate(g, &entry, "reference", g->gates.reference.optional);
            return st;
        }
        st = gate_reference(model, locate(g, g->gates.reference.fixture), tolerance, &result, g->err);
        gate_json_reference(&entry.members, &result);
        gate_json_number(&entry.members, "tolerance", tolerance);
        gate_entry_say(&entry, result.passed ? VERDICT_PASS : VERDICT_FAIL,
                       "worst logit %.2e, worst hidden %.2e (layer %llu) of their standard deviations, %llu of %llu greedy tokens",
                       result.worst_logit, result.worst_hidden, (unsigned long long)result.worst_layer,
                       (unsigned long long)result.first_wrong_token, (unsigned long long)result.greedy_tokens);
        g->engine_verified = result.passed;
    }
    finish_gate(g, &entry, "reference", g->gates.reference.optional);
    return st;
}

/* A gate over what the models say instead of what they write. */
static tsr_status with_speech(struct gating *g, const char *text, tsr_status (*gate)(const struct gate_speech *, struct gate_entry *),
                              struct gate_entry *entry) {
    const struct gate_speech speech = {.reference = g->has_reference ? &g->reference : NULL,
                                       .other = &g->other,
                                       .tokenizer = g->tokenizer,
                                       .gates = &g->gates,
                                       .text = locate(g, text),
                                       .env = g->env,
                                       .err = g->err};
    return gate(&speech, entry);
}

static void judge_parity(const struct gating *g, const struct parity_result *result, struct gate_entry *entry) {
    double confidence = g->gates.parity.confidence;
    struct judgement top1 = judge_proportion(result->agree, result->windows, g->gates.parity.min_top1, confidence);
    double limit = g->gates.parity.max_kld >= 0 ? g->gates.parity.max_kld : INFINITY;
    struct judgement kld = judge_mean(result->kld, result->windows, limit, confidence);
    enum verdict verdict = VERDICT_PASS; /* a text without thresholds is measured, not judged */
    if (!isfinite(kld.estimate)) verdict = VERDICT_FAIL; /* logits that are no numbers */
    if (g->gates.parity.min_top1 > 0) verdict = verdict_worse(verdict, top1.verdict);
    if (g->gates.parity.max_kld >= 0) verdict = verdict_worse(verdict, kld.verdict);
    gate_json_judgement(&entry->members, "top1", &top1, confidence);
    gate_json_judgement(&entry->members, "kld", &kld, confidence);
    gate_entry_say(entry, verdict, "top-1 %.4f (at least %.4f at %g %%), KLD %.5g (at most %.5g) over %llu positions",
                   top1.estimate, top1.bound, 100 * confidence, kld.estimate, kld.bound,
                   (unsigned long long)result->positions);
}

/* Only a comparison that did not pass is explained. */
static tsr_status explain_parity(struct gating *g, const struct gate_text *text, const struct parity_options *options,
                                 struct gate_entry *entry) {
    struct model_paths paths = {g->paths->family_folders, g->paths->family_folder_count, g->env->memory_bytes / 3};
    struct blame blame = {.raw_path = g->options->reference,
                          .raw = &g->reference,
                          .compressed = &g->other,
                          .registry = g->registry,
                          .paths = &paths,
                          .documents = text->runs,
                          .document_count = text->count,
                          .options = *options};
    if (g->alone || entry->verdict == VERDICT_PASS) return TSR_OK;
    return gate_blame(&blame, g->env, &entry->members, g->err);
}

/* A gate that accepts what it must refuse proves nothing: that is no pass, also where the config calls it optional. */
static void distrust(struct gate_entry *entry, const char *control) {
    char found[TSR_ERROR_TEXT];
    (void)snprintf(found, sizeof found, "%s", entry->reason);
    gate_entry_say(entry, VERDICT_FAIL, "this gate proves nothing: its control \"%s\" went wrong; it found %.150s", control, found);
}

/* A reference that speaks has no such controls: its parity is another. */
static tsr_status control_parity(struct gating *g, const struct gate_text *text, const struct parity_options *options,
                                 const struct parity_result *result, struct gate_entry *entry) {
    struct model_paths paths = {g->paths->family_folders, g->paths->family_folder_count, g->env->memory_bytes / 3};
    struct controls controls = {.raw_path = g->options->reference,
                                .raw = &g->reference,
                                .registry = g->registry,
                                .paths = &paths,
                                .documents = text->runs,
                                .document_count = text->count,
                                .options = *options,
                                .min_top1 = g->gates.parity.min_top1,
                                .max_kld = g->gates.parity.max_kld,
                                .output_kld = group_mean(result->kld, result->windows).mean};
    controls.options.kept = NULL; /* its positions are fewer */
    const char *wrong = NULL;
    if (!g->options->controls || g->alone) return TSR_OK;
    tsr_status st = gate_controls(&controls, g->env, &entry->members, &wrong, g->err);
    if (st == TSR_OK && wrong) distrust(entry, wrong);
    return st;
}

/* Unless the user says what memory there is. */
static void limit_decoded(const struct gating *g, uint64_t bytes) {
    if (g->env->memory_bytes) return;
    model_weights_limit(g->other.weights, bytes);
    if (g->has_reference) model_weights_limit(g->reference.weights, bytes);
}

/* The digest of the text that the statistics of the output are of, from its receipt; false where there is none. */
static bool find_calibration_text(const struct gating *g, struct digest *digest) {
    char *path = fs_join(g->other.root, "tessera.json"), *text = NULL;
    json_t *receipt = NULL;
    uint64_t size = 0;
    bool there = path && fs_kind_of(path) == FS_FILE && fs_read_whole(path, RECEIPT_BYTES_MAX, &text, &size, NULL) == TSR_OK &&
                 json_parse(text, (size_t)size, path, &receipt, NULL) == TSR_OK;
    const char *hex = there ? json_string_value(json_object_get(json_object_get(receipt, "statistics"), "text")) : NULL;
    there = hex && digest_from_hex(hex, digest);
    json_decref(receipt);
    mem_free(text);
    mem_free(path);
    return there;
}

/* On its own text an encoder looks better than it is; on another it shows whether the statistics carry over. */
static void tell_calibration_text(const struct gating *g, const struct gate_text *text, struct gate_entry *entry) {
    struct digest digest;
    bool there = find_calibration_text(g, &digest), same = there && digest_equal(&digest, &text->digest);
    members_text(&entry->members, "calibration_text", !there ? NULL : same ? "same" : "other");
    if (same) env_log(g->env, TSR_LOG_WARNING, "the statistics of this output are of the very text that it is judged on");
}

static tsr_status measure_parity(struct gating *g, struct gate_entry *entry) {
    struct gate_text text = {0};
    struct parity_result result = {0};
    struct parity_options options = {g->gates.parity.window, g->gates.parity.skip, g->gates.parity.positions, NULL};
    struct open_model *reference = g->alone ? &g->other : &g->reference;
    if (!g->alone) options.kept = g->options->kept;
    uint64_t context = g->other.info.context;
    if (context && options.window > context) options.window = context;
    tsr_status st = gate_text_documents(locate(g, g->gates.parity.text), g->tokenizer, &text, g->err);
    if (st == TSR_OK) {
        limit_decoded(g, PARITY_DECODED_BYTES);
        st = parity_run(reference, &g->other, text.runs, text.count, &options, g->env, &result, g->err);
        limit_decoded(g, MODEL_DECODED_BYTES);
        say_path(g, entry);
    }
    if (st == TSR_OK) {
        gate_json_parity(&entry->members, &result, &text, g->tokenizer);
        tell_calibration_text(g, &text, entry);
        judge_parity(g, &result, entry);
        st = explain_parity(g, &text, &options, entry);
        if (st == TSR_OK) st = control_parity(g, &text, &options, &result, entry);
    }
    parity_clear(&result);
    gate_text_clear(&text);
    return st;
}

static tsr_status run_parity(struct gating *g) {
    struct gate_entry entry = gate_entry_begin("parity");
    tsr_status st = TSR_OK;
    members_bool(&entry.members, "engine_verified", g->engine_verified);
    members_bool(&entry.members, "lossless", g->identical);
    if (g->identical) {
        gate_entry_say(&entry, VERDICT_PASS, "lossless: every tensor decodes to the reference's bytes, parity is implied");
    } else if (can_run(g, &entry, !g->alone)) {
        bool speaks = speech_table(&g->other) != NULL;
        st = speaks ? with_speech(g, g->gates.parity.text, gate_speech_parity, &entry) : measure_parity(g, &entry);
    }
    finish_gate(g, &entry, "parity", g->gates.parity.optional);
    return st;
}

static tsr_status run_rollout(struct gating *g) {
    struct gate_entry entry = gate_entry_begin("rollout");
    struct gate_text text = {0};
    struct rollout_result result = {0};
    tsr_status st = TSR_OK;
    bool can = can_run(g, &entry, true);
    if (can && speech_table(&g->other)) {
        st = with_speech(g, g->gates.rollout.prompts, gate_speech_rollout, &entry);
    } else if (can) {
        st = gate_text_prompts(locate(g, g->gates.rollout.prompts), g->tokenizer, &text, g->err);
        if (st == TSR_OK) {
            st = rollout_run(&g->reference, &g->other, text.runs, text.count, g->gates.rollout.tokens, &result, g->err);
        }
        double match = result.tokens ? (double)result.matched / (double)result.tokens : 0;
        say_path(g, &entry);
        gate_json_rollout(&entry.members, &result);
        gate_json_number(&entry.members, "threshold", g->gates.rollout.min_match);
        gate_entry_say(&entry, match >= g->gates.rollout.min_match ? VERDICT_PASS : VERDICT_FAIL,
                       "%llu of %llu tokens before the first difference, %llu of %llu prompts to the end",
                       (unsigned long long)result.matched, (unsigned long long)result.tokens,
                       (unsigned long long)result.equal_prompts, (unsigned long long)result.prompts);
    }
    gate_text_clear(&text);
    finish_gate(g, &entry, "rollout", g->gates.rollout.optional);
    return st;
}

/* The first layer whose mean cosine is below the threshold, or count. */
static uint64_t first_broken(const struct chain_result *result, double min_cos) {
    uint64_t i = 0;
    while (i < result->count && result->layers[i].mean_cosine >= min_cos) i++;
    return i;
}

static tsr_status run_chain(struct gating *g) {
    struct gate_entry entry = gate_entry_begin("chain");
    struct gate_text text = {0};
    struct chain_result result = {0};
    const char *path = g->gates.chain.text ? g->gates.chain.text : g->gates.parity.text;
    tsr_status st = TSR_OK;
    bool can = can_run(g, &entry, true);
    if (can && speech_table(&g->other)) {
        gate_entry_say(&entry, VERDICT_NOT_RUN, "a model that speaks has no layers over text: parity judges talker and predictor");
    } else if (can) {
        st = gate_text_documents(locate(g, path), g->tokenizer, &text, g->err);
        if (st == TSR_OK) {
            st = chain_run(&g->reference, &g->other, &text.runs[0], g->gates.chain.tokens, &result, g->err);
        }
        if (st == TSR_OK) {
            uint64_t broken = first_broken(&result, g->gates.chain.min_cos);
            say_path(g, &entry);
            gate_json_chain(&entry.members, &result);
            gate_json_number(&entry.members, "threshold", g->gates.chain.min_cos);
            if (broken == result.count) {
                gate_entry_say(&entry, VERDICT_PASS, "every layer keeps a mean cosine of %.4f or more", g->gates.chain.min_cos);
            } else {
                gate_entry_say(&entry, VERDICT_FAIL, "layer %llu is the first below %.4f: mean cosine %.4f",
                               (unsigned long long)broken, g->gates.chain.min_cos, result.layers[broken].mean_cosine);
            }
        }
    }
    chain_clear(&result);
    gate_text_clear(&text);
    finish_gate(g, &entry, "chain", g->gates.chain.optional);
    return st;
}

static tsr_status run_speech(struct gating *g) {
    struct gate_entry entry = gate_entry_begin("speech");
    const char *text = g->gates.speech.text ? g->gates.speech.text : g->gates.parity.text;
    tsr_status st = TSR_OK;
    bool can = can_run(g, &entry, false);
    if (can && !speech_table(&g->other)) {
        gate_entry_say(&entry, VERDICT_NOT_RUN, "this model does not speak");
    } else if (can) {
        st = with_speech(g, text, gate_speech_sound, &entry);
    }
    finish_gate(g, &entry, "speech", g->gates.speech.optional);
    return st;
}

/* Every tensor by itself: the worst one is named. */
static tsr_status run_width(struct gating *g) {
    struct gate_entry entry = gate_entry_begin("width");
    double worst_cos = 1, worst_error = 0;
    const char *cos_name = "", *error_name = "";
    size_t i;
    json_t *tensor;
    if (!g->diff) {
        gate_entry_say(&entry, VERDICT_NOT_RUN, "needs the raw model (--reference)");
        finish_gate(g, &entry, "width", g->gates.width.optional);
        return TSR_OK;
    }
    json_array_foreach(json_object_get(g->diff, "tensors"), i, tensor) {
        const json_t *cosine = json_object_get(tensor, "cosine"), *error = json_object_get(tensor, "relative_error");
        double c = json_is_number(cosine) ? json_number_value(cosine) : -1;
        double e = json_is_number(error) ? json_number_value(error) : INFINITY;
        if (c < worst_cos) cos_name = json_string_value(json_object_get(tensor, "name"));
        if (e > worst_error) error_name = json_string_value(json_object_get(tensor, "name"));
        worst_cos = fmin(worst_cos, c);
        worst_error = fmax(worst_error, e);
    }
    bool bad_cos = g->gates.width.min_cos >= 0 && worst_cos < g->gates.width.min_cos;
    bool bad_error = g->gates.width.max_error >= 0 && worst_error > g->gates.width.max_error;
    gate_json_number(&entry.members, "worst_cosine", worst_cos);
    gate_json_number(&entry.members, "worst_relative_error", worst_error);
    members_text(&entry.members, "worst_cosine_tensor", cos_name);
    members_text(&entry.members, "worst_error_tensor", error_name);
    gate_entry_say(&entry, bad_cos || bad_error ? VERDICT_FAIL : VERDICT_PASS, "worst cosine %.6f (%.60s), worst error %.3g (%.60s)",
                   worst_cos, cos_name, worst_error, error_name);
    finish_gate(g, &entry, "width", g->gates.width.optional);
    return TSR_OK;
}

static tsr_status run_all(struct gating *g) {
    const struct {
        bool wanted;
        tsr_status (*run)(struct gating *g);
    } gates[] = {
        {g->gates.storage.wanted, run_storage}, {g->gates.width.wanted, run_width},
        {g->gates.reference.wanted, run_reference}, {g->gates.chain.wanted, run_chain},
        {g->gates.parity.wanted, run_parity},   {g->gates.rollout.wanted, run_rollout},
        {g->gates.speech.wanted, run_speech},
    };
    tsr_status st = TSR_OK;
    for (size_t i = 0; i < sizeof gates / sizeof gates[0] && st == TSR_OK; i++) {
        if (gates[i].wanted) st = gates[i].run(g);
    }
    return st;
}

static tsr_status make_result(struct gating *g, json_t **result) {
    struct members whole = members_object();
    members_text(&whole, "output", g->options->output);
    members_text(&whole, "reference", g->options->reference);
    if (g->is_output) {
        members_digest(&whole, "output_digest", &g->digest);
    } else {
        members_text(&whole, "output_digest", NULL);
    }
    members_text(&whole, "verdict", verdict_name(g->verdict));
    members_nest(&whole, "gates", &g->list);
    return members_finish(&whole, result, g->err);
}

static void close_all(struct gating *g) {
    tokenizer_close(g->tokenizer);
    model_close(&g->other);
    model_close(&g->reference);
    json_decref(g->diff);
    arena_clear(&g->arena);
}

tsr_status job_gate(const struct job_gate_options *options, const struct registry *registry, const struct job_paths *paths,
                    const struct env *env, json_t **result, tsr_error *err) {
    struct gating g = {.options = options, .registry = registry, .paths = paths, .env = env, .err = err};
    g.alone = !options->reference;
    tsr_status st = read_config(&g);
    if (st == TSR_OK && !gate_config_any(&g.gates)) st = tsr_fail(err, TSR_E_CONFIG, "no gate is asked for");
    g.list = members_list();
    if (st == TSR_OK) st = know_output(&g);
    if (st == TSR_OK) st = compare_weights(&g);
    if (st == TSR_OK) st = open_models(&g);
    if (st == TSR_OK) st = run_all(&g);
    if (st == TSR_OK) {
        st = make_result(&g, result);
    } else {
        json_decref(g.list.value);
    }
    if (st == TSR_OK && g.verdict != VERDICT_PASS) st = tsr_fail(err, TSR_E_GATE, "%s: %.200s", options->output, g.failed);
    close_all(&g);
    return st;
}
