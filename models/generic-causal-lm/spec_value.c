/* SPDX-License-Identifier: Apache-2.0
 *
 * Resolves "$key|$other|literal" and finds keys of config.json that nobody reads. */
#include "spec_value.h"

#include <stdio.h>
#include <stdlib.h>

/* Keys that no inference computation depends on: tokens, training, bookkeeping, generation defaults. */
static const char *const HARMLESS_KEYS[] = {
    "_attn_implementation_autoset", "_name_or_path", "add_cross_attention", "architectures", "attention_dropout",
    "attn_implementation", "attn_pdrop", "auto_map", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout", "cross_attention_hidden_size", "decoder_start_token_id",
    "diversity_penalty", "do_sample", "dropout", "dtype", "early_stopping", "embd_pdrop", "embed_dropout",
    "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty", "finetuning_task",
    "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob", "id2label",
    "init_std", "initializer_range", "is_decoder", "is_encoder_decoder", "keys_to_ignore_at_inference", "label2id",
    "layerdrop", "length_penalty", "max_length", "min_length", "model_type", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states",
    "output_router_logits", "output_scores", "pad_token_id", "prefix", "problem_type", "pruned_heads",
    "quantization_config", "remove_invalid_values", "repetition_penalty", "resid_dropout", "resid_pdrop", "return_dict",
    "return_dict_in_generate", "router_aux_loss_coef", "aux_loss_alpha", "seq_aux", "router_jitter_noise", "sep_token_id",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    "suppress_tokens", "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder",
    "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version", "typical_p",
    "unk_token_id", "use_bfloat16", "use_cache", "boi_token_id", "eoi_token_id", "image_token_id", NULL,
};

static const tsr_node *descend(const tsr_node *map, const char *key, size_t length) {
    for (uint64_t i = 0; map && map->kind == TSR_NODE_MAP && i < map->count; i++) {
        const tsr_node *child = &map->children[i];
        if (strlen(child->key) == length && !memcmp(child->key, key, length)) return child;
    }
    return NULL;
}

const tsr_node *scope_lookup(const struct value_scope *scope, const char *key, size_t length) {
    const char *dot = memchr(key, '.', length);
    const tsr_node *found;
    if (dot) {
        const tsr_node *map = descend(scope->config, key, (size_t)(dot - key));
        found = descend(map, dot + 1, length - (size_t)(dot - key) - 1);
    } else {
        found = descend(scope->config, key, length);
    }
    return found ? found : descend(scope->defaults, key, length);
}

static struct value value_of_node(const tsr_node *node) {
    struct value value = {.kind = node->kind, .number = node->number, .text = node->text, .node = node};
    value.text_length = strlen(node->text);
    return value;
}

/* Digits with an optional fraction and exponent, at most 15 of them: by one exact product or quotient, since strtod heeds
 * the locale. False when it is something else. */
static bool take_number(const char *text, size_t length, double *number) {
    uint64_t digits = 0, mantissa = 0;
    int64_t scale = 0, exponent = 0;
    size_t at = length && text[0] == '-';
    for (bool fraction = false; at < length && (text[at] == '.' ? !fraction : text[at] >= '0' && text[at] <= '9'); at++) {
        if (text[at] == '.') {
            fraction = true;
            continue;
        }
        mantissa = mantissa * 10 + (uint64_t)(text[at] - '0');
        scale -= fraction;
        if (++digits > 15) return false;
    }
    if (at < length && (text[at] | 32) == 'e') {
        bool down = ++at < length && text[at] == '-';
        at += at < length && (text[at] == '-' || text[at] == '+');
        if (at == length) return false;
        for (; at < length && text[at] >= '0' && text[at] <= '9' && exponent < 100; at++) {
            exponent = exponent * 10 + (text[at] - '0');
        }
        scale += down ? -exponent : exponent;
    }
    if (!digits || at < length || scale < -22 || scale > 22) return false;
    double power = 1;
    for (int64_t i = scale < 0 ? -scale : scale; i > 0; i--) power *= 10;
    double value = scale < 0 ? (double)mantissa / power : (double)mantissa * power;
    *number = text[0] == '-' ? -value : value;
    return true;
}

/* One alternative that is written out: a number, true, false, or a word. */
static struct value value_of_literal(const char *text, size_t length) {
    struct value value = {.kind = TSR_NODE_TEXT, .text = text, .text_length = length};
    char copy[32];
    if (length == 0 || length >= sizeof copy) return value;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (take_number(text, length, &value.number)) {
        value.kind = TSR_NODE_NUMBER;
    } else if (!strcmp(copy, "true") || !strcmp(copy, "false")) {
        value.kind = TSR_NODE_BOOL;
        value.number = copy[0] == 't';
    }
    return value;
}

