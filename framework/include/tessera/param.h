/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters are declared as data: the host parses, checks, documents and stores them, a plugin only reads
 * finished values. In a file they stand in one canonical text form with every default written out. */
#ifndef TESSERA_PARAM_H
#define TESSERA_PARAM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TSR_PARAM_INT = 1,    /* value.integer, minimum..maximum */
    TSR_PARAM_REAL = 2,   /* value.real, minimum..maximum, finite */
    TSR_PARAM_BOOL = 3,   /* value.integer 0 or 1; written true/false */
    TSR_PARAM_CHOICE = 4, /* value.integer is the position in `choices`, value.text the name */
    TSR_PARAM_INTS = 5    /* value.list[value.count], each minimum..maximum, at most 16; written [a, b] */
};

typedef struct tsr_param {
    uint64_t struct_size;
    const char *name;            /* [a-z][a-z0-9_]*, unique in the plugin */
    const char *doc;             /* one line: meaning, unit */
    const char *default_text;    /* must itself be valid */
    const char *const *choices;  /* NULL-terminated; for TSR_PARAM_CHOICE */
    double minimum;
    double maximum;
    int32_t type;
    int32_t reserved;
} tsr_param;

/* One value for each declared parameter, in the order of declaration. */
typedef struct tsr_param_value {
    int64_t integer;
    double real;
    const char *text;
    const int64_t *list;
    uint64_t count;
} tsr_param_value;

#ifdef __cplusplus
}
#endif
#endif
