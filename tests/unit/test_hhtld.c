/* SPDX-License-Identifier: Apache-2.0
 *
 * The hhtld index: its bound holds for every row and query, its searches equal the dense ones, odd shapes and values,
 * damaged bytes, equal kernels, the table of cosines. */
#include "unit.h"

#include "../../plugins/hhtld/hhtld_decode.h"
#include "../../plugins/hhtld/hhtld_fisher.h"
#include "../search_harness.h"

#include <stdlib.h>
#include <tessera/ext/dictionary.h>

extern const tsr_plugin tsr_plugin_hhtld;

enum { SCOPE, LEAVES, FAMILIES, GAIN, LANES, CENTRE, TABLE, ITERATIONS, PARAM_COUNT };

struct trial {
    struct harness_host host;
    struct harness_job job;
    struct harness_index index;
    tsr_param_value params[PARAM_COUNT];
    tsr_search_stats stats;
    tsr_error err;
    float *x, *query;
};

static void trial_begin(struct trial *trial, uint64_t rows, uint64_t columns, enum harness_fill fill) {
    memset(trial, 0, sizeof *trial);
    harness_init(&trial->host);
    trial->params[CENTRE].integer = 1;
    trial->params[ITERATIONS].integer = 3;
    trial->x = mem_alloc_zero(rows * columns + 1, sizeof(float));
    trial->query = mem_alloc_zero(columns + 1, sizeof(float));
    harness_fill_rows(trial->x, rows, columns, fill, rows + columns);
    trial->job = (struct harness_job){.host = &trial->host,
                                      .codec = tsr_plugin_hhtld.codecs[0],
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

/* Query `seed`: noise, or a row with noise, or a row itself. */
static void make_query(struct trial *trial, uint64_t seed) {
    const uint64_t columns = trial->job.tensor.columns, rows = trial->job.tensor.rows;
    struct rng rng = {seed * 31 + 5};
    const float *row = trial->x + rng_below(&rng, rows) * columns;
    for (uint64_t c = 0; c < columns; c++) {
        float noise = harness_normal(&rng);
        trial->query[c] = seed % 3 == 0 ? noise : seed % 3 == 1 ? row[c] + noise * 0.3f : row[c];
    }
}

static void check_queries(struct trial *trial, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        make_query(trial, i);
        uint64_t top = i % 4 == 3 ? 10 : 1;
        CU_ASSERT_FATAL(harness_search_is_exact(&trial->index, trial->query, top, (int32_t)(i / 6 % 2), &trial->stats));
    }
}

/* ---- bounds ---- */

/* |<x, w> - <x, point>| <= Slot V * |x| for each row, with the points of the entries in double. */
static uint64_t bound_violations(struct trial *trial, uint64_t queries) {
    const uint64_t columns = trial->job.tensor.columns, rows = trial->job.tensor.rows;
    const struct harness_payload *payload = &trial->index.payload;
    struct hhtld_decoder decoder = {.host = &trial->host.host, .heel = payload->header[1]};
    uint64_t wrong = 0;
    CU_ASSERT_EQUAL_FATAL(hhtld_palette_read(decoder.host, payload->header + 2, payload->header_bytes - 2, columns,
                                             &decoder.palette, NULL),
                          TSR_OK);
    const struct hhtld_palette *palette = &decoder.palette;
    const uint64_t entry = hhtld_entry_bytes(palette->flags, palette->lane_count);
    double *rest = mem_alloc_zero(rows * columns, sizeof *rest), *bounds = mem_alloc_zero(rows, sizeof *bounds);
    for (uint64_t r = 0; r < rows; r++) {
        struct hhtld_reading reading;
        CU_ASSERT_EQUAL_FATAL(hhtld_read_entry(&decoder, payload->bytes + r * entry, &reading, NULL), TSR_OK);
        double gain = (double)reading.gain * (double)palette->scale[reading.leaf] * (reading.negative ? -1 : 1);
        for (uint64_t c = 0; c < columns; c++) {
            rest[r * columns + c] = (double)trial->x[r * columns + c] - (double)palette->centre[c] -
                                    gain * (double)palette->codes[reading.leaf * columns + c];
        }
        bounds[r] = (double)reading.bound;
    }
    for (uint64_t i = 0; i < queries; i++) {
        double norm = 0;
        make_query(trial, i);
        /* The tightest query there is for a row: what the leaf leaves over of it. */
        for (uint64_t c = 0; c < columns && i % 2; c++) trial->query[c] = (float)rest[i % rows * columns + c];
        for (uint64_t c = 0; c < columns; c++) norm += (double)trial->query[c] * (double)trial->query[c];
        for (uint64_t r = 0; r < rows; r++) {
            double dot = 0;
            for (uint64_t c = 0; c < columns; c++) dot += (double)trial->query[c] * rest[r * columns + c];
            wrong += !(fabs(dot) <= bounds[r] * sqrt(norm));
        }
    }
    hhtld_palette_clear(decoder.host, &decoder.palette);
    mem_free(rest);
    mem_free(bounds);
    return wrong;
}

static void the_bound_holds_for_every_row_and_query(void) {
    /* 600,000 pairs; with TESSERA_SOAK 10^7 and more. */
    const uint64_t queries = getenv("TESSERA_SOAK") ? 4500 : 250;
    for (int fill = 0; fill < HARNESS_FILLS; fill++) {
        struct trial trial;
        trial_begin(&trial, 400, 24, (enum harness_fill)fill);
        trial.params[GAIN].integer = fill % 2;
        trial_open(&trial);
        CU_ASSERT_EQUAL(bound_violations(&trial, queries), 0);
        trial_end(&trial);
    }
}

/* A bound that is not rounded up must be seen to fail. */
static void a_bound_rounded_down_is_found(void) {
    struct trial trial;
    trial_begin(&trial, 300, 2, HARNESS_NORMAL);
    trial.params[LEAVES].integer = 2;
    trial_open(&trial);
    CU_ASSERT_EQUAL(bound_violations(&trial, 200), 0);
    for (uint64_t r = 0; r < 300; r++) trial.index.payload.bytes[4 * r + 2]--;
    CU_ASSERT(bound_violations(&trial, 200) > 0);
    trial_end(&trial);
}

static void slot_v_is_rounded_up(void) {
    struct rng rng = {3};
    CU_ASSERT_EQUAL(hhtld_bf16_up(0), 0);
    CU_ASSERT_EQUAL(hhtld_bf16_up(1), 0x3F80);
    CU_ASSERT_EQUAL(hhtld_bf16_up(1.0000001), 0x3F81);
    CU_ASSERT_EQUAL(hhtld_bf16_up(0x1.FEp127), 0x7F7F);
    CU_ASSERT_EQUAL(hhtld_bf16_up(0x1.FF8p127), HHTLD_BF16_INF);
    CU_ASSERT_EQUAL(hhtld_bf16_up(1e300), HHTLD_BF16_INF);
    CU_ASSERT_EQUAL(hhtld_bf16_up(1e-300), 1);
    for (int i = 0; i < 10000; i++) {
        double value = pow(10, 80 * rng_real(&rng) - 42);
        uint16_t code = hhtld_bf16_up(value);
        CU_ASSERT((double)hhtld_bf16_value(code) >= value);
        CU_ASSERT(code == 0 || (double)hhtld_bf16_value(code - 1u) < value);
    }
}

/* ---- searches ---- */

static void searches_equal_the_dense_ones(void) {
    for (int fill = 0; fill < HARNESS_FILLS; fill++) {
        for (int variant = 0; variant < 4; variant++) {
            struct trial trial;
            trial_begin(&trial, 700, 48, (enum harness_fill)fill);
            trial.params[GAIN].integer = variant & 1;
            trial.params[LANES].integer = variant & 2 ? 16 : 0;
            trial.params[SCOPE].integer = variant == 3;
            trial.params[CENTRE].integer = variant != 1;
            trial_open(&trial);
            check_queries(&trial, 24);
            trial_end(&trial);
        }
    }
}

static void odd_shapes_are_searched_exactly(void) {
    static const uint64_t COLUMNS[] = {1, 16, 17, 18, 1000, 1536, 3072};
    static const uint64_t ROWS[] = {1, 2, 3, 256, 257};
    for (unsigned c = 0; c < sizeof COLUMNS / sizeof *COLUMNS; c++) {
        for (unsigned r = 0; r < sizeof ROWS / sizeof *ROWS; r++) {
            struct trial trial;
            trial_begin(&trial, ROWS[r], COLUMNS[c], r % 2 ? HARNESS_NORMAL : HARNESS_DUPLICATES);
            trial.params[ITERATIONS].integer = 1;
            trial.params[LANES].integer = c % 2 ? 3 : 0;
            trial_open(&trial);
            check_queries(&trial, 8);
            trial_end(&trial);
        }
    }
}

static void leaves_are_kept_apart(void) {
    for (int64_t leaves = 255; leaves <= 257; leaves++) {
        struct trial trial;
        trial_begin(&trial, 600, 16, HARNESS_NORMAL);
        trial.params[LEAVES].integer = leaves;
        trial.params[SCOPE].integer = 1;
        tsr_status st = harness_index_open(&trial.index, &trial.job, &trial.err);
        CU_ASSERT_EQUAL(st, leaves > 256 ? TSR_E_CONFIG : TSR_OK);
        if (st == TSR_OK) check_queries(&trial, 6);
        trial_end(&trial);
    }
}

static void clustered_rows_are_skipped_and_orthogonal_ones_are_not(void) {
    struct trial trial;
    trial_begin(&trial, 2000, 64, HARNESS_CLUSTERED);
    trial_open(&trial);
    check_queries(&trial, 6);
    CU_ASSERT(trial.stats.escalated < trial.stats.skipped / 10);
    trial_end(&trial);
    trial_begin(&trial, 2000, 64, HARNESS_NORMAL);
    trial_open(&trial);
    make_query(&trial, 0);
    CU_ASSERT(harness_search_is_exact(&trial.index, trial.query, 1, TSR_SEARCH_INNER, &trial.stats));
    CU_ASSERT(trial.stats.escalated > trial.stats.skipped);
    trial_end(&trial);
}

/* 64 lanes say nearly all of a row of 64. */
static void lanes_compose_what_leaves_cannot_decide(void) {
    struct trial trial;
    trial_begin(&trial, 1500, 64, HARNESS_NORMAL);
    trial.params[LANES].integer = 64;
    trial_open(&trial);
    for (uint64_t i = 0; i < 5; i++) {
        make_query(&trial, 3 * i);
        CU_ASSERT(harness_search_is_exact(&trial.index, trial.query, 1, TSR_SEARCH_INNER, &trial.stats));
    }
    CU_ASSERT(trial.stats.composed > 20 * trial.stats.escalated);
    trial_end(&trial);
}

/* Without scores to give, intervals alone may decide. */
static void nothing_is_read_when_intervals_decide(void) {
    struct trial trial;
    uint64_t row = 0, found = 0, dense_row;
    double dense_score;
    trial_begin(&trial, 1500, 64, HARNESS_NORMAL);
    trial.params[LANES].integer = 64;
    trial_open(&trial);
    uint64_t attended = 0;
    for (uint64_t i = 0; i < 12; i++) {
        make_query(&trial, i);
        const tsr_search_request request = {.struct_size = sizeof request, .x = trial.query, .top = 1};
        tsr_search_stats stats = {.struct_size = sizeof stats};
        harness_kind = TSR_SEARCH_INNER;
        trial.index.read = 0;
        CU_ASSERT_EQUAL(trial.index.signature->search(trial.index.self, trial.index.search, &request, &row, NULL, &found,
                                                      &stats, NULL),
                        TSR_OK);
        CU_ASSERT_EQUAL(harness_dense(&trial.job, &request, &dense_row, &dense_score), 1);
        CU_ASSERT_EQUAL(row, dense_row);
        CU_ASSERT(stats.attended == 0 || trial.index.read == 0);
        CU_ASSERT_EQUAL(stats.skipped + stats.attended + stats.composed + stats.escalated, 1500);
        attended += stats.attended;
    }
    CU_ASSERT(attended > 0);
    trial_end(&trial);
}

static void a_threshold_reads_less(void) {
    struct trial trial;
    uint64_t row = 0, found = 0, read[2];
    double score = 0;
    trial_begin(&trial, 2000, 64, HARNESS_NORMAL);
    trial_open(&trial);
    make_query(&trial, 1);
    for (int i = 0; i < 2; i++) {
        const tsr_search_request request = {
            .struct_size = sizeof request, .x = trial.query, .top = 1, .threshold = i * 0.6};
        harness_kind = TSR_SEARCH_INNER;
        trial.index.read = 0;
        CU_ASSERT_EQUAL(trial.index.signature->search(trial.index.self, trial.index.search, &request, &row, &score,
                                                      &found, NULL, NULL),
                        TSR_OK);
        CU_ASSERT_EQUAL(found, 1);
        read[i] = trial.index.read;
    }
    CU_ASSERT(read[1] < read[0]);
    trial_end(&trial);
}

/* Rows of raw tiles are unknown to the index: always read, and NaN is never a hit. */
static void rows_of_raw_tiles_are_read(void) {
    struct trial trial;
    trial_begin(&trial, 900, 1000, HARNESS_CLUSTERED);
    trial_open(&trial);
    CU_ASSERT(trial.index.payload.grid.count > 2);
    trial.index.signature->search_close(trial.index.self, trial.index.search);
    const tsr_signature_source source = {sizeof source, &trial.index, trial.index.payload.grid.count, harness_tile,
                                         harness_rows};
    trial.index.raw_tiles = 1;
    CU_ASSERT_EQUAL_FATAL(trial.index.signature->search_open(trial.index.self, &source, &trial.index.search, NULL),
                          TSR_OK);
    for (uint64_t c = 0; c < 1000; c++) trial.x[3 * 1000 + c] = 1000 * trial.x[5 * 1000 + c];
    trial.x[7 * 1000] = NAN;
    trial.x[9 * 1000] = INFINITY;
    check_queries(&trial, 12);
    trial_end(&trial);
}

/* ---- groups ---- */

struct memory_writer {
    uint8_t *bytes;
    uint64_t size;
};

static tsr_status write_memory(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    struct memory_writer *writer = ctx;
    (void)err;
    writer->bytes = mem_resize(writer->bytes, writer->size + size, 1);
    memcpy(writer->bytes + writer->size, bytes, (size_t)size);
    writer->size += size;
    return TSR_OK;
}

static void a_group_shares_its_palette(void) {
    struct trial a, b;
    trial_begin(&a, 500, 32, HARNESS_CLUSTERED);
    trial_begin(&b, 300, 32, HARNESS_NORMAL);
    const tsr_dictionary *dictionary = a.job.codec->get_extension(TSR_DICTIONARY_ID);
    tsr_codec_setup setups[2] = {
        {.struct_size = sizeof setups[0], .host = &a.host.host, .tensor = &a.job.tensor, .params = a.params},
        {.struct_size = sizeof setups[0], .host = &b.host.host, .tensor = &b.job.tensor, .params = a.params}};
    const tsr_row_source sources[2] = {{sizeof sources[0], &a.job, harness_read},
                                       {sizeof sources[0], &b.job, harness_read}};
    const tsr_dictionary_member members[2] = {{sizeof members[0], &setups[0], &sources[0]},
                                              {sizeof members[0], &setups[1], &sources[1]}};
    struct memory_writer memory = {0};
    const tsr_writer writer = {sizeof writer, &memory, write_memory};
    uint64_t planned = 0;
    CU_ASSERT_EQUAL(dictionary->can_train(members, 2, &planned, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(dictionary->train(members, 2, &writer, NULL), TSR_OK);
    CU_ASSERT_EQUAL(memory.size, planned);

    struct harness_payload header = {0};
    void *self = NULL;
    const tsr_writer to_header = {sizeof to_header, &header, harness_write};
    setups[1].dictionary = memory.bytes;
    setups[1].dictionary_bytes = memory.size;
    CU_ASSERT_EQUAL_FATAL(b.job.codec->create(&setups[1], &self, NULL), TSR_OK);
    CU_ASSERT_EQUAL(b.job.codec->prepare(self, &sources[1], &to_header, NULL), TSR_OK);
    CU_ASSERT_EQUAL(header.header_bytes, HHTLD_HEADER_FIXED);
    b.job.codec->destroy(self);
    setups[1].decoding = 1;
    setups[1].header = header.header;
    setups[1].header_bytes = header.header_bytes;
    CU_ASSERT_EQUAL_FATAL(b.job.codec->create(&setups[1], &self, NULL), TSR_OK);
    b.job.codec->destroy(self);
    setups[1].dictionary = NULL;
    CU_ASSERT_EQUAL(b.job.codec->create(&setups[1], &self, NULL), TSR_E_CORRUPT);
    b.job.tensor.columns = 16;
    CU_ASSERT_EQUAL(dictionary->can_train(members, 2, &planned, NULL), TSR_E_UNSUPPORTED);
    b.job.tensor.columns = 32;
    harness_payload_clear(&header);
    mem_free(memory.bytes);
    trial_end(&a);
    trial_end(&b);
}

/* ---- table of cosines ---- */

static void fishers_z_needs_no_libm(void) {
    for (double cosine = -0.99985; cosine < 1; cosine += 0.000437) {
        CU_ASSERT_DOUBLE_EQUAL(hhtld_fisher_z(cosine), atanh(cosine), 1e-11 * (1 + fabs(atanh(cosine))));
        CU_ASSERT_DOUBLE_EQUAL(hhtld_fisher_cosine(atanh(cosine)), cosine, 1e-11);
    }
    CU_ASSERT_EQUAL(hhtld_fisher_z(7), hhtld_fisher_z(HHTLD_COSINE_MAX));
    CU_ASSERT_EQUAL(hhtld_fisher_z(NAN), hhtld_fisher_z(-HHTLD_COSINE_MAX));
}

/* Codes are the nearest, the diagonal is 1, one outlier pair is clamped and counted and costs the others nothing. */
static void the_table_rounds_and_counts_what_it_clamps(void) {
    enum { SIZE = 200 };
    struct rng rng = {11};
    double *cosines = mem_alloc_zero(2 * SIZE * SIZE, sizeof *cosines);
    int8_t *codes = mem_alloc_zero(SIZE * SIZE, 1);
    struct hhtld_table table;
    for (int a = 0; a < SIZE; a++) {
        for (int b = a; b < SIZE; b++) {
            double cosine = a == b ? 1 : 0.4 * rng_real(&rng) - 0.2;
            cosines[a * SIZE + b] = cosines[b * SIZE + a] = cosine;
        }
    }
    cosines[3] = cosines[3 * SIZE] = 0.9999999;
    hhtld_fisher_make(cosines, SIZE, cosines + SIZE * SIZE, codes, &table);
    CU_ASSERT(table.clamped > 0 && table.clamped < 60);
    CU_ASSERT(table.z_range < 0.42f);
    uint64_t off = 0;
    for (uint32_t a = 0; a < SIZE; a++) {
        CU_ASSERT_EQUAL(hhtld_fisher_get(&table, a, a), 1);
        for (uint32_t b = 0; b < SIZE; b++) {
            double error = fabs(hhtld_fisher_z(hhtld_fisher_get(&table, a, b)) - hhtld_fisher_z(cosines[a * SIZE + b]));
            off += a != b && error > (double)table.z_range / 254 / 2 * 1.001;
        }
    }
    CU_ASSERT_EQUAL(off, 2 * table.clamped);
    mem_free(cosines);
    mem_free(codes);
}

static void a_table_is_stored_and_read(void) {
    for (int flat = 0; flat < 2; flat++) {
        struct trial trial;
        struct hhtld_palette palette = {0};
        trial_begin(&trial, 800, 24, HARNESS_CLUSTERED);
        trial.params[TABLE].integer = 1;
        trial.params[SCOPE].integer = flat;
        trial_open(&trial);
        CU_ASSERT_EQUAL_FATAL(hhtld_palette_read(&trial.host.host, trial.index.payload.header + 2,
                                                 trial.index.payload.header_bytes - 2, 24, &palette, NULL),
                              TSR_OK);
        CU_ASSERT_EQUAL(palette.table.size, flat ? palette.leaf_count : palette.families);
        CU_ASSERT_EQUAL(hhtld_fisher_get(&palette.table, 0, 0), 1);
        hhtld_palette_clear(&trial.host.host, &palette);
        trial_end(&trial);
    }
}

/* ---- bytes ---- */

static void four_bytes_a_row(void) {
    struct trial trial;
    trial_begin(&trial, 1000, 40, HARNESS_NORMAL);
    trial_open(&trial);
    CU_ASSERT_EQUAL(trial.index.payload.total - trial.index.payload.header_bytes, 4000);
    trial_end(&trial);
    CU_ASSERT_EQUAL(hhtld_entry_bytes(HHTLD_FLAG_ROW_GAIN, 0), 6);
    CU_ASSERT_EQUAL(hhtld_entry_bytes(0, 8), 14);
}

static void addresses_outside_the_tree_are_refused(void) {
    struct trial trial;
    trial_begin(&trial, 100, 8, HARNESS_NORMAL);
    trial_open(&trial);
    float *y = mem_alloc_zero(800, sizeof *y);
    CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.index.payload, y, &trial.err), TSR_OK);
    uint8_t *slot = trial.index.payload.bytes + 4 * 50;
    static const uint16_t WRONG[] = {0xFFFC /* no such leaf */, 0x0000 /* another basin */, 0xC001 /* open, bound finite */};
    for (unsigned i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        uint8_t kept[2] = {slot[0], slot[1]};
        hhtld_put16(slot, WRONG[i]);
        CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.index.payload, y, &trial.err), TSR_E_CORRUPT);
        memcpy(slot, kept, 2);
    }
    hhtld_put16(slot + 2, 0x8001); /* a negative bound */
    CU_ASSERT_EQUAL(harness_decode(&trial.job, &trial.index.payload, y, &trial.err), TSR_E_CORRUPT);
    mem_free(y);
    trial_end(&trial);
}

