/* SPDX-License-Identifier: Apache-2.0
 *
 * The scalar codec: rates, errors and bounds it promises, odd shapes and values, damaged bytes, equal kernels. */
#include "../../plugins/scalar/scalar_kernel.h"
#include "../entropy_trial.h"

#include <escape.h>

extern const tsr_plugin tsr_plugin_scalar;

enum { BITS, STEP, DEAD_ZONE, CENTROIDS, GROUP, ROW_ERROR_MAX, PARAM_COUNT };

static void begin(struct trial *trial, uint64_t rows, uint64_t columns, double bits) {
    trial_begin(trial, tsr_plugin_scalar.codecs[0], rows, columns);
    trial->params[BITS].real = bits;
    trial->params[CENTROIDS].integer = 1;
}

static double relative_error(const float *x, const float *y, uint64_t count) {
    return sqrt(trial_distortion(x, y, count));
}

static void round_to(int32_t dtype, float *x, uint64_t count) {
    uint16_t bits;
    for (uint64_t i = 0; dtype != TSR_DTYPE_F32 && i < count; i++) {
        dtype_from_f32(dtype, x + i, 1, &bits);
        dtype_to_f32(dtype, &bits, 1, x + i);
    }
}

static void bits_are_met_within_one_percent(void) {
    static const double RATES[] = {0.3, 1, 2, 3.3, 4, 6, 9};
    struct trial trial;
    begin(&trial, 600, 512, 4);
    trial_fill(trial.x, trial.count, 1);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= trial.x[i] * trial.x[i] * 0.01f; /* heavy tails */
    for (unsigned i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        trial.params[BITS].real = RATES[i];
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), RATES[i], 0.01 * RATES[i]);
    }
    trial_end(&trial);
}

/* Small and square, equal weights of rows, in steps of a 32nd of a bit: none is missed, whatever classes come and go. */
static void every_rate_is_met_with_equal_row_weights(void) {
    enum { ROWS = 256 };
    struct trial trial;
    float weights[ROWS];
    tsr_encode_hints hints = {sizeof hints, weights, NULL};
    begin(&trial, ROWS, 512, 4);
    trial_fill(trial.x, trial.count, 33);
    for (int r = 0; r < ROWS; r++) weights[r] = 1;
    trial.job.hints = &hints;
    for (int i = 0; i <= 32; i++) {
        trial.params[BITS].real = 3.5 + i / 32.0;
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), trial.params[BITS].real, 0.005 * trial.params[BITS].real);
    }
    trial_end(&trial);
}

/* Error by bits on normal weights: the ideal entropy-constrained uniform quantiser and 0.1 dB. */
static void the_error_is_that_of_the_ideal_quantiser(void) {
    static const double RATES[][2] = {{1, 4.58}, {2, 10.51}, {4, 22.55}, {6, 34.59}};
    struct trial trial;
    begin(&trial, 256, 2048, 4);
    trial_fill(trial.x, trial.count, 2);
    for (unsigned i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        trial.params[BITS].real = RATES[i][0];
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        double sqnr = -20 * log10(relative_error(trial.x, trial.y, trial.count));
        double missing = RATES[i][1] - sqnr + 6.02 * (trial_bits(&trial) - RATES[i][0]);
        CU_ASSERT(missing < 0.1);
    }
    trial_end(&trial);
}

static void step_overrides_bits(void) {
    struct trial trial;
    begin(&trial, 64, 1000, 2);
    trial_fill(trial.x, trial.count, 3);
    trial.params[STEP].real = 0.01;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT_DOUBLE_EQUAL(relative_error(trial.x, trial.y, trial.count), 0.01 / sqrt(12), 0.0001);
    CU_ASSERT(trial_bits(&trial) > 8);
    trial_end(&trial);
}