struct value scope_resolve(const struct value_scope *scope, const tsr_node *node) {
    struct value nothing = {.kind = TSR_NODE_NULL, .text = ""};
    if (node->kind != TSR_NODE_TEXT || !strchr(node->text, '$')) return value_of_node(node);
    for (const char *at = node->text; at;) {
        size_t length = strcspn(at, "|");
        if (at[0] == '$') {
            const tsr_node *found = scope_lookup(scope, at + 1, length - 1);
            if (found && found->kind != TSR_NODE_NULL) return value_of_node(found);
        } else {
            return value_of_literal(at, length);
        }
        at = at[length] ? at + length + 1 : NULL;
    }
    return nothing;
}

bool value_text_is(const struct value *value, const char *text) {
    return value->kind == TSR_NODE_TEXT && value->text_length == strlen(text) &&
           !memcmp(value->text, text, value->text_length);
}

bool value_matches(const struct value *value, const tsr_node *literal) {
    if (literal->kind == TSR_NODE_NULL) return value->kind == TSR_NODE_NULL;
    if (literal->kind == TSR_NODE_TEXT && !strcmp(literal->text, "*")) return value->kind != TSR_NODE_NULL;
    if (literal->kind == TSR_NODE_TEXT) return value_text_is(value, literal->text);
    return value->kind == literal->kind && value->number == literal->number;
}

/* ---- keys that nobody reads ---- */

/* True when a text such as "$a|$b.c" names the key. */
static bool text_refers(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *at = strchr(text, '$'); at; at = strchr(at + 1, '$')) {
        size_t named = strcspn(at + 1, "|");
        if (named == length && !memcmp(at + 1, key, length)) return true;
    }
    return false;
}

static bool values_refer(const tsr_node *values, const char *key) {
    for (uint64_t i = 0; values && i < values->count; i++) {
        if (text_refers(values->children[i].text, key)) return true;
    }
    return false;
}

static bool family_reads(const tsr_node *family, const char *key) {
    if (values_refer(node_get(family, "values"), key)) return true;
    if (node_list_has(node_get(family, "ignore"), key)) return true;
    if (node_get(node_get(family, "check"), key)) return true;
    const tsr_node *when = node_get(family, "when");
    for (uint64_t i = 0; when && i < when->count; i++) {
        if (node_get(node_get(&when->children[i], "if"), key)) return true;
        if (values_refer(node_get(&when->children[i], "set"), key)) return true;
    }
    return false;
}

static bool is_harmless(const char *key) {
    for (const char *const *at = HARMLESS_KEYS; *at; at++) {
        if (!strcmp(*at, key)) return true;
    }
    return false;
}

static bool is_known(const tsr_node *family, const tsr_node *entry, const char *key) {
    return entry->kind == TSR_NODE_NULL || is_harmless(key) || family_reads(family, key);
}

/* A map is known as a whole, or entry by entry under its dotted names. */
static tsr_status check_entry(const tsr_node *family, const tsr_node *entry, tsr_error *err) {
    if (is_known(family, entry, entry->key)) return TSR_OK;
    for (uint64_t i = 0; entry->kind == TSR_NODE_MAP && i < entry->count; i++) {
        char dotted[256];
        const tsr_node *inner = &entry->children[i];
        (void)snprintf(dotted, sizeof dotted, "%s.%s", entry->key, inner->key);
        if (!is_known(family, inner, dotted)) {
            return tsr_fail(err, TSR_E_UNSUPPORTED, "config.json: %s may change the computation and family %s does not know it",
                            dotted, node_get(family, "family")->text);
        }
    }
    if (entry->kind == TSR_NODE_MAP && entry->count) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "config.json: %s may change the computation and family %s does not know it",
                    entry->key, node_get(family, "family")->text);
}

tsr_status scope_check_keys(const struct value_scope *scope, const tsr_node *family, tsr_error *err) {
    for (uint64_t i = 0; i < scope->config->count; i++) {
        tsr_status st = check_entry(family, &scope->config->children[i], err);
        if (st != TSR_OK) return st;
    }
    const tsr_node *check = node_get(family, "check");
    for (uint64_t i = 0; check && i < check->count; i++) {
        const tsr_node *wanted = &check->children[i];
        const tsr_node *found = scope_lookup(scope, wanted->key, strlen(wanted->key));
        struct value value = found ? value_of_node(found) : (struct value){.kind = TSR_NODE_NULL, .text = ""};
        if (value.kind != TSR_NODE_NULL && !value_matches(&value, wanted)) {
            return tsr_fail(err, TSR_E_UNSUPPORTED, "config.json: %s has a value that family %s cannot compute (only %s)",
                            wanted->key, node_get(family, "family")->text, wanted->text);
        }
    }
    return TSR_OK;
}
