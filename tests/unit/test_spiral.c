/* SPDX-License-Identifier: Apache-2.0
 *
 * The spiral codec: the curve, the search, rates and errors it promises, odd shapes and values, damaged bytes, products
 * and blocks. */
#include "../../plugins/spiral/spiral_bitstream.h"
#include "../../plugins/spiral/spiral_search.h"
#include "../codec_trial.h"

#include <tessera/ext/matvec.h>

extern const tsr_plugin tsr_plugin_spiral;

enum { BITS, POINTS, HADAMARD };

static void begin(struct trial *trial, uint64_t rows, uint64_t columns, double bits, int64_t points) {
    trial_begin(trial, tsr_plugin_spiral.codecs[0], rows, columns);
    trial->params[BITS].real = bits;
    trial->params[POINTS].integer = points;
}

/* ---- curve, walk, search ---- */

static void points_lie_on_the_curve(void) {
    static const struct spiral_curve CURVES[] = {{0, 8, 65535}, {0, 0, 1000}, {1, 0, 4}, {1, 0, 257}, {1, 0, 4096}};
    const double golden = (3 - sqrt(5)) * 4 * atan(1);
    for (unsigned i = 0; i < sizeof CURVES / sizeof CURVES[0]; i++) {
        const uint32_t count = CURVES[i].count;
        struct spiral_point *points = mem_alloc_array(count, sizeof *points);
        double worst = 0;
        spiral_curve_points(&CURVES[i], points);
        for (uint32_t n = 0; n < count; n++) {
            double radius = sqrt(n + CURVES[i].delta / 16.0), angle = fmod(n * golden, 8 * atan(1));
            if (CURVES[i].companded) radius = sqrt(-2 * log(1 - (n + 0.5) / count));
            double dx = (double)points[n].x - radius * cos(angle), dy = (double)points[n].y - radius * sin(angle);
            worst = fmax(worst, hypot(dx, dy) / (radius + 1));
        }
        CU_ASSERT(worst < 1e-7);
        mem_free(points);
    }
}

/* Decoders compute it: these bits must never change. */
static void points_have_the_bits_of_the_first_version(void) {
    static const struct spiral_curve CURVES[] = {{0, 8, 60000}, {1, 0, 4096}};
    static const uint64_t EXPECTED[] = {UINT64_C(0x7FB7456073F7ADC), UINT64_C(0xA779EFE35FA2448B)};
    for (unsigned i = 0; i < 2; i++) {
        struct spiral_point *points = mem_alloc_array(CURVES[i].count, sizeof *points);
        uint64_t hash = UINT64_C(0xCBF29CE484222325);
        spiral_curve_points(&CURVES[i], points);
        for (uint32_t n = 0; n < 2 * CURVES[i].count; n++) {
            uint32_t bits;
            memcpy(&bits, (const float *)points + n, sizeof bits);
            hash = (hash ^ bits) * UINT64_C(0x100000001B3);
        }
        CU_ASSERT_EQUAL(hash, EXPECTED[i]);
        mem_free(points);
    }
}

static void every_walk_visits_every_column_once(void) {
    for (uint64_t columns = 1; columns < 200; columns++) {
        for (uint64_t stride = 1; stride < 20; stride++) {
            uint8_t seen[200] = {0};
            uint64_t hop = spiral_hop(stride, columns), column = 0, visited = 0;
            for (uint64_t i = 0; i < columns; i++) {
                visited += !seen[column];
                seen[column] = 1;
                column = spiral_next(column, hop, columns);
            }
            CU_ASSERT_EQUAL(visited, columns);
            CU_ASSERT(hop == 1 || hop == stride % columns);
        }
    }
}

