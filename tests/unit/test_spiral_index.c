/* SPDX-License-Identifier: Apache-2.0
 *
 * The signature mode of spiral: a walk that visits columns once, bounds that no pair exceeds, searches that equal the
 * dense ones, odd shapes, damaged bytes. */
#include "unit.h"

#include "../../plugins/spiral_index/spiral_index.h"
#include "../search_harness.h"

extern const tsr_plugin tsr_plugin_spiral_index;

struct trial {
    struct harness_host host;
    struct harness_job job;
    struct harness_index index;
    tsr_param_value params[1];
    tsr_search_stats stats;
    tsr_error err;
    float *x, *query;
};

static const tsr_codec *codec(void) {
    const tsr_codec *const *at = tsr_plugin_spiral_index.codecs;
    while (*at && strcmp((*at)->name, "spiral-index") != 0) at++;
    CU_ASSERT_PTR_NOT_NULL_FATAL(*at);
    return *at;
}

static void trial_begin(struct trial *trial, uint64_t rows, uint64_t columns, enum harness_fill fill) {
    memset(trial, 0, sizeof *trial);
    harness_init(&trial->host);
    trial->params[0].integer = 4;
    trial->x = mem_alloc_zero(rows * columns + 1, sizeof(float));
    trial->query = mem_alloc_zero(columns + 1, sizeof(float));
    harness_fill_rows(trial->x, rows, columns, fill, rows + columns);
    trial->job = (struct harness_job){.host = &trial->host,
                                      .codec = codec(),
                                      .params = trial->params,
                                      .x = trial->x,
                                      .stride = 3,
                                      .tensor = harness_tensor(rows, columns, TSR_DTYPE_F32)};
}

static void trial_open(struct trial *trial) {
    CU_ASSERT_EQUAL_FATAL(harness_index_open(&trial->index, &trial->job, &trial->err), TSR_OK);
}

/* The index as its bytes are now. */
static tsr_status trial_reopen(struct trial *trial) {
    struct harness_index *index = &trial->index;
    const tsr_signature_source source = {sizeof source, index, index->payload.grid.count, harness_tile, harness_rows};
    index->signature->search_close(index->self, index->search);
    return index->signature->search_open(index->self, &source, &index->search, &trial->err);
}

static void trial_end(struct trial *trial) {
    harness_index_close(&trial->index);
    CU_ASSERT_EQUAL(trial->host.blocks, 0);
    harness_clear(&trial->host);
    mem_free(trial->x);
    mem_free(trial->query);
}

/* Noise, a row with noise, or a row itself. */
static void make_query(struct trial *trial, uint64_t i) {
    const uint64_t columns = trial->job.tensor.columns;
    struct rng rng = {i * 31 + 5};
    const float *row = trial->x + rng_below(&rng, trial->job.tensor.rows) * columns;
    for (uint64_t c = 0; c < columns; c++) {
        float noise = harness_normal(&rng);
        trial->query[c] = i % 3 == 0 ? noise : i % 3 == 1 ? row[c] + noise * 0.3f : row[c];
    }
}

/* Products and distances. */
static void check_queries(struct trial *trial, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        make_query(trial, i);
        CU_ASSERT_FATAL(harness_search_is_exact(&trial->index, trial->query, i % 4 == 3 ? 10 : 1, (int32_t)(i / 6 % 2),
                                                &trial->stats));
    }
}

static void the_walk_visits_columns_once(void) {
    static const uint64_t COLUMNS[] = {1, 2, 16, 17, 18, 33, 68, 100, 289, 576, 1000, 1024, 1536, 3072};
    uint32_t where[SPIRAL_INDEX_SAMPLES_MAX];
    for (unsigned c = 0; c < sizeof COLUMNS / sizeof *COLUMNS; c++) {
        for (uint64_t anchors = 4; anchors <= 32; anchors *= 2) {
            for (uint64_t stride = 1; stride <= 12; stride++) {
                uint64_t columns = COLUMNS[c], samples = spiral_index_samples(anchors, columns);
                struct spiral_address address = spiral_index_address(stride, anchors, columns);
                uint8_t seen[3072] = {0};
                CU_ASSERT(address.stride == stride || address.stride == 1);
                CU_ASSERT_EQUAL(samples, 17 * anchors < columns ? 17 * anchors : columns);
                address.start = (uint32_t)((columns - 1) / 17);
                memset(where, 0xFF, sizeof where);
                spiral_index_walk(&address, columns, where);
                for (uint64_t i = 0; i < samples; i++) {
                    CU_ASSERT_FATAL(where[i] < columns);
                    CU_ASSERT_EQUAL_FATAL(seen[where[i]]++, 0);
                }
            }
        }
    }
}

