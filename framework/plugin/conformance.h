/* SPDX-License-Identifier: Apache-2.0
 *
 * Does a codec keep the contract of tessera/codec.h? A list of named properties, each tried in a process of its own, so
 * that a codec that crashes or hangs costs one line. The parent runs its own binary again with the arguments
 * "plugin check-one FILE CODEC PROPERTY SEED"; whoever owns main answers them with conformance_run, prints the message
 * to stdout and exits with conformance_exit_code. Knows no file format. */
#ifndef PLUGIN_CONFORMANCE_H
#define PLUGIN_CONFORMANCE_H

#include <stdbool.h>
#include <tessera/status.h>

#define CONFORMANCE_SEED 1 /* used unless the user gives one */

uint64_t conformance_count(void);
/* Name and one-line meaning of a property, index < conformance_count(). */
const char *conformance_name(uint64_t index);
const char *conformance_promise(uint64_t index);

/* ---- child ---- */

struct conformance_case {
    const char *path;     /* of the .so */
    const char *codec;    /* its id */
    const char *property; /* its name */
    uint64_t seed;
};

/* Tries one property in this process, which a bad codec may end. TSR_OK: it holds. TSR_E_GATE: it does not, err says
 * what was seen. TSR_E_UNSUPPORTED: it has no meaning for this codec. Anything else: it could not be tried. */
tsr_status conformance_run(const struct conformance_case *attempt, tsr_error *err);
int conformance_exit_code(tsr_status status);

/* ---- parent ---- */

enum conformance_verdict {
    CONFORMANCE_HOLDS,
    CONFORMANCE_FAILS,
    CONFORMANCE_SKIPPED,
    CONFORMANCE_CRASHED,
    CONFORMANCE_HUNG
};

struct conformance_result {
    const char *codec; /* id */
    const char *property;
    const char *promise;
    enum conformance_verdict verdict;
    const char *text; /* what was seen; "" when it holds */
};

/* "ok", "not ok", "skip", "crash", "hang". */
const char *conformance_verdict_name(enum conformance_verdict verdict);

/* Tries every property on every codec of the plugin at `path`, in order, and reports each. TSR_E_PLUGIN when the plugin
 * cannot be loaded. *failures counts what is neither HOLDS nor SKIPPED. `report` is called on this thread. */
tsr_status conformance_check(const char *path, uint64_t seed,
                             void (*report)(void *ctx, const struct conformance_result *result), void *ctx,
                             uint64_t *failures, tsr_error *err);

#endif
