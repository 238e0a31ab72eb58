/* SPDX-License-Identifier: Apache-2.0
 *
 * The trellis codec: the code, the path, rates and errors it promises, odd shapes and values, damaged bytes, blocks. */
#include "../../plugins/trellis/trellis_path.h"
#include "../entropy_trial.h"

#include <shape.h>

extern const tsr_plugin tsr_plugin_trellis;

enum { BITS, STATES };

static void begin(struct trial *trial, uint64_t rows, uint64_t columns, double bits, int64_t states) {
    trial_begin(trial, tsr_plugin_trellis.codecs[0], rows, columns);
    trial->params[BITS].real = bits;
    trial->params[STATES].integer = states;
}

/* ---- code and path ---- */

static void every_state_has_two_ways_in_and_out(void) {
    for (uint32_t states = 1; states <= 512; states++) {
        struct trellis_code code;
        bool expected = states >= 4 && states <= 256 && (states & (states - 1)) == 0;
        CU_ASSERT_EQUAL(trellis_code_init(&code, states), expected);
        if (!expected) continue;
        for (uint32_t s = 0; s < states; s++) {
            CU_ASSERT_NOT_EQUAL(code.next[2 * s], code.next[2 * s + 1]);
            for (uint32_t i = 0; i < 2; i++) {
                CU_ASSERT_EQUAL(code.next[2 * code.from[2 * s + i] + code.with[2 * s + i]], s);
            }
            CU_ASSERT(code.from[2 * s] < code.from[2 * s + 1]);
        }
    }
}

/* Decoders follow it: these tables must never change. */
static void the_code_is_that_of_the_first_version(void) {
    static const uint8_t EIGHT[16] = {0, 2, 5, 7, 1, 3, 4, 6, 2, 0, 7, 5, 3, 1, 6, 4};
    struct trellis_code code;
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    CU_ASSERT_TRUE_FATAL(trellis_code_init(&code, 8));
    CU_ASSERT_EQUAL(memcmp(code.next, EIGHT, sizeof EIGHT), 0);
    for (uint32_t states = 4; states <= 256; states *= 2) {
        CU_ASSERT_TRUE_FATAL(trellis_code_init(&code, states));
        for (uint32_t i = 0; i < 2 * states; i++) hash = (hash ^ code.next[i]) * UINT64_C(0x100000001B3);
    }
    CU_ASSERT_EQUAL(hash, UINT64_C(0x592C46FF54C02191));
}

enum { PATH = 7, STATES_MOST = 256, ROWS = 300 };

enum { COST_SCALES = 3 };

/* Costs that grow and differ between the quantisers and scales. */
static float costs[COST_SCALES][2][TRELLIS_COSTS];
static int32_t row_codes[ROWS];

static void fill_costs(void) {
    for (uint32_t i = 0; i < COST_SCALES * TRELLIS_COSTS; i++) {
        const uint32_t scale = i / TRELLIS_COSTS, m = i % TRELLIS_COSTS;
        costs[scale][0][m] = 0.2f + (0.3f - 0.1f * (float)scale) * (float)m;
        costs[scale][1][m] = 0.1f + (0.35f - 0.1f * (float)scale) * (float)m;
    }
    for (int32_t r = 0; r < ROWS; r++) row_codes[r] = r * 7 % 5 - 1;
}

/* Of a row and lane: the codes' sum, kept within the scales. */
static const float *lane_costs(const struct trellis_strip *strip, uint64_t row, uint32_t lane) {
    const int32_t sum = strip->rows[row] + strip->columns[lane];
    return costs[sum < 0 ? 0 : sum >= COST_SCALES ? COST_SCALES - 1 : sum][0];
}

static float path_cost(const struct trellis_strip *strip, uint32_t lane, const int32_t *indices, uint64_t count) {
    float sum = 0;
    uint32_t state = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t magnitude = (uint32_t)abs(indices[i]), quantiser = state & 1;
        float point = (float)index_point(quantiser, magnitude) * (indices[i] < 0 ? -1.0f : 1.0f);
        float difference = strip->u[i * TRELLIS_LANES + lane] - point;
        sum += difference * difference + lane_costs(strip, i, lane)[quantiser * TRELLIS_COSTS + magnitude];
        state = strip->code->next[2 * state + ((uint32_t)indices[i] & 1)];
    }
    return sum;
}