static void centroids_and_dead_zone_do_what_they_say(void) {
    struct trial trial;
    double with, without, bits;
    begin(&trial, 128, 1024, 1);
    trial_fill(trial.x, trial.count, 4);
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    with = relative_error(trial.x, trial.y, trial.count);
    trial.params[CENTROIDS].integer = 0;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    without = relative_error(trial.x, trial.y, trial.count);
    CU_ASSERT(with < 0.9 * without);
    trial.params[STEP].real = 0.5;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    bits = trial_bits(&trial);
    trial.params[DEAD_ZONE].real = 0.2;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT(trial_bits(&trial) < bits - 0.05);
    trial_end(&trial);
}

static void groups_share_steps_of_their_own(void) {
    static const int64_t GROUPS[] = {0, 32, 96, 4096};
    struct trial trial;
    double errors[4];
    begin(&trial, 100, 1000, 4);
    trial_fill(trial.x, trial.count, 5);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= i % 1000 / 32 % 2 ? 1 : 1e-4f;
    for (int i = 0; i < 4; i++) {
        trial.params[GROUP].integer = GROUPS[i];
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        errors[i] = relative_error(trial.x, trial.y, 32); /* the first group is a small one */
    }
    CU_ASSERT(errors[0] > 0.9);
    CU_ASSERT(errors[1] < 0.2);
    CU_ASSERT(errors[3] > 0.9);
    trial.params[GROUP].integer = 33;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_E_CONFIG);
    trial_end(&trial);
}

/* The error after rounding to the source's dtype, as a reader of the checkpoint sees it. */
static void every_row_keeps_the_error_bound(void) {
    static const int32_t DTYPES[] = {TSR_DTYPE_F32, TSR_DTYPE_BF16, TSR_DTYPE_F16};
    struct trial trial;
    begin(&trial, 300, 96, 1);
    trial_fill(trial.x, trial.count, 6);
    for (uint64_t i = 0; i < trial.count; i++) {
        uint64_t row = i / 96;
        trial.x[i] *= (float)pow(10, (double)(row % 77) - 40);
        if (row % 3 == 0 && i % 96 > 2) trial.x[i] *= 1e-6f;
    }
    for (int d = 0; d < 3; d++) {
        trial.job.tensor.dtype = DTYPES[d];
        round_to(DTYPES[d], trial.x, trial.count);
        for (double bound = 0.3; bound > 1e-3; bound /= 3) {
            trial.params[ROW_ERROR_MAX].real = bound;
            CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
            round_to(DTYPES[d], trial.y, trial.count);
            for (uint64_t r = 0; r < 300; r++) {
                CU_ASSERT(relative_error(trial.x + r * 96, trial.y + r * 96, 96) <= bound);
            }
        }
    }
    trial_end(&trial);
}

/* Weighted rows: step proportional to weight^(-1/2), whatever the row's own RMS. */
static void row_weights_set_the_steps(void) {
    struct trial trial;
    float weights[200];
    tsr_encode_hints hints = {sizeof hints, weights, NULL};
    begin(&trial, 200, 2000, 4);
    trial_fill(trial.x, trial.count, 7);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= i / 2000 % 2 ? 4.0f : 1.0f;
    for (int r = 0; r < 200; r++) weights[r] = r < 100 ? 1 : 64;
    trial.job.hints = &hints;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), 4, 0.04);
    double rms[2] = {0, 0};
    for (int r = 0; r < 200; r++) {
        double error = 0;
        for (int c = 0; c < 2000; c++) {
            double difference = (double)trial.x[r * 2000 + c] - (double)trial.y[r * 2000 + c];
            error += difference * difference;
        }
        rms[r >= 100] += sqrt(error);
    }
    CU_ASSERT_DOUBLE_EQUAL(rms[0] / rms[1], 8, 0.6);
    for (int r = 0; r < 200; r++) weights[r] = 0;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT(relative_error(trial.x, trial.y, trial.count) < 0.1);
    trial_end(&trial);
}