/* Ties included, all points in F32: the ring search leaves nothing out. */
static void the_search_finds_what_trying_all_finds(void) {
    static const struct spiral_curve CURVES[] = {{0, 8, 3000}, {0, 0, 1024}, {1, 0, 4},   {1, 0, 5},
                                                 {1, 0, 16},   {1, 0, 100},  {1, 0, 256}, {1, 0, 4096}};
    enum { QUERIES = 4000 };
    static float x[QUERIES], y[QUERIES];
    static uint16_t found[2][QUERIES];
    for (unsigned k = 0; k < sizeof CURVES / sizeof CURVES[0]; k++) {
        struct spiral_rings rings;
        void *memory = mem_alloc_aligned(spiral_rings_bytes(CURVES[k].count));
        spiral_rings_init(&rings, &CURVES[k], memory);
        float reach = CURVES[k].companded ? 1.3f : 0.6f * rings.radius[CURVES[k].count - 1];
        trial_fill(x, QUERIES, k);
        trial_fill(y, QUERIES, k + 100);
        for (int i = 0; i < QUERIES; i++) {
            float scale = i < 3000 ? reach : i < 3900 ? reach * 3 : 1e6f;
            x[i] = i == 0 ? 0 : x[i] * scale;
            y[i] = i == 0 ? 0 : y[i] * scale;
        }
        spiral_search_portable(&rings, x, y, QUERIES, found[0]);
        spiral_search_get()(&rings, x, y, QUERIES, found[1]);
        uint64_t wrong = 0;
        for (int i = 0; i < QUERIES; i++) {
            float best = INFINITY;
            uint32_t nearest = 0;
            for (uint32_t n = 0; n < CURVES[k].count; n++) {
                float dx = rings.x[n] - x[i], dy = rings.y[n] - y[i], square = dx * dx + dy * dy;
                if (square < best) {
                    best = square;
                    nearest = n;
                }
            }
            wrong += found[0][i] != nearest;
            wrong += found[1][i] != nearest;
        }
        CU_ASSERT_EQUAL(wrong, 0);
        mem_free(memory);
    }
}

/* ---- rates and errors ---- */

/* On Gaussian weights, a fixed number of points. */
static void a_fixed_number_of_points_has_the_error_of_the_design(void) {
    static const struct {
        int64_t points;
        double distortion;
    } EXPECTED[] = {{16, .119}, {64, .0313}, {256, .00792}, {1024, .00200}};
    struct trial trial;
    begin(&trial, 96, 2048, 4, 0);
    trial_fill(trial.x, trial.count, 2);
    for (unsigned i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        trial.params[POINTS].integer = EXPECTED[i].points;
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT(trial_distortion(trial.x, trial.y, trial.count) < EXPECTED[i].distortion * 1.03);
        CU_ASSERT(trial_bits(&trial) < log2((double)EXPECTED[i].points) / 2 + 0.02);
    }
    trial_end(&trial);
}

/* dB to the Gaussian bound, everything counted: 1.53 is what no uniform scalar quantiser comes below at high rates. */
static void the_uniform_curve_beats_scalars_at_high_rates(void) {
    static const double RATES[][2] = {{1, 1.60}, {3, 1.62}, {5, 1.57}};
    struct trial trial;
    begin(&trial, 256, 2048, 4, 0);
    trial_fill(trial.x, trial.count, 3);
    for (unsigned i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        trial.params[BITS].real = RATES[i][0];
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT(trial_gap(&trial) < RATES[i][1]);
        if (RATES[i][0] >= 5) CU_ASSERT(trial_gap(&trial) - 20 * log10(2) * 0.0045 < 1.53);
    }
    trial_end(&trial);
}

static void bits_are_met_within_one_percent(void) {
    static const double RATES[] = {0.3, 2, 4, 6};
    struct trial trial;
    begin(&trial, 300, 512, 4, 0);
    trial_fill(trial.x, trial.count, 1);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= trial.x[i] * trial.x[i] * 0.01f; /* heavy tails */
    for (unsigned i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        trial.params[BITS].real = RATES[i];
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), RATES[i], 0.01 * RATES[i]);
    }
    trial_end(&trial);
}

/* Heavy tails cost a fixed number of points much, and rotated ones nothing. */
static void rotation_makes_weights_gaussian(void) {
    struct trial trial;
    double plain;
    begin(&trial, 64, 1024, 4, 256);
    trial_fill(trial.x, trial.count, 5);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= trial.x[i] * trial.x[i];
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    plain = trial_distortion(trial.x, trial.y, trial.count);
    trial.params[HADAMARD].integer = 1;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT(trial_distortion(trial.x, trial.y, trial.count) < .00792 * 1.05);
    CU_ASSERT(plain > .00792 * 3);
    trial_end(&trial);
}

