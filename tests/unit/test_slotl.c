/* SPDX-License-Identifier: Apache-2.0
 *
 * Slot L: what its components hold, coefficients of every width, odd shapes and values, damaged bytes. */
#include "../codec_trial.h"

extern const tsr_plugin tsr_plugin_slotl;

enum { RANK, BANDS, PALETTE, PARAM_COUNT };

static void begin(struct trial *trial, uint64_t rows, uint64_t columns, int64_t rank) {
    trial_begin(trial, tsr_plugin_slotl.codecs[0], rows, columns);
    trial->params[RANK].integer = rank;
}

static double normal(struct rng *rng) {
    double u = rng_real(rng), v = rng_real(rng);
    return sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);
}

static void fill_normal(struct trial *trial, double scale, uint64_t seed) {
    struct rng rng = {seed};
    for (uint64_t i = 0; i < trial->count; i++) trial->x[i] = (float)(scale * normal(&rng));
}

/* Adds a matrix of `rank` components of falling strength. */
static void add_components(struct trial *trial, uint64_t rank, double strength, uint64_t seed) {
    uint64_t rows = trial->job.tensor.rows, columns = trial->job.tensor.columns;
    double *left = mem_alloc_array(rows, sizeof *left), *right = mem_alloc_array(columns, sizeof *right);
    struct rng rng = {seed};
    for (uint64_t k = 0; k < rank; k++) {
        double size = strength / (double)(k + 1);
        for (uint64_t r = 0; r < rows; r++) left[r] = normal(&rng) * size;
        for (uint64_t c = 0; c < columns; c++) right[c] = normal(&rng);
        for (uint64_t i = 0; i < trial->count; i++) trial->x[i] += (float)(left[i / columns] * right[i % columns]);
    }
    mem_free(left);
    mem_free(right);
}

/* Relative squared error, columns weighted by `weight` or 1. */
static double error_of(const struct trial *trial, const float *weight) {
    double error = 0, energy = 0;
    for (uint64_t i = 0; i < trial->count; i++) {
        double w = weight ? (double)weight[i % trial->job.tensor.columns] : 1;
        double d = (double)trial->x[i] - (double)trial->y[i];
        error += w * d * d;
        energy += w * (double)trial->x[i] * (double)trial->x[i];
    }
    return energy > 0 ? error / energy : error;
}

static void a_matrix_of_rank_8_comes_back(void) {
    struct trial trial;
    begin(&trial, 300, 500, 8);
    add_components(&trial, 8, 0.02, 3);
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    double error = error_of(&trial, NULL);
    CU_ASSERT(error <= 1e-4);
    if (error > 1e-4) printf("  rank 8: relative error %g\n", error);
    CU_ASSERT(trial.payload.total < 300 * 8 + 500 * 16 + 2000);
    trial_end(&trial);
}

static void more_components_hold_more(void) {
    double before = 1;
    for (int64_t rank = 1; rank <= 16; rank *= 2) {
        struct trial trial;
        begin(&trial, 200, 256, rank);
        fill_normal(&trial, 0.01, 5);
        add_components(&trial, 12, 0.02, 6);
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT(error_of(&trial, NULL) < before);
        before = error_of(&trial, NULL);
        trial_end(&trial);
    }
}

/* On white noise the components hold what the largest singular values of such a matrix do, and no more. */
static void white_noise_has_no_directions(void) {
    struct trial trial;
    begin(&trial, 512, 512, 8);
    fill_normal(&trial, 1, 7);
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    double error = error_of(&trial, NULL);
    CU_ASSERT(error > 0.93 && error < 1 - 8.0 / 512);
    trial_end(&trial);
}

static void weighted_columns_come_out_better(void) {
    struct trial plain, heavy;
    float weight[256];
    tsr_encode_hints hints = {sizeof hints, NULL, weight};
    for (int c = 0; c < 256; c++) weight[c] = c < 32 ? 100.0f : 1.0f;
    begin(&plain, 200, 256, 8);
    begin(&heavy, 200, 256, 8);
    fill_normal(&plain, 0.02, 8);
    fill_normal(&heavy, 0.02, 8);
    heavy.job.hints = &hints;
    CU_ASSERT_EQUAL(trial_run(&plain), TSR_OK);
    CU_ASSERT_EQUAL(trial_run(&heavy), TSR_OK);
    CU_ASSERT(error_of(&heavy, weight) < 0.95 * error_of(&plain, weight));
    trial_end(&plain);
    trial_end(&heavy);
}

static void bands_of_every_width_come_back(void) {
    static const int64_t SHAPES[][4] = {{8, 0, 0, 0}, {0, 8, 0, 0}, {0, 0, 8, 0}, {0, 0, 0, 8}, {2, 3, 5, 7}};
    static const double LIMITS[] = {2e-5, 1e-4, 0.02, 0.35, 1e-3};
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        struct trial trial;
        begin(&trial, 150, 200, 8);
        add_components(&trial, 8, 0.02, 9);
        trial.params[BANDS].list = SHAPES[i];
        trial.params[BANDS].count = 4;
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        double error = error_of(&trial, NULL);
        if (error > LIMITS[i]) printf("  bands %zu: relative error %g\n", i, error);
        CU_ASSERT(error <= LIMITS[i]);
        trial_end(&trial);
    }
}

