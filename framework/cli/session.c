/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets a run up from its arguments. The stop flag and what it stops are the mutable globals of the program: a signal handler
 * can reach nothing else. */
#include "session.h"

#include <fcntl.h>
#include <format/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX 1024

static atomic_int stop_flag; /* the number of the signal */
static _Atomic(tsr_library *) stoppable;

static void on_stop(int number) {
    tsr_library *library = atomic_load(&stoppable);
    if (atomic_exchange(&stop_flag, number)) {
        signal(number, SIG_DFL);
        raise(number);
    }
    if (library) tsr_library_cancel(library, 1);
}

bool session_resume(struct session *session) {
    int interrupt = SIGINT;
    if (!atomic_compare_exchange_strong(&stop_flag, &interrupt, 0)) return false;
    tsr_library_cancel(session->library, 0);
    return true;
}

static void hold_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        /* Read-only even for the outputs: a write must fail as it would have on the closed stream. */
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDONLY) == -1) return;
    }
}

static void catch_signals(void) {
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigemptyset(&ignore.sa_mask);
    /* A shell without job control starts background jobs with SIGINT ignored: that choice is kept. */
    struct sigaction before;
    if (!sigaction(SIGINT, NULL, &before) && before.sa_handler != SIG_IGN) sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* EFBIG instead of death */
}

void session_init(struct session *session) {
    *session = (struct session){0};
    hold_standard_streams();
    catch_signals();
    console_init(&session->console);
    output_init(&session->output);
}

void session_destroy(struct session *session) {
    atomic_store(&stoppable, NULL);
    tsr_library_destroy(session->library);
    output_clear(&session->output);
    console_destroy(&session->console);
    arena_clear(&session->arena);
}

/* A signal that came before there was anything to stop. */
static void let_signals_stop(struct session *session) {
    atomic_store(&stoppable, session->library);
    if (atomic_load(&stop_flag)) tsr_library_cancel(session->library, 1);
}

tsr_status session_open(struct session *session, tsr_error *err) {
    bool quiet = session_has(session, OPT_QUIET);
    uint32_t verbose = session->arguments.given[OPT_VERBOSE];
    session->console.show_progress = !quiet && !session_has(session, OPT_JSON);
    session->console.level = quiet ? TSR_LOG_ERROR - 1 : TSR_LOG_WARNING + (verbose > 2 ? 2 : (int32_t)verbose);
    tsr_library_options options = {.struct_size = sizeof options,
                                   .plugin_path = session_value(session, OPT_PLUGIN_PATH),
                                   .roles_path = session_value(session, OPT_ROLES_PATH),
                                   .ctx = &session->console,
                                   .log = console_log,
                                   .progress = console_progress};
    const char *memory = session_value(session, OPT_MEMORY), *jobs = session_value(session, OPT_JOBS);
    tsr_status status = memory ? arguments_size(memory, "--memory", &options.memory_bytes, err) : TSR_OK;
    if (!status && jobs) status = arguments_count(jobs, "--jobs", WORKERS_MAX, &options.workers, err);
    if (!status) status = tsr_library_create(&options, &session->library, err);
    if (status) return status;
    session->env = *library_env(session->library);
    session->paths = *library_paths(session->library);
    let_signals_stop(session);
    return TSR_OK;
}

tsr_status session_model_path(const struct session *session, enum model_path *path, tsr_error *err) {
    static const char *const names[] = {"auto", "dense", "codec"};
    static const enum model_path paths[] = {MODEL_PATH_AUTO, MODEL_PATH_DENSE, MODEL_PATH_CODEC};
    const char *text = session_value(session, OPT_PATH);
    *path = MODEL_PATH_AUTO;
    for (size_t i = 0; text && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i])) continue;
        *path = paths[i];
        return TSR_OK;
    }
    return text ? tsr_fail(err, TSR_E_CONFIG, "--path: found \"%s\", expected auto, dense or codec", text) : TSR_OK;
}

tsr_status session_plugins(struct session *session, tsr_error *err) {
    return library_registry(session->library, &session->registry, err);
}

tsr_status session_result(tsr_status status, char *json, json_t **result, tsr_error *err) {
    tsr_error why = {0};
    tsr_status parsed = json ? json_parse(json, strlen(json), "result", result, &why) : TSR_OK;
    tsr_text_free(json);
    if (!parsed || status) return status;
    if (err) *err = why;
    return parsed;
}
