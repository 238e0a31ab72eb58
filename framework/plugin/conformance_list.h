/* SPDX-License-Identifier: Apache-2.0
 *
 * The properties, by theme. Each runs on an open rig and ends in TSR_OK, TSR_E_UNSUPPORTED when it has no meaning for
 * the codec, or a failure whose message says what was seen. */
#ifndef PLUGIN_CONFORMANCE_LIST_H
#define PLUGIN_CONFORMANCE_LIST_H

#include "rig.h"

struct conformance_property {
    const char *name;
    const char *promise; /* one line */
    tsr_status (*run)(struct rig *rig, tsr_error *err);
};

/* End with an entry without a name. */
extern const struct conformance_property CONFORMANCE_ROUND_TRIP[];
extern const struct conformance_property CONFORMANCE_PARAMETERS[];
extern const struct conformance_property CONFORMANCE_DAMAGE[];
extern const struct conformance_property CONFORMANCE_REPEAT[];
extern const struct conformance_property CONFORMANCE_GROUPS[];

/* TSR_OK if anything was tried, else TSR_E_UNSUPPORTED. */
static inline tsr_status conformance_tried(uint64_t tried, const char *what, tsr_error *err) {
    return tried ? TSR_OK : tsr_fail(err, TSR_E_UNSUPPORTED, "%s", what);
}

#endif
