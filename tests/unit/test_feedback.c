/* SPDX-License-Identifier: Apache-2.0
 *
 * Error feedback around the codecs: the factor of second moments, the error of products that it lowers, what it must not
 * change, and moments that are no moments. */
#include "unit.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/rng.h>
#include <base/str.h>
#include <numeric/column_scale.h>
#include <math.h>
#include <numeric/dense.h>
#include <numeric/factor.h>
#include <plugin/coder.h>
#include <plugin/param_bind.h>
#include <string.h>
#include <tessera/plugin.h>

extern const tsr_plugin tsr_plugin_scalar, tsr_plugin_trellis, tsr_plugin_spiral, tsr_plugin_rvq, tsr_plugin_hclam;

enum { ROWS = 700, COLUMNS = 450, WEIGHTS = ROWS * COLUMNS };

static double normal(struct rng *rng) {
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += rng_real(rng);
    return sum;
}

/* ---- the factor ---- */

/* Inputs whose neighbours are much alike, of different size. */
static double moment_at(uint64_t i, uint64_t j) {
    double distance = (double)(i > j ? i - j : j - i);
    return pow(0.9, distance) * sqrt((double)(1 + i % 5) * (double)(1 + j % 5));
}

static void fill_moment(float *moment, uint64_t n) {
    for (uint64_t i = 0; i < n * n; i++) moment[i] = (float)moment_at(i / n, i % n);
}

static void the_factor_is_that_of_the_damped_moments(void) {
    enum { N = 300 };
    float *moment = mem_alloc_array((uint64_t)N * N, sizeof *moment), room[N];
    double damping = 0.02, worst = 0, mean = 3;
    dense_setup();
    fill_moment(moment, N);
    CU_ASSERT_TRUE_FATAL(factor_make(moment, N, &damping, room));
    CU_ASSERT_EQUAL(damping, 0.02);
    for (uint64_t i = 0; i < N; i++) {
        for (uint64_t j = 0; j <= i; j++) {
            double sum = -moment_at(i, j) / mean - (i == j ? damping : 0);
            for (uint64_t k = 0; k <= j; k++) sum += (double)moment[i * N + k] * (double)moment[j * N + k];
            worst = fmax(worst, fabs(sum));
        }
    }
    CU_ASSERT(worst < 2e-5);
    mem_free(moment);
}

static void matrices_are_put_into_another_order(void) {
    static const uint64_t COLUMN[7] = {3, 0, 2, 6, 5, 4, 1}; /* cycles of four, one and two */
    float matrix[49], room[7];
    for (int i = 0; i < 49; i++) matrix[i] = (float)i;
    factor_reorder(matrix, 7, COLUMN, room);
    for (uint64_t i = 0; i < 49; i++) CU_ASSERT_EQUAL(matrix[i], (float)(7 * COLUMN[i / 7] + COLUMN[i % 7]));
}

static void normalised_rows_undo_the_triangle_of_their_block(void) {
    enum { N = 12, FIRST = 4, LAST = 8 };
    float moment[N * N], before[N * N], room[N];
    double damping = 0.01;
    fill_moment(moment, N);
    CU_ASSERT_TRUE_FATAL(factor_make(moment, N, &damping, room));
    memcpy(before, moment, sizeof before);
    factor_normalise(moment, N, FIRST, LAST);
    for (uint64_t r = LAST; r < N; r++) {
        for (uint64_t c = FIRST; c < LAST; c++) {
            double sum = -(double)before[r * N + c];
            for (uint64_t k = c; k < LAST; k++) sum += (double)moment[r * N + k] * (double)before[k * N + c];
            CU_ASSERT_DOUBLE_EQUAL(sum, 0, 1e-5);
        }
    }
}

static void damping_is_raised_until_the_moments_are_positive_definite(void) {
    float moment[4] = {1, 1.5f, 1.5f, 1}, zero[4] = {0}, room[2];
    double damping = 0.01;
    CU_ASSERT_TRUE(factor_make(moment, 2, &damping, room));
    CU_ASSERT_DOUBLE_EQUAL(damping, 1, 1e-9);
    damping = 0.01;
    CU_ASSERT_FALSE(factor_make(zero, 2, &damping, room));
}

