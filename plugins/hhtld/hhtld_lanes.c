/* SPDX-License-Identifier: Apache-2.0
 *
 * Principal directions by orthogonal iteration (Bauer 1957) on the sample's residuals, which are divided by the largest
 * norm so that nothing overflows. */
#include "hhtld_lanes.h"

#include <math.h>

enum {
    ITERATIONS = 8,
    SLICES = 32,       /* sums are made in so many parts, whatever the number of workers */
    SAMPLE_MAX = 8192
};

#define RANGE_MARGIN 1.25 /* of the largest coefficient in the sample; rows beyond have no bound by lanes */
#define SLACK_STEPS 1 /* half of it is rounding; stored lanes are not quite orthogonal, which takes some of the rest */

struct lanes {
    const struct hhtld_lanes_job *job;
    uint64_t count;   /* rows used */
    float *rests;     /* [count][columns] */
    float *basis;     /* [lane_count][columns] */
    double *products; /* [SLICES][lane_count][columns], then the sum in the first slice */
    double largest;   /* norm that the rests were divided by */
};

static tsr_status lanes_init(struct lanes *lanes, tsr_error *err) {
    const struct hhtld_lanes_job *job = lanes->job;
    lanes->count = job->count < SAMPLE_MAX ? job->count : SAMPLE_MAX;
    lanes->rests = job->host->alloc(job->host, lanes->count * job->columns * sizeof *lanes->rests);
    lanes->basis = job->host->alloc(job->host, job->lane_count * job->columns * sizeof *lanes->basis);
    lanes->products =
        job->host->alloc(job->host, SLICES * job->lane_count * job->columns * sizeof *lanes->products);
    if (lanes->rests && lanes->basis && lanes->products) return TSR_OK;
    return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory to train %llu lanes", (unsigned long long)job->lane_count);
}

static void lanes_clear(struct lanes *lanes) {
    const tsr_host *host = lanes->job->host;
    host->free(host, lanes->rests);
    host->free(host, lanes->basis);
    host->free(host, lanes->products);
}

/* What the leaf leaves over of each row. */
static void find_rests(struct lanes *lanes) {
    const struct hhtld_lanes_job *job = lanes->job;
    const int8_t *codes = (const int8_t *)(job->leaf_bytes + 8 * job->leaf_count);
    for (uint64_t i = 0; i < job->count; i++) lanes->largest = fmax(lanes->largest, job->norms[i]);
    double inverse = lanes->largest > 0 ? 1 / lanes->largest : 0;
    for (uint64_t i = 0; i < lanes->count; i++) {
        uint64_t row = i * job->count / lanes->count, leaf = job->leaf[row];
        const float *x = job->units + row * job->columns;
        const int8_t *code = codes + leaf * job->columns;
        double sign = job->products->dot_codes(code, x, job->columns) < 0 ? -1 : 1;
        double gain = sign * (double)hhtld_get_f32(job->leaf_bytes + 8 * leaf) *
                      (double)hhtld_get_f32(job->leaf_bytes + 8 * leaf + 4);
        for (uint64_t c = 0; c < job->columns; c++) {
            lanes->rests[i * job->columns + c] =
                (float)((job->norms[row] * (double)x[c] - gain * (double)code[c]) * inverse);
        }
    }
}

/* Gram and Schmidt; a direction that vanishes becomes zero. */
static void make_orthonormal(struct lanes *lanes) {
    const struct hhtld_lanes_job *job = lanes->job;
    for (uint64_t k = 0; k < job->lane_count; k++) {
        double *v = lanes->products + k * job->columns, energy = 0, before = 0;
        for (uint64_t c = 0; c < job->columns; c++) before += v[c] * v[c];
        for (uint64_t j = 0; j < 2 * k; j++) { /* twice is enough (Kahan, Parlett) */
            const float *u = lanes->basis + j % k * job->columns;
            double dot = 0;
            for (uint64_t c = 0; c < job->columns; c++) dot += v[c] * (double)u[c];
            for (uint64_t c = 0; c < job->columns; c++) v[c] -= dot * (double)u[c];
        }
        for (uint64_t c = 0; c < job->columns; c++) energy += v[c] * v[c];
        double inverse = energy > before * 1e-12 && energy > 0 ? 1 / sqrt(energy) : 0;
        for (uint64_t c = 0; c < job->columns; c++) lanes->basis[k * job->columns + c] = (float)(v[c] * inverse);
    }
}