/* Rows that repeat 16 patterns: the palette holds them, nine bytes a row. */
static void a_palette_holds_rows_that_repeat(void) {
    struct trial trial;
    begin(&trial, 512, 128, 8);
    fill_normal(&trial, 0.001, 11);
    struct rng rng = {12};
    float patterns[16 * 128];
    for (int i = 0; i < 16 * 128; i++) patterns[i] = (float)normal(&rng);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] += patterns[i / 128 % 16 * 128 + i % 128];
    trial.params[PALETTE].integer = 16;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT(error_of(&trial, NULL) < 1e-4);
    uint64_t tiles = trial.payload.total - trial.payload.header_bytes;
    CU_ASSERT(tiles <= 512 * 9 + 8);
    trial_end(&trial);
}

static tsr_status accepts(struct trial *trial) {
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &trial->host.host,
                                   .tensor = &trial->job.tensor,
                                   .params = trial->params};
    return trial->job.codec->can_encode(&setup, &trial->err);
}

static void what_makes_no_sense_is_refused(void) {
    static const int64_t THREE[] = {1, 2, 3}, MANY[] = {20, 20, 20, 20};
    struct trial trial;
    begin(&trial, 100, 64, 8);
    CU_ASSERT_EQUAL(accepts(&trial), TSR_OK);
    trial.params[PALETTE].integer = 16;
    CU_ASSERT_EQUAL(accepts(&trial), TSR_E_UNSUPPORTED);
    CU_ASSERT(strstr(trial.err.message, "it would memorise") != NULL);
    trial.params[PALETTE].integer = 0;
    trial.params[BANDS] = (tsr_param_value){.list = THREE, .count = 3};
    CU_ASSERT_EQUAL(accepts(&trial), TSR_E_CONFIG);
    trial.params[BANDS] = (tsr_param_value){.list = MANY, .count = 4};
    CU_ASSERT_EQUAL(accepts(&trial), TSR_E_CONFIG);
    trial.params[BANDS].count = 0;
    trial.params[RANK].integer = 0;
    CU_ASSERT_EQUAL(accepts(&trial), TSR_E_CONFIG);
    trial_end(&trial);
}

static void odd_shapes_and_values_come_back(void) {
    static const uint64_t COLUMNS[] = {1, 16, 17, 18, 1000, 1536, 3072};
    for (size_t i = 0; i < sizeof COLUMNS / sizeof *COLUMNS; i++) {
        for (uint64_t rows = 1; rows <= 30; rows += 29) {
            struct trial trial;
            begin(&trial, rows, COLUMNS[i], 8);
            fill_normal(&trial, rows == 1 ? 1e-40 : 1e37, 13 + i);
            CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
            CU_ASSERT(error_of(&trial, NULL) <= 1.000001);
            trial_end(&trial);
        }
    }
    struct trial zeros;
    begin(&zeros, 40, 40, 8);
    CU_ASSERT_EQUAL(trial_run(&zeros), TSR_OK);
    CU_ASSERT_EQUAL(error_of(&zeros, NULL), 0);
    trial_end(&zeros);
}

static void damaged_bytes_end_in_a_status(void) {
    struct trial trial;
    struct rng rng = {17};
    begin(&trial, 64, 96, 8);
    fill_normal(&trial, 0.02, 18);
    CU_ASSERT_EQUAL_FATAL(trial_run(&trial), TSR_OK);
    for (int i = 0; i < 2000; i++) {
        uint8_t *bytes = i % 2 ? trial.payload.header : trial.payload.bytes;
        uint64_t size = i % 2 ? trial.payload.header_bytes : trial.payload.tile_bytes[0];
        uint64_t at = rng_below(&rng, size);
        uint8_t bit = (uint8_t)(1u << rng_below(&rng, 8));
        bytes[at] ^= bit;
        (void)harness_decode(&trial.job, &trial.payload, trial.y, &trial.err);
        CU_ASSERT_EQUAL(trial.y[trial.count], 12345);
        bytes[at] ^= bit;
    }
    CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.payload, trial.y, &trial.err), TSR_OK);
    trial_end(&trial);
}

static const struct unit_test TESTS[] = {
    {"a_matrix_of_rank_8_comes_back", a_matrix_of_rank_8_comes_back},
    {"more_components_hold_more", more_components_hold_more},
    {"white_noise_has_no_directions", white_noise_has_no_directions},
    {"weighted_columns_come_out_better", weighted_columns_come_out_better},
    {"bands_of_every_width_come_back", bands_of_every_width_come_back},
    {"a_palette_holds_rows_that_repeat", a_palette_holds_rows_that_repeat},
    {"what_makes_no_sense_is_refused", what_makes_no_sense_is_refused},
    {"odd_shapes_and_values_come_back", odd_shapes_and_values_come_back},
    {"damaged_bytes_end_in_a_status", damaged_bytes_end_in_a_status},
};

UNIT_MAIN(TESTS)
