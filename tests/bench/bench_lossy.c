/* SPDX-License-Identifier: Apache-2.0
 *
 * Lossy codecs side by side on i.i.d. Gaussian weights and on the matrices of real checkpoints: rate, error, distance
 * to the Gaussian bound, speed. usage: bench_lossy [rows columns [FILE.safetensors ...]]                one thread;
 * processor time of the codec alone TESSERA_BENCH_CODEC=NAME runs the settings of one codec alone. */
#include "../codec_harness.h"

#include <base/rng.h>
#include <format/dtype.h>
#include <format/safetensors.h>
#include <math.h>
#include <plugin/param_bind.h>
#include <stdio.h>
#include <time.h>

extern const tsr_plugin tsr_plugin_scalar, tsr_plugin_spiral, tsr_plugin_trellis;

/* Up to two parameters of a codec. */
struct setting {
    const tsr_plugin *plugin;
    struct param_given given[2];
};

#define ONE(codec, name, value)                                                                                        \
    {                                                                                                                  \
        &tsr_plugin_##codec, {                                                                                         \
            {name, value}, {                                                                                           \
                NULL, NULL                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }
#define TWO(codec, name, value, other, more)                                                                           \
    {                                                                                                                  \
        &tsr_plugin_##codec, {                                                                                         \
            {name, value}, {                                                                                           \
                other, more                                                                                            \
            }                                                                                                          \
        }                                                                                                              \
    }

