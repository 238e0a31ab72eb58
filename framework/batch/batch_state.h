/* SPDX-License-Identifier: Apache-2.0
 *
 * What has become of the jobs of a batch, in a folder that any kind of end leaves readable:
 *
 *   STATE/lock               held by the coordinator
 *   STATE/ledger             one line an event (ledger.h)
 *   STATE/cancel             somebody wants the batch to stop
 *   STATE/records/NAME.json  what the job's own command says (record.h)
 *   STATE/logs/NAME.log      what it said on the way
 *
 * Times are durations: nothing here depends on the date. */
#ifndef BATCH_BATCH_STATE_H
#define BATCH_BATCH_STATE_H

#include "batch_config.h"

#include <jansson.h>
#include <pipeline/ledger.h>

enum batch_phase { BATCH_WAITING, BATCH_RUNNING, BATCH_DONE, BATCH_FAILED, BATCH_BLOCKED, BATCH_STOPPED };

#define BATCH_REASON_TEXT 24

struct batch_result {
    enum batch_phase phase;
    bool earlier;     /* done in an earlier run */
    uint64_t attempts; /* in this run */
    char reason[BATCH_REASON_TEXT]; /* "io", "gate", "crashed" ...; "" when all is well */
    char *message;    /* owned, or NULL */
    int exit_code;
    double seconds;
    uint64_t source_bytes, output_bytes, encoded_bytes, stored_bytes;
    double kld, top1; /* below 0: not measured */
    double joules;    /* of the whole machine while it ran; below 0: not measured */
    char definition[DIGEST_HEX]; /* of the job that this is the result of */
};

struct batch_name; /* for finding jobs by name */

struct batch_state {
    const struct batch *batch;
    struct fs_lock lock;
    struct ledger ledger;
    struct batch_result *results; /* [batch->count] */
    struct batch_name *names;
    char *ledger_path, *cancel_path;
    char holder[160];  /* who opened it last: "process 17 on HOST, engine local" */
    bool open;         /* and has not closed it */
    uint64_t runs;
    /* Energy of the machine over this run and the ones before; below 0: not measured. A coordinator that measures sets
     * `energy` before it opens: why it cannot be read, or "". */
    double run_joules, earlier_joules;
    const char *energy;
    char energy_missing[160]; /* of the newest run that says so */
    /* Lines of kind "task" go to whoever knows them; NULL says that the job has ended and so have its tasks. */
    void (*on_task)(void *ctx, uint64_t job, const json_t *task);
    void *on_task_ctx;
};

/* For a coordinator: locks and replays. TSR_E_BUSY says who holds it. A look from outside takes no lock and writes nothing.
 * Zero-initialise (on_task may be set before); close in any case. */
tsr_status batch_state_open(const struct batch *batch, const char *engine, struct batch_state *state, tsr_error *err);
tsr_status batch_state_look(const struct batch *batch, struct batch_state *state, tsr_error *err);
void batch_state_close(struct batch_state *state);

/* Events. A start that is lost does not matter and is not synced; an end is on the disk when this returns. */
tsr_status batch_state_add_start(struct batch_state *state, uint64_t job, tsr_error *err);
tsr_status batch_state_add_end(struct batch_state *state, uint64_t job, tsr_error *err);
tsr_status batch_state_add_task(struct batch_state *state, uint64_t job, json_t *task, bool sync,
                                tsr_error *err); /* takes task */
tsr_status batch_state_add_close(struct batch_state *state, tsr_error *err);

/* STATE/records/NAME.json and so on, in fresh memory (mem_free), or NULL. [any] */
char *batch_state_path(const struct batch *batch, const char *folder, const char *name, const char *suffix);

bool batch_state_cancelled(const struct batch_state *state);
tsr_status batch_state_cancel(const struct batch *batch, tsr_error *err); /* asks the coordinator to stop */
bool batch_state_is_held(const struct batch *batch, tsr_error *err);      /* err says by whom */

/* Over all runs; below 0: not measured. */
double batch_state_joules(const struct batch_state *state);
/* Replaces the message (NULL: none). */
void batch_result_say(struct batch_result *result, const char *message);
const char *batch_phase_name(enum batch_phase phase);

#endif
