/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets a run up from its arguments. The stop flag is the one mutable global of the program: a signal handler can reach
 * nothing else. */
#include "session.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <base/pool.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TSR_DATA_DIR
#define TSR_DATA_DIR "/usr/local/share/tessera"
#endif

#define WORKERS_MAX 1024

static atomic_int stop_flag; /* the number of the signal */

static void on_stop(int number) {
    if (atomic_exchange(&stop_flag, number)) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

bool session_resume(void) {
    int interrupt = SIGINT;
    return atomic_compare_exchange_strong(&stop_flag, &interrupt, 0);
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
    session->env.log = console_log;
    session->env.progress = console_progress;
    session->env.ctx = &session->console;
    session->env.cancel = &stop_flag;
}

void session_destroy(struct session *session) {
    registry_destroy(session->registry);
    if (session->env.pool) pool_destroy(session->env.pool);
    output_clear(&session->output);
    console_destroy(&session->console);
    arena_clear(&session->arena);
}

static tsr_status out_of_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "start: out of memory");
}

/* "../share/tessera/NAME" beside the binary, and the installed folder. */
static tsr_status data_folders(struct session *session, const char *name, const char *first, const char *const **list,
                               uint64_t *count, tsr_error *err) {
    const char **folders = arena_alloc(&session->arena, 3, sizeof *folders);
    char *binary = fs_real_path("/proc/self/exe");
    uint64_t used = 0;
    if (folders && first) folders[used++] = first;
    if (folders && binary) {
        int length = (int)(fs_base_name(binary) - binary);
        folders[used++] = arena_format(&session->arena, "%.*s../share/tessera/%s", length, binary, name);
    }
    if (folders) folders[used++] = arena_format(&session->arena, "%s/%s", TSR_DATA_DIR, name);
    mem_free(binary);
    for (uint64_t i = 0; i < used; i++) {
        if (!folders[i]) return out_of_memory(err);
    }
    *list = folders;
    *count = used;
    return folders ? TSR_OK : out_of_memory(err);
}

static tsr_status start_workers(struct session *session, tsr_error *err) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = online > 0 ? (uint64_t)online : 1;
    const char *jobs = session_value(session, OPT_JOBS);
    if (jobs) {
        tsr_status status = arguments_count(jobs, "--jobs", WORKERS_MAX, &workers, err);
        if (status) return status;
    }
    session->env.pool = pool_create(workers < WORKERS_MAX ? workers : WORKERS_MAX);
    if (!session->env.pool) {
        return tsr_fail(err, TSR_E_NOMEM, "--jobs: the system refused %llu threads", (unsigned long long)workers);
    }
    return TSR_OK;
}

tsr_status session_open(struct session *session, tsr_error *err) {
    bool quiet = session_has(session, OPT_QUIET);
    uint32_t verbose = session->arguments.given[OPT_VERBOSE];
    session->console.show_progress = !quiet && !session_has(session, OPT_JSON);
    session->console.level = quiet ? TSR_LOG_ERROR - 1 : TSR_LOG_WARNING + (verbose > 2 ? 2 : (int32_t)verbose);
    const char *memory = session_value(session, OPT_MEMORY);
    tsr_status status = memory ? arguments_size(memory, "--memory", &session->env.memory_bytes, err) : TSR_OK;
    if (!status) status = start_workers(session, err);
    if (!status) {
        status = data_folders(session, "roles", session_value(session, OPT_ROLES_PATH), &session->paths.role_folders,
                              &session->paths.role_folder_count, err);
    }
    if (!status) {
        status = data_folders(session, "configs", NULL, &session->paths.config_folders,
                              &session->paths.config_folder_count, err);
    }
    if (!status) {
        status = data_folders(session, "families", NULL, &session->paths.family_folders,
                              &session->paths.family_folder_count, err);
    }
    return status;
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
    const char *folders[SESSION_FOLDERS_MAX];
    const char *flag = session_value(session, OPT_PLUGIN_PATH);
    uint64_t count = registry_default_folders(&session->arena, flag, folders, SESSION_FOLDERS_MAX);
    return registry_create(folders, count, &session->env, &session->registry, err);
}