/* ---- encoding ---- */

struct stored {
    struct str header, bytes;
    struct tile_grid grid;
    uint64_t sizes[64];
    bool raw[64];
    uint64_t count;
};

struct bench {
    struct env env;
    struct host_services services;
    struct arena arena;
    struct param_set params;
    struct coder_job job;
    struct coder_feedback feedback;
    tsr_tensor tensor;
    uint64_t shape[2];
    float *x, *y;
    double *moment; /* [COLUMNS][COLUMNS], what products are measured with */
    double sign;    /* of what neighbouring columns have in common, as feedback is told */
    struct stored stored;
    tsr_error err;
};

static tsr_status read_source(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct bench *bench = ctx;
    (void)err;
    memcpy(dst, (const uint8_t *)bench->x + offset, size);
    return TSR_OK;
}

static tsr_status give_moment(void *ctx, float *moment, tsr_error *err) {
    const struct bench *bench = ctx;
    (void)err;
    for (uint64_t i = 0; i < (uint64_t)COLUMNS * COLUMNS; i++) {
        moment[i] = (float)(bench->moment[i] * ((i / COLUMNS + i % COLUMNS) % 2 ? bench->sign : 1));
    }
    return TSR_OK;
}

static tsr_status keep_header(void *ctx, const struct tile_grid *grid, const void *header, uint64_t bytes,
                              tsr_error *err) {
    struct stored *stored = ctx;
    (void)err;
    stored->grid = *grid;
    str_add(&stored->header, header, bytes);
    return TSR_OK;
}

static tsr_status keep_tile(void *ctx, const void *bytes, uint64_t size, bool raw, tsr_error *err) {
    struct stored *stored = ctx;
    (void)err;
    stored->raw[stored->count] = raw;
    stored->sizes[stored->count++] = size;
    str_add(&stored->bytes, bytes, size);
    return TSR_OK;
}

static void begin(struct bench *bench, const tsr_plugin *plugin, const char *bits, uint64_t workers) {
    const tsr_codec *codec = plugin->codecs[0];
    const struct param_given given[] = {{"bits", bits}};
    struct rng rng = {7};
    memset(bench, 0, sizeof *bench);
    bench->env.pool = pool_create(workers);
    host_services_init(&bench->services, &bench->env);
    bench->shape[0] = ROWS;
    bench->shape[1] = COLUMNS;
    bench->tensor = (tsr_tensor){.struct_size = sizeof bench->tensor, .name = "w", .shape = bench->shape, .rank = 2,
                                 .rows = ROWS, .columns = COLUMNS, .bytes = 4 * (uint64_t)WEIGHTS, .dtype = TSR_DTYPE_F32};
    CU_ASSERT_EQUAL_FATAL(param_bind(codec, given, bits ? 1 : 0, &bench->arena, &bench->params, &bench->err), TSR_OK);
    bench->feedback = (struct coder_feedback){.ctx = bench, .moment = give_moment, .damping = 0.01};
    bench->job = (struct coder_job){.env = &bench->env, .host = &bench->services.host, .codec = codec,
                                    .params = bench->params.values, .tensor = &bench->tensor, .dtype_bits = 32};
    bench->sign = 1;
    bench->x = mem_alloc_array(WEIGHTS, sizeof *bench->x);
    bench->y = mem_alloc_array(WEIGHTS, sizeof *bench->y);
    bench->moment = mem_alloc_array((uint64_t)COLUMNS * COLUMNS, sizeof *bench->moment);
    for (uint64_t i = 0; i < WEIGHTS; i++) bench->x[i] = (float)(normal(&rng) * 0.02 * (double)(1 + i / COLUMNS % 3));
    for (uint64_t i = 0; i < (uint64_t)COLUMNS * COLUMNS; i++) bench->moment[i] = moment_at(i / COLUMNS, i % COLUMNS);
}

static void clear_stored(struct stored *stored) {
    str_clear(&stored->header);
    str_clear(&stored->bytes);
    memset(stored, 0, sizeof *stored);
}

