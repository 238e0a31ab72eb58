/* SPDX-License-Identifier: Apache-2.0
 *
 * The row mode of hclam: radii that no row exceeds, searches that equal the dense ones, odd shapes, damaged bytes. */
#include "unit.h"

#include "../../plugins/hclam_index/hclam_index.h"
#include "../search_harness.h"

extern const tsr_plugin tsr_plugin_hclam_index;

enum { K1, K2, ITERATIONS, PARAM_COUNT };

struct trial {
    struct harness_host host;
    struct harness_job job;
    struct harness_index index;
    tsr_param_value params[PARAM_COUNT];
    tsr_search_stats stats;
    tsr_error err;
    float *x, *query;
};

static const tsr_codec *codec(void) {
    const tsr_codec *const *at = tsr_plugin_hclam_index.codecs;
    while (*at && strcmp((*at)->name, "hclam-index") != 0) at++;
    CU_ASSERT_PTR_NOT_NULL_FATAL(*at);
    return *at;
}

static void trial_begin(struct trial *trial, uint64_t rows, uint64_t columns, enum harness_fill fill) {
    memset(trial, 0, sizeof *trial);
    harness_init(&trial->host);
    trial->params[ITERATIONS].integer = 3;
    trial->x = mem_alloc_zero(rows * columns + 1, sizeof(float));
    trial->query = mem_alloc_zero(columns + 1, sizeof(float));
    harness_fill_rows(trial->x, rows, columns, fill, rows + columns);
    trial->job = (struct harness_job){.host = &trial->host,
                                      .codec = codec(),
                                      .params = trial->params,
                                      .x = trial->x,
                                      .tensor = harness_tensor(rows, columns, TSR_DTYPE_F32)};
}

static void trial_open(struct trial *trial) {
    CU_ASSERT_EQUAL_FATAL(harness_index_open(&trial->index, &trial->job, &trial->err), TSR_OK);
}

static void trial_end(struct trial *trial) {
    harness_index_close(&trial->index);
    CU_ASSERT_EQUAL(trial->host.blocks, 0);
    harness_clear(&trial->host);
    mem_free(trial->x);
    mem_free(trial->query);
}

/* Noise, a row with noise, or a row itself; products and distances. */
static void check_queries(struct trial *trial, uint64_t count) {
    const uint64_t columns = trial->job.tensor.columns;
    for (uint64_t i = 0; i < count; i++) {
        struct rng rng = {i * 31 + 5};
        const float *row = trial->x + rng_below(&rng, trial->job.tensor.rows) * columns;
        for (uint64_t c = 0; c < columns; c++) {
            float noise = harness_normal(&rng);
            trial->query[c] = i % 3 == 0 ? noise : i % 3 == 1 ? row[c] + noise * 0.3f : row[c];
        }
        CU_ASSERT_FATAL(harness_search_is_exact(&trial->index, trial->query, i % 4 == 3 ? 10 : 1, (int32_t)(i / 6 % 2),
                                                &trial->stats));
    }
}

static void no_row_is_outside_its_balls(void) {
    for (int fill = 0; fill < HARNESS_FILLS; fill++) {
        struct trial trial;
        struct hclam_tree tree = {0};
        trial_begin(&trial, 500, 20, (enum harness_fill)fill);
        trial_open(&trial);
        const struct harness_payload *payload = &trial.index.payload;
        CU_ASSERT_EQUAL_FATAL(
            hclam_tree_read(&trial.host.host, payload->header, payload->header_bytes, 20, &tree, NULL), TSR_OK);
        for (uint64_t r = 0; r < 500; r++) {
            uint32_t leaf = 0;
            CU_ASSERT_EQUAL_FATAL(hclam_index_leaf(&tree, payload->bytes + 2 * r, &leaf, NULL), TSR_OK);
            const uint64_t balls[2] = {payload->bytes[2 * r], tree.nodes + leaf};
            for (int b = 0; b < 2; b++) {
                double square = 0;
                for (uint64_t c = 0; c < 20; c++) {
                    double difference = (double)trial.x[r * 20 + c] -
                                        (double)tree.scale[balls[b]] * (double)tree.codes[balls[b] * 20 + c];
                    square += difference * difference;
                }
                CU_ASSERT(sqrt(square) <= (double)tree.radius[balls[b]]);
            }
        }
        hclam_tree_clear(&trial.host.host, &tree);
        trial_end(&trial);
    }
}

