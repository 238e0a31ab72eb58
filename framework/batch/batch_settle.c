/* SPDX-License-Identifier: Apache-2.0
 *
 * The record is the job's own word and counts most; where a process died without one, its signal or its last line does. */
#define _POSIX_C_SOURCE 200809L
#include "batch_settle.h"

#include <base/alloc.h>
#include <base/str.h>
#include <inttypes.h>
#include <pipeline/layout.h>
#include <pipeline/record.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define LOG_TAIL_BYTES 4096
#define ERROR_PREFIX "tessera: error: "

/* ---- reasons ---- */

/* Reason, exit code of a batch in which it is the worst, whether to try again, advice. */
static const struct reason {
    const char *name;
    int exit_code;
    bool transient;
    const char *hint;
} REASONS[] = {
    {"config", 1, false, "mend the config or JOBS.yaml, then run the batch again"},
    {"input", 2, false, "the model's files are malformed or incomplete: fetch them again"},
    {"corrupt", 2, false, "stored bytes are damaged: look at the disk, then run again with --restart by hand"},
    {"unsupported", 2, false, "see the log"},
    {"limit", 2, false, "see the log"},
    {"gate", 3, false, "a looser config or gate; the encoded work is kept, a mended config reuses what it can"},
    {"io", 4, true, "look at the disk (space, permissions, network), then run the batch again"},
    {"busy", 4, true, "another run holds the output: end it, then run the batch again"},
    {"no-memory", 4, false, "give the job more memory or fewer threads"},
    {"memory", 4, false, "give the job more memory or fewer threads"},
    {"plugin", 4, false, "`tessera plugin check` names what the plugin does wrong"},
    {"crashed", 4, false, "`tessera plugin check` finds plugins that crash; the log has the last words"},
    {"hung", 4, false, "a plugin or a file system that does not answer; raise `idle` if the job is only slow"},
    {"wall", 4, false, "raise `wall`, give it more threads, or cut it into shards"},
    {"killed", 4, false, "something outside ended it: the kernel when memory is short, or a person"},
    {"lost", 4, true, "the scheduler lost the task: look at its own logs"},
    {"start", 4, true, "the system refused a process"},
    {"argument", 4, false, "this is a mistake in tessera: please report it with the log"},
    {"space", 4, false, "this is a mistake in tessera: please report it with the log"},
    {"cancelled", 130, false, "`tessera batch resume` goes on"},
};

static const struct reason *find_reason(const char *name) {
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++) {
        if (!strcmp(REASONS[i].name, name)) return &REASONS[i];
    }
    return NULL;
}

const char *batch_hint(const char *reason) {
    const struct reason *found = find_reason(reason);
    return found ? found->hint : "";
}

int batch_exit_code(const struct batch *batch, const struct batch_result *results) {
    static const int order[] = {130, 4, 2, 1, 3}; /* the worst first */
    for (unsigned k = 0; k < sizeof order / sizeof order[0]; k++) {
        for (uint64_t i = 0; i < batch->count; i++) {
            bool bad = results[i].phase == BATCH_FAILED || results[i].phase == BATCH_STOPPED;
            if (bad && results[i].exit_code == order[k]) return order[k];
        }
    }
    return 0;
}

/* ---- names ---- */

const char *batch_share_name(const struct batch *batch, uint64_t job, const struct batch_share *share,
                             struct arena *arena) {
    const char *name = batch->jobs[job].name;
    return share->cut == BATCH_SHARD ? arena_format(arena, "%s.shard-%" PRIu64, name, share->index) : name;
}

static const char *number(struct arena *arena, uint64_t value) {
    return arena_format(arena, "%" PRIu64, value);
}

/* A list of words with a remembered failure. */
struct words {
    const char **list;
    uint64_t count;
    bool failed;
};

static void add_word(struct words *words, const char *word) {
    words->failed |= !word;
    words->list[words->count++] = word;
}

static void add_option(struct words *words, const char *option, const char *value) {
    if (!value) return;
    add_word(words, option);
    add_word(words, value);
}

const char *const *batch_command(const struct batch *batch, uint64_t job, const struct batch_share *share,
                                 struct arena *arena) {
    const struct batch_job *it = &batch->jobs[job];
    struct words words = {.list = arena_alloc(arena, 40, sizeof(char *))};
    const char *name = batch_share_name(batch, job, share, arena);
    if (!words.list || !name) return NULL;
    add_word(&words, "tessera");
    add_word(&words, "compress");
    add_word(&words, it->model);
    add_option(&words, "--output", it->output);
    add_option(&words, "--config", it->config);
    add_option(&words, "--jobs", number(arena, it->threads));
    add_option(&words, "--record", arena_format(arena, "%s/records/%s.json", batch->state, name));
    add_option(&words, "--store", batch->store);
    if (it->memory_bytes) add_option(&words, "--memory", number(arena, it->memory_bytes));
    if (it->max_shard_bytes) add_option(&words, "--max-shard-size", number(arena, it->max_shard_bytes));
    add_option(&words, "--plugin-path", it->plugin_path);
    add_option(&words, "--roles-path", it->roles_path);
    if (it->force) add_word(&words, "--force");
    if (share->cut == BATCH_SHARD) {
        add_option(&words, "--shard", arena_format(arena, "%" PRIu64 "/%" PRIu64, share->index, it->shards));
    }
    if (share->cut == BATCH_MERGE) add_option(&words, "--merge", number(arena, it->shards));
    return words.failed ? NULL : words.list;
}