static float try_all(const struct trellis_strip *strip, uint32_t lane, int32_t *indices, uint64_t at, float best) {
    float cost = path_cost(strip, lane, indices, at);
    if (cost >= best || at == PATH) return cost < best ? cost : best;
    for (int32_t index = -5; index <= 5; index++) {
        indices[at] = index;
        best = try_all(strip, lane, indices, at + 1, best);
    }
    return best;
}

/* Against all sequences of indices. */
static void the_path_is_the_best_of_all(void) {
    float u[PATH * TRELLIS_LANES];
    int32_t choices[PATH * 4 * TRELLIS_LANES], indices[PATH * TRELLIS_LANES];
    uint8_t before[PATH * 16];
    fill_costs();
    for (uint32_t round = 0; round < 4; round++) {
        struct trellis_code code;
        CU_ASSERT_TRUE_FATAL(trellis_code_init(&code, round % 2 ? 16 : 8));
        trial_fill(u, PATH * TRELLIS_LANES, round);
        for (int i = 0; i < PATH * TRELLIS_LANES; i++) u[i] *= 2;
        struct trellis_strip strip = {.code = &code,
                                      .costs = costs[0][0],
                                      .scales = COST_SCALES,
                                      .rows = row_codes,
                                      .columns = {-2, -1, 0, 0, 1, 2, 3, 0},
                                      .u = u,
                                      .count = PATH,
                                      .indices = indices,
                                      .choices = choices,
                                      .before = before};
        trellis_find_get()(&strip);
        for (uint32_t lane = 0; lane < TRELLIS_LANES; lane++) {
            int32_t found[PATH], tried[PATH];
            for (int i = 0; i < PATH; i++) found[i] = indices[i * TRELLIS_LANES + (int)lane];
            float best = path_cost(&strip, lane, found, PATH);
            CU_ASSERT_DOUBLE_EQUAL((double)try_all(&strip, lane, tried, 0, best + 1e-4f), (double)best, 1e-4);
        }
    }
}

/* Values of all sizes, ties among them, from any state: the same bits from both forms. */
static void vector_paths_equal_the_portable_ones(void) {
#if defined(__x86_64__)
    static float u[ROWS * TRELLIS_LANES];
    static int32_t choices[ROWS * 4 * TRELLIS_LANES], indices[2][ROWS * TRELLIS_LANES];
    static uint8_t before[2][ROWS * STATES_MOST];
    if (!__builtin_cpu_supports("avx2")) return;
    fill_costs();
    trial_fill(u, ROWS * TRELLIS_LANES, 5);
    for (int i = 0; i < ROWS * TRELLIS_LANES; i++) {
        if (i % 5 == 0) u[i] = (float)(int)(u[i] * 4);
        if (i % 97 == 0) u[i] *= 1e6f;
    }
    for (uint32_t states = 4; states <= STATES_MOST; states *= 2) {
        struct trellis_code code;
        struct trellis_strip strips[2];
        CU_ASSERT_TRUE_FATAL(trellis_code_init(&code, states));
        for (int form = 0; form < 2; form++) {
            strips[form] = (struct trellis_strip){.code = &code,
                                                  .costs = costs[0][0],
                                      .scales = COST_SCALES,
                                      .rows = row_codes,
                                      .columns = {-2, -1, 0, 0, 1, 2, 3, 0},
                                                  .u = u,
                                                  .count = ROWS,
                                                  .states = {0, 1, 2, 3, 3, 2, 1, 0},
                                                  .indices = indices[form],
                                                  .choices = choices,
                                                  .before = before[form]};
        }
        trellis_find_portable(&strips[0]);
        trellis_find_avx2(&strips[1]);
        CU_ASSERT_EQUAL(memcmp(indices[0], indices[1], sizeof indices[0]), 0);
        CU_ASSERT_EQUAL(memcmp(before[0], before[1], ROWS * states), 0);
        CU_ASSERT_EQUAL(memcmp(strips[0].states, strips[1].states, TRELLIS_LANES), 0);
    }
#endif
}

