/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs for the outside: options become a job's, its result becomes text. */
#include "library.h"

#include <base/alloc.h>
#include <format/json.h>

/* A result also comes with a verdict that failed; memory that is short then does not hide the verdict. */
static tsr_status give(json_t *result, char **json, tsr_status status, tsr_error *err) {
    if (json) *json = NULL;
    if (result && json) {
        *json = json_to_text(result, false);
        if (!*json && status == TSR_OK) status = tsr_fail(err, TSR_E_NOMEM, "out of memory for the result");
    }
    json_decref(result);
    return status;
}

tsr_status tsr_inspect(tsr_library *library, const char *model, char **json, tsr_error *err) {
    json_t *result = NULL;
    struct library_call call = library_begin(library);
    tsr_status st = job_inspect(model, library_paths(library), library_env(library), &result, err);
    return library_end(&call, give(result, json, st, err));
}

tsr_status tsr_verify(tsr_library *library, const char *path, char **json, tsr_error *err) {
    json_t *result = NULL;
    const struct registry *registry;
    struct library_call call = library_begin(library);
    tsr_status st = library_registry(library, &registry, err);
    if (st == TSR_OK) st = job_verify(path, registry, library_env(library), &result, err);
    return library_end(&call, give(result, json, st, err));
}

static struct job_compress_options job_of(const tsr_library *library, const tsr_compress_options *options) {
    return (struct job_compress_options){.model = options->model,
                                         .config = options->config,
                                         .output = options->output,
                                         .max_shard_bytes = options->max_shard_bytes,
                                         .force = options->force != 0,
                                         .restart = options->restart != 0,
                                         .publish_anyway = options->publish_anyway != 0,
                                         .gate_program = options->gate_program ? options->gate_program
                                                                               : library_program(library),
                                         .plugin_path = library_plugin_path(library),
                                         .stats = options->stats,
                                         .store = options->store,
                                         .record = options->record,
                                         .shard = {options->shard, options->shard_count},
                                         .merge = options->merge,
                                         .probe_text = options->probe_text,
                                         .target_kld = options->target_kld};
}

static tsr_status check_options(const tsr_compress_options *options, tsr_error *err) {
    if (!options->model || !options->output) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tsr_compress_options: needs model and output");
    }
    if (!(options->target_kld >= 0 && options->target_kld <= 100)) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tsr_compress_options: target_kld is %g, expected 0..100", options->target_kld);
    }
    bool is_share = options->shard >= 1 && options->shard <= options->shard_count && options->shard_count <= SHARDS_MAX;
    if (options->merge <= SHARDS_MAX && (is_share || (!options->shard && !options->shard_count))) return TSR_OK;
    return tsr_fail(err, TSR_E_ARGUMENT, "tsr_compress_options: share %llu of %llu, merge %llu, expected at most %d",
                    (unsigned long long)options->shard, (unsigned long long)options->shard_count,
                    (unsigned long long)options->merge, SHARDS_MAX);
}

tsr_status tsr_compress(tsr_library *library, const tsr_compress_options *options, char **json, tsr_error *err) {
    tsr_compress_options ours;
    const struct registry *registry;
    json_t *result = NULL;
    if (json) *json = NULL;
    tsr_status st = library_take(&ours, sizeof ours, options, "tsr_compress_options", err);
    if (st == TSR_OK) st = check_options(&ours, err);
    if (st != TSR_OK) return st;
    struct library_call call = library_begin(library);
    struct job_compress_options job = job_of(library, &ours);
    st = library_registry(library, &registry, err);
    if (st == TSR_OK) st = job_compress(&job, registry, library_paths(library), library_env(library), &result, err);
    return library_end(&call, give(result, json, st, err));
}

tsr_status tsr_decompress(tsr_library *library, const tsr_decompress_options *options, char **json, tsr_error *err) {
    tsr_decompress_options ours;
    const struct registry *registry;
    json_t *result = NULL;
    if (json) *json = NULL;
    tsr_status st = library_take(&ours, sizeof ours, options, "tsr_decompress_options", err);
    if (st != TSR_OK) return st;
    if (!ours.path || !ours.destination) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tsr_decompress_options: needs path and destination");
    }
    struct job_decompress_options job = {.output = ours.path,
                                         .destination = ours.destination,
                                         .force = ours.force != 0,
                                         .exact = ours.exact != 0,
                                         .stage_limit = ours.stage_limit,
                                         .codec_level = ours.codec_level};
    struct library_call call = library_begin(library);
    st = library_registry(library, &registry, err);
    if (st == TSR_OK) st = job_decompress(&job, registry, library_env(library), &result, err);
    return library_end(&call, give(result, json, st, err));
}