static tsr_status multiply_slice(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct lanes *lanes = ctx;
    const struct hhtld_lanes_job *job = lanes->job;
    double *sums = lanes->products + index * job->lane_count * job->columns;
    (void)worker;
    if (job->host->cancelled(job->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    memset(sums, 0, job->lane_count * job->columns * sizeof *sums);
    for (uint64_t i = index * lanes->count / SLICES; i < (index + 1) * lanes->count / SLICES; i++) {
        const float *x = lanes->rests + i * job->columns;
        for (uint64_t k = 0; k < job->lane_count; k++) {
            double dot = (double)job->products->dot(x, lanes->basis + k * job->columns, job->columns);
            double *sum = sums + k * job->columns;
            for (uint64_t c = 0; c < job->columns; c++) sum[c] += dot * (double)x[c];
        }
    }
    return TSR_OK;
}

/* products = (sum of x x^T) basis */
static tsr_status multiply(struct lanes *lanes, tsr_error *err) {
    const struct hhtld_lanes_job *job = lanes->job;
    const uint64_t size = job->lane_count * job->columns;
    tsr_status st = job->host->parallel_for(job->host, SLICES, multiply_slice, lanes, err);
    for (uint64_t s = 1; s < SLICES && st == TSR_OK; s++) {
        for (uint64_t i = 0; i < size; i++) lanes->products[i] += lanes->products[s * size + i];
    }
    return st;
}

static void start(struct lanes *lanes) {
    const struct hhtld_lanes_job *job = lanes->job;
    uint64_t state = 1;
    for (uint64_t i = 0; i < job->lane_count * job->columns; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        lanes->products[i] = (double)(int64_t)state * 0x1p-63;
    }
}

static float bounded(double value, double most) {
    return (float)(value < most ? value : most);
}

/* Scale, step and slack of each lane. Coefficients are found for stored lanes, so step * scale is the whole length. */
static void write_lanes(const struct lanes *lanes, uint8_t *bytes) {
    const struct hhtld_lanes_job *job = lanes->job;
    int8_t *codes = (int8_t *)(bytes + 12 * job->lane_count);
    for (uint64_t k = 0; k < job->lane_count; k++, codes += job->columns) {
        const float *v = lanes->basis + k * job->columns;
        double most = 0, largest = 0;
        for (uint64_t c = 0; c < job->columns; c++) most = fmax(most, fabs((double)v[c]));
        double scale = most / 127;
        for (uint64_t c = 0; c < job->columns && scale > 0; c++) {
            double value = (double)v[c] / scale;
            codes[c] = (int8_t)(value < 0 ? value - 0.5 : value + 0.5);
        }
        if (!(scale > 0)) memset(codes, 0, job->columns);
        for (uint64_t i = 0; i < lanes->count; i++) {
            largest = fmax(largest, fabs((double)job->products->dot(lanes->rests + i * job->columns, v, job->columns)));
        }
        double step = largest * lanes->largest * RANGE_MARGIN / 127;
        step = scale > 0 ? (double)bounded(step, (double)HHTLD_LANE_PRODUCT_MAX / 2 / scale) : 0;
        hhtld_put_f32(bytes + 12 * k, (float)scale);
        hhtld_put_f32(bytes + 12 * k + 4, (float)step);
        hhtld_put_f32(bytes + 12 * k + 8, bounded(step * SLACK_STEPS, 0x1p126));
    }
}

tsr_status hhtld_lanes_train(const struct hhtld_lanes_job *job, uint8_t *bytes, tsr_error *err) {
    struct lanes lanes = {.job = job};
    tsr_status st = lanes_init(&lanes, err);
    if (st == TSR_OK) {
        find_rests(&lanes);
        start(&lanes);
        make_orthonormal(&lanes);
    }
    for (int i = 0; i < ITERATIONS && st == TSR_OK; i++) {
        st = multiply(&lanes, err);
        if (st == TSR_OK) make_orthonormal(&lanes);
    }
    if (st == TSR_OK) write_lanes(&lanes, bytes);
    lanes_clear(&lanes);
    return st;
}