/* Buckets of rows share a class or have one each from some scale on: the rate jumps there, and is met all the same. */
static void weights_of_rows_keep_the_rate(void) {
    enum { R = 576, C = 576 };
    struct trial trial;
    static float weight[R];
    const tsr_encode_hints hints = {sizeof hints, weight, NULL};
    begin(&trial, R, C, 4);
    trial_fill(trial.x, trial.count, 9);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= (float)(1 + (double)(i / C * 7919 % R) * 0.0025);
    for (int r = 0; r < R; r++) weight[r] = r % 9 ? 0.6f : 0.6f + 0.02f * (float)r;
    trial.job.hints = &hints;
    for (double bits = 2.4; bits < 4.6; bits += 0.05) {
        trial.params[BITS].real = bits;
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), bits, 0.03 * bits);
    }
    trial_end(&trial);
}


/* ---- what is coded against its own entropy ---- */

static void gaussian_weights_take_their_entropy(void) {
    trial_gaussian_weights_take_their_entropy(begin);
}

static void weights_of_a_model_take_their_entropy(void) {
    trial_weights_of_a_model_take_their_entropy(begin);
}

static void unequal_columns_cost_what_they_tell(void) {
    struct trial trial;
    begin(&trial, 512, 512, 4);
    trial_unequal_columns_cost_what_they_tell(&trial);
    trial_end(&trial);
}

/* What no symmetric distribution describes is coded by tables: two values cost a bit, whatever their signs. */
static void weights_of_one_sign_cost_no_sign(void) {
    struct trial trial;
    double bits[2];
    begin(&trial, 64, 1024, 4);
    trial.params[STEP].real = 0.02;
    for (int positive = 0; positive < 2; positive++) {
        trial_fill(trial.x, trial.count, 32);
        for (uint64_t i = 0; positive && i < trial.count; i++) trial.x[i] = fabsf(trial.x[i]);
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        bits[positive] = trial_bits(&trial);
    }
    CU_ASSERT_DOUBLE_EQUAL(bits[0] - bits[1], 1, 0.05);
    trial_end(&trial);
}

static void odd_shapes_come_back(void) {
    static const uint64_t SHAPES[][2] = {{0, 0}, {0, 7},  {7, 0},    {1, 1},     {1, 31},    {31, 1},
                                         {5, 3}, {3, 33}, {1, 1000}, {1000, 17}, {70000, 1}, {1, 300000}};
    for (unsigned i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        for (int64_t group = 0; group <= 32; group += 32) {
            struct trial trial;
            begin(&trial, SHAPES[i][0], SHAPES[i][1], 8);
            trial.params[GROUP].integer = group;
            trial_fill(trial.x, trial.count, i + 8);
            CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
            CU_ASSERT(relative_error(trial.x, trial.y, trial.count) < 0.05);
            trial_end(&trial);
        }
    }
}

/* Rows that a step cannot serve, or that need none, among ordinary ones. */
static void extreme_rows_are_exact_or_close(void) {
    enum { COLUMNS = 64 };
    static const float SCALES[] = {0, 0x1p-149f, 0x1p-140f, 1e-38f, 1e-30f, 1, 1e30f, 0x1.fffffep+127f};
    struct trial trial;
    begin(&trial, 64, COLUMNS, 6);
    trial_fill(trial.x, trial.count, 20);
    for (uint64_t i = 0; i < trial.count; i++) {
        float scale = SCALES[i / COLUMNS % 8];
        if (i / COLUMNS / 8 % 2)
            trial.x[i] = i % 2 ? scale : -scale; /* constant magnitude */
        else
            trial.x[i] = scale >= 1e30f ? trial.x[i] / 7 * scale : trial.x[i] * scale;
    }
    trial.x[5 * COLUMNS + 1] = 1e6f; /* an outlier */
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    for (uint64_t r = 0; r < 64; r++) {
        const float *x = trial.x + r * COLUMNS, *y = trial.y + r * COLUMNS;
        for (uint64_t c = 0; c < COLUMNS; c++) CU_ASSERT(isfinite(y[c]));
        CU_ASSERT(relative_error(x, y, COLUMNS) < (SCALES[r % 8] < 1e-30f ? 1e-30 : 0.05));
    }
    trial_end(&trial);
}

