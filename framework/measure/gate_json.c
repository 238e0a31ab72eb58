/* SPDX-License-Identifier: Apache-2.0
 *
 * Formats measurements; decides nothing. */
#include "gate_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_TOKENS 24
#define KLD_BINS 19

struct gate_entry gate_entry_begin(const char *gate) {
    struct gate_entry entry = {.members = members_object(), .verdict = VERDICT_NOT_RUN};
    members_text(&entry.members, "gate", gate);
    return entry;
}

void gate_entry_end(struct members *list, struct gate_entry *entry) {
    members_text(&entry->members, "verdict", verdict_name(entry->verdict));
    members_text(&entry->members, "reason", entry->reason);
    members_append(list, &entry->members);
}

void gate_entry_say(struct gate_entry *entry, enum verdict verdict, const char *format, ...) {
    va_list arguments;
    entry->verdict = verdict;
    va_start(arguments, format);
    (void)vsnprintf(entry->reason, sizeof entry->reason, format, arguments);
    va_end(arguments);
}

void gate_json_number(struct members *members, const char *key, double value) {
    char text[32];
    (void)snprintf(text, sizeof text, "%.7g", value);
    members_real(members, key, isfinite(value) ? strtod(text, NULL) : value);
}

void gate_json_judgement(struct members *members, const char *key, const struct judgement *judgement, double confidence) {
    struct members object = members_object();
    gate_json_number(&object, "estimate", judgement->estimate);
    gate_json_number(&object, "bound", judgement->bound);
    gate_json_number(&object, "threshold", judgement->threshold);
    gate_json_number(&object, "confidence", confidence);
    gate_json_number(&object, "effective_positions", floor(judgement->effective));
    members_text(&object, "verdict", verdict_name(judgement->verdict));
    if (judgement->verdict != VERDICT_PASS) gate_json_number(&object, "positions_needed", judgement->needed);
    members_nest(members, key, &object);
}

static void add_percentiles(struct members *members, const struct parity_result *result) {
    static const struct {
        const char *key;
        double percent;
    } rows[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99_9", 99.9}, {"max", 100}};
    struct members object = members_object();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gate_json_number(&object, rows[i].key, parity_percentile(result, rows[i].percent));
    }
    members_nest(members, "kld_percentiles", &object);
}

/* Positions by KLD, two bins a decade: edges 1e-8, 3e-8 ... 10, the last bin holds all above. Positions whose
 * distributions are equal stand in equal_distributions and in the first bin. */
static void add_kld_histogram(struct members *members, const struct parity_result *result) {
    struct members list = members_list();
    uint64_t at = 0;
    for (int bin = 0; bin <= KLD_BINS; bin++) {
        struct members object = members_object();
        double edge = bin == KLD_BINS ? INFINITY : (bin % 2 ? 3 : 1) * pow(10, bin / 2 - 8);
        uint64_t first = at;
        while (at < result->positions && (double)result->all_kld[at] <= edge) at++;
        gate_json_number(&object, "at_most", edge);
        members_count(&object, "positions", at - first);
        members_append(&list, &object);
    }
    members_nest(members, "kld_histogram", &list);
}

static void add_margin_histogram(struct members *members, const struct parity_result *result) {
    struct members list = members_list();
    for (int bin = 0; bin < PARITY_MARGINS; bin++) {
        struct members object = members_object();
        gate_json_number(&object, "margin_below", bin + 1 < PARITY_MARGINS ? (bin + 1) / 2.0 : INFINITY);
        members_count(&object, "positions", result->margins[bin]);
        members_append(&list, &object);
    }
    members_nest(members, "margin_histogram", &list);
}

static void add_buckets(struct members *members, const struct parity_result *result) {
    struct members list = members_list();
    for (int i = 0; i < PARITY_BUCKETS; i++) {
        struct members object = members_object();
        const struct group *bucket = &result->buckets[i];
        gate_json_number(&object, "margin_below", parity_bucket_edges[i]);
        members_count(&object, "positions", (uint64_t)bucket->count);
        gate_json_number(&object, "top1", bucket->count > 0 ? bucket->sum / bucket->count : (double)NAN);
        members_append(&list, &object);
    }
    members_nest(members, "by_margin", &list);
}

