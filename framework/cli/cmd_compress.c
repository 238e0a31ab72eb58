/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera compress: plan, encode, verify from disk, publish. */
#include "commands.h"
#include "session.h"
#include "view.h"

static void show(struct output *out, const json_t *receipt) {
    view_totals(out, receipt);
    view_gates(out, json_object_get(json_object_get(receipt, "gates"), "results"));
}

static void show_shard(struct output *out, const json_t *manifest) {
    const json_t *parts = json_object_get(manifest, "parts");
    uint64_t source = 0, bytes = 0;
    char from[32], to[32];
    for (size_t i = 0; i < json_array_size(parts); i++) {
        source += field_count(json_array_get(parts, i), "source_bytes");
        bytes += field_count(json_array_get(parts, i), "bytes");
    }
    str_add_format(&out->text, "shard %llu/%llu: %zu of %llu tensors, %s from %s\n",
                   (unsigned long long)field_count(manifest, "shard"), (unsigned long long)field_count(manifest, "of"),
                   json_array_size(parts), (unsigned long long)field_count(manifest, "tensors"),
                   text_bytes(bytes, to, sizeof to), text_bytes(source, from, sizeof from));
}

/* Nothing was published: what the gates found is the result. */
static void show_verdict(struct output *out, const json_t *result) {
    view_gates(out, json_object_get(result, "gates"));
}

static tsr_status view_failed(struct session *session, const json_t *result, tsr_status status, tsr_error *err) {
    tsr_error view_err = {0};
    session->hint = "nothing was published; the work is kept: mend the config and run again, or --publish-anyway";
    if (view_result(session, result, show_verdict, &view_err) != TSR_OK && err) *err = view_err;
    return status;
}

static tsr_status read_cuts(const struct session *session, tsr_compress_options *options, tsr_error *err) {
    const char *size = session_value(session, OPT_MAX_SHARD_SIZE);
    const char *shard = session_value(session, OPT_SHARD), *merge = session_value(session, OPT_MERGE);
    tsr_status status = size ? arguments_size(size, "--max-shard-size", &options->max_shard_bytes, err) : TSR_OK;
    struct shard share = {0};
    if (!status && shard) status = shard_parse(shard, &share, err);
    options->shard = share.index;
    options->shard_count = share.count;
    if (!status && merge) status = arguments_count(merge, "--merge", SHARDS_MAX, &options->merge, err);
    return status;
}

static tsr_status compress_run(struct session *session, tsr_error *err) {
    json_t *receipt = NULL;
    char *json = NULL;
    tsr_compress_options options = {
        .struct_size = sizeof options,
        .model = session->arguments.operands[0],
        .config = session_value(session, OPT_CONFIG),
        .output = session_value(session, OPT_OUTPUT),
        .force = session_has(session, OPT_FORCE),
        .restart = session_has(session, OPT_RESTART),
        .publish_anyway = session_has(session, OPT_PUBLISH_ANYWAY),
        .gate_program = "/proc/self/exe",
        .stats = session_value(session, OPT_STATS),
        .store = session_value(session, OPT_STORE),
        .record = session_value(session, OPT_RECORD),
    };
    const char *target = session_value(session, OPT_TARGET_KLD);
    options.probe_text = session_value(session, OPT_PROBE_TEXT);
    tsr_status status = read_cuts(session, &options, err);
    if (!status && target) status = arguments_real(target, "--target-kld", 1e-6, 100, &options.target_kld, err);
    if (!status) status = session_open(session, err);
    if (!status) status = tsr_compress(session->library, &options, &json, err);
    status = session_result(status, json, &receipt, err);
    if (!status) status = view_summary(session, receipt, options.shard_count ? show_shard : show, err);
    if (status == TSR_E_GATE && receipt) status = view_failed(session, receipt, status, err);
    if (status == TSR_E_CANCELLED) session->hint = "what was done is kept; the same command resumes";
    json_decref(receipt);
    return status;
}

const struct command COMMAND_COMPRESS = {
    .name = "compress",
    .operands = "MODEL",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "compress a checkpoint into a folder",
    .doc = "Plans, encodes, verifies what was written from disk, and publishes it by a rename. Without --config "
           "everything is "
           "lossless. An interrupted run is resumed by the same command. The output is itself a checkpoint in the "
           "Hugging Face "
           "layout, with a receipt in tessera.json.",
    .options = {OPT_OUTPUT, OPT_CONFIG, OPT_FORCE, OPT_RESTART, OPT_MAX_SHARD_SIZE, OPT_PUBLISH_ANYWAY, OPT_SHARD,
                OPT_MERGE, OPT_STATS, OPT_TARGET_KLD, OPT_PROBE_TEXT, OPT_STORE, OPT_RECORD, OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH, OPT_ROLES_PATH, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .required = {OPT_OUTPUT, OPT_NONE},
    .examples = {{"tessera compress ./my-model -o my-model.tsr", "lossless"},
                 {"tessera compress ./my-model -c job.yaml -o small -j 4", "a config of your own on four workers"},
                 {"tessera compress ./my-model -c balanced -o out --stats s --target-kld 0.02 --probe-text t.txt",
                  "the smallest output that keeps to a divergence, as measured"},
                 {"tessera compress ./my-model -o out --shard 2/4", "the second of four shares, on any machine"},
                 {"tessera compress ./my-model -o out --merge 4", "put the four together: the bytes of one process"}},
    .run = compress_run,
};
