/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds the tree from libyaml's events. Open lists and maps are a stack of at most YAML_LEVELS_MAX frames over one
 * growing row of pending nodes; when one ends, its nodes move into the arena. Nothing recurses on the input. */
#include "yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include <base/alloc.h>
#include <base/str.h>

struct frame {
    struct yaml_node node; /* what was opened */
    uint64_t first;        /* its first pending node */
};

struct builder {
    yaml_parser_t parser;
    const char *text;
    size_t size;
    const char *subject;
    struct arena *arena;
    struct frame frames[YAML_LEVELS_MAX];
    unsigned depth;
    struct yaml_node *pending; /* items, or keys and values in turn, of all open frames */
    uint64_t pending_count, pending_capacity;
    bool has_root;
};

/* Line and column (in code points) of a byte; malformed bytes count as one. */
static struct yaml_node place_of(const char *text, size_t offset) {
    struct yaml_node place = {.line = 1, .column = 1};
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
            place.column++;
        }
    }
    return place;
}

static tsr_status fail_bytes(const struct builder *builder, size_t offset, const char *what, tsr_error *err) {
    struct yaml_node place = place_of(builder->text, offset);
    return yaml_fail(err, builder->subject, &place, "%s", what);
}

static tsr_status check_utf8(const struct builder *builder, tsr_error *err) {
    if (text_is_utf8(builder->text, builder->size)) return TSR_OK;
    size_t at = 0;
    while (at < builder->size) {
        size_t step = 1;
        while (step <= 4 && step <= builder->size - at && !text_is_utf8(builder->text + at, step)) step++;
        if (step > 4 || step > builder->size - at) break;
        at += step;
    }
    return fail_bytes(builder, at, "the bytes here are not UTF-8", err);
}

static tsr_status fail_syntax(const struct builder *builder, tsr_error *err) {
    const yaml_parser_t *parser = &builder->parser;
    const char *problem = parser->problem ? parser->problem : "malformed";
    if (parser->error == YAML_MEMORY_ERROR) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", builder->subject);
    if (parser->error == YAML_READER_ERROR) return fail_bytes(builder, parser->problem_offset, problem, err);
    struct yaml_node place = {.line = (uint32_t)parser->problem_mark.line + 1,
                              .column = (uint32_t)parser->problem_mark.column + 1};
    if (!parser->context) return yaml_fail(err, builder->subject, &place, "YAML: %s", problem);
    return yaml_fail(err, builder->subject, &place, "YAML: %s %s that began at line %u", problem, parser->context,
                     (unsigned)parser->context_mark.line + 1);
}

static struct frame *open_frame(struct builder *builder) {
    return builder->depth ? &builder->frames[builder->depth - 1] : NULL;
}

static tsr_status add_node(struct builder *builder, const struct yaml_node *node, struct yaml_node *root,
                           tsr_error *err) {
    const struct frame *frame = open_frame(builder);
    if (!frame) {
        *root = *node;
        builder->has_root = true;
        return TSR_OK;
    }
    bool is_key = frame->node.kind == YAML_MAP && (builder->pending_count - frame->first) % 2 == 0;
    if (is_key && node->kind != YAML_SCALAR) {
        return yaml_fail(err, builder->subject, node, "a key must be plain text, found a %s",
                         node->kind == YAML_MAP ? "map" : "list");
    }
    if (is_key && !*node->text) return yaml_fail(err, builder->subject, node, "a key is missing in front of the colon");
    if (builder->pending_count == builder->pending_capacity) {
        uint64_t capacity = builder->pending_capacity ? builder->pending_capacity * 2 : 64;
        struct yaml_node *pending = mem_resize(builder->pending, capacity, sizeof *pending);
        if (!pending) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", builder->subject);
        builder->pending = pending;
        builder->pending_capacity = capacity;
    }
    builder->pending[builder->pending_count++] = *node;
    return TSR_OK;
}