/* |<x,w> - <x_S,w_S>| <= rest |x_R| + 2^-8 |w_S| |x_S|, and <= rest |x|, as the README has it; of rows x queries pairs. */
static void check_bounds(struct trial *trial, uint64_t queries) {
    const uint64_t rows = trial->job.tensor.rows, columns = trial->job.tensor.columns;
    const struct harness_payload *payload = &trial->index.payload;
    const uint64_t samples = spiral_index_samples(4, columns), entry = spiral_index_entry_bytes(samples);
    struct spiral_address address;
    uint32_t where[SPIRAL_INDEX_SAMPLES_MAX];
    uint8_t *sampled = mem_alloc_zero(columns, 1);
    float *y = mem_alloc_zero(rows * columns, sizeof *y);
    uint64_t outside = 0;
    CU_ASSERT_EQUAL_FATAL(
        spiral_index_read_header(payload->header, payload->header_bytes, columns, &address, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(harness_decode(&trial->job, payload, y, NULL), TSR_OK);
    spiral_index_walk(&address, columns, where);
    for (uint64_t i = 0; i < samples; i++) sampled[where[i]] = 1;
    for (uint64_t q = 0; q < queries; q++) {
        make_query(trial, q);
        for (uint64_t r = 0; r < rows; r++) {
            double missed = 0, in = 0, out = 0, length = 0, sum = 0;
            double rest = (double)spiral_index_from_bf16(spiral_index_get16(payload->bytes + r * entry + 2 * samples));
            for (uint64_t c = 0; c < columns; c++) {
                double x = (double)trial->query[c], w = (double)trial->x[r * columns + c];
                double stored = (double)y[r * columns + c];
                missed += x * (w - stored);
                sum += fabs(x * w);
                *(sampled[c] ? &in : &out) += x * x;
                length += stored * stored;
            }
            double slack = sum * 1e-12;
            outside += fabs(missed) > rest * sqrt(in + out) + slack;
            outside += fabs(missed) > rest * sqrt(out) + 0x1.02p-8 * sqrt(length * in) + slack;
        }
    }
    CU_ASSERT_EQUAL(outside, 0);
    mem_free(y);
    mem_free(sampled);
}

static void no_product_is_outside_its_bound(void) {
    for (int fill = 0; fill < HARNESS_FILLS; fill++) {
        struct trial trial;
        trial_begin(&trial, 600, 90, (enum harness_fill)fill);
        trial_open(&trial);
        check_bounds(&trial, 100); /* 60000 pairs each */
        trial_end(&trial);
    }
}

static void searches_equal_the_dense_ones(void) {
    for (int fill = 0; fill < HARNESS_FILLS; fill++) {
        for (int64_t anchors = 4; anchors <= 32; anchors *= 2) {
            struct trial trial;
            trial_begin(&trial, 700, 200, (enum harness_fill)fill);
            trial.params[0].integer = anchors;
            trial_open(&trial);
            check_queries(&trial, 24);
            trial_end(&trial);
        }
    }
}

static void odd_shapes_are_searched_exactly(void) {
    static const uint64_t COLUMNS[] = {1, 16, 17, 18, 1000, 1536, 3072};
    static const uint64_t ROWS[] = {1, 2, 256, 257};
    for (unsigned c = 0; c < sizeof COLUMNS / sizeof *COLUMNS; c++) {
        for (unsigned r = 0; r < sizeof ROWS / sizeof *ROWS; r++) {
            struct trial trial;
            trial_begin(&trial, ROWS[r], COLUMNS[c], r % 2 ? HARNESS_NORMAL : HARNESS_DUPLICATES);
            trial_open(&trial);
            check_queries(&trial, 12);
            CU_ASSERT_EQUAL(trial.index.payload.total,
                            SPIRAL_INDEX_HEADER_BYTES + ROWS[r] * 2 * (1 + spiral_index_samples(4, COLUMNS[c])));
            trial_end(&trial);
        }
    }
}

static void extreme_rows_are_searched_exactly(void) {
    static const float VALUES[] = {3.4028235e38f, -3.4028235e38f, 1e-45f, -1e-45f, 1.1754944e-38f, 0, 1, 3.3961775e38f};
    struct trial trial;
    trial_begin(&trial, 64, 80, HARNESS_NORMAL);
    for (uint64_t r = 0; r < 64; r++) {
        for (uint64_t c = 0; r % 3 && c < 80; c++) {
            trial.x[r * 80 + c] = r % 3 == 1 ? VALUES[r / 3 % 8] : trial.x[r * 80 + c] * 1e-38f;
        }
    }
    trial_open(&trial);
    check_queries(&trial, 36);
    trial_end(&trial);
}

/* Forty rows whose bounds and scores are the same, and one behind them that is better by all that its bound leaves open. */
static void a_row_at_its_bound_is_found(void) {
    struct trial trial;
    uint32_t where[SPIRAL_INDEX_SAMPLES_MAX], other = 0;
    bool sampled[100] = {false};
    const struct spiral_address address = spiral_index_address(3, 4, 100);
    trial_begin(&trial, 41, 100, HARNESS_ZERO);
    spiral_index_walk(&address, 100, where);
    for (uint64_t i = 0; i < 68; i++) sampled[where[i]] = true;
    while (sampled[other]) other++;
    for (uint64_t r = 0; r < 40; r++) trial.x[r * 100 + where[0]] = 0.9f;
    trial.x[40 * 100 + other] = 1;
    trial.query[where[0]] = trial.query[other] = 1;
    trial_open(&trial);
    CU_ASSERT(harness_search_is_exact(&trial.index, trial.query, 1, TSR_SEARCH_INNER, &trial.stats));
    trial_end(&trial);

    trial_begin(&trial, 41, 68, HARNESS_ZERO);
    for (uint64_t i = 0; i < 40 * 68; i++) trial.x[i] = 2;
    for (uint64_t c = 0; c < 68; c++) trial.x[40 * 68 + c] = 1.0039f; /* stored as 1 */
    for (uint64_t c = 0; c < 68; c++) trial.query[c] = 1.501f;
    trial_open(&trial);
    CU_ASSERT(harness_search_is_exact(&trial.index, trial.query, 1, TSR_SEARCH_NEAREST, &trial.stats));
    trial_end(&trial);
}

static void no_rows_have_no_hits(void) {
    struct trial trial;
    uint64_t rows[1], found = 7;
    trial_begin(&trial, 0, 17, HARNESS_NORMAL);
    uint8_t sampled[17] = {0};
    const struct spiral_index_decoder decoder = {
        .host = &trial.host.host, .columns = 17, .samples = 17, .sampled = sampled};
    const tsr_signature_source source = {sizeof source, NULL, 0, harness_tile, harness_rows};
    const tsr_search_request request = {.struct_size = sizeof request, .x = trial.query, .top = 1};
    void *search = NULL;
    CU_ASSERT_EQUAL_FATAL(spiral_index_search_open(&decoder, &source, &search, NULL), TSR_OK);
    CU_ASSERT_EQUAL(spiral_index_search(&decoder, search, &request, rows, NULL, &found, NULL, NULL), TSR_OK);
    CU_ASSERT_EQUAL(found, 0);
    spiral_index_search_close(&decoder, search);
    trial_end(&trial);
}

/* The walk visits all of these columns: only the rounding of the samples is left. */
static void rows_with_short_rests_are_skipped(void) {
    struct trial trial;
    trial_begin(&trial, 2000, 60, HARNESS_NORMAL);
    trial_open(&trial);
    for (uint64_t i = 0; i < 12; i++) {
        make_query(&trial, i);
        CU_ASSERT_FATAL(harness_search_is_exact(&trial.index, trial.query, 1, (int32_t)(i % 2), &trial.stats));
    }
    CU_ASSERT(trial.stats.escalated < trial.stats.skipped / 20);
    trial_end(&trial);
}

static void rests_too_small_are_found(void) {
    struct trial trial;
    bool exact = true;
    trial_begin(&trial, 800, 100, HARNESS_NORMAL);
    trial_open(&trial);
    for (uint64_t r = 0; r < 800; r++) spiral_index_put16(trial.index.payload.bytes + r * 138 + 136, 0);
    CU_ASSERT_EQUAL_FATAL(trial_reopen(&trial), TSR_OK);
    for (uint64_t i = 0; i < 40 && exact; i++) {
        make_query(&trial, 3 * i);
        exact = harness_search_is_exact(&trial.index, trial.query, 1, TSR_SEARCH_INNER, &trial.stats);
    }
    CU_ASSERT(!exact);
    trial_end(&trial);
}

static void a_threshold_skips_more(void) {
    struct trial trial;
    uint64_t rows[1], found;
    double score[1];
    tsr_search_stats exact = {.struct_size = sizeof exact}, lossy = exact;
    trial_begin(&trial, 800, 300, HARNESS_NORMAL);
    trial_open(&trial);
    for (int32_t kind = 0; kind < 2; kind++) {
        tsr_search_request request = {.struct_size = sizeof request, .x = trial.query, .top = 1, .kind = kind};
        make_query(&trial, 0);
        harness_kind = kind;
        CU_ASSERT_EQUAL(trial.index.signature->search(trial.index.self, trial.index.search, &request, rows, score, &found,
                                                      &exact, NULL), TSR_OK);
        request.threshold = 0.9;
        CU_ASSERT_EQUAL(trial.index.signature->search(trial.index.self, trial.index.search, &request, rows, score, &found,
                                                      &lossy, NULL), TSR_OK);
        CU_ASSERT(lossy.skipped > exact.skipped + 200);
    }
    trial_end(&trial);
}

static void damage_is_refused(void) {
    static const struct {
        uint64_t at;
        uint8_t value;
    } HEADER[] = {{0, 6}, {1, 1}, {2, 0}, {2, 2}, {4, 3}, {4, 33}, {6, 1}, {8, 99}, {10, 1}};
    struct trial trial;
    float *y = mem_alloc_zero(20 * 100, sizeof *y);
    trial_begin(&trial, 20, 100, HARNESS_NORMAL);
    trial_open(&trial);
    struct harness_payload *payload = &trial.index.payload;
    CU_ASSERT_EQUAL(harness_decode(&trial.job, payload, y, &trial.err), TSR_OK);
    for (unsigned i = 0; i < sizeof HEADER / sizeof *HEADER; i++) {
        uint8_t kept = payload->header[HEADER[i].at];
        payload->header[HEADER[i].at] = HEADER[i].value;
        CU_ASSERT_EQUAL(harness_decode(&trial.job, payload, y, &trial.err), TSR_E_CORRUPT);
        payload->header[HEADER[i].at] = kept;
    }
    static const uint32_t HALVES[] = {0x7F80, 0xFF80, 0x7FC0, 0x8000, 0x7F81};
    for (unsigned i = 0; i < sizeof HALVES / sizeof *HALVES; i++) {
        uint8_t *at = payload->bytes + 5 * 138 + (i < 3 ? 40 : 136), kept[2] = {at[0], at[1]};
        spiral_index_put16(at, HALVES[i]);
        CU_ASSERT_EQUAL(harness_decode(&trial.job, payload, y, &trial.err), TSR_E_CORRUPT);
        CU_ASSERT_EQUAL(trial_reopen(&trial), TSR_E_CORRUPT);
        CU_ASSERT_PTR_NULL(trial.index.search);
        memcpy(at, kept, 2);
        CU_ASSERT_EQUAL_FATAL(trial_reopen(&trial), TSR_OK);
    }
    payload->header_bytes--;
    CU_ASSERT_EQUAL(harness_decode(&trial.job, payload, y, &trial.err), TSR_E_CORRUPT);
    payload->header_bytes++;
    payload->tile_bytes[0]--;
    CU_ASSERT_EQUAL(harness_decode(&trial.job, payload, y, &trial.err), TSR_E_CORRUPT);
    payload->tile_bytes[0]++;
    mem_free(y);
    trial_end(&trial);
}

static void rows_of_raw_tiles_are_read(void) {
    struct trial trial;
    trial_begin(&trial, 900, 1000, HARNESS_CLUSTERED);
    trial_open(&trial);
    trial.index.raw_tiles = 1;
    CU_ASSERT_EQUAL_FATAL(trial_reopen(&trial), TSR_OK);
    for (uint64_t c = 0; c < 1000; c++) trial.x[3 * 1000 + c] = 1000 * trial.x[5 * 1000 + c];
    trial.x[7 * 1000] = NAN;
    trial.x[9 * 1000] = INFINITY;
    for (uint64_t i = 0; i < 12; i++) {
        make_query(&trial, 3 * i);
        CU_ASSERT(harness_search_is_exact(&trial.index, trial.query, i % 2 ? 10 : 1, (int32_t)(i / 6), &trial.stats));
    }
    trial_end(&trial);
}

/* Of itself a tensor knows its slot, its walk, and how large its weights are. */
static void the_print_holds_what_the_tensor_knows(void) {
    const struct spiral_address address = spiral_index_address(5, 8, 1000);
    uint8_t header[SPIRAL_INDEX_HEADER_BYTES], other[SPIRAL_INDEX_HEADER_BYTES];
    struct spiral_address back;
    spiral_index_write_header(&address, 1000, "attn_v", 0.02, header);
    CU_ASSERT_EQUAL(spiral_index_read_header(header, sizeof header, 1000, &back, NULL), TSR_OK);
    CU_ASSERT_EQUAL(memcmp(&back, &address, sizeof back), 0);
    for (unsigned i = 0; i < 18; i++) {
        uint32_t expected = i == 7 ? 5 : i == 8 ? 391 : 0; /* 2^-6 <= 0.02 < 2^-5.5 */
        CU_ASSERT_EQUAL(spiral_index_get16(header + SPIRAL_INDEX_PRINT + 2 * i), expected);
    }
    spiral_index_write_header(&address, 1000, "attn_v", 0.03, other);
    CU_ASSERT_EQUAL(spiral_index_get16(other + SPIRAL_INDEX_PRINT + 16), 392);
    spiral_index_write_header(&address, 1000, "lm_head", 0.03, other);
    for (unsigned i = SPIRAL_INDEX_PRINT; i < sizeof other; i++) CU_ASSERT_EQUAL(other[i], 0);
    spiral_index_write_header(&address, 1000, "attn_v", 0, other);
    CU_ASSERT_EQUAL(spiral_index_get16(other + SPIRAL_INDEX_PRINT + 16), 0);
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
    {"the_walk_visits_columns_once", the_walk_visits_columns_once},
    {"no_product_is_outside_its_bound", no_product_is_outside_its_bound},
    {"searches_equal_the_dense_ones", searches_equal_the_dense_ones},
    {"odd_shapes_are_searched_exactly", odd_shapes_are_searched_exactly},
    {"extreme_rows_are_searched_exactly", extreme_rows_are_searched_exactly},
    {"a_row_at_its_bound_is_found", a_row_at_its_bound_is_found},
    {"no_rows_have_no_hits", no_rows_have_no_hits},
    {"rows_with_short_rests_are_skipped", rows_with_short_rests_are_skipped},
    {"rests_too_small_are_found", rests_too_small_are_found},
    {"a_threshold_skips_more", a_threshold_skips_more},
    {"damage_is_refused", damage_is_refused},
    {"rows_of_raw_tiles_are_read", rows_of_raw_tiles_are_read},
    {"the_print_holds_what_the_tensor_knows", the_print_holds_what_the_tensor_knows},
    {"the_search_frees_what_it_took", the_search_frees_what_it_took},
};
UNIT_MAIN(TESTS)
