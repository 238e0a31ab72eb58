/* SPDX-License-Identifier: Apache-2.0
 *
 * Declared parameters meet given text: parsing, ranges, defaults, and the one canonical text that is stored in files:
 * "bits=4 centroids=true ladder=[256,256]", every parameter in order of declaration, floats so that they read back
 * exactly. */
#ifndef PLUGIN_PARAM_BIND_H
#define PLUGIN_PARAM_BIND_H

#include <base/arena.h>
#include <tessera/codec.h>

#define PARAM_COUNT_MAX 64

/* The i-th declaration. Use this, not params[i]: a plugin of another minor has declarations of another size. [any] */
const tsr_param *param_at(const tsr_codec *codec, uint64_t index);

/* A parameter set as given: name and text ("4", "true", "[256, 256]"). */
struct param_given {
    const char *name;
    const char *text;
};

struct param_set {
    const tsr_param_value *values; /* [codec->param_count] */
    const char *canonical;
};

/* Checks the declarations themselves (loader): sizes, names, ranges, defaults valid. TSR_E_PLUGIN. */
tsr_status param_check_declared(const tsr_codec *codec, tsr_error *err);
/* Checks one given text against its declaration, without context. TSR_E_CONFIG. `param` is found by name;
 * unknown names get the nearest. */
tsr_status param_check_given(const tsr_codec *codec, const struct param_given *given, tsr_error *err);
/* Values and canonical text from given ones and defaults; a name given twice is an error. Arena memory. */
tsr_status param_bind(const tsr_codec *codec, const struct param_given *given, uint64_t count, struct arena *arena,
                      struct param_set *set, tsr_error *err);
/* From canonical text as stored in a file; TSR_E_CORRUPT unless it is what param_bind writes: every parameter once, in
 * order. Parameters that the codec has gained since (at the end) take their defaults. */
tsr_status param_parse(const tsr_codec *codec, const char *canonical, struct arena *arena, struct param_set *set,
                       tsr_error *err);

#endif