/* Weighted rows: step proportional to weight^(-1/2), whatever the row's own RMS. */
static void row_weights_set_the_steps(void) {
    struct trial trial;
    float weights[100];
    tsr_encode_hints hints = {sizeof hints, weights, NULL};
    begin(&trial, 100, 1000, 4, 0);
    trial_fill(trial.x, trial.count, 7);
    for (uint64_t i = 0; i < trial.count; i++) trial.x[i] *= i / 1000 % 2 ? 4.0f : 1.0f;
    for (int r = 0; r < 100; r++) weights[r] = r < 50 ? 1 : 64;
    trial.job.hints = &hints;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT_DOUBLE_EQUAL(trial_bits(&trial), 4, 0.04);
    double errors[2] = {0, 0};
    for (uint64_t i = 0; i < trial.count; i++) {
        double difference = (double)trial.x[i] - (double)trial.y[i];
        errors[i >= trial.count / 2] += difference * difference;
    }
    CU_ASSERT_DOUBLE_EQUAL(sqrt(errors[0] / errors[1]), 8, 0.8);
    for (int r = 0; r < 100; r++) weights[r] = 0;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT(trial_distortion(trial.x, trial.y, trial.count) < 0.01);
    trial_end(&trial);
}

/* ---- shapes and values ---- */

static void odd_shapes_come_back(void) {
    static const uint64_t SHAPES[][2] = {{0, 0},    {0, 7},   {7, 0},    {1, 1},     {1, 31},    {31, 1},    {5, 3},
                                         {3, 33},   {40, 1},  {40, 16},  {40, 17},   {40, 18},   {9, 1000},  {9, 1536},
                                         {9, 3072}, {257, 8}, {1, 1000}, {1000, 17}, {70000, 1}, {1, 300000}};
    for (unsigned i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        for (int form = 0; form<4; form += SHAPES[i][0] * SHAPES[i][1]> 20000 ? 3 : 1) {
            struct trial trial;
            begin(&trial, SHAPES[i][0], SHAPES[i][1], 6.5, form % 2 ? 256 : 0);
            trial.params[HADAMARD].integer = form / 2;
            trial.job.stride = 5;
            trial_fill(trial.x, trial.count, i + 8);
            CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
            CU_ASSERT(trial_distortion(trial.x, trial.y, trial.count) < (form % 2 ? 0.015 : 0.002));
            trial_end(&trial);
        }
    }
}

/* Rows that a step cannot serve, or that need none, among ordinary ones. */
static void extreme_rows_are_exact_or_close(void) {
    enum { COLUMNS = 64 };
    static const float SCALES[] = {0, 0x1p-149f, 0x1p-140f, 1e-38f, 1e-30f, 1, 1e30f, 0x1.fffffep+127f};
    for (int form = 0; form < 3; form++) {
        struct trial trial;
        begin(&trial, 64, COLUMNS, 6, form ? 1024 : 0);
        trial.params[HADAMARD].integer = form == 2;
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
            CU_ASSERT(trial_distortion(x, y, COLUMNS) < (SCALES[r % 8] < 1e-30f ? 1e-30 : form ? 0.9 : 0.05));
        }
        trial_end(&trial);
    }
}

static void outliers_are_not_clamped(void) {
    struct trial trial;
    begin(&trial, 16, 4096, 3, 0);
    trial_fill(trial.x, trial.count, 21);
    trial.x[77] = 900;
    trial.x[4096 * 9] = -855;
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    CU_ASSERT_DOUBLE_EQUAL(trial.y[77], 900, 10);
    CU_ASSERT_DOUBLE_EQUAL(trial.y[4096 * 9], -855, 10);
    trial_end(&trial);
}

/* One column far from the others: a fixed number of points must not end worse than zeros. */
static void no_row_ends_worse_than_zero(void) {
    struct trial trial;
    begin(&trial, 4, 20000, 3, 4);
    for (uint64_t r = 0; r < 4; r++) trial.x[r * 20000 + r] = 1000;
    trial_fill(trial.x + 20000, 20000, 3);
    CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
    for (uint64_t r = 0; r < 4; r++) {
        CU_ASSERT(trial_distortion(trial.x + r * 20000, trial.y + r * 20000, 20000) <= 1);
    }
    trial_end(&trial);
}

