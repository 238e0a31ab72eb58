/* SPDX-License-Identifier: Apache-2.0
 *
 * Rates of the codecs that bench_lossy and bench_vq leave out: search indexes, corrections, blocks; scalar is the
 * yardstick. usage: bench_codecs [rows columns]    one thread, processor time, the best of three; Gaussian weights;
 * `remainder` codes BF16 weights behind scalar at 4 bits. Encoding is prepare (training) and tiles: what a codec does
 * where differs. */
#include "../codec_harness.h"

#include <base/rng.h>
#include <format/dtype.h>
#include <math.h>
#include <plugin/param_bind.h>
#include <stdbool.h>
#include <stdio.h>
#include <tessera/ext/residual.h>
#include <time.h>

extern const tsr_plugin tsr_plugin_scalar, tsr_plugin_hhtld, tsr_plugin_hclam_index, tsr_plugin_slotl,
    tsr_plugin_remainder;

enum { ROUNDS = 3 };

struct setting {
    const tsr_plugin *plugin;
    int codec; /* of the plugin */
    struct param_given given;
};

static const struct setting SETTINGS[] = {
    {&tsr_plugin_scalar, 0, {"bits", "4"}},
    {&tsr_plugin_hhtld, 1, {NULL, NULL}},
    {&tsr_plugin_hhtld, 0, {NULL, NULL}},
    {&tsr_plugin_hhtld, 0, {"lanes", "16"}},
    {&tsr_plugin_hclam_index, 0, {NULL, NULL}},
    {&tsr_plugin_slotl, 0, {NULL, NULL}},
    {&tsr_plugin_slotl, 0, {"bands", "[2, 4, 8, 8]"}},
    {&tsr_plugin_remainder, 0, {NULL, NULL}},
};

/* One matrix in the form that a codec takes, and what its decoder gives. */
struct job {
    struct harness_host host;
    const tsr_codec *codec;
    const tsr_residual *residual; /* of the codec, or NULL */
    const tsr_param_value *params;
    tsr_tensor tensor;
    uint32_t width; /* bytes of an element */
    const uint8_t *x, *prediction;
    uint8_t *y;
    struct harness_payload payload;
    double prepare_seconds, encode_seconds, decode_seconds; /* encode: the tiles alone */
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void gaussian(float *x, uint64_t count) {
    struct rng rng = {1};
    for (uint64_t i = 0; i + 1 < count; i += 2) {
        double radius = sqrt(-2 * log(1 - rng_real(&rng))), angle = 8 * atan(1) * rng_real(&rng);
        x[i] = (float)(radius * cos(angle));
        x[i + 1] = (float)(radius * sin(angle));
    }
}

/* ---- one codec ---- */

struct rows {
    const uint8_t *bytes;
    uint64_t columns;
    uint32_t width;
};

static tsr_status read_rows(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                            void *dst, tsr_error *err) {
    const struct rows *from = ctx;
    (void)err;
    for (uint64_t r = 0; r < rows; r++) {
        const uint64_t at = (first_row + r) * from->columns + first_column;
        memcpy((uint8_t *)dst + r * columns * from->width, from->bytes + at * from->width,
               (size_t)(columns * from->width));
    }
    return TSR_OK;
}

static tsr_status prepare(struct job *job, void *self, tsr_error *err) {
    struct rows x = {job->x, job->tensor.columns, job->width}, p = {job->prediction, job->tensor.columns, job->width};
    const tsr_row_source source = {sizeof source, &x, read_rows}, prediction = {sizeof prediction, &p, read_rows};
    const tsr_writer writer = {sizeof writer, &job->payload, harness_write};
    if (job->residual && job->residual->prepare)
        return job->residual->prepare(self, &source, &prediction, &writer, err);
    return job->codec->prepare ? job->codec->prepare(self, &source, &writer, err) : TSR_OK;
}

static tsr_status encode_tile(struct job *job, void *self, const tsr_tile *tile, uint64_t bound, uint64_t *written,
                              uint8_t *dst, tsr_error *err) {
    const uint64_t at = (tile->first_row * job->tensor.columns + tile->first_column) * job->width;
    if (!job->residual) return job->codec->encode(self, tile, job->x + at, dst, bound, written, err);
    return job->residual->encode(self, tile, job->x + at, job->prediction + at, dst, bound, written, err);
}

static tsr_status encode(struct job *job, void *self, tsr_error *err) {
    struct harness_payload *payload = &job->payload;
    uint64_t capacity = 0, at = 0;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < payload->grid.count; i++) {
        tsr_tile tile = tile_at(&payload->grid, i, 8 * job->width);
        capacity += job->codec->encode_bound(self, &tile);
    }
    payload->bytes = mem_alloc_zero(capacity, 1); /* page faults are not the codec's */
    payload->tile_bytes = mem_alloc_zero(payload->grid.count, sizeof *payload->tile_bytes);
    double start = now();
    for (uint64_t i = 0; i < payload->grid.count && st == TSR_OK; i++) {
        tsr_tile tile = tile_at(&payload->grid, i, 8 * job->width);
        st = encode_tile(job, self, &tile, capacity - at, &payload->tile_bytes[i], payload->bytes + at, err);
        at += payload->tile_bytes[i];
    }
    job->encode_seconds = fmin(job->encode_seconds, now() - start);
    payload->total = at + payload->header_bytes;
    return st;
}