/* Symbols beyond the alphabet are escapes: nothing is clamped. */
static void escapes_are_numbered_from_their_limit(void) {
    static const int32_t INDICES[] = {1, -1, 5, -2048, 1 << 24, -(1 << 24)};
    for (unsigned i = 0; i < sizeof INDICES / sizeof INDICES[0]; i++) {
        CU_ASSERT_EQUAL(escape_index(escape_code(INDICES[i], 0), 0), INDICES[i]);
    }
    CU_ASSERT_EQUAL(escape_code(300, 299), 0);
    CU_ASSERT_EQUAL(escape_code(-301, 299), 3);
    /* Damaged codes leave 32 bits. */
    CU_ASSERT_EQUAL(escape_index(UINT32_MAX, 2047), -INT64_C(2147485695));
    CU_ASSERT_EQUAL(escape_index(UINT32_MAX - 1, 0), INT64_C(2147483648));
}

static void outliers_are_not_clamped(void) {
    struct trial trial;
    begin(&trial, 16, 4096, 3);
    trial_fill(trial.x, trial.count, 21);
    trial.x[77] = 60;
    trial.x[4096 * 9] = -55;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT_DOUBLE_EQUAL(trial.y[77], 60, 1);
    CU_ASSERT_DOUBLE_EQUAL(trial.y[4096 * 9], -55, 1);
    trial_end(&trial);
}

static void bytes_are_the_same_from_three_workers(void) {
    struct trial trial;
    begin(&trial, 1500, 700, 3);
    trial_fill(trial.x, trial.count, 22);
    trial_same_from_three_workers(&trial);
    trial_end(&trial);
}

static const float RICH_WEIGHTS[24] = {1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
                                       90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 90};
static const tsr_encode_hints RICH_HINTS = {sizeof RICH_HINTS, RICH_WEIGHTS, NULL};

/* Small, with escapes, a raw row, a zero row and several classes: all parts of a tile. */
static void begin_rich(struct trial *trial) {
    begin(trial, 24, 1024, 3);
    trial->job.hints = &RICH_HINTS;
    trial_fill(trial->x, trial->count, 23);
    for (int c = 0; c < 1024; c++) trial->x[1024 + c] = 0;
    for (int c = 0; c < 1024; c++) trial->x[2 * 1024 + c] *= 1e-36f;
    for (int c = 0; c < 24; c++) trial->x[c * 1024 + c] *= 1000;
    trial->params[ROW_ERROR_MAX].real = 0.05;
}

static void damaged_bytes_are_refused(void) {
    struct trial trial;
    begin_rich(&trial);
    trial_refuses_damage(&trial, 2);
    trial_end(&trial);
}

static void a_failing_allocation_is_reported(void) {
    for (int64_t fail_at = 1;; fail_at++) {
        struct trial trial;
        begin_rich(&trial);
        trial.host.fail_at = fail_at;
        tsr_status status = trial_run(&trial);
        bool failed = trial.host.allocations >= fail_at;
        trial_end(&trial);
        CU_ASSERT_EQUAL(status, failed ? TSR_E_NOMEM : TSR_OK);
        if (!failed) break;
    }
}

static void a_tile_is_never_larger_than_its_buffer(void) {
    struct trial trial;
    begin_rich(&trial);
    trial_keeps_to_its_buffer(&trial);
    trial_end(&trial);
}

