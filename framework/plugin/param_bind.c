/* SPDX-License-Identifier: Apache-2.0
 *
 * From declarations and given texts to finished values. Every path ends in the same place: one text for each declared
 * parameter, parsed and printed again, so that what is stored is canonical whatever was given. */
#include "param_bind.h"

#include <base/error.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "param_text.h"

#define NAME_MAX_BYTES 64

const tsr_param *param_at(const tsr_codec *codec, uint64_t index) {
    const char *first = (const char *)codec->params;
    return (const tsr_param *)(const void *)(first + index * codec->params->struct_size);
}

/* ---- declarations ---- */

static bool is_name(const char *name) {
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length > 0 && length <= NAME_MAX_BYTES && !name[length] && *name >= 'a' && *name <= 'z';
}

/* Choices stand in canonical text between blanks, so they hold none. */
static bool is_choice(const char *name) {
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-");
    return length > 0 && length <= NAME_MAX_BYTES && !name[length];
}

static tsr_status check_choices(const tsr_param *param, tsr_error *err) {
    if (param->type != TSR_PARAM_CHOICE) return TSR_OK;
    if (!param->choices || !param->choices[0]) {
        return tsr_fail(err, TSR_E_PLUGIN, "parameter \"%s\": a choice without choices", param->name);
    }
    for (uint64_t i = 0; param->choices[i]; i++) {
        if (is_choice(param->choices[i])) continue;
        return tsr_fail(err, TSR_E_PLUGIN, "parameter \"%s\": choice \"%.40s\" is not a word of letters, digits, _.+-",
                        param->name, param->choices[i]);
    }
    return TSR_OK;
}

static tsr_status check_range(const tsr_param *param, tsr_error *err) {
    if (param->type == TSR_PARAM_BOOL || param->type == TSR_PARAM_CHOICE) return TSR_OK;
    double widest = param->type == TSR_PARAM_REAL ? DBL_MAX : 0x1p53; /* integers that a double holds exactly */
    if (param->minimum >= -widest && param->maximum <= widest && param->minimum <= param->maximum) return TSR_OK;
    return tsr_fail(err, TSR_E_PLUGIN, "parameter \"%s\": range %g..%g is not a range of its type", param->name,
                    param->minimum, param->maximum);
}

static tsr_status check_one(const tsr_param *param, uint64_t struct_size, tsr_error *err) {
    if (param->struct_size != struct_size) {
        return tsr_fail(err, TSR_E_PLUGIN, "a parameter has struct_size %llu, the first has %llu",
                        (unsigned long long)param->struct_size, (unsigned long long)struct_size);
    }
    if (!param->name || !is_name(param->name)) {
        return tsr_fail(err, TSR_E_PLUGIN, "parameter name \"%.40s\" is not [a-z][a-z0-9_]*",
                        param->name ? param->name : "(null)");
    }
    if (!param->doc || !param->default_text || param->type < TSR_PARAM_INT || param->type > TSR_PARAM_INTS) {
        return tsr_fail(err, TSR_E_PLUGIN, "parameter \"%s\": doc, default or type is missing", param->name);
    }
    tsr_status st = check_choices(param, err);
    if (st == TSR_OK) st = check_range(param, err);
    if (st != TSR_OK) return st;
    struct param_parsed parsed;
    if (param_text_parse(param, param->default_text, &parsed, err) == TSR_OK) return TSR_OK;
    error_context(err, TSR_E_PLUGIN, "default");
    return TSR_E_PLUGIN;
}

tsr_status param_check_declared(const tsr_codec *codec, tsr_error *err) {
    uint64_t count = codec->param_count;
    if (count == 0) return TSR_OK;
    if (!codec->params || count > PARAM_COUNT_MAX) {
        return tsr_fail(err, TSR_E_PLUGIN, "%llu parameters declared, at most %d are allowed and none may be NULL",
                        (unsigned long long)count, PARAM_COUNT_MAX);
    }
    uint64_t size = codec->params->struct_size;
    if (size < sizeof(tsr_param) || size % 8 || size > 4096) {
        return tsr_fail(err, TSR_E_PLUGIN, "parameter struct_size %llu, expected %zu or more", (unsigned long long)size,
                        sizeof(tsr_param));
    }
    for (uint64_t i = 0; i < count; i++) {
        tsr_status st = check_one(param_at(codec, i), size, err);
        if (st != TSR_OK) return st;
        for (uint64_t j = 0; j < i; j++) {
            if (strcmp(param_at(codec, i)->name, param_at(codec, j)->name)) continue;
            return tsr_fail(err, TSR_E_PLUGIN, "parameter \"%s\" is declared twice", param_at(codec, i)->name);
        }
    }
    return TSR_OK;
}

/* ---- given texts ---- */

/* Position of the declaration called `name`, or param_count. */
static uint64_t find(const tsr_codec *codec, const char *name) {
    uint64_t at = 0;
    while (at < codec->param_count && strcmp(param_at(codec, at)->name, name)) at++;
    return at;
}

