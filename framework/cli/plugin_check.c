/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the conformance suite and tells what it found, line by line while it runs; and answers the suite's own child
 * processes. */
#include "plugin_view.h"
#include "view.h"

#include <plugin/conformance.h>

struct check_run {
    struct session *session;
    json_t *properties; /* of --json, else NULL */
    uint64_t passed, failed, skipped;
    tsr_status status; /* of the first line that could not be written */
    tsr_error err;
};

static void report_line(struct check_run *run, const struct conformance_result *result) {
    struct str *text = &run->session->output.text;
    str_add_format(text, "%s - ", conformance_verdict_name(result->verdict));
    str_add_safe(text, result->codec);
    str_add_format(text, ": %s", result->property);
    if (*result->text) {
        str_add_text(text, ": ");
        str_add_safe(text, result->text);
    }
    str_add_text(text, "\n");
    if (!run->status) run->status = output_flush(&run->session->output, &run->err);
}

static void report(void *ctx, const struct conformance_result *result) {
    struct check_run *run = ctx;
    if (result->verdict == CONFORMANCE_HOLDS) {
        run->passed++;
    } else if (result->verdict == CONFORMANCE_SKIPPED) {
        run->skipped++;
    } else {
        run->failed++;
    }
    if (!run->properties) {
        report_line(run, result);
        return;
    }
    json_array_append_new(run->properties,
                          json_pack("{s:s, s:s, s:s, s:s, s:s}", "codec", result->codec, "name", result->property,
                                    "promise", result->promise, "verdict", conformance_verdict_name(result->verdict),
                                    "detail", result->text));
}

static tsr_status report_sums(struct check_run *run, const char *file, tsr_error *err) {
    if (!run->properties) {
        str_add_format(&run->session->output.text, "%llu passed, %llu failed, %llu skipped (seed %d)\n",
                       (unsigned long long)run->passed, (unsigned long long)run->failed,
                       (unsigned long long)run->skipped, CONFORMANCE_SEED);
        return TSR_OK;
    }
    json_t *result =
        json_pack("{s:s, s:I, s:I, s:I, s:O}", "file", file, "passed", (json_int_t)run->passed, "failed",
                  (json_int_t)run->failed, "skipped", (json_int_t)run->skipped, "properties", run->properties);
    if (!result) return tsr_fail(err, TSR_E_NOMEM, "plugin check: out of memory");
    tsr_status status = output_json(&run->session->output, result, err);
    json_decref(result);
    return status;
}

tsr_status plugin_check(struct session *session, const char *file, tsr_error *err) {
    struct check_run run = {.session = session, .properties = session_has(session, OPT_JSON) ? json_array() : NULL};
    uint64_t failures = 0;
    tsr_status status = conformance_check(file, CONFORMANCE_SEED, report, &run, &failures, err);
    if (!status && run.status) {
        status = run.status;
        if (err) *err = run.err;
    }
    if (!status) status = report_sums(&run, file, err);
    json_decref(run.properties);
    if (status || !failures) return status;
    return tsr_fail(err, TSR_E_GATE, "%s: %llu of %llu properties do not hold", file, (unsigned long long)failures,
                    (unsigned long long)(run.passed + run.failed));
}

tsr_status plugin_check_one(struct session *session, const char *const *operands, tsr_error *err) {
    struct conformance_case attempt = {.path = operands[0], .codec = operands[1], .property = operands[2]};
    tsr_status status = arguments_count(operands[3], "seed", UINT64_MAX, &attempt.seed, err);
    if (status) return status;
    tsr_error seen = {0};
    status = conformance_run(&attempt, &seen);
    session->exit_code = conformance_exit_code(status);
    str_add_text(&session->output.text, status ? seen.message : "");
    return TSR_OK;
}