static void vector_kernels_equal_the_portable_ones(void) {
#if defined(__x86_64__)
    enum { COUNT = 1000 };
    if (!__builtin_cpu_supports("avx2")) return;
    float x[COUNT + 1], values[600], y[2][COUNT];
    uint8_t contexts[2][COUNT];
    uint16_t symbols[2][COUNT];
    trial_fill(x, COUNT + 1, 24);
    trial_fill(values, 600, 25);
    for (int i = 0; i < COUNT; i += 7) x[i] = i % 2 ? -0.0f : x[i] * 1e6f;
    for (uint64_t count = 0; count <= COUNT; count += count < 40 ? 1 : 37) {
        const struct scalar_quantiser quantiser = {0.3f + 0.1f * (float)count, 0.41f, 290, 299};
        float peaks[2];
        double a = scalar_kernels_portable.energy(x, count, &peaks[0]);
        double b = scalar_kernels_avx2.energy(x, count, &peaks[1]);
        CU_ASSERT(a == b && peaks[0] == peaks[1]);
        CU_ASSERT(scalar_kernels_portable.spread(x, x + 1, count) == scalar_kernels_avx2.spread(x, x + 1, count));
        for (int32_t row = INT8_MIN; row <= INT8_MAX; row += 15) {
            scalar_kernels_portable.contexts((const int8_t *)x, count, row, 20, contexts[0]);
            scalar_kernels_avx2.contexts((const int8_t *)x, count, row, 20, contexts[1]);
            CU_ASSERT_EQUAL(memcmp(contexts[0], contexts[1], count), 0);
        }
        uint64_t escapes = scalar_kernels_portable.quantise(x, count, &quantiser, symbols[0]);
        CU_ASSERT_EQUAL(scalar_kernels_avx2.quantise(x, count, &quantiser, symbols[1]), escapes);
        CU_ASSERT_EQUAL(memcmp(symbols[0], symbols[1], count * sizeof(uint16_t)), 0);
        CU_ASSERT_EQUAL(scalar_kernels_portable.reconstruct(symbols[0], count, values, 0.7f, 599, y[0]), escapes);
        CU_ASSERT_EQUAL(scalar_kernels_avx2.reconstruct(symbols[0], count, values, 0.7f, 599, y[1]), escapes);
        CU_ASSERT_EQUAL(memcmp(y[0], y[1], count * sizeof(float)), 0);
    }
#endif
}

static const struct unit_test TESTS[] = {
    {"bits_are_met_within_one_percent", bits_are_met_within_one_percent},
    {"the_error_is_that_of_the_ideal_quantiser", the_error_is_that_of_the_ideal_quantiser},
    {"step_overrides_bits", step_overrides_bits},
    {"centroids_and_dead_zone_do_what_they_say", centroids_and_dead_zone_do_what_they_say},
    {"groups_share_steps_of_their_own", groups_share_steps_of_their_own},
    {"every_row_keeps_the_error_bound", every_row_keeps_the_error_bound},
    {"every_rate_is_met_with_equal_row_weights", every_rate_is_met_with_equal_row_weights},
    {"row_weights_set_the_steps", row_weights_set_the_steps},
    {"weights_of_rows_keep_the_rate", weights_of_rows_keep_the_rate},
    {"gaussian_weights_take_their_entropy", gaussian_weights_take_their_entropy},
    {"weights_of_a_model_take_their_entropy", weights_of_a_model_take_their_entropy},
    {"unequal_columns_cost_what_they_tell", unequal_columns_cost_what_they_tell},
    {"weights_of_one_sign_cost_no_sign", weights_of_one_sign_cost_no_sign},
    {"odd_shapes_come_back", odd_shapes_come_back},
    {"extreme_rows_are_exact_or_close", extreme_rows_are_exact_or_close},
    {"escapes_are_numbered_from_their_limit", escapes_are_numbered_from_their_limit},
    {"outliers_are_not_clamped", outliers_are_not_clamped},
    {"bytes_are_the_same_from_three_workers", bytes_are_the_same_from_three_workers},
    {"damaged_bytes_are_refused", damaged_bytes_are_refused},
    {"a_failing_allocation_is_reported", a_failing_allocation_is_reported},
    {"a_tile_is_never_larger_than_its_buffer", a_tile_is_never_larger_than_its_buffer},
    {"vector_kernels_equal_the_portable_ones", vector_kernels_equal_the_portable_ones},
};
UNIT_MAIN(TESTS)