/* ---- rates and errors ---- */

/* dB to the Gaussian bound, steps and tables included. */
static void the_gap_is_that_of_the_design(void) {
    static const struct {
        int64_t states;
        double bits, gap;
    } EXPECTED[] = {{8, 1, .85}, {8, 2, .65}, {8, 3, .65}, {8, 4, .65}, {64, 2, .45}};
    struct trial trial;
    begin(&trial, 512, 1024, 4, 8);
    trial_fill(trial.x, trial.count, 3);
    for (unsigned i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        trial.params[BITS].real = EXPECTED[i].bits;
        trial.params[STATES].integer = EXPECTED[i].states;
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT(trial_gap(&trial) < EXPECTED[i].gap);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), EXPECTED[i].bits, 0.01 * EXPECTED[i].bits);
    }
    trial_end(&trial);
}

/* Fewer weights than a scale of their own asks for. */
static void tiny_tensors_have_a_scale_too(void) {
    struct trial trial;
    begin(&trial, 16, 32, 4, 8);
    trial_fill(trial.x, trial.count, 34);
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT(trial_bits(&trial) < 6); /* with 128 bytes of the coder's states */
    CU_ASSERT(trial_gap(&trial) < 14);
    trial_end(&trial);
}

static void bits_are_met_within_one_percent(void) {
    static const double RATES[] = {1, 2, 3.3, 6};
    struct trial trial;
    begin(&trial, 300, 512, 4, 8);
    trial_fill(trial.x, trial.count, 1);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= trial.x[i] * trial.x[i] * 0.01f; /* heavy tails */
    for (unsigned i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        trial.params[BITS].real = RATES[i];
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), RATES[i], 0.01 * RATES[i]);
    }
    trial_end(&trial);
}

/* ---- what is coded against its own entropy ---- */

static void begin_of_eight(struct trial *trial, uint64_t rows, uint64_t columns, double bits) {
    begin(trial, rows, columns, bits, 8);
}

static void gaussian_weights_take_their_entropy(void) {
    trial_gaussian_weights_take_their_entropy(begin_of_eight);
}

static void weights_of_a_model_take_their_entropy(void) {
    trial_weights_of_a_model_take_their_entropy(begin_of_eight);
}

static void unequal_columns_cost_what_they_tell(void) {
    struct trial trial;
    begin(&trial, 512, 512, 4, 8);
    trial_unequal_columns_cost_what_they_tell(&trial);
    trial_end(&trial);
}

/* Means of columns are told once, and weights are coded without them; a row of zeros stays one. */
static void means_of_columns_are_told_once(void) {
    struct trial trial;
    double errors[2];
    begin(&trial, 512, 512, 4, 8);
    for (int means = 0; means < 2; means++) {
        double energy = 0;
        trial_fill(trial.x, trial.count, 35);
        for (uint64_t i = 0; means && i < trial.count; i++) trial.x[i] += 1.5f * (float)((int)(i % 512 % 7) - 3);
        for (uint64_t c = 0; c < 512; c++) trial.x[3 * 512 + c] = 0;
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), 4, 0.04);
        for (uint64_t i = 0; i < trial.count; i++) energy += (double)trial.x[i] * (double)trial.x[i];
        errors[means] = energy * trial_distortion(trial.x, trial.y, trial.count) * exp2(2 * trial_bits(&trial));
        for (uint64_t c = 0; c < 512; c++) CU_ASSERT_EQUAL(trial.y[3 * 512 + c], 0);
    }
    CU_ASSERT_DOUBLE_EQUAL(errors[1] / errors[0], 1, 0.05);
    trial_end(&trial);
}