/* Duplicates, near-orthogonal rows, a constant, a matrix of rank 8: what they cost is not worse than noise. */
static void structured_matrices_come_back(void) {
    enum { ROWS = 257, COLUMNS = 256 };
    struct trial trial;
    static float basis[8 * COLUMNS], weights[8 * ROWS];
    begin(&trial, ROWS, COLUMNS, 4, 0);
    trial_fill(basis, 8 * COLUMNS, 1);
    trial_fill(weights, 8 * ROWS, 2);
    for (int form = 0; form < 4; form++) {
        for (uint64_t i = 0; i < trial.count; i++) {
            uint64_t r = i / COLUMNS, c = i % COLUMNS;
            float sum = 0;
            for (uint64_t k = 0; k < 8; k++) sum += weights[r * 8 + k] * basis[k * COLUMNS + c];
            trial.x[i] = form == 0 ? sum : form == 1 ? basis[c] : form == 2 ? (r == c ? 1 : 0.001f * basis[c]) : 0.25f;
        }
        CU_ASSERT_EQUAL(trial_run(&trial), TSR_OK);
        CU_ASSERT(trial_distortion(trial.x, trial.y, trial.count) < 0.01);
        CU_ASSERT(trial_bits(&trial) < 4.3);
    }
    trial_end(&trial);
}

/* ---- what every codec must keep ---- */

/* Small, with escapes, a raw row, a zero row and several classes: all parts of a tile. */
static void begin_rich(struct trial *trial) {
    static const float WEIGHTS[24] = {1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
                                      90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 90};
    static const tsr_encode_hints HINTS = {sizeof HINTS, WEIGHTS, NULL};
    begin(trial, 24, 1025, 3, 0);
    trial->job.hints = &HINTS;
    trial->job.stride = 3;
    trial_fill(trial->x, trial->count, 23);
    for (int c = 0; c < 1025; c++) trial->x[1025 + c] = 0;
    for (int c = 0; c < 1025; c++) trial->x[2 * 1025 + c] *= 1e-36f;
    for (int r = 3; r < 24; r += 3) trial->x[r * 1025 + r] *= 1000;
}

/* A fixed number of points that is no power of two, too few weights for a table of them: packed. */
static void begin_packed(struct trial *trial) {
    begin(trial, 24, 301, 4, 1000);
    trial->params[HADAMARD].integer = 1;
    trial->job.stride = 3;
    trial_fill(trial->x, trial->count, 23);
    for (int c = 0; c < 301; c++) trial->x[301 + c] = 0;
    for (int c = 0; c < 301; c++) trial->x[2 * 301 + c] *= 1e-36f;
}

static void damaged_bytes_are_refused(void) {
    struct trial trial;
    begin_rich(&trial);
    trial_refuses_damage(&trial, 3);
    trial_end(&trial);
    begin_packed(&trial); /* packed tickets have next to no redundancy */
    trial_refuses_damage(&trial, 100);
    CU_ASSERT(trial.payload.header[1] & SPIRAL_PACKED);
    trial_end(&trial);
}

