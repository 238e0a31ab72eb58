/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions that every reader of a YAML tree asks, with the position in each answer. */
#include "yaml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <base/number.h>
#include <base/str.h>

static const char *kind_name(enum yaml_kind kind) {
    return kind == YAML_MAP ? "a map" : kind == YAML_LIST ? "a list" : "a single value";
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key) {
    for (uint64_t i = 0; map->kind == YAML_MAP && i < map->count; i++) {
        if (!strcmp(map->keys[i].text, key)) return &map->items[i];
    }
    return NULL;
}

tsr_status yaml_fail(tsr_error *err, const char *subject, const struct yaml_node *node, const char *format, ...) {
    char what[TSR_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return tsr_fail(err, TSR_E_CONFIG, "%s:%u:%u: %s", subject, (unsigned)node->line, (unsigned)node->column, what);
}

tsr_status yaml_expect(const struct yaml_node *node, enum yaml_kind kind, const char *what, const char *subject,
                       tsr_error *err) {
    if (node->kind == kind) return TSR_OK;
    return yaml_fail(err, subject, node, "%s: expected %s, found %s", what, kind_name(kind), kind_name(node->kind));
}

tsr_status yaml_known_keys(const struct yaml_node *map, const char *const *names, const char *subject,
                           tsr_error *err) {
    for (uint64_t i = 0; i < map->count; i++) {
        const char *key = map->keys[i].text;
        const char *const *name = names;
        while (*name && strcmp(*name, key)) name++;
        if (*name) continue;
        const char *nearest = text_nearest(key, names);
        if (!nearest) return yaml_fail(err, subject, &map->keys[i], "unknown key \"%s\"", key);
        return yaml_fail(err, subject, &map->keys[i], "unknown key \"%s\"; did you mean \"%s\"?", key, nearest);
    }
    return TSR_OK;
}

tsr_status yaml_integer(const struct yaml_node *node, const char *what, int64_t minimum, int64_t maximum,
                        const char *subject, int64_t *value, tsr_error *err) {
    tsr_status st = yaml_expect(node, YAML_SCALAR, what, subject, err);
    if (st) return st;
    char *end = NULL;
    errno = 0;
    long long number = strtoll(node->text, &end, 10);
    bool is_number = !node->quoted && strspn(node->text, "-0123456789") == strlen(node->text) && end != node->text;
    if (!is_number || *end) {
        return yaml_fail(err, subject, node, "%s: expected a whole number, found \"%s\"", what, node->text);
    }
    if (errno == ERANGE || number < minimum || number > maximum) {
        return yaml_fail(err, subject, node, "%s: %s is outside %" PRId64 "..%" PRId64, what, node->text, minimum,
                         maximum);
    }
    *value = number;
    return TSR_OK;
}

tsr_status yaml_real(const struct yaml_node *node, const char *what, double minimum, double maximum,
                     const char *subject, double *value, tsr_error *err) {
    tsr_status st = yaml_expect(node, YAML_SCALAR, what, subject, err);
    if (st) return st;
    char *end = NULL;
    double number = number_read(node->text, &end);
    bool is_number = !node->quoted && strspn(node->text, "+-.0123456789eE") == strlen(node->text) && end != node->text;
    if (!is_number || *end) return yaml_fail(err, subject, node, "%s: expected a number, found \"%s\"", what, node->text);
    if (!(number >= minimum && number <= maximum)) {
        return yaml_fail(err, subject, node, "%s: %s is outside %g..%g", what, node->text, minimum, maximum);
    }
    *value = number;
    return TSR_OK;
}
