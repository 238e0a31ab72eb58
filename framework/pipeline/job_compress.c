/* SPDX-License-Identifier: Apache-2.0
 *
 * compress: plan, encode, assemble, verify from disk, publish. Each stage leaves what it did where the next run of the
 * same command finds it; only the last step touches OUT's own name. The journal learns of the publication before it
 * happens, so that a run that dies right after it is known to be finished. */
#include "assemble.h"
#include "budget.h"
#include "gate_process.h"
#include "job.h"
#include "plan_json.h"
#include "receipt.h"
#include "record.h"
#include "seal.h"
#include "trained.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <base/pool.h>
#include <base/str.h>
#include <format/container_read.h>
#include <inttypes.h>
#include <measure/compare.h>
#include <reading/facts.h>
#include <reading/meter.h>
#include <string.h>
#include <time.h>

/* Room beyond payloads: heads, directories, manifest, receipt. */
#define DISK_SLACK_BYTES (UINT64_C(4) << 20)

struct compressing {
    const struct job_compress_options *options;
    const char *output; /* options->output, or the folder of the shard beside it */
    const struct registry *registry;
    const struct job_paths *paths;
    const struct env *env;
    struct arena arena;
    struct checkpoint checkpoint;
    struct config config;
    struct plan plan;
    struct work work;
    struct journal journal;
    struct parts parts;
    struct layout layout;
    struct source_facts facts;
    struct outcome *outcomes;
    struct run_facts run;
    struct store store;
    struct statistics statistics;
    struct plan_allocation allocation; /* as solved by measuring */
    json_t *probes;                    /* what was measured, or NULL */
    struct trained trained; /* dictionaries, once the work folder is open */
    char mark[DIGEST_HEX]; /* of what was published */
    json_t *gates;
    json_t *receipt;
    tsr_error *err;
};

