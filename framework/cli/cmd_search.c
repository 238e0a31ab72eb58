/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera search: rows of a stored tensor, found through its index. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <pipeline/job_search.h>

#define QUERIES_SHOWN 10
#define HITS_SHOWN 10
#define PAIRS_SHOWN 20

static void show_share(struct output *out, const json_t *result, const char *name, const char *what) {
    double share = field_real(json_object_get(result, "shares"), name);
    str_add_format(&out->text, "%-22s%.4f %% %s\n", name, 100 * share, what);
}

static void show_hits(struct output *out, const json_t *result) {
    size_t i, j;
    json_t *hits, *hit;
    json_array_foreach(json_object_get(result, "hits"), i, hits) {
        if (i == QUERIES_SHOWN) break;
        str_add_format(&out->text, "query %-16zu", i);
        json_array_foreach(hits, j, hit) {
            if (j == HITS_SHOWN) break;
            str_add_format(&out->text, "%s%llu", j ? "  " : "", (unsigned long long)field_count(hit, "row"));
            if (json_is_real(json_object_get(hit, "score"))) {
                str_add_format(&out->text, " (%.6g)", field_real(hit, "score"));
            }
        }
        str_add_text(&out->text, "\n");
    }
}

static void show_search(struct output *out, const json_t *result) {
    const json_t *time = json_object_get(result, "seconds");
    uint64_t queries = field_count(result, "queries");
    show_hits(out, result);
    view_pair_count(out, "queries", queries);
    show_share(out, result, "skip", "of the rows could not win");
    show_share(out, result, "attend", "were decided by bounds alone");
    show_share(out, result, "compose", "were ruled out by a finer bound");
    show_share(out, result, "escalate", "were read");
    str_add_format(&out->text, "%-22s%.6f\n", "recall", field_real(result, "recall"));
    str_add_format(&out->text, "%-22s%.8f\n", "skip accuracy", field_real(result, "skip_accuracy"));
    str_add_format(&out->text, "%-22s%.3f ms, dense %.3f ms, %.2fx as fast\n", "time a query",
                   1e3 * field_real(time, "index") / (double)(queries ? queries : 1),
                   1e3 * field_real(time, "dense") / (double)(queries ? queries : 1), field_real(time, "speedup"));
}

static void show_duplicates(struct output *out, const json_t *duplicates) {
    size_t i;
    json_t *pair;
    json_array_foreach(json_object_get(duplicates, "pairs"), i, pair) {
        if (i == PAIRS_SHOWN) break;
        str_add_format(&out->text, "rows %llu and %llu: cosine %.6f\n", (unsigned long long)field_count(pair, "a"),
                       (unsigned long long)field_count(pair, "b"), field_real(pair, "cosine"));
    }
    view_pair_count(out, "near-duplicates", field_count(duplicates, "count"));
}

static void show(struct output *out, const json_t *result) {
    const json_t *duplicates = json_object_get(result, "duplicates");
    view_pair(out, "tensor", field_text(result, "tensor"));
    str_add_format(&out->text, "%-22s%llu of %llu columns\n", "rows", (unsigned long long)field_count(result, "rows"),
                   (unsigned long long)field_count(result, "columns"));
    if (field_count(result, "index_bytes")) view_pair_bytes(out, "index", field_count(result, "index_bytes"));
    if (json_object_get(result, "queries")) show_search(out, result);
    if (duplicates) show_duplicates(out, duplicates);
}

static tsr_status read_options(const struct session *session, struct job_search_options *options, tsr_error *err) {
    const char *top = session_value(session, OPT_TOP), *threshold = session_value(session, OPT_THRESHOLD);
    const char *duplicates = session_value(session, OPT_DUPLICATES);
    tsr_status st = top ? arguments_count(top, "--top", SEARCH_TOP_MAX, &options->top, err) : TSR_OK;
    if (!st && threshold) st = arguments_real(threshold, "--threshold", 0, 1, &options->threshold, err);
    if (!st && duplicates) st = arguments_real(duplicates, "--duplicates", 0.01, 1, &options->duplicates, err);
    if (st || options->query || duplicates) return st;
    return tsr_fail(err, TSR_E_CONFIG, "--query FILE or --duplicates COS is needed");
}

static tsr_status search_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    struct job_search_options options = {.output = session->arguments.operands[0],
                                         .tensor = session->arguments.operands[1],
                                         .query = session_value(session, OPT_QUERY),
                                         .reference = session_value(session, OPT_REFERENCE),
                                         .top = 1,
                                         .nearest = session_has(session, OPT_NEAREST),
                                         .rows_only = session_has(session, OPT_ROWS_ONLY)};
    tsr_status status = read_options(session, &options, err);
    if (!status) status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    if (!status) status = job_search(&options, session->registry, &session->env, &result, err);
    /* A search that is not what it must be is a result too. */
    if (result) {
        tsr_error view_err = {0};
        tsr_status viewed = view_result(session, result, show, &view_err);
        if (viewed && !status) {
            status = viewed;
            if (err) *err = view_err;
        }
    }
    json_decref(result);
    return status;
}

const struct command COMMAND_SEARCH = {
    .name = "search",
    .operands = "OUT TENSOR",
    .operand_min = 2,
    .operand_max = 2,
    .summary = "find rows of a tensor through its search index",
    .doc = "Finds the rows of TENSOR with the largest product with each query (or the nearest ones) through the index that "
           "a rule's index: stored beside it, and does the dense search too: hits, shares of rows by what was done with "
           "them, recall and times come from the same run. A search is exact unless --threshold says otherwise; the exit "
           "code is 3 when it is not. Rows are read as OUT decodes them.",
    .options = {OPT_QUERY, OPT_TOP, OPT_NEAREST, OPT_THRESHOLD, OPT_ROWS_ONLY, OPT_DUPLICATES, OPT_REFERENCE, OPT_JOBS,
                OPT_MEMORY, OPT_PLUGIN_PATH, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera search small lm_head.weight --query hidden.safetensors --top 10", "the ten likeliest tokens"},
                 {"tessera search small model.embed_tokens.weight --query q.safetensors:x --nearest", "nearest embeddings"},
                 {"tessera search small model.embed_tokens.weight --duplicates 0.95", "rows that say the same"}},
    .run = search_run,
};