static void end(struct bench *bench) {
    clear_stored(&bench->stored);
    arena_clear(&bench->arena);
    pool_destroy(bench->env.pool);
    mem_free(bench->x);
    mem_free(bench->y);
    mem_free(bench->moment);
}

static tsr_status encode(struct bench *bench, bool feedback) {
    struct coder_source source = {bench, read_source};
    struct coder_sink sink = {&bench->stored, keep_header, keep_tile};
    clear_stored(&bench->stored);
    bench->job.feedback = feedback ? &bench->feedback : NULL;
    return coder_encode(&bench->job, &source, &sink, NULL, &bench->err);
}

static void decode(struct bench *bench) {
    const struct stored *stored = &bench->stored;
    struct coder *coder = NULL;
    uint64_t at = 0;
    CU_ASSERT_EQUAL_FATAL(coder_open(&bench->job, &stored->grid, stored->header.text, stored->header.length,
                                     bench->job.codec->bitstream_version, &coder, &bench->err),
                          TSR_OK);
    for (uint64_t t = 0; t < stored->count; t++) {
        tsr_tile tile = tile_at(&stored->grid, t, 32);
        CU_ASSERT_EQUAL(coder_decode_tile(coder, t, stored->bytes.text + at, stored->sizes[t], stored->raw[t],
                                          bench->y + tile.first_row * COLUMNS, 0, &bench->err),
                        TSR_OK);
        at += stored->sizes[t];
    }
    coder_close(coder);
}

/* tr(E H E^T) of some rows. */
static double product_error(const struct bench *bench) {
    double sum = 0;
    for (uint64_t r = 0; r < ROWS; r += 7) {
        double e[COLUMNS];
        for (uint64_t c = 0; c < COLUMNS; c++) e[c] = (double)bench->x[r * COLUMNS + c] - (double)bench->y[r * COLUMNS + c];
        for (uint64_t i = 0; i < COLUMNS; i++) {
            double row = 0;
            for (uint64_t j = 0; j < COLUMNS; j++) row += bench->moment[i * COLUMNS + j] * e[j];
            sum += row * e[i];
        }
    }
    return sum;
}

/* Error of products with feedback against that without; *growth is that of the bytes. */
static double gain(struct bench *bench, double *growth) {
    CU_ASSERT_EQUAL_FATAL(encode(bench, false), TSR_OK);
    decode(bench);
    const double plain = product_error(bench), bytes = (double)bench->stored.bytes.length;
    CU_ASSERT_EQUAL_FATAL(encode(bench, true), TSR_OK);
    CU_ASSERT_TRUE(bench->feedback.used);
    decode(bench);
    *growth = (double)bench->stored.bytes.length / bytes;
    return product_error(bench) / plain;
}

/* White noise of the same size costs the mean of the diagonal, noise that feedback shapes the mean of the squares of the
 * factor's, here .19 of it. Blocks of d columns keep what is inside a block. Corrected weights are a little larger than
 * the weights, which costs bytes at low rates. */
static void products_err_less_with_feedback(void) {
    static const struct {
        const tsr_plugin *plugin;
        const char *bits;
        double most, growth;
    } CASES[] = {{&tsr_plugin_scalar, "4", 0.21, 1.003},  {&tsr_plugin_scalar, "2", 0.22, 1.04},
                 {&tsr_plugin_trellis, "4", 0.21, 1.003}, {&tsr_plugin_trellis, "2", 0.22, 1.04},
                 {&tsr_plugin_spiral, "4", 0.30, 1.003},  {&tsr_plugin_rvq, NULL, 0.68, 1},
                 {&tsr_plugin_hclam, NULL, 0.74, 1.005}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct bench bench;
        double growth;
        begin(&bench, CASES[i].plugin, CASES[i].bits, 2);
        CU_ASSERT(gain(&bench, &growth) < CASES[i].most);
        CU_ASSERT(growth <= CASES[i].growth);
        end(&bench);
    }
}

