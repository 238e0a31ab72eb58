/* SPDX-License-Identifier: Apache-2.0
 *
 * The vector quantisers on i.i.d. Gaussian weights: codebooks trained on one matrix (the dictionary of a group), errors
 * and rates on another.
 * usage: bench_vq [rvq|hclam|products [training rows [test rows]]]    one thread; processor time of the codec alone;
 * rows of 4096 */
#include "../codec_harness.h"

#include <base/rng.h>
#include <math.h>
#include <numeric/dense_kernels.h>
#include <stdbool.h>
#include <stdio.h>
#include <tessera/ext/matvec.h>
#include <time.h>

extern const tsr_plugin tsr_plugin_rvq, tsr_plugin_hclam;

enum { COLUMNS = 4096, PARAMS = 8 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static float *gaussian(uint64_t count, uint64_t seed) {
    struct rng rng = {seed};
    float *x = mem_alloc_aligned(count * sizeof *x);
    for (uint64_t i = 0; x && i + 1 < count; i += 2) {
        double radius = sqrt(-2 * log(1 - rng_real(&rng))), angle = 8 * atan(1) * rng_real(&rng);
        x[i] = (float)(radius * cos(angle));
        x[i + 1] = (float)(radius * sin(angle));
    }
    return x;
}

static double relative_error(const float *x, const float *y, uint64_t count) {
    double error = 0, energy = 0;
    for (uint64_t i = 0; i < count; i++) {
        double difference = (double)x[i] - (double)y[i];
        error += difference * difference;
        energy += (double)x[i] * (double)x[i];
    }
    return error / energy;
}

struct result {
    double train_seconds, encode_seconds, decode_seconds, bits, error;
    uint64_t dictionary_bytes;
};

static tsr_status run(const tsr_codec *codec, const tsr_param_value *params, const float *train, uint64_t train_rows,
                      const float *x, uint64_t rows, struct result *result, tsr_error *err) {
    struct harness_host host;
    struct harness_payload dictionary = {0}, payload = {0};
    float *y = mem_alloc_aligned(rows * COLUMNS * sizeof *y);
    harness_init(&host);
    struct harness_job job = {.host = &host, .codec = codec, .params = params};
    memset(y, 0, rows * COLUMNS * sizeof *y); /* page faults are not the codec's */
    job.tensor = harness_tensor(train_rows, COLUMNS, TSR_DTYPE_F32);
    job.x = train;
    double start = now();
    tsr_status status = harness_train(&job, &dictionary, err);
    result->train_seconds = now() - start;
    job.tensor = harness_tensor(rows, COLUMNS, TSR_DTYPE_F32);
    job.x = x;
    job.dictionary = dictionary.header;
    job.dictionary_bytes = result->dictionary_bytes = dictionary.header_bytes;
    start = now();
    if (status == TSR_OK) status = harness_encode(&job, &payload, err);
    result->encode_seconds = now() - start;
    start = now();
    if (status == TSR_OK) status = harness_decode(&job, &payload, y, err);
    result->decode_seconds = now() - start;
    result->bits = 8 * (double)payload.total / (double)(rows * COLUMNS);
    if (status == TSR_OK) result->error = relative_error(x, y, rows * COLUMNS);
    harness_payload_clear(&dictionary);
    harness_payload_clear(&payload);
    harness_clear(&host);
    mem_free(y);
    return status;
}

struct setting {
    int64_t dim, stages, words, beam, refit;
    double expected; /* codecs.md; greedy or with beam and refit */
};

static const struct setting RVQ_SETTINGS[] = {
    {8, 1, 256, 1, 0, .329},  {8, 2, 256, 1, 0, .110},  {8, 2, 256, 8, 4, .096},  {8, 2, 256, 32, 8, 0},
    {8, 3, 256, 1, 0, .038},  {8, 3, 256, 8, 4, 0},     {8, 4, 256, 1, 0, .0139}, {8, 4, 256, 8, 4, 0},
    {4, 1, 256, 1, 0, .1006}, {4, 2, 256, 1, 0, .0113}, {4, 2, 256, 8, 4, 0},     {4, 3, 256, 1, 0, .0016},
    {16, 1, 256, 1, 0, .584}, {16, 2, 256, 1, 0, .341}, {16, 2, 256, 8, 4, 0},    {16, 4, 256, 1, 0, .117},
    {16, 4, 256, 8, 4, 0},    {2, 1, 256, 1, 0, 0},
};

static const struct setting HCLAM_SETTINGS[] = {
    {8, 2, 256, 1, 0, 0}, {8, 2, 256, 4, 0, 0},     {8, 2, 256, 4, 4, .094}, {8, 2, 256, 16, 4, 0},
    {4, 2, 256, 4, 0, 0}, {4, 2, 256, 4, 4, .0075}, {16, 2, 256, 4, 4, 0},
};

static void bench(const tsr_codec *codec, const struct setting *settings, uint64_t count, const float *train,
                  uint64_t train_rows, const float *x, uint64_t rows) {
    printf("| d | words | %s | refit | bits | D | expected | train s | encode M/s | decode M/s |\n"
           "|---|---|---|---|---|---|---|---|---|---|\n",
           codec == tsr_plugin_rvq.codecs[0] ? "beam" : "branches");
    for (const struct setting *s = settings; s < settings + count; s++) {
        const double millions = (double)(rows * COLUMNS) / 1e6;
        int64_t sizes[16];
        tsr_param_value params[PARAMS] = {{.integer = s->dim},   {.list = sizes, .count = (uint64_t)s->stages},
                                          {.integer = 0},        {.integer = s->beam},
                                          {.integer = s->refit}, {.integer = 1},
                                          {.integer = 1},        {.integer = 0}};
        struct result r = {0};
        tsr_error err = {0};
        for (int64_t j = 0; j < s->stages; j++) sizes[j] = s->words;
        if (run(codec, params, train, train_rows, x, rows, &r, &err) != TSR_OK) {
            fprintf(stderr, "bench_vq: %s\n", err.message);
            continue;
        }
        printf("| %lld | %lldx%lld | %lld | %lld | %.4f | %.5f | %.4g | %.2f | %.1f | %.0f |\n", (long long)s->dim,
               (long long)s->stages, (long long)s->words, (long long)s->beam, (long long)s->refit, r.bits, r.error,
               s->expected, r.train_seconds, millions / r.encode_seconds, millions / r.decode_seconds);
        fflush(stdout);
    }
}

/* ---- products ---- */

enum { PRODUCT_ROWS = 4096, PRODUCT_TRIES = 30 };

/* A packed matrix, tile by tile. */
struct packed {
    const tsr_matvec *matvec;
    void *self, *query;
    struct tile_grid grid;
    uint8_t **tiles;
};

static bool pack(struct packed *packed, const struct harness_payload *payload, tsr_error *err) {
    uint64_t at = 0;
    packed->grid = payload->grid;
    packed->tiles = mem_alloc_zero(payload->grid.count, sizeof *packed->tiles);
    packed->query = mem_alloc_aligned(packed->matvec->query_bytes(packed->self));
    for (uint64_t i = 0; i < payload->grid.count; i++) {
        tsr_tile tile = tile_at(&payload->grid, i, 32);
        packed->tiles[i] = mem_alloc_aligned(packed->matvec->packed_bytes(packed->self, &tile));
        if (packed->matvec->pack(packed->self, &tile, payload->bytes + at, payload->tile_bytes[i], packed->tiles[i],
                                 err))
            return false;
        at += payload->tile_bytes[i];
    }
    return true;
}

static void multiply(const struct packed *packed, const float *x, float *y, double *query_seconds, double *seconds) {
    double start = now();
    (void)packed->matvec->query(packed->self, x, packed->query, NULL);
    double middle = now();
    for (uint64_t i = 0; i < packed->grid.count; i++) {
        tsr_tile tile = tile_at(&packed->grid, i, 32);
        (void)packed->matvec->apply(packed->self, &tile, packed->tiles[i], x, packed->query, y + tile.first_row, NULL);
    }
    *query_seconds += middle - start;
    *seconds += now() - middle;
}

/* Of the same shape, in BF16, by the kernel that the host uses for one token. */
static double dense_seconds(const float *x, float *y) {
    uint16_t *weights = mem_alloc_aligned(PRODUCT_ROWS * COLUMNS * sizeof *weights);
    memset(weights, 0x3C, PRODUCT_ROWS * COLUMNS * sizeof *weights);
    double start = now();
    for (int i = 0; i < PRODUCT_TRIES; i++) {
        dense_kernels_best()->dot_rows(TSR_DTYPE_BF16, (const uint8_t *)weights, PRODUCT_ROWS, COLUMNS, x, y);
    }
    double seconds = (now() - start) / PRODUCT_TRIES;
    mem_free(weights);
    return seconds;
}

static void bench_product(int64_t dim, uint64_t stages, const float *w, const float *x, float *y) {
    static const int64_t LADDER[] = {256, 256, 256, 256};
    const tsr_codec *codec = tsr_plugin_rvq.codecs[0];
    tsr_param_value params[PARAMS] = {{.integer = dim}, {.list = LADDER, .count = stages}, {0}, {.integer = 1}};
    struct harness_host host;
    struct harness_payload payload;
    struct packed packed = {.matvec = codec->get_extension(TSR_MATVEC_ID)};
    double query = 0, seconds = 0;
    tsr_error err = {0};
    harness_init(&host);
    struct harness_job job = {.host = &host, .codec = codec, .params = params, .x = w};
    job.tensor = harness_tensor(PRODUCT_ROWS, COLUMNS, TSR_DTYPE_BF16);
    tsr_status status = harness_encode(&job, &payload, &err);
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &host.host,
                                   .tensor = &job.tensor,
                                   .params = params,
                                   .header = payload.header,
                                   .header_bytes = payload.header_bytes,
                                   .bitstream_version = codec->bitstream_version,
                                   .decoding = 1};
    if (status == TSR_OK) status = codec->create(&setup, &packed.self, &err);
    if (status != TSR_OK || !pack(&packed, &payload, &err)) {
        fprintf(stderr, "bench_vq: %s\n", err.message);
        return;
    }
    for (int i = 0; i < PRODUCT_TRIES; i++) multiply(&packed, x, y, &query, &seconds);
    const double dense = dense_seconds(x, y), own = (query + seconds) / PRODUCT_TRIES;
    printf("| %lld | %llu x 256 | %.2f | %.2f | %.2f | %.2f |\n", (long long)dim, (unsigned long long)stages,
           1e3 * query / PRODUCT_TRIES, 1e3 * own, 1e3 * dense, dense / own);
    for (uint64_t i = 0; i < packed.grid.count; i++) mem_free(packed.tiles[i]);
    mem_free(packed.tiles);
    mem_free(packed.query);
    codec->destroy(packed.self);
    harness_payload_clear(&payload);
    harness_clear(&host);
}