static double now(void) {
    struct timespec time;
    return clock_gettime(CLOCK_MONOTONIC, &time) ? 0 : (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- before any work ---- */

static tsr_status fail_exists(struct compressing *job) {
    return tsr_fail(job->err, TSR_E_CONFIG, "%s: exists, --force replaces it", job->output);
}

/* Such statistics are of one output of all tensors; shares would be encoded with what is not their sum. */
static tsr_status check_propagated(const struct compressing *job) {
    if (!job->statistics.open || !(job->options->shard.count || job->options->merge)) return TSR_OK;
    if (!safetensors_metadata(&job->statistics.calibration.st, STATS_KEY_PROPAGATED)) return TSR_OK;
    return tsr_fail(job->err, TSR_E_CONFIG, "%s: statistics of a compressed model do not go with shards", job->options->stats);
}

static tsr_status open_input(struct compressing *job) {
    const char *output = job->output;
    tsr_status st = work_check_apart(job->options->model, output, job->err);
    if (st != TSR_OK) return st;
    bool resumes = job->options->record || work_exists(output);
    if (fs_kind_of(output) != FS_ABSENT && !job->options->force && !resumes) return fail_exists(job);
    st = plan_config(job->options->config, job->registry, job->paths, &job->arena, &job->config, job->err);
    if (st == TSR_OK) plan_override_budget(&job->config, job->options->target_kld);
    if (st == TSR_OK && job->options->allocation) job->allocation = *job->options->allocation;
    if (job->options->probes) job->probes = json_deep_copy(job->options->probes);
    if (st == TSR_OK) st = checkpoint_open(job->options->model, &job->checkpoint, job->err);
    if (st == TSR_OK && job->options->stats) st = statistics_open(job->options->stats, &job->statistics, job->err);
    if (st == TSR_OK) st = check_propagated(job);
    if (st != TSR_OK) return st;
    for (uint64_t i = 0; i < job->checkpoint.file_count; i++) {
        if (!container_is(&job->checkpoint.files[i].st)) continue;
        return tsr_fail(job->err, TSR_E_INPUT, "%s: %s is already compressed, decompress it first", job->options->model,
                        job->checkpoint.files[i].name);
    }
    return TSR_OK;
}

static tsr_status make_plan(struct compressing *job, bool predict) {
    struct plan_options options = {job->paths->role_folders, job->paths->role_folder_count, predict,
                                   job->work.folder ? &job->trained.operations : NULL,
                                   job->statistics.open ? &job->statistics.operations : NULL, job->allocation};
    plan_close(&job->plan);
    return plan_make(&job->checkpoint, &job->config, job->registry, &options, job->env, &job->plan, job->err);
}

/* Parts and staged files stand beside each other for a while: twice the output. Trial encodings are made only where the
 * source's own size would not fit. */
static tsr_status check_disk(struct compressing *job) {
    uint64_t small = DISK_SLACK_BYTES, available = fs_free_bytes(job->output);
    char need[32], have[32];
    for (uint64_t i = 0; i < job->checkpoint.extra_count; i++) {
        small += min_u64(job->checkpoint.extras[i].bytes, EXTRA_BYTES_MAX);
    }
    if (available / 2 > job->plan.unique_bytes + small) return TSR_OK;
    tsr_status st = make_plan(job, true);
    uint64_t needed = 2 * job->plan.predicted_bytes + small;
    if (st != TSR_OK || needed <= available) return st;
    return tsr_fail(job->err, TSR_E_IO, "%s: needs about %s of disk while it is made, %s are free",
                    job->output, text_bytes(needed, need, sizeof need),
                    text_bytes(available, have, sizeof have));
}

/* ---- what an earlier run left ---- */

static void add_file_facts(struct str *text, const char *name, const struct fs_file *file) {
    str_add_format(text, "%s %" PRIu64 " %" PRId64 " %" PRId64 "\n", name, file->size, file->mtime_seconds,
                   file->mtime_nanoseconds);
}

/* The mark under which the journal knows an output: what it is (the run's facts tell it from an equal, older one) and
 * what was asked for, so that another request never takes it for its own. */
static tsr_status make_mark(const struct compressing *job, const char *receipt, const char *run,
                            char mark[DIGEST_HEX]) {
    struct str text = {0};
    char config[DIGEST_HEX];
    str_add_format(&text, "%s\n%s\n%s\n%" PRIu64 "\n", receipt, run, digest_to_hex(&job->config.digest, config),
                   job->options->max_shard_bytes);
    if (job->config.budget.kind) {
        str_add_format(&text, "budget %d %.17g %s\n", (int)job->config.budget.kind, job->config.budget.value,
                       job->options->probe_text ? job->options->probe_text : "");
    }
    for (uint64_t i = 0; i < job->checkpoint.file_count; i++) {
        add_file_facts(&text, job->checkpoint.files[i].name, &job->checkpoint.files[i].st.file);
    }
    if (job->statistics.open) add_file_facts(&text, "statistics", &job->statistics.calibration.st.file);
    tsr_status st = text.failed ? tsr_fail(job->err, TSR_E_NOMEM, "%s: out of memory", job->output) : TSR_OK;
    struct digest digest = digest_of(text.text, text.length);
    digest_to_hex(&digest, mark);
    str_clear(&text);
    return st;
}

/* Reads a sealed file of OUT; one that is not there or was changed is TSR_E_INPUT or TSR_E_CORRUPT. */
static tsr_status read_sealed(const struct compressing *job, const char *name, json_t **value, char hex[DIGEST_HEX]) {
    char *path = fs_join(job->output, name);
    tsr_status st = path && fs_kind_of(path) == FS_FILE ? seal_read(path, value, hex, NULL) : TSR_E_INPUT;
    mem_free(path);
    return st;
}

/* True when OUT is what bears this mark, as a journal or a record has it: the run was finished. */
static bool is_published(struct compressing *job, const char *published) {
    char receipt[DIGEST_HEX], run[DIGEST_HEX] = "";
    json_t *facts = NULL;
    if (!published[0]) return false;
    bool is_shard = job->options->shard.count > 0;
    tsr_status st = read_sealed(job, is_shard ? SHARD_NAME : RECEIPT_NAME, &job->receipt, receipt);
    if (st == TSR_OK && !is_shard) st = read_sealed(job, RUN_NAME, &facts, run);
    if (st == TSR_OK) st = make_mark(job, receipt, run, job->mark);
    json_decref(facts);
    if (st == TSR_OK && !strcmp(job->mark, published)) return true;
    json_decref(job->receipt);
    job->receipt = NULL;
    return false;
}

static tsr_status open_work(struct compressing *job) {
    tsr_status st = work_open(job->output, &job->work, job->err);
    if (st == TSR_OK && job->options->restart) st = work_clear_all(&job->work, job->err);
    if (st == TSR_OK) st = journal_open(job->work.journal, &job->journal, job->err);
    if (st == TSR_OK) st = fs_sync_folder(job->work.folder, job->err);
    trained_init(&job->trained, &job->work, &job->journal);
    return st;
}

/* True when the record of an earlier run says that OUT is its finished output, and it is. */
static bool is_recorded(struct compressing *job) {
    json_t *record = NULL;
    if (!job->options->record || job->options->restart) return false;
    record_read(job->options->record, &record);
    bool recorded = record && is_published(job, record_mark(record));
    json_decref(record);
    return recorded;
}

/* Work of an earlier run is looked at before planning, which reads the whole source. */
static tsr_status finish_earlier(struct compressing *job, bool *finished) {
    *finished = false;
    bool has_work = work_exists(job->output);
    if (!has_work && is_recorded(job)) {
        *finished = true;
        return TSR_OK;
    }
    if (!has_work && fs_kind_of(job->output) != FS_ABSENT && !job->options->force) return fail_exists(job);
    if (!has_work) return TSR_OK;
    tsr_status st = open_work(job);
    if (st != TSR_OK) return st;
    if (is_published(job, job->journal.published)) {
        *finished = true;
        journal_close(&job->journal);
        return work_remove(&job->work, job->err);
    }
    if (fs_kind_of(job->output) == FS_ABSENT || job->options->force) return TSR_OK;
    bool begun = job->journal.runs > 0;
    journal_close(&job->journal);
    if (!begun) (void)work_remove(&job->work, NULL);
    return fail_exists(job);
}

/* ---- stages ---- */

static tsr_status write_plan(struct compressing *job) {
    json_t *plan = NULL;
    char *path = NULL, hex[DIGEST_HEX];
    tsr_status st = plan_json_make(job->options->model, &job->config, &job->plan, &job->parts, &plan, job->err);
    if (st == TSR_OK) st = work_path(job->work.folder, "plan.json", &path, job->err);
    if (st == TSR_OK) st = seal_write(path, plan, hex, job->err);
    json_decref(plan);
    mem_free(path);
    return st;
}

static tsr_status encode(struct compressing *job) {
    job->parts.registry = job->registry;
    job->parts.statistics = job->statistics.open ? &job->statistics.operations : NULL;
    tsr_status st = parts_open(&job->plan, &job->work, &job->journal, job->env, &job->parts, job->err);
    if (st == TSR_OK) st = write_plan(job);
    if (st == TSR_OK) st = journal_add_run(&job->journal, job->err);
    if (st == TSR_OK && job->options->shard.count) {
        st = shard_select(&job->plan, &job->options->shard, &job->parts, job->err);
    }
    if (st == TSR_OK && job->options->merge) {
        st = shard_merge(job->options->output, job->options->merge, &job->plan, &job->work, &job->journal, job->env,
                         &job->parts, job->err);
    }
    if (st != TSR_OK) return st;
    if (job->parts.reused) {
        env_log(job->env, TSR_LOG_INFO, "%s: resuming, %llu of %llu tensors are there", job->output,
                (unsigned long long)job->parts.reused, (unsigned long long)job->plan.count);
    }
    job->run.runs = job->journal.runs;
    job->run.reused_parts = job->parts.reused;
    if (job->store.folder) job->parts.store = &job->store;
    st = parts_encode(&job->checkpoint, &job->plan, &job->work, &job->journal, job->env, &job->parts, job->err);
    job->run.encoded_bytes = job->parts.encoded_bytes;
    job->run.stored_bytes = job->parts.stored_bytes;
    return st;
}

static tsr_status assemble_staged(struct compressing *job) {
    struct assembly assembly = {&job->checkpoint, &job->plan, &job->work, &job->parts, &job->layout, job->env};
    tsr_status st = layout_make(&job->checkpoint, &job->plan, &job->parts, job->options->max_shard_bytes, job->env,
                                &job->layout, job->err);
    return st == TSR_OK ? assemble(&assembly, &job->arena, &job->facts, job->err) : st;
}

static tsr_status verify_staged(struct compressing *job) {
    struct stored stored = {0};
    job->outcomes = arena_alloc(&job->arena, job->plan.count + 1, sizeof *job->outcomes);
    if (!job->outcomes) return tsr_fail(job->err, TSR_E_NOMEM, "%s: out of memory", job->output);
    tsr_status st = stored_open(job->work.staged, &stored, job->err);
    if (st == TSR_OK) {
        st = compare_staged(&job->checkpoint, &job->plan, &stored, job->registry, job->env, job->outcomes, job->err);
    }
    stored_close(&stored);
    for (uint64_t i = 0; st == TSR_OK && i < job->checkpoint.file_count; i++) {
        st = fs_unchanged(&job->checkpoint.files[i].st.file, job->err);
    }
    return st;
}

/* The config's gates, in a process of their own on the staged bytes. A verdict against them keeps the work in place. */
static tsr_status gate_staged(struct compressing *job) {
    if (!gate_config_any(&job->config.gates) || job->options->probe) return TSR_OK;
    struct gate_process process = {.program = job->options->gate_program,
                                   .staged = job->work.staged,
                                   .model = job->options->model,
                                   .config = job->options->config,
                                   .plugin_path = job->options->plugin_path,
                                   .workers = job->run.workers};
    tsr_status st = gate_process_run(&process, job->env, &job->gates, job->err);
    if (st != TSR_E_GATE) return st;
    if (!job->options->publish_anyway) return st;
    env_log(job->env, TSR_LOG_WARNING, "published although a gate failed: %s", job->err->message);
    return TSR_OK;
}

static tsr_status write_sealed(struct compressing *job, const char *name, const json_t *value, char hex[DIGEST_HEX]) {
    char *path = fs_join(job->work.staged, name);
    tsr_status st =
        path ? seal_write(path, value, hex, job->err) : tsr_fail(job->err, TSR_E_NOMEM, "%s: out of memory", name);
    mem_free(path);
    return st;
}

/* Journal and record learn of the publication before it happens. */
static tsr_status announce(struct compressing *job, const char *receipt, const char *run) {
    tsr_status st = make_mark(job, receipt, run, job->mark);
    if (st == TSR_OK && job->options->record) {
        st = record_write(job->options->record, RECORD_PUBLISHING, job->mark, NULL, job->err);
    }
    return st == TSR_OK ? journal_add_published(&job->journal, job->mark, job->err) : st;
}

/* A share ends here: its parts and what they are. */
static tsr_status stage_shard(struct compressing *job) {
    char hex[DIGEST_HEX] = "";
    json_t *written = NULL;
    tsr_status st =
        shard_stage(&job->plan, &job->options->shard, &job->work, &job->parts, &job->receipt, job->err);
    char *path = st == TSR_OK ? fs_join(job->work.staged, SHARD_NAME) : NULL;
    if (st == TSR_OK && !path) st = tsr_fail(job->err, TSR_E_NOMEM, "%s: out of memory", job->output);
    if (st == TSR_OK) st = seal_read(path, &written, hex, job->err);
    if (st == TSR_OK) st = announce(job, hex, "");
    json_decref(written);
    mem_free(path);
    return st;
}

static tsr_status write_receipts(struct compressing *job) {
    struct receipt_input input = {&job->checkpoint, &job->config,  &job->plan,      &job->layout,
                                  &job->facts,      job->outcomes, job->work.staged, job->gates,
                                  &job->statistics, job->probes};
    char hex[DIGEST_HEX], run_hex[DIGEST_HEX];
    json_t *run = NULL;
    tsr_status st = receipt_make(&input, &job->receipt, job->err);
    if (st == TSR_OK) st = write_sealed(job, RECEIPT_NAME, job->receipt, hex);
    if (st == TSR_OK) st = receipt_run(&job->run, &run, job->err);
    if (st == TSR_OK) st = write_sealed(job, RUN_NAME, run, run_hex);
    if (st == TSR_OK) st = announce(job, hex, run_hex);
    if (st == TSR_OK && json_object_set_new(job->receipt, "digest", json_string(hex))) {
        st = tsr_fail(job->err, TSR_E_NOMEM, "%s: out of memory", RECEIPT_NAME);
    }
    json_decref(run);
    return st;
}

/* After the rename nothing can fail any more; what cannot be cleared away is only a warning. */
static tsr_status publish(struct compressing *job) {
    tsr_error why = {0};
    tsr_status st = work_publish(&job->work, job->err);
    if (st != TSR_OK) return st;
    journal_close(&job->journal);
    if (work_remove(&job->work, &why) != TSR_OK) {
        env_log(job->env, TSR_LOG_WARNING, "the output is complete, but its work folder stays: %s", why.message);
    }
    if (job->options->merge && shard_remove(job->options->output, job->options->merge, &why) != TSR_OK) {
        env_log(job->env, TSR_LOG_WARNING, "the output is complete, but its shards stay: %s", why.message);
    }
    return TSR_OK;
}

/* Runs one stage and keeps its time. */
static tsr_status timed(struct compressing *job, tsr_status (*stage)(struct compressing *), double *seconds) {
    double start = now();
    tsr_status st = meter_check_cancel(job->env, job->err);
    if (st == TSR_OK) st = stage(job);
    *seconds = now() - start;
    return st;
}

/* ---- the budget ---- */

/* A relative path is looked for beside the config, then as it is. */
static const char *beside_config(struct compressing *job, const char *path) {
    size_t length = (size_t)(fs_base_name(job->config.path) - job->config.path);
    const char *beside = arena_format(&job->arena, "%.*s%s", (int)length, job->config.path, path);
    return path[0] != '/' && beside && fs_kind_of(beside) == FS_FILE ? beside : path;
}

/* Text to measure on; NULL when the budget, if there is one, is settled by the law alone. */
static const char *budget_text(struct compressing *job) {
    const struct config_budget *budget = &job->config.budget;
    if (!budget->kind || job->options->allocation || job->options->probe) return NULL;
    if (job->options->probe_text) return job->options->probe_text;
    return budget->text ? beside_config(job, budget->text) : NULL;
}

/* Statistics were made of one text; what is measured on the same would flatter what follows them. */
static tsr_status check_held_out(const struct compressing *job, const char *text) {
    struct digest digest;
    if (!job->statistics.open) return TSR_OK;
    uint64_t bytes = 0;
    tsr_status st = facts_of_path(text, &bytes, &digest, job->err);
    if (st != TSR_OK || !digest_equal(&digest, &job->statistics.calibration.text)) return st;
    return tsr_fail(job->err, TSR_E_CONFIG, "%s: the statistics are of this text, a budget is measured on another", text);
}

static tsr_status search_budget(struct compressing *job, const char *text) {
    struct budget_search search = {.options = job->options,
                                   .config = &job->config,
                                   .plan = &job->plan,
                                   .registry = job->registry,
                                   .paths = job->paths,
                                   .env = job->env,
                                   .folder = job->work.folder,
                                   .text = text};
    char *store = fs_join(job->work.folder, "store");
    tsr_status st = store ? TSR_OK : tsr_fail(job->err, TSR_E_NOMEM, "%s: out of memory", job->output);
    search.store = job->options->store ? job->options->store : store;
    job->allocation = (struct plan_allocation){.will_measure = true};
    if (st == TSR_OK) st = make_plan(job, false);
    if (st == TSR_OK && !job->store.folder) st = store_open(search.store, &job->store, job->err);
    if (st == TSR_OK) st = budget_search(&search, &job->allocation, &job->probes, job->err);
    mem_free(store);
    return st;
}

/* A budget with a text is settled by making outputs and measuring them, before anything else is made. */
static tsr_status settle_budget(struct compressing *job) {
    const char *text = budget_text(job);
    if (!text) return TSR_OK;
    if (job->options->shard.count || job->options->merge) {
        return tsr_fail(job->err, TSR_E_CONFIG, "a budget that is measured cannot be shared out: without a probe text it can");
    }
    tsr_status st = check_held_out(job, text);
    if (st == TSR_OK && !job->work.folder) st = open_work(job);
    return st == TSR_OK ? search_budget(job, text) : st;
}

static bool has_groups(const struct config *config) {
    for (uint64_t i = 0; i < config->rule_count; i++) {
        if (config->rules[i].group) return true;
    }
    return false;
}

/* Training is long, so where there is any the work folder is opened first, to keep what it gives. A plan that fails
 * leaves no folder behind unless there is something in it. */
static tsr_status plan_and_check(struct compressing *job) {
    tsr_status st = has_groups(&job->config) && !job->work.folder ? open_work(job) : TSR_OK;
    if (st == TSR_OK) st = settle_budget(job);
    if (st == TSR_OK) st = make_plan(job, false);
    if (st == TSR_OK) st = check_disk(job);
    const struct journal *journal = &job->journal;
    bool worth_keeping = st == TSR_E_CANCELLED || journal->runs || journal->dictionary_count;
    if (st == TSR_OK || !job->work.folder || worth_keeping) return st;
    journal_close(&job->journal);
    (void)work_remove(&job->work, NULL);
    return st;
}

static tsr_status finish_output(struct compressing *job) {
    tsr_status st = timed(job, assemble_staged, &job->run.seconds_assemble);
    if (st == TSR_OK) st = timed(job, verify_staged, &job->run.seconds_verify);
    if (st == TSR_OK) st = timed(job, gate_staged, &job->run.seconds_gate);
    return st == TSR_OK ? write_receipts(job) : st;
}

static tsr_status run_stages(struct compressing *job) {
    tsr_status st = timed(job, plan_and_check, &job->run.seconds_plan);
    if (st == TSR_OK && !job->work.folder) st = open_work(job);
    if (st == TSR_OK) st = timed(job, encode, &job->run.seconds_encode);
    if (st == TSR_OK) st = job->options->shard.count ? stage_shard(job) : finish_output(job);
    if (st == TSR_OK) st = publish(job);
    if (st == TSR_E_CANCELLED && job->work.folder) {
        tsr_fail(job->err, st, "%s: interrupted, the same command goes on from here", job->output);
    }
    return st;
}

static void close_all(struct compressing *job) {
    layout_close(&job->layout);
    parts_close(&job->parts);
    journal_close(&job->journal);
    work_close(&job->work);
    plan_close(&job->plan);
    checkpoint_close(&job->checkpoint);
    store_close(&job->store);
    statistics_close(&job->statistics);
    arena_clear(&job->arena);
    json_decref(job->receipt);
    json_decref(job->gates);
    json_decref(job->probes);
}

/* ---- the record ---- */

/* What a scheduler wants to know of a run without opening its output. */
static json_t *recorded_facts(const struct compressing *job) {
    struct members facts = members_object();
    json_t *value = NULL, *run = NULL;
    members_text(&facts, "output", job->output);
    if (job->receipt && json_object_get(job->receipt, "totals")) {
        members_set(&facts, "totals", json_incref(json_object_get(job->receipt, "totals")));
        members_set(&facts, "gates", json_incref(json_object_get(job->receipt, "gates")));
    } else if (job->gates) {
        members_set(&facts, "gates", json_incref(job->gates));
    }
    if (receipt_run(&job->run, &run, NULL) == TSR_OK) members_set(&facts, "run", run);
    return members_finish(&facts, &value, NULL) == TSR_OK ? value : NULL;
}

static void keep_record(struct compressing *job, tsr_status st) {
    tsr_error why = {0};
    if (!job->options->record) return;
    json_t *facts = recorded_facts(job);
    if (st != TSR_OK) {
        record_failure(job->options->record, st, job->err ? job->err->message : "", facts);
    } else if (record_write(job->options->record, RECORD_DONE, job->mark, facts, &why) != TSR_OK) {
        env_log(job->env, TSR_LOG_WARNING, "the output is complete, but its record is not: %s", why.message);
    }
    json_decref(facts);
}

/* Options that exclude each other, and the name under which this run publishes. */
static tsr_status settle_options(struct compressing *job) {
    const struct job_compress_options *options = job->options;
    job->output = options->output;
    if (options->shard.count && options->merge) {
        return tsr_fail(job->err, TSR_E_CONFIG, "--shard encodes a share and --merge puts shares together: give one of them");
    }
    if (!options->shard.count) return TSR_OK;
    char *folder = shard_folder(options->output, &options->shard);
    job->output = folder ? arena_dup(&job->arena, folder, strlen(folder)) : NULL;
    mem_free(folder);
    return job->output ? TSR_OK : tsr_fail(job->err, TSR_E_NOMEM, "%s: out of memory", options->output);
}

tsr_status job_compress(const struct job_compress_options *options, const struct registry *registry,
                        const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err) {
    struct compressing job = {.options = options, .registry = registry, .paths = paths, .env = env, .err = err};
    bool finished = false;
    job.run.started = (int64_t)time(NULL);
    job.run.workers = pool_workers(env->pool);
    tsr_status st = settle_options(&job);
    if (st == TSR_OK) st = open_input(&job);
    if (st == TSR_OK) st = finish_earlier(&job, &finished);
    if (st == TSR_OK && !finished && options->store) st = store_open(options->store, &job.store, err);
    if (st == TSR_OK && !finished) st = run_stages(&job);
    keep_record(&job, st);
    if (st == TSR_OK) {
        *result = job.receipt;
        job.receipt = NULL;
    } else if (st == TSR_E_GATE && job.gates) {
        *result = json_incref(job.gates);
    }
    close_all(&job);
    return st;
}