/* What would be seen if errors were taken the wrong way round. */
static void feedback_of_the_wrong_sign_is_worse_than_none(void) {
    struct bench bench;
    begin(&bench, &tsr_plugin_scalar, "4", 2);
    double growth;
    bench.sign = -1;
    CU_ASSERT(gain(&bench, &growth) > 2);
    end(&bench);
}

static bool same_bytes(const struct stored *a, const struct stored *b) {
    return a->header.length == b->header.length && a->bytes.length == b->bytes.length &&
           !memcmp(a->header.text, b->header.text, a->header.length) &&
           !memcmp(a->bytes.text, b->bytes.text, a->bytes.length);
}

static struct stored take(struct bench *bench) {
    struct stored taken = bench->stored;
    memset(&bench->stored, 0, sizeof bench->stored);
    return taken;
}

static void inputs_that_have_nothing_in_common_change_nothing(void) {
    const tsr_plugin *const PLUGINS[] = {&tsr_plugin_scalar, &tsr_plugin_trellis, &tsr_plugin_spiral};
    for (size_t i = 0; i < sizeof PLUGINS / sizeof *PLUGINS; i++) {
        struct bench bench;
        begin(&bench, PLUGINS[i], "3", 2);
        for (uint64_t c = 0; c < (uint64_t)COLUMNS * COLUMNS; c++) {
            bench.moment[c] = c % (COLUMNS + 1) ? 0 : 0.5 + (double)(c % 7);
        }
        CU_ASSERT_EQUAL_FATAL(encode(&bench, false), TSR_OK);
        struct stored plain = take(&bench);
        CU_ASSERT_EQUAL_FATAL(encode(&bench, true), TSR_OK);
        CU_ASSERT_TRUE(bench.feedback.used);
        CU_ASSERT_TRUE(same_bytes(&plain, &bench.stored));
        clear_stored(&plain);
        end(&bench);
    }
}

static void bytes_do_not_depend_on_workers(void) {
    const tsr_plugin *const PLUGINS[] = {&tsr_plugin_scalar, &tsr_plugin_trellis, &tsr_plugin_spiral, &tsr_plugin_rvq,
                                         &tsr_plugin_hclam};
    static const uint64_t WORKERS[] = {1, 2, 5};
    for (size_t i = 0; i < sizeof PLUGINS / sizeof *PLUGINS; i++) {
        struct stored first = {0};
        for (size_t w = 0; w < sizeof WORKERS / sizeof *WORKERS; w++) {
            struct bench bench;
            begin(&bench, PLUGINS[i], NULL, WORKERS[w]);
            CU_ASSERT_EQUAL_FATAL(encode(&bench, true), TSR_OK);
            if (w) CU_ASSERT_TRUE(same_bytes(&first, &bench.stored));
            if (!w) first = take(&bench);
            end(&bench);
        }
        clear_stored(&first);
    }
}

static void scales_are_powers_of_two(void) {
    enum { COUNT = 2 * COLUMN_SCALE_MOST + 1 };
    int8_t codes[COUNT];
    float up[COUNT], down[COUNT];
    for (int i = 0; i < COUNT; i++) codes[i] = (int8_t)(i - COLUMN_SCALE_MOST);
    column_scale_factors(codes, COUNT, false, up);
    column_scale_factors(codes, COUNT, true, down);
    for (int i = 0; i < COUNT; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)up[i] / exp2(codes[i] / 4.0), 1, 1e-7);
        CU_ASSERT_EQUAL(down[i], up[COUNT - 1 - i]);
    }
}

/* Inputs of every fifth column are 16 times as large: steps of a quarter there, and of the other columns a little coarser
 * ones, cost as many bits and err less. */
