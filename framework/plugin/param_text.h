/* SPDX-License-Identifier: Apache-2.0
 *
 * One parameter value between text and number. Knows one declaration, not a codec. */
#ifndef PLUGIN_PARAM_TEXT_H
#define PLUGIN_PARAM_TEXT_H

#include <base/str.h>
#include <tessera/param.h>
#include <tessera/status.h>

#define PARAM_LIST_MAX 16
#define PARAM_REAL_TEXT 32

/* A value and the storage of its list. value.list is set by the caller who knows where the list will live. */
struct param_parsed {
    tsr_param_value value;
    int64_t list[PARAM_LIST_MAX];
};

/* Strict: no blanks around, no leading zeros or plus, no hexadecimal, inf or nan. TSR_E_CONFIG names the parameter. */
tsr_status param_text_parse(const tsr_param *param, const char *text, struct param_parsed *parsed, tsr_error *err);
/* Canonical text: reads back as the same value. */
void param_text_print(const tsr_param *param, const tsr_param_value *value, struct str *out);
/* Shortest of %.15g, %.16g, %.17g that reads back as the same number; returns the buffer. */
char *param_real_text(double value, char text[PARAM_REAL_TEXT]);

#endif
