/* SPDX-License-Identifier: Apache-2.0
 *
 * Declared parameters do what they say: every extreme value works or is refused as a config error, hints are advice,
 * and a parameter called "bits" buys quality. */
#include <base/alloc.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "conformance_list.h"
#include "param_text.h"

#define ROWS 37
#define COLUMNS 300

/* A round trip with one parameter given. A codec may refuse a value by TSR_E_CONFIG, or by can_encode. */
static tsr_status try_value(struct rig *rig, const tsr_param *param, const char *text, uint64_t *tried,
                            tsr_error *err) {
    tsr_error seen = {0};
    tsr_status st = rig_bind(rig, param->name, text, err);
    if (st != TSR_OK) return st;
    st = rig_round_trip(rig, subject_dtype(rig->codec), ROWS, COLUMNS, FILL_WEIGHTS, tried, &seen);
    if (st == TSR_OK || st == TSR_E_CONFIG) return TSR_OK;
    return tsr_fail(err, st, "%s=%.40s: %.180s", param->name, text, seen.message);
}

static tsr_status try_ends(struct rig *rig, const tsr_param *param, uint64_t *tried, tsr_error *err) {
    char low[PARAM_REAL_TEXT], high[PARAM_REAL_TEXT], list[2 * PARAM_REAL_TEXT];
    bool is_list = param->type == TSR_PARAM_INTS;
    bool whole = param->type != TSR_PARAM_REAL;
    snprintf(low, sizeof low, whole ? "%.0f" : "%.17g", param->minimum);
    snprintf(high, sizeof high, whole ? "%.0f" : "%.17g", param->maximum);
    snprintf(list, sizeof list, "[%s]", low);
    tsr_status st = try_value(rig, param, is_list ? list : low, tried, err);
    snprintf(list, sizeof list, "[%s]", high);
    return st == TSR_OK ? try_value(rig, param, is_list ? list : high, tried, err) : st;
}

static tsr_status try_param(struct rig *rig, const tsr_param *param, uint64_t *tried, tsr_error *err) {
    tsr_status st = TSR_OK;
    if (param->type == TSR_PARAM_BOOL) {
        st = try_value(rig, param, "false", tried, err);
        return st == TSR_OK ? try_value(rig, param, "true", tried, err) : st;
    }
    if (param->type != TSR_PARAM_CHOICE) return try_ends(rig, param, tried, err);
    for (uint64_t i = 0; param->choices[i] && st == TSR_OK; i++)
        st = try_value(rig, param, param->choices[i], tried, err);
    return st;
}

static tsr_status declared_values(struct rig *rig, tsr_error *err) {
    uint64_t tried = 0;
    for (uint64_t i = 0; i < rig->codec->param_count; i++) {
        tsr_status st = try_param(rig, param_at(rig->codec, i), &tried, err);
        if (st != TSR_OK) return st;
    }
    return conformance_tried(tried, "the codec declares no parameters", err);
}

static tsr_status hints(struct rig *rig, tsr_error *err) {
    float row_weight[ROWS], column_weight[COLUMNS];
    struct rng rng = {rig->seed};
    uint64_t tried = 0;
    for (int i = 0; i < ROWS; i++) row_weight[i] = (float)(0.01 + 10 * rng_real(&rng));
    for (int i = 0; i < COLUMNS; i++) column_weight[i] = (float)(0.01 + 10 * rng_real(&rng));
    const tsr_encode_hints all[] = {{sizeof *all, NULL, NULL},
                                    {sizeof *all, row_weight, NULL},
                                    {sizeof *all, NULL, column_weight},
                                    {sizeof *all, row_weight, column_weight}};
    for (int i = 0; i < 4; i++) {
        rig->hints = &all[i];
        tsr_status st = rig_round_trip(rig, subject_dtype(rig->codec), ROWS, COLUMNS, FILL_WEIGHTS, &tried, err);
        rig->hints = NULL;
        if (st != TSR_OK) return st;
    }
    return conformance_tried(tried, "the codec refuses the tensor", err);
}

/* ---- rate and distortion ---- */

struct outcome {
    double error;
    uint64_t bytes;
};

static tsr_status measure(struct rig *rig, const tsr_param *bits, double value, struct outcome *outcome,
                          tsr_error *err) {
    struct subject subject;
    struct stored stored = {0};
    char text[PARAM_REAL_TEXT];
    uint8_t *decoded = NULL;
    tsr_status st = subject_make(&subject, subject_dtype(rig->codec), 64, 1024, FILL_WEIGHTS, rig->seed, err);
    if (st == TSR_OK) st = rig_accepts(rig, &subject, err);
    if (st == TSR_OK) st = rig_bind(rig, bits->name, param_real_text(value, text), err);
    if (st != TSR_OK) goto done;
    decoded = mem_alloc_aligned(subject.tensor.bytes);
    st = decoded ? rig_encode(rig, &subject, &stored, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    if (st == TSR_OK) st = rig_decode(rig, &subject, &stored, decoded, err);
    if (st == TSR_OK) st = rig_compare(rig, &subject, &stored, decoded, &outcome->error, err);
    outcome->bytes = stored.bytes.length + stored.header.length;
done:
    stored_clear(&stored);
    subject_clear(&subject);
    mem_free(decoded);
    return st;
}

static const tsr_param *find_bits(const tsr_codec *codec) {
    for (uint64_t i = 0; i < codec->param_count; i++) {
        const tsr_param *param = param_at(codec, i);
        bool number = param->type == TSR_PARAM_INT || param->type == TSR_PARAM_REAL;
        if (number && !strcmp(param->name, "bits")) return param;
    }
    return NULL;
}

static tsr_status rate_buys_quality(struct rig *rig, tsr_error *err) {
    struct outcome low = {0}, high = {0};
    const tsr_param *bits = find_bits(rig->codec);
    bool lossy = rig->codec->flags & TSR_CODEC_RECONSTRUCT;
    double less = bits ? fmax(bits->minimum, 3) : 0, more = bits ? fmin(bits->maximum, 6) : 0;
    if (!bits || !lossy || less >= more) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "no reconstruction with a parameter \"bits\" that spans 3..6");
    }
    tsr_status st = measure(rig, bits, less, &low, err);
    if (st == TSR_OK) st = measure(rig, bits, more, &high, err);
    if (st != TSR_OK) return st;
    if (high.error < low.error && high.bytes > low.bytes) return TSR_OK;
    return tsr_fail(err, TSR_E_GATE, "bits=%g: error %g in %llu bytes; bits=%g: error %g in %llu bytes", less,
                    low.error, (unsigned long long)low.bytes, more, high.error, (unsigned long long)high.bytes);
}

const struct conformance_property CONFORMANCE_PARAMETERS[] = {
    {"declared_values", "each end of each parameter's range and each choice works or is refused as a config error",
     declared_values},
    {"hints", "rows and columns of any weight come back", hints},
    {"rate_buys_quality", "more bits give a smaller error in more bytes", rate_buys_quality},
    {NULL, NULL, NULL},
};
