/* SPDX-License-Identifier: Apache-2.0
 *
 * Grammar of values: integers -?(0|[1-9][0-9]*), reals with optional fraction and exponent, true/false, names, and
 * [a, b, ...]. The syntax is checked here before number_read sees it, which would take much more. */
#include "param_text.h"

#include <base/number.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

char *param_real_text(double value, char text[PARAM_REAL_TEXT]) {
    return number_text(value, text);
}

static const char *skip_digits(const char *at) {
    while (*at >= '0' && *at <= '9') at++;
    return at;
}

/* End of the integer that text begins with, or NULL. */
static const char *integer_end(const char *text) {
    const char *first = *text == '-' ? text + 1 : text;
    const char *end = skip_digits(first);
    if (end == first || (*first == '0' && end - first > 1)) return NULL;
    return end;
}

static const char *real_end(const char *text) {
    const char *end = integer_end(text);
    if (!end) return NULL;
    if (*end == '.') {
        const char *fraction = end + 1;
        end = skip_digits(fraction);
        if (end == fraction) return NULL;
    }
    if (*end == 'e' || *end == 'E') {
        const char *exponent = end + 1;
        if (*exponent == '-' || *exponent == '+') exponent++;
        end = skip_digits(exponent);
        if (end == exponent) return NULL;
    }
    return end;
}

static tsr_status out_of_range(const tsr_param *param, const char *text, tsr_error *err) {
    char low[PARAM_REAL_TEXT], high[PARAM_REAL_TEXT];
    return tsr_fail(err, TSR_E_CONFIG, "parameter \"%s\": %.40s is outside %s..%s", param->name, text,
                    param_real_text(param->minimum, low), param_real_text(param->maximum, high));
}

static tsr_status wrong_form(const tsr_param *param, const char *text, const char *expected, tsr_error *err) {
    return tsr_fail(err, TSR_E_CONFIG, "parameter \"%s\": found \"%.40s\", expected %s", param->name, text, expected);
}

/* Reads one integer at *at, which is advanced; `text` is the whole value for messages. */
static tsr_status take_integer(const tsr_param *param, const char *text, const char **at, int64_t *value,
                               tsr_error *err) {
    const char *end = integer_end(*at);
    if (!end) {
        return wrong_form(param, text, param->type == TSR_PARAM_INTS ? "integers like [1, 2]" : "an integer", err);
    }
    errno = 0;
    long long number = strtoll(*at, NULL, 10);
    bool inside = (double)number >= param->minimum && (double)number <= param->maximum;
    if (errno == ERANGE || !inside) return out_of_range(param, text, err);
    *at = end;
    *value = number;
    return TSR_OK;
}

static tsr_status parse_integer(const tsr_param *param, const char *text, int64_t *value, tsr_error *err) {
    const char *at = text;
    tsr_status st = take_integer(param, text, &at, value, err);
    if (st == TSR_OK && *at) st = wrong_form(param, text, "an integer", err);
    return st;
}

static tsr_status parse_real(const tsr_param *param, const char *text, double *value, tsr_error *err) {
    const char *end = real_end(text);
    if (!end || *end) return wrong_form(param, text, "a number", err);
    double number = number_read(text, NULL);
    if (!isfinite(number) || number < param->minimum || number > param->maximum) {
        return out_of_range(param, text, err);
    }
    *value = number == 0 ? 0 : number; /* -0 and 0 have one text */
    return TSR_OK;
}

static tsr_status parse_bool(const tsr_param *param, const char *text, int64_t *value, tsr_error *err) {
    *value = !strcmp(text, "true");
    return *value || !strcmp(text, "false") ? TSR_OK : wrong_form(param, text, "true or false", err);
}

static tsr_status parse_choice(const tsr_param *param, const char *text, tsr_param_value *value, tsr_error *err) {
    struct str names = {0};
    for (int64_t i = 0; param->choices[i]; i++) {
        if (!strcmp(param->choices[i], text)) {
            value->integer = i;
            value->text = param->choices[i];
            str_clear(&names);
            return TSR_OK;
        }
        str_add_format(&names, "%s%s", i ? ", " : "one of ", param->choices[i]);
    }
    const char *near = text_nearest(text, param->choices);
    if (near) str_add_format(&names, "; did you mean \"%s\"?", near);
    tsr_status st = wrong_form(param, text, names.failed ? "one of its choices" : names.text, err);
    str_clear(&names);
    return st;
}

static const char *skip_blanks(const char *at) {
    while (*at == ' ') at++;
    return at;
}

static tsr_status parse_list(const tsr_param *param, const char *text, struct param_parsed *parsed, tsr_error *err) {
    static const char form[] = "integers like [1, 2]";
    uint64_t count = 0;
    if (*text != '[') return wrong_form(param, text, form, err);
    const char *at = skip_blanks(text + 1);
    while (*at != ']') {
        if (count == PARAM_LIST_MAX) return wrong_form(param, text, "at most 16 integers", err);
        tsr_status st = take_integer(param, text, &at, &parsed->list[count], err);
        if (st != TSR_OK) return st;
        count++;
        at = skip_blanks(at);
        if (*at == ']') break;
        if (*at != ',') return wrong_form(param, text, form, err);
        at = skip_blanks(at + 1);
        if (*at == ']') return wrong_form(param, text, form, err);
    }
    parsed->value.count = count;
    return at[1] ? wrong_form(param, text, form, err) : TSR_OK;
}

tsr_status param_text_parse(const tsr_param *param, const char *text, struct param_parsed *parsed, tsr_error *err) {
    *parsed = (struct param_parsed){0};
    switch (param->type) {
    case TSR_PARAM_INT:
        return parse_integer(param, text, &parsed->value.integer, err);
    case TSR_PARAM_REAL:
        return parse_real(param, text, &parsed->value.real, err);
    case TSR_PARAM_BOOL:
        return parse_bool(param, text, &parsed->value.integer, err);
    case TSR_PARAM_CHOICE:
        return parse_choice(param, text, &parsed->value, err);
    case TSR_PARAM_INTS:
        return parse_list(param, text, parsed, err);
    default:
        return tsr_fail(err, TSR_E_CONFIG, "parameter \"%s\": unknown type %d", param->name, (int)param->type);
    }
}

void param_text_print(const tsr_param *param, const tsr_param_value *value, struct str *out) {
    char real[PARAM_REAL_TEXT];
    switch (param->type) {
    case TSR_PARAM_INT:
        str_add_format(out, "%lld", (long long)value->integer);
        break;
    case TSR_PARAM_REAL:
        str_add_text(out, param_real_text(value->real, real));
        break;
    case TSR_PARAM_BOOL:
        str_add_text(out, value->integer ? "true" : "false");
        break;
    case TSR_PARAM_CHOICE:
        str_add_text(out, value->text);
        break;
    default:
        for (uint64_t i = 0; i < value->count; i++) {
            str_add_format(out, "%s%lld", i ? "," : "[", (long long)value->list[i]);
        }
        str_add_text(out, value->count ? "]" : "[]");
    }
}
