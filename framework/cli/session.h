/* SPDX-License-Identifier: Apache-2.0
 *
 * What one command runs with: arguments, streams, workers, plugins, folders. Opened by main, filled on demand by the
 * commands. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "console.h"
#include "options.h"
#include "output.h"

#include <base/arena.h>
#include <jansson.h>
#include <library/library.h>
#include <model/model_path.h>

struct session {
    struct arguments arguments;
    struct console console;
    struct output output;
    struct arena arena;
    tsr_library *library; /* NULL before session_open */
    /* Of the library, for the jobs that tessera.h does not offer. */
    struct env env;
    struct job_paths paths;
    const struct registry *registry; /* NULL before session_plugins */
    const char *hint; /* advice under the error line, or NULL */
    int exit_code;    /* instead of that of a good status, when not 0 */
};

/* Standard streams that are closed become /dev/null, so that no file of ours ever gets their numbers. A stop signal
 * cancels the library; a second one ends the process. */
void session_init(struct session *session);
void session_destroy(struct session *session);
/* Applies the parsed arguments: workers, memory, how much is said, folders. */
tsr_status session_open(struct session *session, tsr_error *err);
/* Takes a SIGINT back, so that work can go on; false when the stop signal was another one. */
bool session_resume(struct session *session);
/* Loads the plugins. */
tsr_status session_plugins(struct session *session, tsr_error *err);
/* Turns what a function of tessera.h gave into *result (NULL when it gave none) and frees it. The status stays if it was bad. */
tsr_status session_result(tsr_status status, char *json, json_t **result, tsr_error *err);

static inline const char *session_value(const struct session *session, enum option_id id) {
    return session->arguments.values[id];
}
/* The value of --path. */
tsr_status session_model_path(const struct session *session, enum model_path *path, tsr_error *err);
static inline bool session_has(const struct session *session, enum option_id id) {
    return session->arguments.given[id] > 0;
}

#endif