static void searches_equal_the_dense_ones(void) {
    for (int fill = 0; fill < HARNESS_FILLS; fill++) {
        struct trial trial;
        trial_begin(&trial, 700, 48, (enum harness_fill)fill);
        trial_open(&trial);
        check_queries(&trial, 24);
        trial_end(&trial);
    }
}

static void odd_shapes_are_searched_exactly(void) {
    static const uint64_t COLUMNS[] = {1, 16, 17, 18, 1000, 1536, 3072};
    static const uint64_t ROWS[] = {1, 2, 256, 257};
    for (unsigned c = 0; c < sizeof COLUMNS / sizeof *COLUMNS; c++) {
        for (unsigned r = 0; r < sizeof ROWS / sizeof *ROWS; r++) {
            struct trial trial;
            trial_begin(&trial, ROWS[r], COLUMNS[c], r % 2 ? HARNESS_NORMAL : HARNESS_DUPLICATES);
            trial.params[ITERATIONS].integer = 1;
            trial_open(&trial);
            check_queries(&trial, 8);
            trial_end(&trial);
        }
    }
}

static void widths_are_kept(void) {
    static const int64_t WIDTHS[][2] = {{1, 1}, {1, 256}, {256, 1}, {256, 256}, {3, 0}, {0, 2}};
    for (unsigned i = 0; i < sizeof WIDTHS / sizeof *WIDTHS; i++) {
        struct trial trial;
        trial_begin(&trial, 600, 12, HARNESS_NORMAL);
        trial.params[K1].integer = WIDTHS[i][0];
        trial.params[K2].integer = WIDTHS[i][1];
        trial_open(&trial);
        check_queries(&trial, 8);
        CU_ASSERT_EQUAL(trial.index.payload.total - trial.index.payload.header_bytes, 1200);
        trial_end(&trial);
    }
}

static void clustered_rows_are_skipped(void) {
    struct trial trial;
    trial_begin(&trial, 2000, 64, HARNESS_CLUSTERED);
    trial_open(&trial);
    check_queries(&trial, 6);
    CU_ASSERT(trial.stats.escalated < trial.stats.skipped);
    trial_end(&trial);
}

