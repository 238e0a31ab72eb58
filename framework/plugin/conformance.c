/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of properties, one attempt in a child, and the parent's walk over codecs and properties. */
#include "conformance.h"

#include <base/error.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "child.h"
#include "conformance_list.h"
#include "loader.h"

#define PROPERTY_SECONDS 120 /* under a sanitizer on a busy machine too; one decode of damaged bytes has 10 */
#define WORKERS 2
#define EXIT_FAILS 3
#define EXIT_SKIPPED 77
#define EXIT_UNTRIED 2

static const struct conformance_property *const LISTS[] = {CONFORMANCE_ROUND_TRIP, CONFORMANCE_PARAMETERS,
                                                           CONFORMANCE_DAMAGE, CONFORMANCE_REPEAT,
                                                           CONFORMANCE_GROUPS};

static const struct conformance_property *property_at(uint64_t index) {
    for (unsigned i = 0; i < sizeof LISTS / sizeof *LISTS; i++) {
        for (const struct conformance_property *at = LISTS[i]; at->name; at++) {
            if (index-- == 0) return at;
        }
    }
    return NULL;
}

uint64_t conformance_count(void) {
    uint64_t count = 0;
    while (property_at(count)) count++;
    return count;
}

const char *conformance_name(uint64_t index) {
    const struct conformance_property *property = property_at(index);
    return property ? property->name : NULL;
}

const char *conformance_promise(uint64_t index) {
    const struct conformance_property *property = property_at(index);
    return property ? property->promise : NULL;
}

/* ---- child ---- */

static const tsr_codec *find_codec(const tsr_plugin *plugin, const char *id) {
    for (uint64_t i = 0; TSR_HAS(plugin, tsr_plugin, codecs) && plugin->codecs[i]; i++) {
        if (!strcmp(plugin->codecs[i]->id, id)) return plugin->codecs[i];
    }
    return NULL;
}

static const struct conformance_property *find_property(const char *name) {
    for (uint64_t i = 0; property_at(i); i++) {
        if (!strcmp(property_at(i)->name, name)) return property_at(i);
    }
    return NULL;
}

tsr_status conformance_run(const struct conformance_case *attempt, tsr_error *err) {
    const tsr_plugin *plugin = NULL;
    struct rig rig = {0};
    const struct rlimit no_core = {0, 0};
    const struct conformance_property *property = find_property(attempt->property);
    if (!property) return tsr_fail(err, TSR_E_ARGUMENT, "no property \"%.60s\"", attempt->property);
    tsr_status st = loader_open(attempt->path, &plugin, err);
    if (st != TSR_OK) return st;
    const tsr_codec *codec = find_codec(plugin, attempt->codec);
    if (!codec) return tsr_fail(err, TSR_E_ARGUMENT, "no codec \"%.60s\" in %s", attempt->codec, attempt->path);
    setrlimit(RLIMIT_CORE, &no_core); /* a crash is an answer here, not a finding */
    st = rig_open(&rig, codec, attempt->seed, WORKERS, err);
    if (st == TSR_OK) {
        st = property->run(&rig, err);
        /* Whatever the codec answered: if it had to be TSR_OK and was not, the property does not hold. */
        if (st != TSR_OK && st != TSR_E_UNSUPPORTED) st = TSR_E_GATE;
    }
    rig_close(&rig);
    return st;
}

int conformance_exit_code(tsr_status status) {
    switch (status) {
    case TSR_OK:
        return 0;
    case TSR_E_GATE:
        return EXIT_FAILS;
    case TSR_E_UNSUPPORTED:
        return EXIT_SKIPPED;
    default:
        return EXIT_UNTRIED;
    }
}

/* ---- parent ---- */

const char *conformance_verdict_name(enum conformance_verdict verdict) {
    static const char *const NAMES[] = {"ok", "not ok", "skip", "crash", "hang"};
    return NAMES[verdict];
}

static void judge(struct child_end *end, struct conformance_result *result) {
    result->text = end->text;
    if (end->timed_out) {
        result->verdict = CONFORMANCE_HUNG;
        snprintf(end->text, sizeof end->text, "no end after %d s", PROPERTY_SECONDS);
    } else if (end->signal) {
        result->verdict = CONFORMANCE_CRASHED;
        snprintf(end->text, sizeof end->text, "ended by signal %d (%s)", end->signal, strsignal(end->signal));
    } else if (end->code == 0) {
        result->verdict = CONFORMANCE_HOLDS;
        result->text = "";
    } else {
        result->verdict = end->code == EXIT_SKIPPED ? CONFORMANCE_SKIPPED : CONFORMANCE_FAILS;
        if (!end->text[0]) snprintf(end->text, sizeof end->text, "ended with exit code %d", end->code);
    }
}

struct check {
    const char *path;
    char seed[24];
    void (*report)(void *ctx, const struct conformance_result *result);
    void *ctx;
    uint64_t failures;
};

static tsr_status check_codec(struct check *check, const tsr_codec *codec, tsr_error *err) {
    for (uint64_t i = 0; property_at(i); i++) {
        const char *const arguments[] = {
            "tessera", "plugin", "check-one", check->path, codec->id, property_at(i)->name, check->seed, NULL};
        struct conformance_result result = {codec->id, property_at(i)->name, property_at(i)->promise, 0, ""};
        struct child_end end;
        tsr_status st = child_run(arguments, PROPERTY_SECONDS, &end, err);
        if (st != TSR_OK) return st;
        judge(&end, &result);
        if (result.verdict != CONFORMANCE_HOLDS && result.verdict != CONFORMANCE_SKIPPED) check->failures++;
        check->report(check->ctx, &result);
    }
    return TSR_OK;
}

tsr_status conformance_check(const char *path, uint64_t seed,
                             void (*report)(void *ctx, const struct conformance_result *result), void *ctx,
                             uint64_t *failures, tsr_error *err) {
    const tsr_plugin *plugin = NULL;
    struct check check = {path, "", report, ctx, 0};
    snprintf(check.seed, sizeof check.seed, "%llu", (unsigned long long)seed);
    tsr_status st = loader_open(path, &plugin, err);
    if (st != TSR_OK) return error_context(err, st, "%s", path);
    for (uint64_t i = 0; TSR_HAS(plugin, tsr_plugin, codecs) && plugin->codecs[i] && st == TSR_OK; i++) {
        st = check_codec(&check, plugin->codecs[i], err);
    }
    *failures = check.failures;
    return st;
}