static void a_failing_allocation_is_reported(void) {
    for (int64_t fail_at = 1;; fail_at++) {
        struct trial trial;
        begin_rich(&trial);
        if (fail_at % 2) trial.params[POINTS].integer = 64;
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
    begin_packed(&trial);
    trial_keeps_to_its_buffer(&trial);
    trial_end(&trial);
}

static void bytes_are_the_same_from_three_workers(void) {
    struct trial trial;
    begin(&trial, 900, 701, 3, 0);
    trial_fill(trial.x, trial.count, 22);
    trial_same_from_three_workers(&trial);
    trial_end(&trial);
}

static void rows_are_those_of_the_tile(void) {
    struct trial trial;
    begin_rich(&trial);
    trial_rows_equal_decode(&trial);
    trial_end(&trial);
    begin_packed(&trial);
    trial_rows_equal_decode(&trial);
    trial_end(&trial);
}

static void blocks_are_what_is_decoded(void) {
    struct trial trial;
    begin_rich(&trial);
    trial_block_agrees(&trial, true);
    trial_end(&trial);
    begin_rich(&trial);
    trial.job.hints = NULL;
    trial.params[POINTS].integer = 64;
    trial_block_agrees(&trial, true);
    trial_end(&trial);
}

static void rotated_rows_have_no_blocks(void) {
    struct trial trial;
    begin_packed(&trial);
    const tsr_block *block = trial.job.codec->get_extension(TSR_BLOCK_ID);
    void *self = trial_encoder(&trial);
    CU_ASSERT_EQUAL(block->width(self), 0);
    trial.job.codec->destroy(self);
    trial_end(&trial);
}

/* Products from tickets are those of the decoded weights. */
static void check_products(struct trial *trial) {
    const tsr_codec *codec = trial->job.codec;
    const tsr_matvec *matvec = codec->get_extension(TSR_MATVEC_ID);
    const uint64_t rows = trial->job.tensor.rows, columns = trial->job.tensor.columns;
    CU_ASSERT_EQUAL_FATAL(trial_run(trial), TSR_OK);
    void *self = trial_decoder(trial);
    tsr_tile tile = tile_at(&trial->payload.grid, 0, 32);
    CU_ASSERT(matvec->packed_bytes(self, &tile) <= rows * (columns + columns / 100 + 6) + 256);
    void *packed = mem_alloc_aligned(matvec->packed_bytes(self, &tile));
    void *query = mem_alloc_aligned(matvec->query_bytes(self));
    float *v = mem_alloc_array(columns, sizeof *v), *y = mem_alloc_array(rows, sizeof *y);
    trial_fill(v, columns, 77);
    tsr_status status =
        matvec->pack(self, &tile, trial->payload.bytes, trial->payload.tile_bytes[0], packed, &trial->err);
    CU_ASSERT_EQUAL(status, TSR_OK);
    CU_ASSERT_EQUAL(matvec->query(self, v, query, &trial->err), TSR_OK);
    CU_ASSERT_EQUAL(matvec->apply(self, &tile, packed, v, query, y, &trial->err), TSR_OK);
    for (uint64_t r = 0; r < rows && status == TSR_OK; r++) {
        double sum = 0, size = 0;
        for (uint64_t c = 0; c < columns; c++) {
            sum += (double)trial->y[r * columns + c] * (double)v[c];
            size += fabs((double)trial->y[r * columns + c] * (double)v[c]);
        }
        CU_ASSERT_DOUBLE_EQUAL((double)y[r], sum, 1e-5 * size);
    }
    mem_free(packed);
    mem_free(query);
    mem_free(v);
    mem_free(y);
    codec->destroy(self);
}

static void products_agree_with_decoded_weights(void) {
    for (int form = 0; form < 4; form++) {
        struct trial trial;
        begin(&trial, 33, form == 3 ? 1 : 577, 4, form % 2 ? 256 : 0);
        trial.params[HADAMARD].integer = form == 2 || form == 1;
        trial.job.stride = 5;
        trial_fill(trial.x, trial.count, 4);
        for (uint64_t c = 0; c < trial.job.tensor.columns; c++) trial.x[c] = 0;
        check_products(&trial);
        trial_end(&trial);
    }
}

static const struct unit_test TESTS[] = {
    {"points_lie_on_the_curve", points_lie_on_the_curve},
    {"points_have_the_bits_of_the_first_version", points_have_the_bits_of_the_first_version},
    {"every_walk_visits_every_column_once", every_walk_visits_every_column_once},
    {"the_search_finds_what_trying_all_finds", the_search_finds_what_trying_all_finds},
    {"a_fixed_number_of_points_has_the_error_of_the_design", a_fixed_number_of_points_has_the_error_of_the_design},
    {"the_uniform_curve_beats_scalars_at_high_rates", the_uniform_curve_beats_scalars_at_high_rates},
    {"bits_are_met_within_one_percent", bits_are_met_within_one_percent},
    {"rotation_makes_weights_gaussian", rotation_makes_weights_gaussian},
    {"row_weights_set_the_steps", row_weights_set_the_steps},
    {"odd_shapes_come_back", odd_shapes_come_back},
    {"extreme_rows_are_exact_or_close", extreme_rows_are_exact_or_close},
    {"outliers_are_not_clamped", outliers_are_not_clamped},
    {"no_row_ends_worse_than_zero", no_row_ends_worse_than_zero},
    {"structured_matrices_come_back", structured_matrices_come_back},
    {"damaged_bytes_are_refused", damaged_bytes_are_refused},
    {"a_failing_allocation_is_reported", a_failing_allocation_is_reported},
    {"a_tile_is_never_larger_than_its_buffer", a_tile_is_never_larger_than_its_buffer},
    {"bytes_are_the_same_from_three_workers", bytes_are_the_same_from_three_workers},
    {"rows_are_those_of_the_tile", rows_are_those_of_the_tile},
    {"blocks_are_what_is_decoded", blocks_are_what_is_decoded},
    {"rotated_rows_have_no_blocks", rotated_rows_have_no_blocks},
    {"products_agree_with_decoded_weights", products_agree_with_decoded_weights},
};
UNIT_MAIN(TESTS)