/* ---- what the job says ---- */

static uint64_t count_in(const json_t *object, const char *key) {
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value < 0 ? 0 : (uint64_t)value;
}

/* The estimate of a figure of the parity gate, or -1. */
static double parity_figure(const json_t *gates, const char *figure) {
    const json_t *list = json_object_get(gates, json_object_get(gates, "results") ? "results" : "gates");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *gate = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(gate, "gate"));
        if (!name || strcmp(name, "parity")) continue;
        const json_t *value = json_object_get(json_object_get(gate, figure), "estimate");
        return json_is_number(value) ? json_number_value(value) : -1;
    }
    return -1;
}

static void take_figures(const json_t *record, struct batch_result *result) {
    const json_t *totals = json_object_get(record, "totals"), *run = json_object_get(record, "run");
    const json_t *gates = json_object_get(record, "gates");
    if (totals) {
        result->source_bytes = count_in(totals, "source_bytes");
        result->output_bytes = count_in(totals, "output_bytes");
    }
    result->encoded_bytes += count_in(run, "encoded_bytes");
    result->stored_bytes += count_in(run, "stored_bytes");
    result->kld = parity_figure(gates, "kld");
    result->top1 = parity_figure(gates, "top1");
}

/* Time of all stages, for engines that did not see the process itself. */
static double seconds_of(const json_t *record) {
    const json_t *seconds = json_object_get(json_object_get(record, "run"), "seconds");
    const char *stage;
    json_t *value;
    double sum = 0;
    json_object_foreach((json_t *)(uintptr_t)seconds, stage, value) sum += json_number_value(value);
    return sum;
}

static json_t *read_share(const struct batch *batch, const char *name) {
    json_t *record = NULL;
    char *path = batch_state_path(batch, "records", name, ".json");
    if (path) record_read(path, &record);
    mem_free(path);
    return record;
}

void batch_add_share(const struct batch *batch, uint64_t job, const struct batch_share *share, struct batch_result *result) {
    struct arena arena = {0};
    const char *name = batch_share_name(batch, job, share, &arena);
    json_t *record = name ? read_share(batch, name) : NULL;
    result->encoded_bytes += count_in(json_object_get(record, "run"), "encoded_bytes");
    result->stored_bytes += count_in(json_object_get(record, "run"), "stored_bytes");
    result->seconds += seconds_of(record);
    json_decref(record);
    arena_clear(&arena);
}

/* The last error line of the log, in fresh memory, or NULL. */
static char *last_error(const struct batch *batch, const char *name) {
    char *path = batch_state_path(batch, "logs", name, ".log"), *found = NULL;
    char text[LOG_TAIL_BYTES + 1];
    struct fs_file file = {0};
    if (path && fs_open(path, &file, NULL) == TSR_OK) {
        uint64_t size = file.size < LOG_TAIL_BYTES ? file.size : LOG_TAIL_BYTES;
        if (fs_read_at(&file, file.size - size, text, size, NULL) != TSR_OK) size = 0;
        text[size] = '\0';
        for (char *at = strstr(text, ERROR_PREFIX); at; at = strstr(at, ERROR_PREFIX)) {
            at += strlen(ERROR_PREFIX);
            mem_free(found);
            found = mem_dup_bytes(at, strcspn(at, "\n"));
        }
    }
    fs_close(&file);
    mem_free(path);
    return found;
}

static void say(struct batch_result *result, const char *reason, const char *format, ...) TSR_PRINTF(3, 4);

static void say(struct batch_result *result, const char *reason, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)snprintf(result->reason, sizeof result->reason, "%.23s", reason);
    batch_result_say(result, text);
}

/* ---- settling ---- */

/* It ended by itself with a code: the record says more. */
static void settle_code(const struct batch *batch, const char *name, const json_t *record, int code,
                        struct batch_result *result) {
    static const char *const by_code[] = {"io", "config", "input", "gate", "io"};
    const char *status = json_string_value(json_object_get(record, "status"));
    const char *message = json_string_value(json_object_get(record, "message"));
    bool fits = status && json_integer_value(json_object_get(record, "exit_code")) == code;
    char *line = fits ? NULL : last_error(batch, name);
    const char *reason = code == 130 ? "cancelled" : code >= 1 && code <= 4 ? by_code[code] : "crashed";
    if (fits) reason = status;
    say(result, reason, "%s", fits && message && *message ? message : line ? line : "ended without a word");
    if (!fits && !line) say(result, reason, "ended without a word, exit code %d", code);
    mem_free(line);
}