static tsr_status unknown_name(const tsr_codec *codec, const char *name, tsr_error *err) {
    const char *names[PARAM_COUNT_MAX + 1] = {0};
    for (uint64_t i = 0; i < codec->param_count; i++) names[i] = param_at(codec, i)->name;
    const char *near = text_nearest(name, names);
    if (near) {
        return tsr_fail(err, TSR_E_CONFIG, "codec %s has no parameter \"%.40s\"; did you mean \"%s\"?", codec->name,
                        name, near);
    }
    if (!names[0]) {
        return tsr_fail(err, TSR_E_CONFIG, "codec %s has no parameters, found \"%.40s\"", codec->name, name);
    }
    return tsr_fail(err, TSR_E_CONFIG, "codec %s has no parameter \"%.40s\"", codec->name, name);
}

tsr_status param_check_given(const tsr_codec *codec, const struct param_given *given, tsr_error *err) {
    struct param_parsed parsed;
    uint64_t at = find(codec, given->name);
    if (at == codec->param_count) return unknown_name(codec, given->name, err);
    return param_text_parse(param_at(codec, at), given->text, &parsed, err);
}

/* ---- finished sets ---- */

/* Values and canonical text from one text for each parameter, in order. */
static tsr_status finish(const tsr_codec *codec, const char *const *texts, struct arena *arena, struct param_set *set,
                         tsr_error *err) {
    struct str canonical = {0};
    uint64_t count = codec->param_count;
    tsr_param_value *values = arena_alloc(arena, count ? count : 1, sizeof *values);
    int64_t *lists = arena_alloc(arena, count ? count : 1, PARAM_LIST_MAX * sizeof *lists);
    tsr_status st = values && lists ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for parameters");
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        struct param_parsed parsed;
        st = param_text_parse(param_at(codec, i), texts[i], &parsed, err);
        if (st != TSR_OK) break;
        values[i] = parsed.value;
        values[i].list = memcpy(lists + i * PARAM_LIST_MAX, parsed.list, sizeof parsed.list);
        str_add_format(&canonical, "%s%s=", i ? " " : "", param_at(codec, i)->name);
        param_text_print(param_at(codec, i), &values[i], &canonical);
    }
    if (st != TSR_OK) goto done;
    set->values = values;
    set->canonical = arena_dup(arena, canonical.length ? canonical.text : "", canonical.length);
    if (canonical.failed || !set->canonical) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for parameters");
done:
    str_clear(&canonical);
    return st;
}

static void take_defaults(const tsr_codec *codec, const char *texts[PARAM_COUNT_MAX]) {
    for (uint64_t i = 0; i < codec->param_count; i++) texts[i] = param_at(codec, i)->default_text;
}

tsr_status param_bind(const tsr_codec *codec, const struct param_given *given, uint64_t count, struct arena *arena,
                      struct param_set *set, tsr_error *err) {
    const char *texts[PARAM_COUNT_MAX];
    bool seen[PARAM_COUNT_MAX] = {false};
    take_defaults(codec, texts);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = find(codec, given[i].name);
        if (at == codec->param_count) return unknown_name(codec, given[i].name, err);
        if (seen[at]) return tsr_fail(err, TSR_E_CONFIG, "parameter \"%s\" is given twice", given[i].name);
        seen[at] = true;
        texts[at] = given[i].text;
    }
    return finish(codec, texts, arena, set, err);
}

/* Cuts a copy of the canonical text into values, which must stand in order of declaration. */
static bool split(const tsr_codec *codec, char *text, const char *texts[PARAM_COUNT_MAX]) {
    uint64_t at = 0;
    while (*text) {
        if (at == codec->param_count) return false;
        const char *name = param_at(codec, at)->name;
        size_t length = strlen(name);
        if (strncmp(text, name, length) || text[length] != '=') return false;
        texts[at++] = text + length + 1;
        text += strcspn(text, " ");
        if (*text) *text++ = '\0';
    }
    return true;
}

tsr_status param_parse(const tsr_codec *codec, const char *canonical, struct arena *arena, struct param_set *set,
                       tsr_error *err) {
    const char *texts[PARAM_COUNT_MAX];
    char *copy = arena_dup(arena, canonical, strlen(canonical));
    if (!copy) return tsr_fail(err, TSR_E_NOMEM, "out of memory for parameters");
    take_defaults(codec, texts);
    bool fits = split(codec, copy, texts);
    tsr_status st = fits ? finish(codec, texts, arena, set, err) : TSR_E_CONFIG;
    if (st == TSR_E_NOMEM) return st;
    if (st == TSR_OK && !strncmp(set->canonical, canonical, strlen(canonical))) {
        char next = set->canonical[strlen(canonical)];
        if (next == '\0' || next == ' ' || !*canonical) return TSR_OK;
    }
    return tsr_fail(err, TSR_E_CORRUPT, "stored parameters \"%.80s\" are not those of codec %s", canonical,
                    codec->name);
}