/* Steps that are all alike are not rounded to an eighth of an octave. */
static void every_rate_is_met_with_equal_row_weights(void) {
    enum { ROWS_OF_ONE_WEIGHT = 256 };
    struct trial trial;
    float weights[ROWS_OF_ONE_WEIGHT];
    tsr_encode_hints hints = {sizeof hints, weights, NULL};
    begin(&trial, ROWS_OF_ONE_WEIGHT, 512, 4, 8);
    trial_fill(trial.x, trial.count, 33);
    for (int r = 0; r < ROWS_OF_ONE_WEIGHT; r++) weights[r] = 1;
    trial.job.hints = &hints;
    for (int i = 0; i <= 16; i++) {
        trial.params[BITS].real = 3.5 + i / 16.0;
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), trial.params[BITS].real, 0.006 * trial.params[BITS].real);
    }
    trial_end(&trial);
}

static void states_that_are_no_power_of_two_are_refused(void) {
    struct trial trial;
    begin(&trial, 4, 4, 4, 12);
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_E_CONFIG);
    trial_end(&trial);
}

/* Weighted rows: step proportional to weight^(-1/2), whatever the row's own RMS. Coarse rows have fewer bits, and with
 * those a bit saves more error, so theirs grows a little more than the step. */
static void row_weights_set_the_steps(void) {
    struct trial trial;
    float weights[200];
    tsr_encode_hints hints = {sizeof hints, weights, NULL};
    begin(&trial, 200, 600, 4, 8);
    trial_fill(trial.x, trial.count, 7);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= i / 600 % 2 ? 4.0f : 1.0f;
    for (int r = 0; r < 200; r++) weights[r] = r < 100 ? 1 : 64;
    trial.job.hints = &hints;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), 4, 0.04);
    double errors[2] = {0, 0};
    for (uint64_t i = 0; i < trial.count; i++) {
        double difference = (double)trial.x[i] - (double)trial.y[i];
        errors[i >= trial.count / 2] += difference * difference;
    }
    CU_ASSERT_DOUBLE_EQUAL(sqrt(errors[0] / errors[1]), 9, 1);
    for (int r = 0; r < 200; r++) weights[r] = 0;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT(trial_distortion(trial.x, trial.y, trial.count) < 0.01);
    trial_end(&trial);
}

/* ---- shapes and values ---- */

static void odd_shapes_come_back(void) {
    static const uint64_t SHAPES[][2] = {{0, 0},   {0, 7},    {7, 0},     {1, 1},     {1, 31},   {31, 1},
                                         {5, 3},   {3, 33},   {40, 16},   {40, 31},   {40, 33},  {9, 1000},
                                         {257, 8}, {1, 1000}, {1000, 17}, {20000, 1}, {1, 30000}};
    for (unsigned i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        for (int64_t states = 4; states <= 32; states *= 8) {
            struct trial trial;
            begin(&trial, SHAPES[i][0], SHAPES[i][1], 7, states);
            trial_fill(trial.x, trial.count, i + 8);
            CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
            CU_ASSERT(trial_distortion(trial.x, trial.y, trial.count) < 0.001);
            trial_end(&trial);
        }
    }
}

/* Rows that a step cannot serve, or that need none, among ordinary ones. */
static void extreme_rows_are_exact_or_close(void) {
    enum { COLUMNS = 64 };
    static const float SCALES[] = {0, 0x1p-149f, 0x1p-140f, 1e-38f, 1e-30f, 1, 1e30f, 0x1.fffffep+127f};
    struct trial trial;
    begin(&trial, 64, COLUMNS, 6, 8);
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
        CU_ASSERT(trial_distortion(x, y, COLUMNS) < (SCALES[r % 8] < 1e-30f ? 1e-30 : 0.05));
    }
    trial_end(&trial);
}

static void outliers_are_not_clamped(void) {
    struct trial trial;
    begin(&trial, 16, 4096, 3, 8);
    trial_fill(trial.x, trial.count, 21);
    trial.x[77] = 60;
    trial.x[4096 * 9] = -55;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT_DOUBLE_EQUAL(trial.y[77], 60, 3);
    CU_ASSERT_DOUBLE_EQUAL(trial.y[4096 * 9], -55, 3);
    trial_end(&trial);
}

/* ---- what every codec must keep ---- */