static tsr_status decode(struct job *job, void *self, tsr_error *err) {
    const struct harness_payload *payload = &job->payload;
    uint64_t from = 0;
    tsr_status st = TSR_OK;
    double start = now();
    for (uint64_t i = 0; i < payload->grid.count && st == TSR_OK; i++) {
        tsr_tile tile = tile_at(&payload->grid, i, 8 * job->width);
        const uint64_t at = (tile.first_row * job->tensor.columns + tile.first_column) * job->width;
        const uint8_t *src = payload->bytes + from;
        st = job->residual ? job->residual->decode(self, &tile, src, payload->tile_bytes[i], job->prediction + at,
                                                   job->y + at, err)
                           : job->codec->decode(self, &tile, src, payload->tile_bytes[i], job->y + at, err);
        from += payload->tile_bytes[i];
    }
    job->decode_seconds = fmin(job->decode_seconds, now() - start);
    return st;
}

static tsr_codec_setup setup_of(struct job *job, bool decoding) {
    return (tsr_codec_setup){.struct_size = sizeof(tsr_codec_setup),
                             .host = &job->host.host,
                             .tensor = &job->tensor,
                             .params = job->params,
                             .header = decoding ? job->payload.header : NULL,
                             .header_bytes = decoding ? job->payload.header_bytes : 0,
                             .bitstream_version = job->codec->bitstream_version,
                             .stride = 1,
                             .role = "unknown",
                             .decoding = decoding};
}

static tsr_status round_trip(struct job *job, tsr_error *err) {
    void *encoder = NULL, *decoder = NULL;
    harness_payload_clear(&job->payload);
    job->payload.grid = tile_grid_make(job->tensor.rows, job->tensor.columns, job->codec->tile_weights);
    tsr_codec_setup setup = setup_of(job, false);
    tsr_status st = job->codec->create(&setup, &encoder, err);
    double start = now();
    if (st == TSR_OK) st = prepare(job, encoder, err);
    job->prepare_seconds = fmin(job->prepare_seconds, now() - start);
    if (st == TSR_OK) st = encode(job, encoder, err);
    if (encoder) job->codec->destroy(encoder);
    setup = setup_of(job, true);
    if (st == TSR_OK) st = job->codec->create(&setup, &decoder, err);
    if (st == TSR_OK) st = decode(job, decoder, err);
    if (decoder) job->codec->destroy(decoder);
    return st;
}

/* ---- the table ---- */

static double relative_error(const struct job *job) {
    const float *x = (const void *)job->x, *y = (const void *)job->y;
    double error = 0, energy = 0;
    if (job->width != 4) return memcmp(job->x, job->y, (size_t)job->tensor.bytes) ? HUGE_VAL : 0;
    for (uint64_t i = 0; i < job->tensor.rows * job->tensor.columns; i++) {
        double difference = (double)x[i] - (double)y[i];
        error += difference * difference;
        energy += (double)x[i] * (double)x[i];
    }
    return error / energy;
}