static void the_search_frees_what_it_took(void) {
    for (int64_t at = 1; at < 400; at++) {
        struct trial trial;
        trial_begin(&trial, 60, 8, HARNESS_NORMAL);
        trial.params[LANES].integer = 4;
        trial.params[GAIN].integer = 1;
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
    {"slot_v_is_rounded_up", slot_v_is_rounded_up},
    {"the_bound_holds_for_every_row_and_query", the_bound_holds_for_every_row_and_query},
    {"a_bound_rounded_down_is_found", a_bound_rounded_down_is_found},
    {"searches_equal_the_dense_ones", searches_equal_the_dense_ones},
    {"odd_shapes_are_searched_exactly", odd_shapes_are_searched_exactly},
    {"leaves_are_kept_apart", leaves_are_kept_apart},
    {"clustered_rows_are_skipped_and_orthogonal_ones_are_not", clustered_rows_are_skipped_and_orthogonal_ones_are_not},
    {"lanes_compose_what_leaves_cannot_decide", lanes_compose_what_leaves_cannot_decide},
    {"nothing_is_read_when_intervals_decide", nothing_is_read_when_intervals_decide},
    {"a_threshold_reads_less", a_threshold_reads_less},
    {"rows_of_raw_tiles_are_read", rows_of_raw_tiles_are_read},
    {"a_group_shares_its_palette", a_group_shares_its_palette},
    {"fishers_z_needs_no_libm", fishers_z_needs_no_libm},
    {"the_table_rounds_and_counts_what_it_clamps", the_table_rounds_and_counts_what_it_clamps},
    {"a_table_is_stored_and_read", a_table_is_stored_and_read},
    {"four_bytes_a_row", four_bytes_a_row},
    {"addresses_outside_the_tree_are_refused", addresses_outside_the_tree_are_refused},
    {"the_search_frees_what_it_took", the_search_frees_what_it_took},
};
UNIT_MAIN(TESTS)
