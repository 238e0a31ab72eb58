/* SPDX-License-Identifier: Apache-2.0
 *
 * Post-processors, for one text: what a template puts before and behind it. Those that only move offsets do nothing
 * here. In a sequence each puts its tokens around what the ones before it made; behind a template, whose pieces stay apart
 * until the end, none may add any. */
#include "tokenizer_parts.h"

#define POST_DEPTH_MAX 8

static tsr_status read_ids(const struct loader *loader, const json_t *list, const char *where, struct str *out) {
    size_t i;
    json_t *item;
    if (!json_is_array(list)) return load_fail(loader, TSR_E_INPUT, where, "ids: expected a list");
    json_array_foreach(list, i, item) {
        json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id >= (json_int_t)loader->tokenizer->vocabulary.size) {
            return load_fail(loader, TSR_E_INPUT, where, "ids: expected ids of the vocabulary");
        }
        str_add_le(out, (uint64_t)id, 4);
    }
    return TSR_OK;
}

/* Puts `inner` + `added` or `added` + `inner` into the arena. */
static tsr_status keep(const struct loader *loader, struct ids_text *kept, const struct str *added, bool in_front) {
    uint64_t added_count = added->length / 4, count = kept->count + added_count;
    if (added->failed) return load_no_memory(loader);
    if (!added_count) return TSR_OK;
    uint32_t *ids = arena_alloc(&loader->tokenizer->arena, count, sizeof *ids);
    if (!ids) return load_no_memory(loader);
    if (kept->count) memcpy(ids + (in_front ? added_count : 0), kept->ids, kept->count * sizeof *ids);
    uint32_t *at = ids + (in_front ? 0 : kept->count);
    for (uint64_t i = 0; i < added_count; i++) {
        const uint8_t *bytes = (const uint8_t *)added->text + 4 * i;
        at[i] = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    }
    *kept = (struct ids_text){ids, count};
    return TSR_OK;
}

static tsr_status keep_around(const struct loader *loader, struct str sides[2]) {
    tsr_status st = keep(loader, &loader->tokenizer->before, &sides[0], true);
    if (st == TSR_OK) st = keep(loader, &loader->tokenizer->after, &sides[1], false);
    str_clear(&sides[0]);
    str_clear(&sides[1]);
    return st;
}

static tsr_status read_template_piece(const struct loader *loader, const json_t *post, const json_t *piece,
                                      struct str sides[2], unsigned *texts) {
    static const char WHERE[] = "post_processor.single";
    const json_t *special = json_object_get(piece, "SpecialToken"), *sequence = json_object_get(piece, "Sequence");
    const char *id = json_string_value(json_object_get(special ? special : sequence, "id"));
    if (!id) return load_fail(loader, TSR_E_INPUT, WHERE, "expected pieces with SpecialToken or Sequence and an id");
    if (special) {
        const json_t *token = json_object_get(json_object_get(post, "special_tokens"), id);
        if (!token) return load_fail(loader, TSR_E_INPUT, WHERE, "\"%.40s\" is not in special_tokens", id);
        return read_ids(loader, json_object_get(token, "ids"), "post_processor.special_tokens", &sides[*texts > 0]);
    }
    if (strcmp(id, "A") != 0) return load_fail(loader, TSR_E_UNSUPPORTED, WHERE, "sequence \"%.20s\" for one text", id);
    ++*texts;
    return TSR_OK;
}

static tsr_status load_template(const struct loader *loader, const json_t *post) {
    struct str sides[2] = {{0}, {0}};
    unsigned texts = 0;
    size_t i;
    json_t *piece;
    const json_t *single = json_object_get(post, "single");
    tsr_status st = TSR_OK;
    if (!json_is_array(single)) return load_fail(loader, TSR_E_INPUT, "post_processor.single", "expected a list");
    json_array_foreach(single, i, piece) {
        st = read_template_piece(loader, post, piece, sides, &texts);
        if (st != TSR_OK) break;
    }
    if (st == TSR_OK && texts != 1)
        st = load_fail(loader, TSR_E_UNSUPPORTED, "post_processor.single", "a template with %u texts", texts);
    if (st == TSR_OK) return keep_around(loader, sides);
    str_clear(&sides[0]);
    str_clear(&sides[1]);
    return st;
}

/* "cls": ["<s>", 0], "sep": ["</s>", 2] */
static tsr_status load_bert(const struct loader *loader, const json_t *post) {
    static const char *const NAMES[] = {"cls", "sep"};
    struct str sides[2] = {{0}, {0}};
    for (unsigned i = 0; i < 2; i++) {
        const json_t *pair = json_object_get(post, NAMES[i]), *id = json_array_get(pair, 1);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= (json_int_t)loader->tokenizer->vocabulary.size) {
            str_clear(&sides[0]);
            return load_fail(loader, TSR_E_INPUT, "post_processor", "%s: expected [token, id of the vocabulary]",
                             NAMES[i]);
        }
        str_add_le(&sides[i], (uint64_t)json_integer_value(id), 4);
    }
    return keep_around(loader, sides);
}

/* One that adds tokens. */
static tsr_status load_adding(const struct loader *loader, const json_t *post, bool is_template, bool *in_pieces) {
    if (*in_pieces) {
        return load_fail(loader, TSR_E_UNSUPPORTED, "post_processor", "a processor that adds tokens behind a template");
    }
    *in_pieces = is_template && json_array_size(json_object_get(post, "single")) > 1;
    return is_template ? load_template(loader, post) : load_bert(loader, post);
}

static tsr_status load_post_item(const struct loader *loader, const json_t *post, int depth, bool *in_pieces) {
    const char *type = json_string_value(json_object_get(post, "type"));
    if (!type) return load_fail(loader, TSR_E_INPUT, "post_processor", "expected an object with a \"type\"");
    if (!strcmp(type, "ByteLevel")) return TSR_OK;
    if (!strcmp(type, "TemplateProcessing")) return load_adding(loader, post, true, in_pieces);
    if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) {
        return load_adding(loader, post, false, in_pieces);
    }
    if (strcmp(type, "Sequence") != 0)
        return load_fail(loader, TSR_E_UNSUPPORTED, "post_processor", "type \"%.60s\"", type);
    const json_t *list = json_object_get(post, "processors");
    size_t i;
    json_t *item;
    tsr_status st = TSR_OK;
    if (!json_is_array(list)) return load_fail(loader, TSR_E_INPUT, "post_processor", "processors: expected a list");
    if (depth == POST_DEPTH_MAX)
        return load_fail(loader, TSR_E_LIMIT, "post_processor", "sequences are nested too deeply");
    json_array_foreach(list, i, item) {
        st = load_post_item(loader, item, depth + 1, in_pieces);
        if (st != TSR_OK) break;
    }
    return st;
}

tsr_status load_post(const struct loader *loader, const json_t *value) {
    bool in_pieces = false;
    return !value || json_is_null(value) ? TSR_OK : load_post_item(loader, value, 0, &in_pieces);
}