static void scales_of_columns_put_precision_where_inputs_are_large(void) {
    const tsr_plugin *const PLUGINS[] = {&tsr_plugin_scalar, &tsr_plugin_trellis, &tsr_plugin_spiral};
    int8_t scale[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) scale[c] = c % 5 ? 1 : -5;
    for (size_t i = 0; i < sizeof PLUGINS / sizeof *PLUGINS; i++) {
        struct bench bench;
        begin(&bench, PLUGINS[i], "4", 2);
        for (uint64_t k = 0; k < (uint64_t)COLUMNS * COLUMNS; k++) {
            bench.moment[k] = moment_at(k / COLUMNS, k % COLUMNS) * (k / COLUMNS % 5 ? 1 : 16) * (k % COLUMNS % 5 ? 1 : 16);
        }
        CU_ASSERT_EQUAL_FATAL(encode(&bench, true), TSR_OK);
        decode(&bench);
        const double plain = product_error(&bench), bytes = (double)bench.stored.bytes.length;
        bench.job.column_scale = scale;
        CU_ASSERT_EQUAL_FATAL(encode(&bench, true), TSR_OK);
        decode(&bench);
        CU_ASSERT((double)bench.stored.bytes.length < 1.01 * bytes);
        CU_ASSERT(product_error(&bench) < 0.55 * plain);
        end(&bench);
    }
}

/* Columns without input are quantised as they are and give nothing to the others. */
static void dead_columns_stay_by_themselves(void) {
    struct bench bench;
    double growth;
    begin(&bench, &tsr_plugin_scalar, "4", 2);
    for (uint64_t i = 0; i < (uint64_t)COLUMNS * COLUMNS; i++) {
        if (i / COLUMNS % 9 == 4 || i % COLUMNS % 9 == 4) bench.moment[i] = 0;
    }
    CU_ASSERT_EQUAL_FATAL(encode(&bench, false), TSR_OK);
    decode(&bench);
    float *plain = mem_alloc_array(WEIGHTS, sizeof *plain);
    memcpy(plain, bench.y, WEIGHTS * sizeof *plain);
    CU_ASSERT(gain(&bench, &growth) < 0.3);
    CU_ASSERT_EQUAL(bench.feedback.damping, 0.01);
    for (uint64_t i = 4; i < WEIGHTS; i++) {
        if (i % COLUMNS % 9 == 4 && bench.y[i] != plain[i]) CU_FAIL("a dead column changed");
    }
    mem_free(plain);
    end(&bench);
}

static void moments_that_are_none_are_damped_or_refused(void) {
    struct bench bench;
    begin(&bench, &tsr_plugin_scalar, "4", 2);
    for (uint64_t i = 0; i < (uint64_t)COLUMNS * COLUMNS; i++) {
        if (i / COLUMNS != i % COLUMNS) bench.moment[i] *= 1.2;
    }
    CU_ASSERT_EQUAL_FATAL(encode(&bench, true), TSR_OK);
    CU_ASSERT(bench.feedback.damping > 0.05 && bench.feedback.damping < 20);
    memset(bench.moment, 0, (uint64_t)COLUMNS * COLUMNS * sizeof *bench.moment);
    CU_ASSERT_EQUAL(encode(&bench, true), TSR_E_INPUT);
    end(&bench);
}

static const struct unit_test TESTS[] = {
    {"the_factor_is_that_of_the_damped_moments", the_factor_is_that_of_the_damped_moments},
    {"matrices_are_put_into_another_order", matrices_are_put_into_another_order},
    {"normalised_rows_undo_the_triangle_of_their_block", normalised_rows_undo_the_triangle_of_their_block},
    {"damping_is_raised_until_the_moments_are_positive_definite",
     damping_is_raised_until_the_moments_are_positive_definite},
    {"products_err_less_with_feedback", products_err_less_with_feedback},
    {"feedback_of_the_wrong_sign_is_worse_than_none", feedback_of_the_wrong_sign_is_worse_than_none},
    {"inputs_that_have_nothing_in_common_change_nothing", inputs_that_have_nothing_in_common_change_nothing},
    {"bytes_do_not_depend_on_workers", bytes_do_not_depend_on_workers},
    {"scales_are_powers_of_two", scales_are_powers_of_two},
    {"scales_of_columns_put_precision_where_inputs_are_large", scales_of_columns_put_precision_where_inputs_are_large},
    {"dead_columns_stay_by_themselves", dead_columns_stay_by_themselves},
    {"moments_that_are_none_are_damped_or_refused", moments_that_are_none_are_damped_or_refused},
};
UNIT_MAIN(TESTS)