static void bench_products(const float *w, const float *x) {
    float *y = mem_alloc_aligned(PRODUCT_ROWS * sizeof *y);
    printf("| d | ladder | tables ms | product ms, tables included | dense BF16 ms | ratio "
           "|\n|---|---|---|---|---|---|\n");
    bench_product(8, 2, w, x, y);
    bench_product(4, 2, w, x, y);
    bench_product(8, 4, w, x, y);
    bench_product(16, 2, w, x, y);
    mem_free(y);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "rvq";
    const bool trees = !strcmp(name, "hclam");
    const uint64_t train_rows = !strcmp(name, "products") ? PRODUCT_ROWS
                                : argc > 2                ? strtoull(argv[2], NULL, 10)
                                : trees                   ? 8192
                                                          : 1024;
    const uint64_t rows = argc > 3 ? strtoull(argv[3], NULL, 10) : 512;
    float *train = gaussian(train_rows * COLUMNS, 1), *x = gaussian(rows * COLUMNS, 2);
    printf("Gaussian weights, trained on %llu x %d, measured on %llu x %d.\n\n", (unsigned long long)train_rows,
           COLUMNS, (unsigned long long)rows, COLUMNS);
    if (!strcmp(name, "products"))
        bench_products(train, x);
    else if (trees)
        bench(tsr_plugin_hclam.codecs[0], HCLAM_SETTINGS, sizeof HCLAM_SETTINGS / sizeof *HCLAM_SETTINGS, train,
              train_rows, x, rows);
    else
        bench(tsr_plugin_rvq.codecs[0], RVQ_SETTINGS, sizeof RVQ_SETTINGS / sizeof *RVQ_SETTINGS, train, train_rows, x,
              rows);
    mem_free(train);
    mem_free(x);
    return 0;
}