static void radii_too_small_are_found(void) {
    struct trial trial;
    bool exact = true;
    trial_begin(&trial, 800, 16, HARNESS_NORMAL);
    trial_open(&trial);
    trial.index.signature->search_close(trial.index.self, trial.index.search);
    trial.index.search = NULL;
    trial.job.codec->destroy(trial.index.self);
    trial.index.self = NULL;
    uint64_t nodes = hclam_index_get16(trial.index.payload.header);
    uint64_t count = (trial.index.payload.header_bytes - 8 - 2 * nodes) / (8 + 16);
    for (uint64_t i = 0; i < count; i++) hclam_index_put_f32(trial.index.payload.header + 8 + 2 * nodes + 8 * i + 4, 0);
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &trial.host.host,
                                   .tensor = &trial.job.tensor,
                                   .params = trial.params,
                                   .header = trial.index.payload.header,
                                   .header_bytes = trial.index.payload.header_bytes,
                                   .bitstream_version = 1,
                                   .decoding = 1};
    const tsr_signature_source source = {sizeof source, &trial.index, trial.index.payload.grid.count, harness_tile,
                                         harness_rows};
    CU_ASSERT_EQUAL_FATAL(trial.job.codec->create(&setup, &trial.index.self, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(trial.index.signature->search_open(trial.index.self, &source, &trial.index.search, NULL), TSR_OK);
    for (uint64_t i = 0; i < 40 && exact; i++) {
        struct rng rng = {i};
        for (uint64_t c = 0; c < 16; c++) trial.query[c] = harness_normal(&rng);
        exact = harness_search_is_exact(&trial.index, trial.query, 1, TSR_SEARCH_INNER, &trial.stats);
    }
    CU_ASSERT(!exact);
    trial_end(&trial);
}

static void addresses_outside_the_tree_are_refused(void) {
    struct trial trial;
    trial_begin(&trial, 100, 8, HARNESS_NORMAL);
    trial_open(&trial);
    float *y = mem_alloc_zero(800, sizeof *y);
    CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.index.payload, y, &trial.err), TSR_OK);
    for (uint64_t at = 60; at < 62; at++) {
        uint8_t kept = trial.index.payload.bytes[at];
        trial.index.payload.bytes[at] = 255;
        CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.index.payload, y, &trial.err), TSR_E_CORRUPT);
        trial.index.payload.bytes[at] = kept;
    }
    trial.index.payload.header_bytes--;
    CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.index.payload, y, &trial.err), TSR_E_CORRUPT);
    trial.index.payload.header_bytes++;
    mem_free(y);
    trial_end(&trial);
}

static void rows_of_raw_tiles_are_read(void) {
    struct trial trial;
    trial_begin(&trial, 900, 1000, HARNESS_CLUSTERED);
    trial_open(&trial);
    trial.index.signature->search_close(trial.index.self, trial.index.search);
    const tsr_signature_source source = {sizeof source, &trial.index, trial.index.payload.grid.count, harness_tile,
                                         harness_rows};
    trial.index.raw_tiles = 1;
    CU_ASSERT_EQUAL_FATAL(trial.index.signature->search_open(trial.index.self, &source, &trial.index.search, NULL), TSR_OK);
    for (uint64_t c = 0; c < 1000; c++) trial.x[3 * 1000 + c] = 1000 * trial.x[5 * 1000 + c];
    trial.x[7 * 1000] = NAN;
    trial.x[9 * 1000] = INFINITY;
    check_queries(&trial, 12);
    trial_end(&trial);
}

static void the_search_frees_what_it_took(void) {
    for (int64_t at = 1; at < 400; at++) {
        struct trial trial;
        trial_begin(&trial, 60, 8, HARNESS_NORMAL);
        trial.host.fail_at = at;
        tsr_status st = harness_index_open(&trial.index, &trial.job, &trial.err);
        if (st == TSR_OK) {
            const tsr_search_request request = {.struct_size = sizeof request, .x = trial.x, .top = 3};
            uint64_t rows[3], found;
            double score[3];
            st = trial.index.signature->search(trial.index.self, trial.index.search, &request, rows, score, &found, NULL,
                                               &trial.err);
        }
        CU_ASSERT(st == TSR_OK || st == TSR_E_NOMEM);
        bool reached = trial.host.allocations >= at;
        trial_end(&trial);
        if (!reached) return;
    }
    CU_FAIL("no end of allocations");
}

static const struct unit_test TESTS[] = {
    {"no_row_is_outside_its_balls", no_row_is_outside_its_balls},
    {"searches_equal_the_dense_ones", searches_equal_the_dense_ones},
    {"odd_shapes_are_searched_exactly", odd_shapes_are_searched_exactly},
    {"widths_are_kept", widths_are_kept},
    {"clustered_rows_are_skipped", clustered_rows_are_skipped},
    {"radii_too_small_are_found", radii_too_small_are_found},
    {"addresses_outside_the_tree_are_refused", addresses_outside_the_tree_are_refused},
    {"rows_of_raw_tiles_are_read", rows_of_raw_tiles_are_read},
    {"the_search_frees_what_it_took", the_search_frees_what_it_took},
};
UNIT_MAIN(TESTS)