static void settle_failure(const struct batch *batch, const struct batch_job *it, const char *name,
                           const struct batch_ending *ending, const json_t *record, struct batch_result *result) {
    if (ending->reason) {
        say(result, ending->reason, "%s", ending->message ? ending->message : "");
    } else if (ending->verdict == PROCESS_TOO_LONG) {
        say(result, "wall", "took longer than the %" PRIu64 " s that it may", it->wall_seconds);
    } else if (ending->verdict == PROCESS_IDLE) {
        say(result, "hung", "neither read nor wrote anything for %" PRIu64 " s", it->idle_seconds);
    } else if (ending->signal == SIGKILL) {
        say(result, "killed", "was ended by signal %d (%s)", ending->signal, strsignal(ending->signal));
    } else if (ending->signal) {
        say(result, "crashed", "was ended by signal %d (%s)", ending->signal, strsignal(ending->signal));
    } else {
        settle_code(batch, name, record, ending->code, result);
    }
}

void batch_settle(const struct batch *batch, uint64_t job, const struct batch_share *share,
                  const struct batch_ending *ending, struct batch_result *result, bool *transient) {
    struct arena arena = {0};
    const char *name = batch_share_name(batch, job, share, &arena);
    if (!name) name = batch->jobs[job].name;
    json_t *record = read_share(batch, name);
    const char *state = json_string_value(json_object_get(record, "state"));
    bool good = !ending->reason && ending->verdict == PROCESS_ENDED && !ending->code && !ending->signal;
    *transient = false;
    result->seconds += ending->seconds > 0 ? ending->seconds : seconds_of(record);
    result->reason[0] = '\0';
    result->exit_code = 0;
    batch_result_say(result, NULL);
    take_figures(record, result);
    if (good && state && !strcmp(state, RECORD_DONE)) {
        result->phase = BATCH_DONE;
    } else {
        result->phase = BATCH_FAILED;
        if (good) {
            say(result, "io", "said that it is done, but left no record of it");
        } else {
            settle_failure(batch, &batch->jobs[job], name, ending, record, result);
        }
        const struct reason *reason = find_reason(result->reason);
        result->exit_code = reason ? reason->exit_code : 4;
        *transient = reason && reason->transient;
    }
    json_decref(record);
    arena_clear(&arena);
}

/* ---- beginning ---- */

static void add_config(const struct batch_job *job, const struct job_paths *paths, struct str *text) {
    struct arena arena = {0};
    char *bytes = NULL, hex[DIGEST_HEX];
    uint64_t size = 0;
    const char *path = config_locate(job->config, paths->config_folders, paths->config_folder_count, &arena);
    if (path && fs_read_whole(path, UINT64_C(1) << 20, &bytes, &size, NULL) == TSR_OK) {
        struct digest digest = digest_of(bytes, size);
        str_add_format(text, "%s\n", digest_to_hex(&digest, hex));
    }
    mem_free(bytes);
    arena_clear(&arena);
}

void batch_definition(const struct batch_job *job, const struct job_paths *paths, char definition[DIGEST_HEX]) {
    struct str text = {0};
    str_add_format(&text, "%s\n%s\n%s\n%" PRIu64 "\n%s\n%s\n", job->model, job->output, job->config ? job->config : "",
                   job->max_shard_bytes, job->plugin_path ? job->plugin_path : "", job->roles_path ? job->roles_path : "");
    if (job->config) add_config(job, paths, &text);
    struct digest digest = digest_of(text.text ? text.text : "", text.length);
    digest_to_hex(&digest, definition);
    str_clear(&text);
}

static bool output_is_there(const struct batch_job *job) {
    char *path = fs_join(job->output, RECEIPT_NAME);
    bool there = path && fs_kind_of(path) == FS_FILE;
    mem_free(path);
    return there;
}

void batch_begin(const struct batch *batch, const struct job_paths *paths, struct batch_state *state) {
    char definition[DIGEST_HEX];
    for (uint64_t i = 0; i < batch->count; i++) {
        struct batch_result *result = &state->results[i];
        batch_definition(&batch->jobs[i], paths, definition);
        bool same = !strcmp(definition, result->definition);
        if (result->phase == BATCH_DONE && same && output_is_there(&batch->jobs[i])) continue;
        batch_result_say(result, NULL);
        *result = (struct batch_result){.kld = -1, .top1 = -1, .joules = -1};
        memcpy(result->definition, definition, DIGEST_HEX);
    }
}
