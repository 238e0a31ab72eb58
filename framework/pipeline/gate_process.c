/* SPDX-License-Identifier: Apache-2.0
 *
 * Starts `tessera gate` and reads its JSON. */
#include "gate_process.h"

#include <base/str.h>
#include <format/json.h>
#include <plugin/child.h>
#include <stdio.h>
#include <string.h>

#define GATE_EXIT 3

/* What the child said went wrong, without its own prefix. */
static tsr_status fail_as_child(const struct child_end *end, const struct str *errors, tsr_error *err) {
    static const char prefix[] = "tessera: error: ";
    const char *text = errors->text ? errors->text : "";
    if (text_starts_with(text, prefix)) text += strlen(prefix);
    int length = (int)strcspn(text, "\n");
    if (end->signal) return tsr_fail(err, TSR_E_PLUGIN, "the gates' process was ended by signal %d", end->signal);
    static const tsr_status by_code[] = {TSR_OK, TSR_E_CONFIG, TSR_E_INPUT, TSR_E_GATE};
    tsr_status st = end->code >= 1 && end->code <= GATE_EXIT ? by_code[end->code] : TSR_E_IO;
    return tsr_fail(err, st, "gates: %.*s", length, length ? text : "their process ended without a word");
}

tsr_status gate_process_run(const struct gate_process *process, const struct env *env, json_t **result, tsr_error *err) {
    struct str output = {0}, errors = {0};
    struct child_end end;
    char workers[24], memory[24];
    (void)snprintf(workers, sizeof workers, "%llu", (unsigned long long)process->workers);
    (void)snprintf(memory, sizeof memory, "%llu", (unsigned long long)env->memory_bytes);
    const char *arguments[20] = {"tessera",     "gate",     process->staged, "--reference",
                                 process->model, "--config", process->config, "--json", "--jobs", workers};
    size_t count = 10;
    if (env->memory_bytes) {
        arguments[count++] = "--memory";
        arguments[count++] = memory;
    }
    if (process->plugin_path) {
        arguments[count++] = "--plugin-path";
        arguments[count++] = process->plugin_path;
    }
    tsr_status st = child_capture(process->program, arguments, env, &output, &errors, &end, err);
    bool has_result = st == TSR_OK && output.length && !end.signal && (end.code == 0 || end.code == GATE_EXIT);
    if (has_result) st = json_parse(output.text, output.length, "gates", result, err);
    if (st == TSR_OK && (end.code || end.signal)) st = fail_as_child(&end, &errors, err);
    str_clear(&output);
    str_clear(&errors);
    return st;
}
