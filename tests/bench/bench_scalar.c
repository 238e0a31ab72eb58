/* SPDX-License-Identifier: Apache-2.0
 *
 * The scalar codec on i.i.d. Gaussian weights against the Gaussian bound and the ideal entropy-constrained uniform
 * quantiser, and on the matrices of real checkpoints.
 * usage: bench_scalar [rows [columns [FILE.safetensors ...]]]      one thread; processor time of the codec alone */
#include "../codec_harness.h"

#include <base/rng.h>
#include <format/dtype.h>
#include <format/safetensors.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

extern const tsr_plugin tsr_plugin_scalar;

enum { PARAM_COUNT = 6 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Mass and first moment of a standard Gaussian over low..high. */
static double mass(double low, double high) {
    return 0.5 * (erfc(low / sqrt(2)) - erfc(high / sqrt(2)));
}

static double moment(double low, double high) {
    return (exp(-low * low / 2) - exp(-high * high / 2)) / sqrt(8 * atan(1));
}

/* Entropy in bits and distortion of uniform thresholds (m - 1/2) * step with centroids as points. */
static void ideal_at(double step, double *bits, double *distortion) {
    double p = 2 * mass(0, step / 2);
    *bits = -p * log2(p);
    *distortion = 1; /* 1 - sum p c^2 */
    for (double low = step / 2; low < 40; low += step) {
        p = mass(low, low + step);
        if (p < 1e-30) break;
        double first = moment(low, low + step);
        *bits -= 2 * p * log2(p);
        *distortion -= 2 * first * first / p;
    }
}

static double ideal_sqnr(double bits) {
    double low = 1e-4, high = 30, rate, distortion = 1;
    for (int i = 0; i < 200; i++) {
        double step = sqrt(low * high);
        ideal_at(step, &rate, &distortion);
        if (rate > bits)
            low = step;
        else
            high = step;
    }
    return -10 * log10(distortion);
}

struct result {
    double bits, step_bits, distortion;
    double encode_seconds, decode_seconds;
};

/* Bytes of the steps of all tiles: a varint behind three bytes, with one class. */
static uint64_t step_bytes(const struct harness_payload *payload) {
    uint64_t at = 0, sum = 0;
    for (uint64_t i = 0; i < payload->grid.count; i++) {
        const uint8_t *bytes = payload->bytes + at + 3;
        for (unsigned shift = 0;; shift += 7, bytes++) {
            sum += (uint64_t)(*bytes & 127) << shift;
            if (*bytes < 128) break;
        }
        at += payload->tile_bytes[i];
    }
    return sum;
}

static bool run(const struct harness_job *job, struct result *result) {
    struct harness_payload payload;
    const uint64_t weights = job->tensor.rows * job->tensor.columns;
    float *y = mem_alloc_aligned(weights * sizeof *y);
    tsr_error err = {0};
    double start = now(), error = 0, energy = 0;
    memset(y, 0, weights * sizeof *y); /* page faults are not the codec's */
    start = now();
    tsr_status status = harness_encode(job, &payload, &err);
    result->encode_seconds = now() - start;
    start = now();
    if (status == TSR_OK) status = harness_decode(job, &payload, y, &err);
    result->decode_seconds = now() - start;
    for (uint64_t i = 0; i < weights; i++) {
        double difference = (double)job->x[i] - (double)y[i];
        error += difference * difference;
        energy += (double)job->x[i] * (double)job->x[i];
    }
    result->bits = 8 * (double)payload.total / (double)weights;
    result->step_bits = 8 * (double)step_bytes(&payload) / (double)weights;
    result->distortion = error / energy;
    if (status != TSR_OK) fprintf(stderr, "bench_scalar: %s\n", err.message);
    harness_payload_clear(&payload);
    mem_free(y);
    return status == TSR_OK;
}

static void set_params(tsr_param_value *params, double bits, double dead_zone) {
    memset(params, 0, PARAM_COUNT * sizeof *params);
    params[0].real = bits;
    params[2].real = dead_zone;
    params[3].integer = 1;
}

static void gaussian(float *x, uint64_t count) {
    struct rng rng = {1};
    for (uint64_t i = 0; i + 1 < count; i += 2) {
        double radius = sqrt(-2 * log(1 - rng_real(&rng))), angle = 8 * atan(1) * rng_real(&rng);
        x[i] = (float)(radius * cos(angle));
        x[i + 1] = (float)(radius * sin(angle));
    }
}

static void bench_gaussian(struct harness_job *job) {
    static const double RATES[] = {0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8};
    tsr_param_value params[PARAM_COUNT];
    const double millions = (double)(job->tensor.rows * job->tensor.columns) / 1e6;
    job->params = params;
    printf(
        "Gaussian weights, %llu x %llu, one thread, processor time of the codec. Gaps in dB: to the Gaussian bound, "
        "to\n"
        "uniform thresholds with centroids and an ideal entropy coder, and to these without the bits of the steps.\n\n"
        "| bits asked | got | D | SQNR dB | to bound | to ideal | without steps | encode M/s | decode M/s |\n"
        "|---|---|---|---|---|---|---|---|---|\n",
        (unsigned long long)job->tensor.rows, (unsigned long long)job->tensor.columns);
    for (unsigned i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        struct result r;
        set_params(params, RATES[i], 0);
        if (!run(job, &r)) continue;
        double sqnr = -10 * log10(r.distortion);
        printf("| %.2f | %.4f | %.3e | %.3f | %.3f | %.3f | %.3f | %.0f | %.0f |\n", RATES[i], r.bits, r.distortion,
               sqnr, 20 * log10(2) * r.bits - sqnr, ideal_sqnr(r.bits) - sqnr, ideal_sqnr(r.bits - r.step_bits) - sqnr,
               millions / r.encode_seconds, millions / r.decode_seconds);
    }
}

/* Sums over the matrices of a file. */
struct totals {
    double weights, bits, decibels, encode_seconds, decode_seconds;
};

static void bench_tensor(struct harness_job *job, const struct safetensors *file, const struct safetensors_entry *entry,
                         struct totals *totals) {
    struct result r;
    uint64_t weights = entry->rank == 2 ? entry->shape[0] * entry->shape[1] : 0;
    if (weights == 0 || !dtype_is_float(entry->dtype)) return;
    float *x = mem_alloc_aligned(weights * sizeof *x);
    dtype_to_f32(entry->dtype, file->file.map + entry->offset, weights, x);
    job->x = x;
    job->tensor = harness_tensor(entry->shape[0], entry->shape[1], entry->dtype);
    if (run(job, &r)) {
        totals->weights += (double)weights;
        totals->bits += r.bits * (double)weights;
        totals->decibels += (20 * log10(2) * r.bits + 10 * log10(r.distortion)) * (double)weights;
        totals->encode_seconds += r.encode_seconds;
        totals->decode_seconds += r.decode_seconds;
    }
    mem_free(x);
}

static void bench_file(struct harness_job *job, const char *path) {
    static const double SETTINGS[][2] = {{1, 0}, {1, 0.1},  {2, 0}, {2, 0.05}, {2, 0.1},
                                         {3, 0}, {3, 0.05}, {4, 0}, {6, 0}};
    struct safetensors file = {0};
    tsr_param_value params[PARAM_COUNT];
    tsr_error err = {0};
    tsr_status status = safetensors_open(path, &file, &err);
    if (status == TSR_OK) status = fs_map(&file.file, &err);
    if (status != TSR_OK) fprintf(stderr, "bench_scalar: %s\n", err.message);
    job->params = params;
    printf("\nMatrices of %s\n\n| bits asked | dead zone | got | to bound | encode M/s | decode M/s "
           "|\n|---|---|---|---|---|---|\n",
           strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
    for (unsigned i = 0; status == TSR_OK && i < sizeof SETTINGS / sizeof SETTINGS[0]; i++) {
        struct totals t = {0};
        set_params(params, SETTINGS[i][0], SETTINGS[i][1]);
        for (uint64_t j = 0; j < file.count; j++) bench_tensor(job, &file, &file.entries[j], &t);
        printf("| %.2f | %.2f | %.4f | %.3f | %.0f | %.0f |\n", SETTINGS[i][0], SETTINGS[i][1], t.bits / t.weights,
               t.decibels / t.weights, t.weights / 1e6 / t.encode_seconds, t.weights / 1e6 / t.decode_seconds);
    }
    safetensors_close(&file);
}

int main(int argc, char **argv) {
    struct harness_host host;
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 24576;
    uint64_t columns = argc > 2 ? strtoull(argv[2], NULL, 10) : 4096;
    harness_init(&host);
    host.plain = true;
    struct harness_job job = {.host = &host, .codec = tsr_plugin_scalar.codecs[0]};
    if (rows * columns > 0) {
        float *x = mem_alloc_aligned(rows * columns * sizeof *x);
        gaussian(x, rows * columns);
        job.x = x;
        job.tensor = harness_tensor(rows, columns, TSR_DTYPE_F32);
        bench_gaussian(&job);
        mem_free(x);
    }
    for (int i = 3; i < argc; i++) bench_file(&job, argv[i]);
    harness_clear(&host);
    return 0;
}
