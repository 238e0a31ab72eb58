/* SPDX-License-Identifier: Apache-2.0
 *
 * The digests of planning are those that the statistics' digest of the model is made of, so nothing is read again. */
#include "statistics.h"

#include <base/alloc.h>
#include <numeric/factor.h>
#include <reading/model_digest.h>

static tsr_status check_model(void *ctx, const struct plan *plan, tsr_error *err) {
    const struct statistics *statistics = ctx;
    const struct digest *theirs = &statistics->calibration.model;
    struct digest_line *lines = mem_alloc_array(plan->count, sizeof *lines);
    struct digest digest;
    char ours_hex[DIGEST_HEX], theirs_hex[DIGEST_HEX];
    if (!lines) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the digest of a model");
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct plan_entry *entry = &plan->entries[i];
        const struct safetensors_entry *source = entry->source->entry;
        lines[i] =
            (struct digest_line){entry->source->name, source->dtype_name, source->shape, source->rank, entry->digest};
    }
    tsr_status st = model_digest_join(lines, plan->count, &digest, err);
    mem_free(lines);
    if (st != TSR_OK || digest_equal(&digest, theirs)) return st;
    return tsr_fail(err, TSR_E_CONFIG, "%s: statistics of another model (digest %s, this one has %s)",
                    statistics->calibration.st.file.path, digest_to_hex(theirs, theirs_hex),
                    digest_to_hex(&digest, ours_hex));
}

static tsr_status read_moments(void *ctx, const char *name, uint64_t columns, float *moments, bool *found,
                               tsr_error *err) {
    const struct statistics *statistics = ctx;
    struct calibration_input input;
    tsr_status st = calibrate_find(&statistics->calibration, name, columns, &input, found, err);
    return st == TSR_OK && *found ? calibrate_read_diagonal(&statistics->calibration, &input, moments, err) : st;
}

/* Outputs of an expert count as often as tokens pass it. */
static tsr_status read_fisher(void *ctx, const char *name, uint64_t rows, float *fisher, bool *found, tsr_error *err) {
    const struct statistics *statistics = ctx;
    double share = 1;
    tsr_status st = calibrate_read_fisher(&statistics->calibration, name, STATS_FISHER, rows, fisher, found, err);
    if (st == TSR_OK && *found) st = calibrate_fisher_share(&statistics->calibration, name, &share, err);
    for (uint64_t r = 0; st == TSR_OK && *found && r < rows; r++) fisher[r] = (float)((double)fisher[r] * share);
    return st;
}

/* A row that the text never looked up may be in another: each counts half a look-up more, worth as much as the mean one,
 * and the sum stays (the estimate of Krichevsky and Trofimov). */
static tsr_status read_lookup(void *ctx, const char *name, uint64_t rows, float *fisher, bool *found, tsr_error *err) {
    const struct statistics *statistics = ctx;
    const double tokens = (double)statistics->calibration.fisher_tokens;
    double sum = 0;
    tsr_status st = calibrate_read_fisher(&statistics->calibration, name, STATS_LOOKUP, rows, fisher, found, err);
    for (uint64_t r = 0; st == TSR_OK && *found && r < rows; r++) sum += (double)fisher[r];
    const double share = tokens / (tokens + 0.5 * (double)rows);
    for (uint64_t r = 0; st == TSR_OK && *found && r < rows; r++) {
        fisher[r] = (float)(((double)fisher[r] + 0.5 * sum / tokens) * share);
    }
    return st;
}

static tsr_status digest_moment(void *ctx, const char *name, uint64_t columns, struct digest *digest, bool *found,
                                tsr_error *err) {
    const struct statistics *statistics = ctx;
    struct calibration_input input;
    tsr_status st = calibrate_find(&statistics->calibration, name, columns, &input, found, err);
    *found = *found && input.moment;
    return st == TSR_OK && *found ? calibrate_digest_moment(&statistics->calibration, &input, digest, err) : st;
}

static tsr_status read_moment(void *ctx, const char *name, uint64_t columns, float *moment, tsr_error *err) {
    const struct statistics *statistics = ctx;
    struct calibration_input input;
    bool found = false;
    tsr_status st = calibrate_find(&statistics->calibration, name, columns, &input, &found, err);
    return st == TSR_OK ? calibrate_read_moment(&statistics->calibration, &input, moment, err) : st;
}

tsr_status statistics_open(const char *path, struct statistics *statistics, tsr_error *err) {
    statistics->operations = (struct plan_statistics){.ctx = statistics,
                                                      .check = check_model,
                                                      .moments = read_moments,
                                                      .fisher = read_fisher,
                                                      .lookup = read_lookup,
                                                      .moment_digest = digest_moment,
                                                      .moment = read_moment};
    tsr_status st = calibrate_open(path, NULL, &statistics->calibration, err);
    statistics->open = st == TSR_OK;
    return st;
}

void statistics_close(struct statistics *statistics) {
    calibrate_close(&statistics->calibration);
    statistics->open = false;
}

void statistics_tell(const struct statistics *statistics, const struct plan *plan, struct members *receipt) {
    struct members told = members_object();
    uint64_t tensors = 0, fed_back = 0, weighted = 0;
    for (uint64_t i = 0; i < plan->count; i++) {
        tensors += plan->entries[i].column_weight != NULL;
        fed_back += plan->entries[i].moment != NULL;
        weighted += plan->entries[i].row_weight != NULL;
    }
    if (!statistics->open) {
        members_set(receipt, "statistics", json_null());
        json_decref(told.value);
        return;
    }
    members_digest(&told, "text", &statistics->calibration.text);
    members_count(&told, "tokens", statistics->calibration.tokens);
    members_count(&told, "tensors", tensors);
    members_count(&told, "feedback", fed_back);
    members_count(&told, "row_weights", weighted);
    members_text(&told, "propagated", safetensors_metadata(&statistics->calibration.st, STATS_KEY_PROPAGATED));
    members_text(&told, "fisher_missing", safetensors_metadata(&statistics->calibration.st, STATS_KEY_FISHER_MISSING));
    if (fed_back) {
        members_text(&told, "blas", factor_blas());
    } else {
        members_set(&told, "blas", json_null());
    }
    members_nest(receipt, "statistics", &told);
}