static void add_token(struct members *object, const char *key, const struct tokenizer *tokenizer, uint32_t token) {
    struct str text = {0};
    (void)tokenizer_decode(tokenizer, &token, 1, false, &text, NULL);
    members_text(object, key, text.text ? text.text : "");
    str_clear(&text);
}

static void add_flips(struct members *members, const struct parity_result *result, const struct gate_text *text,
                      const struct tokenizer *tokenizer) {
    struct members list = members_list();
    uint64_t kept = result->flip_count < PARITY_FLIPS ? result->flip_count : PARITY_FLIPS;
    for (uint64_t i = 0; i < kept; i++) {
        const struct parity_flip *flip = &result->flips[i];
        struct members object = members_object();
        struct str context = {0};
        gate_text_context(tokenizer, &text->runs[flip->document], flip->position, CONTEXT_TOKENS, &context);
        members_count(&object, "document", flip->document);
        members_count(&object, "position", flip->position);
        gate_json_number(&object, "kld", (double)flip->kld);
        gate_json_number(&object, "margin", (double)flip->margin);
        members_text(&object, "context", context.text ? context.text : "");
        add_token(&object, "reference", tokenizer, flip->reference_token);
        add_token(&object, "other", tokenizer, flip->other_token);
        members_append(&list, &object);
        str_clear(&context);
    }
    members_nest(members, "worst_flips", &list);
}

void gate_json_parity(struct members *members, const struct parity_result *result, const struct gate_text *text,
                      const struct tokenizer *tokenizer) {
    members_count(members, "positions", result->positions);
    members_count(members, "documents", text->count);
    members_count(members, "windows", result->windows);
    members_digest(members, "text_xxh3_128", &text->digest);
    members_count(members, "equal_distributions", result->kld_zero);
    members_count(members, "flips", result->flip_count);
    add_percentiles(members, result);
    gate_json_number(members, "perplexity_reference", exp(result->reference_nll));
    gate_json_number(members, "perplexity", exp(result->other_nll));
    gate_json_number(members, "perplexity_ratio", exp(result->other_nll - result->reference_nll));
    add_kld_histogram(members, result);
    add_margin_histogram(members, result);
    add_buckets(members, result);
    add_flips(members, result, text, tokenizer);
}

void gate_json_rollout(struct members *members, const struct rollout_result *result) {
    members_count(members, "prompts", result->prompts);
    members_count(members, "tokens", result->tokens);
    members_count(members, "matched", result->matched);
    members_count(members, "equal_prompts", result->equal_prompts);
    gate_json_number(members, "match", result->tokens ? (double)result->matched / (double)result->tokens : 0);
    if (result->first_prompt == result->prompts) return;
    members_count(members, "first_different_prompt", result->first_prompt);
    members_count(members, "first_different_position", result->first_position);
}

void gate_json_reference(struct members *members, const struct reference_result *result) {
    gate_json_number(members, "worst_logit", result->worst_logit);
    gate_json_number(members, "worst_hidden", result->worst_hidden);
    members_count(members, "worst_layer", result->worst_layer);
    members_count(members, "greedy_tokens", result->greedy_tokens);
    members_count(members, "greedy_equal", result->first_wrong_token);
}

void gate_json_speech_reference(struct members *members, const struct speech_reference_result *result) {
    members_count(members, "cases", result->cases);
    members_count(members, "codes", result->codes);
    members_count(members, "wrong_codes", result->wrong_codes);
    members_count(members, "stages", result->stages);
    gate_json_number(members, "worst_stage", result->worst_stage);
    members_text(members, "worst_stage_tensor", result->worst_stage_name);
    gate_json_number(members, "worst_wave", result->worst_wave);
    gate_json_number(members, "worst_cosine_gap", result->worst_cosine);
    members_text(members, "first_wrong", result->first_wrong[0] ? result->first_wrong : NULL);
}

void gate_json_chain(struct members *members, const struct chain_result *result) {
    struct members list = members_list();
    for (uint64_t i = 0; i < result->count; i++) {
        struct members object = members_object();
        members_count(&object, "layer", i);
        gate_json_number(&object, "mean_cosine", result->layers[i].mean_cosine);
        gate_json_number(&object, "worst_cosine", result->layers[i].worst_cosine);
        gate_json_number(&object, "relative_error", result->layers[i].relative_error);
        members_append(&list, &object);
    }
    members_count(members, "tokens", result->tokens);
    members_nest(members, "layers", &list);
}