static bool is_before(const struct yaml_node *a, const struct yaml_node *b) {
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

/* By text, then by place. */
static int compare_keys(const void *a, const void *b) {
    const struct yaml_node *const *left = a, *const *right = b;
    int order = strcmp((*left)->text, (*right)->text);
    if (order) return order;
    return is_before(*left, *right) ? -1 : is_before(*right, *left);
}

/* Sorted, since a hostile map may have 2^18 keys. The first repetition in the file is reported. */
static tsr_status check_unique(const struct builder *builder, const struct yaml_node *map, tsr_error *err) {
    if (map->count < 2) return TSR_OK;
    const struct yaml_node **sorted = mem_alloc_array(map->count, sizeof *sorted);
    if (!sorted) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", builder->subject);
    for (uint64_t i = 0; i < map->count; i++) sorted[i] = &map->keys[i];
    qsort(sorted, map->count, sizeof *sorted, compare_keys);
    const struct yaml_node *first = NULL, *again = NULL;
    for (uint64_t i = 1; i < map->count; i++) {
        if (strcmp(sorted[i - 1]->text, sorted[i]->text) || (again && is_before(again, sorted[i]))) continue;
        first = sorted[i - 1];
        again = sorted[i];
    }
    mem_free(sorted);
    if (!again) return TSR_OK;
    return yaml_fail(err, builder->subject, again, "key \"%s\" is given twice, first in line %u", again->text,
                     (unsigned)first->line);
}

static tsr_status close_frame(struct builder *builder, struct yaml_node *root, tsr_error *err) {
    struct frame *frame = open_frame(builder);
    struct yaml_node node = frame->node;
    /* Nothing was ever pending where the first thing to end is an empty list or map. */
    const struct yaml_node *pending = builder->pending ? builder->pending + frame->first : NULL;
    uint64_t pending_count = builder->pending_count - frame->first;
    uint64_t stride = node.kind == YAML_MAP ? 2 : 1;
    node.count = pending_count / stride;
    node.items = arena_alloc(builder->arena, node.count, sizeof *node.items);
    if (node.kind == YAML_MAP) node.keys = arena_alloc(builder->arena, node.count, sizeof *node.keys);
    if (!node.items || (node.kind == YAML_MAP && !node.keys)) {
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", builder->subject);
    }
    for (uint64_t i = 0; i < node.count; i++) {
        node.items[i] = pending[i * stride + stride - 1];
        if (node.kind == YAML_MAP) node.keys[i] = pending[i * stride];
    }
    builder->pending_count = frame->first;
    builder->depth--;
    tsr_status st = node.kind == YAML_MAP ? check_unique(builder, &node, err) : TSR_OK;
    return st ? st : add_node(builder, &node, root, err);
}

static tsr_status begin_frame(struct builder *builder, struct yaml_node *node, enum yaml_kind kind, tsr_error *err) {
    if (builder->depth == YAML_LEVELS_MAX) {
        return yaml_fail(err, builder->subject, node, "nested deeper than %d levels", YAML_LEVELS_MAX);
    }
    node->kind = kind;
    builder->frames[builder->depth++] = (struct frame){*node, builder->pending_count};
    return TSR_OK;
}

static tsr_status add_scalar(struct builder *builder, struct yaml_node *node, const yaml_event_t *event,
                             struct yaml_node *root, tsr_error *err) {
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (memchr(value, 0, length)) return yaml_fail(err, builder->subject, node, "text must not contain \\0");
    node->kind = YAML_SCALAR;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_dup(builder->arena, value, length);
    if (!node->text) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", builder->subject);
    return add_node(builder, node, root, err);
}

/* Anchor or tag of an event that can have them. */
static tsr_status check_plain(const struct builder *builder, const struct yaml_node *node, const yaml_char_t *anchor,
                              const yaml_char_t *tag, tsr_error *err) {
    if (anchor) return yaml_fail(err, builder->subject, node, "anchors are not allowed: &%s", (const char *)anchor);
    if (tag) return yaml_fail(err, builder->subject, node, "tags are not allowed: %s", (const char *)tag);
    return TSR_OK;
}

static tsr_status take_event(struct builder *builder, const yaml_event_t *event, struct yaml_node *root,
                             tsr_error *err) {
    struct yaml_node node = {.line = (uint32_t)event->start_mark.line + 1,
                             .column = (uint32_t)event->start_mark.column + 1};
    tsr_status st;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (builder->has_root) return yaml_fail(err, builder->subject, &node, "a second document begins, expected one");
        if (event->data.document_start.tag_directives.start != event->data.document_start.tag_directives.end) {
            return yaml_fail(err, builder->subject, &node, "tags are not allowed: %%TAG");
        }
        return TSR_OK;
    case YAML_ALIAS_EVENT:
        return yaml_fail(err, builder->subject, &node, "aliases are not allowed: *%s",
                         (const char *)event->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        st = check_plain(builder, &node, event->data.scalar.anchor, event->data.scalar.tag, err);
        return st ? st : add_scalar(builder, &node, event, root, err);
    case YAML_SEQUENCE_START_EVENT:
        st = check_plain(builder, &node, event->data.sequence_start.anchor, event->data.sequence_start.tag, err);
        return st ? st : begin_frame(builder, &node, YAML_LIST, err);
    case YAML_MAPPING_START_EVENT:
        st = check_plain(builder, &node, event->data.mapping_start.anchor, event->data.mapping_start.tag, err);
        return st ? st : begin_frame(builder, &node, YAML_MAP, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_frame(builder, root, err);
    default:
        return TSR_OK;
    }
}

static tsr_status read_events(struct builder *builder, struct yaml_node *root, tsr_error *err) {
    for (bool done = false; !done;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&builder->parser, &event)) return fail_syntax(builder, err);
        done = event.type == YAML_STREAM_END_EVENT;
        tsr_status st = take_event(builder, &event, root, err);
        yaml_event_delete(&event);
        if (st) return st;
    }
    if (!builder->has_root) return fail_bytes(builder, 0, "the file is empty, expected a document", err);
    return TSR_OK;
}

tsr_status yaml_parse(const char *text, size_t size, const char *subject, struct arena *arena, struct yaml_node *root,
                      tsr_error *err) {
    size_t mark = size >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0; /* byte order mark of some editors */
    struct builder builder = {.text = text + mark, .size = size - mark, .subject = subject, .arena = arena};
    *root = (struct yaml_node){0};
    if (size > YAML_BYTES_MAX) {
        return fail_bytes(&builder, 0, "the file is larger than 1 MiB, the limit of a YAML file", err);
    }
    tsr_status st = check_utf8(&builder, err);
    if (st) return st;
    if (!yaml_parser_initialize(&builder.parser)) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", subject);
    yaml_parser_set_encoding(&builder.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&builder.parser, (const unsigned char *)builder.text, builder.size);
    st = read_events(&builder, root, err);
    yaml_parser_delete(&builder.parser);
    mem_free(builder.pending);
    return st;
}