static void print_line(const struct job *job, const struct setting *setting) {
    const double weights = (double)(job->tensor.rows * job->tensor.columns);
    char error[32] = "index";
    if (!(job->codec->flags & TSR_CODEC_SIGNATURE)) (void)snprintf(error, sizeof error, "%.3g", relative_error(job));
    printf("| %s | %s %s | %.3f | %s | %.2f | %.1f | %.0f |\n", job->codec->name,
           setting->given.name ? setting->given.name : "", setting->given.name ? setting->given.text : "",
           8 * (double)job->payload.total / weights, error, job->prepare_seconds,
           weights / 1e6 / (job->prepare_seconds + job->encode_seconds), weights / 1e6 / job->decode_seconds);
    fflush(stdout);
}

/* x and its prediction as BF16. */
struct matrix {
    float *x, *y;
    uint8_t *source, *prediction, *back;
};

static tsr_status bench(const struct setting *setting, const struct matrix *m, uint64_t rows, uint64_t columns,
                        tsr_error *err) {
    struct arena arena = {0};
    struct param_set set;
    struct job job = {.codec = setting->plugin->codecs[setting->codec],
                      .tensor = harness_tensor(rows, columns, TSR_DTYPE_BF16),
                      .width = 4,
                      .x = (const uint8_t *)m->x,
                      .y = (uint8_t *)m->y,
                      .prepare_seconds = HUGE_VAL,
                      .encode_seconds = HUGE_VAL,
                      .decode_seconds = HUGE_VAL};
    job.tensor.bytes = rows * columns * 2;
    job.residual = job.codec->get_extension ? job.codec->get_extension(TSR_RESIDUAL_ID) : NULL;
    if (job.residual) {
        job.width = 2;
        job.x = m->source;
        job.prediction = m->prediction;
        job.y = m->back;
    }
    harness_init(&job.host);
    tsr_status st = param_bind(job.codec, &setting->given, setting->given.name ? 1 : 0, &arena, &set, err);
    job.params = st == TSR_OK ? set.values : NULL;
    for (int i = 0; i < ROUNDS && st == TSR_OK; i++) st = round_trip(&job, err);
    if (st == TSR_OK) print_line(&job, setting);
    /* The first setting is the base that remainder stands behind. */
    if (st == TSR_OK && setting == SETTINGS) dtype_from_f32(TSR_DTYPE_BF16, m->y, rows * columns, m->prediction);
    harness_payload_clear(&job.payload);
    harness_clear(&job.host);
    arena_clear(&arena);
    return st;
}

int main(int argc, char **argv) {
    uint64_t rows = argc > 2 ? strtoull(argv[1], NULL, 10) : 4096;
    uint64_t columns = argc > 2 ? strtoull(argv[2], NULL, 10) : 1024;
    uint64_t count = rows * columns;
    tsr_error err = {0};
    tsr_status st = TSR_OK;
    struct matrix m = {mem_alloc_zero(count, 4), mem_alloc_zero(count, 4), mem_alloc_zero(count, 2),
                       mem_alloc_zero(count, 2), mem_alloc_zero(count, 2)};
    if (!m.x || !m.y || !m.source || !m.prediction || !m.back) return 1;
    gaussian(m.x, count);
    dtype_from_f32(TSR_DTYPE_BF16, m.x, count, m.source);
    dtype_to_f32(TSR_DTYPE_BF16, m.source, count, m.x);
    printf("Gaussian weights in BF16, %llu x %llu, one thread, processor time of the codec, best of %d. Encoding is\n"
           "prepare (training) and tiles. A search index reconstructs nothing; its decode rate is that of `verify`.\n"
           "`remainder` stands behind the first line; bits and rates are its own.\n\n"
           "| codec | parameters | bits a weight | D | prepare s | encode M/s | decode M/s |\n"
           "|---|---|---|---|---|---|---|\n",
           (unsigned long long)rows, (unsigned long long)columns, (int)ROUNDS);
    for (unsigned i = 0; i < sizeof SETTINGS / sizeof SETTINGS[0] && st == TSR_OK; i++) {
        st = bench(&SETTINGS[i], &m, rows, columns, &err);
    }
    if (st != TSR_OK) fprintf(stderr, "bench_codecs: %s\n", err.message);
    mem_free(m.x);
    mem_free(m.y);
    mem_free(m.source);
    mem_free(m.prediction);
    mem_free(m.back);
    return st == TSR_OK ? 0 : 1;
}