static const struct setting SETTINGS[] = {
    ONE(scalar, "bits", "0.5"),
    ONE(scalar, "bits", "1"),
    ONE(scalar, "bits", "2"),
    ONE(scalar, "bits", "3"),
    ONE(scalar, "bits", "4"),
    ONE(scalar, "bits", "5"),
    ONE(scalar, "bits", "6"),
    ONE(spiral, "bits", "0.5"),
    ONE(spiral, "bits", "1"),
    ONE(spiral, "bits", "2"),
    ONE(spiral, "bits", "3"),
    ONE(spiral, "bits", "4"),
    ONE(spiral, "bits", "5"),
    ONE(spiral, "bits", "6"),
    ONE(spiral, "points", "4"),
    ONE(spiral, "points", "16"),
    ONE(spiral, "points", "64"),
    ONE(spiral, "points", "256"),
    ONE(spiral, "points", "1024"),
    ONE(spiral, "points", "4096"),
    TWO(spiral, "points", "256", "hadamard", "true"),
    ONE(trellis, "bits", "0.5"),
    ONE(trellis, "bits", "1"),
    ONE(trellis, "bits", "2"),
    ONE(trellis, "bits", "3"),
    ONE(trellis, "bits", "4"),
    ONE(trellis, "bits", "6"),
    TWO(trellis, "bits", "1", "states", "64"),
    TWO(trellis, "bits", "2", "states", "64"),
    TWO(trellis, "bits", "3", "states", "64"),
    TWO(trellis, "bits", "4", "states", "64"),
    TWO(trellis, "bits", "4", "states", "256"),
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

struct result {
    double bits, distortion;
    double encode_seconds, decode_seconds;
};

static bool run(const struct harness_job *job, struct result *result) {
    struct harness_payload payload;
    const uint64_t weights = job->tensor.rows * job->tensor.columns;
    float *y = mem_alloc_aligned(weights * sizeof *y);
    tsr_error err = {0};
    double error = 0, energy = 0;
    memset(y, 0, weights * sizeof *y); /* page faults are not the codec's */
    double start = now();
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
    result->distortion = error / energy;
    if (status != TSR_OK) fprintf(stderr, "bench_lossy: %s\n", err.message);
    harness_payload_clear(&payload);
    mem_free(y);
    return status == TSR_OK;
}

static void gaussian(float *x, uint64_t count) {
    struct rng rng = {1};
    for (uint64_t i = 0; i + 1 < count; i += 2) {
        double radius = sqrt(-2 * log(1 - rng_real(&rng))), angle = 8 * atan(1) * rng_real(&rng);
        x[i] = (float)(radius * cos(angle));
        x[i + 1] = (float)(radius * sin(angle));
    }
}

/* Sums over matrices. */
struct totals {
    double weights, bits, decibels, distortion, encode_seconds, decode_seconds;
};

static void add(struct harness_job *job, struct totals *totals) {
    const double weights = (double)(job->tensor.rows * job->tensor.columns);
    struct result r;
    if (!run(job, &r)) return;
    totals->weights += weights;
    totals->bits += r.bits * weights;
    totals->distortion += r.distortion * weights;
    totals->decibels += (20 * log10(2) * r.bits + 10 * log10(r.distortion)) * weights;
    totals->encode_seconds += r.encode_seconds;
    totals->decode_seconds += r.decode_seconds;
}

static void print_line(const struct setting *setting, const struct totals *t) {
    const struct param_given *given = setting->given;
    printf("| %s | %s %s%s%s%s%s | %.4f | %.3e | %.3f | %.0f | %.0f |\n", setting->plugin->codecs[0]->name,
           given[0].name, given[0].text, given[1].name ? ", " : "", given[1].name ? given[1].name : "",
           given[1].name ? " " : "", given[1].name ? given[1].text : "", t->bits / t->weights,
           t->distortion / t->weights, t->decibels / t->weights, t->weights / 1e6 / t->encode_seconds,
           t->weights / 1e6 / t->decode_seconds);
    fflush(stdout);
}

static void add_file(struct harness_job *job, const struct safetensors *file, struct totals *totals) {
    for (uint64_t i = 0; i < file->count; i++) {
        const struct safetensors_entry *entry = &file->entries[i];
        uint64_t weights = entry->rank == 2 ? entry->shape[0] * entry->shape[1] : 0;
        if (weights == 0 || !dtype_is_float(entry->dtype)) continue;
        float *x = mem_alloc_aligned(weights * sizeof *x);
        dtype_to_f32(entry->dtype, file->file.map + entry->offset, weights, x);
        job->x = x;
        job->tensor = harness_tensor(entry->shape[0], entry->shape[1], entry->dtype);
        add(job, totals);
        mem_free(x);
    }
}

/* One table; of the job's own tensor when there is no file. */
static void bench(struct harness_job *job, const struct safetensors *file) {
    const char *only = getenv("TESSERA_BENCH_CODEC");
    printf("| codec | parameters | bits a weight | D | dB to bound | encode M/s | decode M/s "
           "|\n|---|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < sizeof SETTINGS / sizeof SETTINGS[0]; i++) {
        const struct setting *setting = &SETTINGS[i];
        struct arena arena = {0};
        struct param_set set;
        struct totals totals = {0};
        tsr_error err = {0};
        job->codec = setting->plugin->codecs[0];
        if (only && strcmp(only, job->codec->name) != 0) continue;
        if (param_bind(job->codec, setting->given, setting->given[1].name ? 2 : 1, &arena, &set, &err) != TSR_OK) {
            fprintf(stderr, "bench_lossy: %s\n", err.message);
            continue;
        }
        job->params = set.values;
        if (file)
            add_file(job, file, &totals);
        else
            add(job, &totals);
        if (totals.weights > 0) print_line(setting, &totals);
        arena_clear(&arena);
    }
}

static void bench_file(struct harness_job *job, const char *path) {
    struct safetensors file = {0};
    tsr_error err = {0};
    tsr_status status = safetensors_open(path, &file, &err);
    if (status == TSR_OK) status = fs_map(&file.file, &err);
    if (status != TSR_OK) fprintf(stderr, "bench_lossy: %s\n", err.message);
    printf("\nMatrices of %s (D and gap: mean by weights)\n\n", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
    if (status == TSR_OK) bench(job, &file);
    safetensors_close(&file);
}

int main(int argc, char **argv) {
    struct harness_host host;
    uint64_t rows = argc > 2 ? strtoull(argv[1], NULL, 10) : 1024;
    uint64_t columns = argc > 2 ? strtoull(argv[2], NULL, 10) : 4096;
    harness_init(&host);
    host.plain = true;
    struct harness_job job = {.host = &host};
    if (rows * columns > 0) {
        float *x = mem_alloc_aligned(rows * columns * sizeof *x);
        gaussian(x, rows * columns);
        job.x = x;
        job.tensor = harness_tensor(rows, columns, TSR_DTYPE_F32);
        printf("Gaussian weights, %llu x %llu, one thread, processor time of the codec\n\n", (unsigned long long)rows,
               (unsigned long long)columns);
        bench(&job, NULL);
        mem_free(x);
    }
    for (int i = 3; i < argc; i++) bench_file(&job, argv[i]);
    harness_clear(&host);
    return 0;
}