/* Small, with escapes, a raw row, a zero row, several scales and columns with means: all parts of a header and a tile. */
static void begin_rich(struct trial *trial, uint64_t columns) {
    static const float WEIGHTS[24] = {1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
                                      90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 90};
    static const tsr_encode_hints HINTS = {sizeof HINTS, WEIGHTS, NULL};
    begin(trial, 24, columns, 3, 8);
    trial->job.hints = &HINTS;
    trial_fill(trial->x, trial->count, 23);
    for (uint64_t i = 0; i < trial->count; i++) trial->x[i] += 4 * (float)((int)(i % columns % 5) - 2);
    for (uint64_t c = 0; c < columns; c++) trial->x[columns + c] = 0;
    for (uint64_t c = 0; c < columns; c++) trial->x[2 * columns + c] *= 1e-36f;
    for (uint64_t r = 3; r < 24; r += 3) trial->x[r * columns + r] *= 1000;
}

static void damaged_bytes_are_refused(void) {
    struct trial trial;
    begin_rich(&trial, 721);
    trial_refuses_damage(&trial, 3);
    CU_ASSERT(trial.payload.header[7] & 1); /* rows have codes */
    CU_ASSERT(trial.payload.header[7] & 4); /* columns have means */
    trial_end(&trial);
}

static void a_failing_allocation_is_reported(void) {
    for (int64_t fail_at = 1;; fail_at++) {
        struct trial trial;
        begin_rich(&trial, 40);
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
    begin_rich(&trial, 257);
    trial_keeps_to_its_buffer(&trial);
    trial_end(&trial);
}

static void bytes_are_the_same_from_three_workers(void) {
    struct trial trial;
    begin(&trial, 600, 301, 3, 8);
    trial_fill(trial.x, trial.count, 22);
    trial_same_from_three_workers(&trial);
    trial_end(&trial);
}

static void rows_are_those_of_the_tile(void) {
    struct trial trial;
    begin_rich(&trial, 257);
    trial_rows_equal_decode(&trial);
    trial_end(&trial);
}

static void blocks_are_what_is_decoded(void) {
    struct trial trial;
    begin_rich(&trial, 257);
    trial_block_agrees(&trial, true);
    trial_end(&trial);
}

static const struct unit_test TESTS[] = {
    {"every_state_has_two_ways_in_and_out", every_state_has_two_ways_in_and_out},
    {"the_code_is_that_of_the_first_version", the_code_is_that_of_the_first_version},
    {"the_path_is_the_best_of_all", the_path_is_the_best_of_all},
    {"vector_paths_equal_the_portable_ones", vector_paths_equal_the_portable_ones},
    {"the_gap_is_that_of_the_design", the_gap_is_that_of_the_design},
    {"tiny_tensors_have_a_scale_too", tiny_tensors_have_a_scale_too},
    {"bits_are_met_within_one_percent", bits_are_met_within_one_percent},
    {"gaussian_weights_take_their_entropy", gaussian_weights_take_their_entropy},
    {"weights_of_a_model_take_their_entropy", weights_of_a_model_take_their_entropy},
    {"unequal_columns_cost_what_they_tell", unequal_columns_cost_what_they_tell},
    {"means_of_columns_are_told_once", means_of_columns_are_told_once},
    {"every_rate_is_met_with_equal_row_weights", every_rate_is_met_with_equal_row_weights},
    {"states_that_are_no_power_of_two_are_refused", states_that_are_no_power_of_two_are_refused},
    {"row_weights_set_the_steps", row_weights_set_the_steps},
    {"odd_shapes_come_back", odd_shapes_come_back},
    {"extreme_rows_are_exact_or_close", extreme_rows_are_exact_or_close},
    {"outliers_are_not_clamped", outliers_are_not_clamped},
    {"damaged_bytes_are_refused", damaged_bytes_are_refused},
    {"a_failing_allocation_is_reported", a_failing_allocation_is_reported},
    {"a_tile_is_never_larger_than_its_buffer", a_tile_is_never_larger_than_its_buffer},
    {"bytes_are_the_same_from_three_workers", bytes_are_the_same_from_three_workers},
    {"rows_are_those_of_the_tile", rows_are_those_of_the_tile},
    {"blocks_are_what_is_decoded", blocks_are_what_is_decoded},
};
UNIT_MAIN(TESTS)
