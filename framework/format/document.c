/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies parsed JSON and YAML into trees of tsr_node. Plain YAML scalars become null, booleans and numbers by the core
 * schema's spelling; quoted ones stay text. Depth was bounded by the parsers. */
#include "document.h"

#include <base/number.h>
#include <string.h>

#include "json.h"
#include "yaml.h"

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for a document");
}

/* ---- JSON ---- */

static tsr_status copy_json(const json_t *value, struct arena *arena, tsr_node *node, tsr_error *err);

static tsr_status copy_json_list(const json_t *value, struct arena *arena, tsr_node *children, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (size_t i = 0; i < json_array_size(value) && st == TSR_OK; i++) {
        children[i].key = "";
        st = copy_json(json_array_get(value, i), arena, &children[i], err);
    }
    return st;
}

static tsr_status copy_json_map(const json_t *value, struct arena *arena, tsr_node *children, tsr_error *err) {
    const char *key;
    json_t *member;
    size_t i = 0;
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
        children[i].key = arena_dup(arena, key, strlen(key));
        if (!children[i].key) return no_memory(err);
        tsr_status st = copy_json(member, arena, &children[i++], err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

static tsr_status copy_json_scalar(const json_t *value, struct arena *arena, tsr_node *node, tsr_error *err) {
    if (json_is_string(value)) {
        node->kind = TSR_NODE_TEXT;
        node->text = arena_dup(arena, json_string_value(value), json_string_length(value));
    } else if (json_is_number(value)) {
        node->kind = TSR_NODE_NUMBER;
        node->number = json_number_value(value);
        char text[NUMBER_TEXT];
        node->text = arena_format(arena, "%s", number_text(node->number, text));
    } else {
        node->kind = json_is_null(value) ? TSR_NODE_NULL : TSR_NODE_BOOL;
        node->number = json_is_true(value);
        node->text = json_is_null(value) ? "" : json_is_true(value) ? "true" : "false";
    }
    return node->text ? TSR_OK : no_memory(err);
}

static tsr_status copy_json(const json_t *value, struct arena *arena, tsr_node *node, tsr_error *err) {
    bool is_list = json_is_array(value);
    if (!is_list && !json_is_object(value)) return copy_json_scalar(value, arena, node, err);
    node->text = "";
    node->kind = is_list ? TSR_NODE_LIST : TSR_NODE_MAP;
    node->count = is_list ? json_array_size(value) : json_object_size(value);
    tsr_node *children = arena_alloc(arena, node->count + 1, sizeof *children);
    if (!children) return no_memory(err);
    node->children = children;
    return is_list ? copy_json_list(value, arena, children, err) : copy_json_map(value, arena, children, err);
}

tsr_status document_from_json(const char *text, size_t size, const char *subject, struct arena *arena, tsr_node *root,
                              tsr_error *err) {
    json_t *value = NULL;
    *root = (tsr_node){.key = "", .text = ""};
    tsr_status st = json_parse_reals(text, size, subject, &value, err);
    if (st != TSR_OK) return st;
    st = copy_json(value, arena, root, err);
    json_decref(value);
    return st;
}

/* ---- YAML ---- */

static void classify_scalar(const struct yaml_node *from, tsr_node *node) {
    char *end;
    node->kind = TSR_NODE_TEXT;
    node->text = from->text;
    if (from->quoted) return;
    if (!strcmp(from->text, "null") || !strcmp(from->text, "~") || !from->text[0]) {
        node->kind = TSR_NODE_NULL;
        node->text = "";
    } else if (!strcmp(from->text, "true") || !strcmp(from->text, "false")) {
        node->kind = TSR_NODE_BOOL;
        node->number = from->text[0] == 't';
    } else {
        double number = number_read(from->text, &end);
        if (*end) return;
        node->kind = TSR_NODE_NUMBER;
        node->number = number;
    }
}

static tsr_status copy_yaml(const struct yaml_node *from, struct arena *arena, tsr_node *node, tsr_error *err) {
    node->line = (int32_t)from->line;
    if (from->kind == YAML_SCALAR) {
        classify_scalar(from, node);
        return TSR_OK;
    }
    node->text = "";
    node->kind = from->kind == YAML_LIST ? TSR_NODE_LIST : TSR_NODE_MAP;
    node->count = from->count;
    tsr_node *children = arena_alloc(arena, node->count + 1, sizeof *children);
    if (!children) return no_memory(err);
    node->children = children;
    for (uint64_t i = 0; i < from->count; i++) {
        children[i].key = from->kind == YAML_MAP ? from->keys[i].text : "";
        tsr_status st = copy_yaml(&from->items[i], arena, &children[i], err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

tsr_status document_from_yaml(const char *text, size_t size, const char *subject, struct arena *arena, tsr_node *root,
                              tsr_error *err) {
    struct yaml_node parsed;
    *root = (tsr_node){.key = "", .text = ""};
    tsr_status st = yaml_parse(text, size, subject, arena, &parsed, err);
    return st == TSR_OK ? copy_yaml(&parsed, arena, root, err) : st;
}
