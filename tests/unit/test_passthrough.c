/* SPDX-License-Identifier: Apache-2.0
 *
 * passthrough: every dtype, shape, mode and level comes back byte for byte; weights shrink by what the levels promise;
 * damage is found; memory may fail anywhere. With TESSERA_CORPUS=FOLDER it also writes seeds for fuzz_passthrough. */
#include "unit.h"

#include "../codec_harness.h"

#include <base/rng.h>
#include <stdio.h>

extern const tsr_plugin tsr_plugin_passthrough;

enum { RAW, LOSSLESS };
enum { FAST, DEFAULT, MAX };

static const uint8_t ELEMENT[TSR_DTYPE_COUNT] = {1, 8, 4, 2, 2, 1, 1, 1, 1, 8, 4, 2, 1, 8, 4, 2, 1, 1, 8};

struct trial {
    struct harness_host host;
    tsr_tensor tensor;
    tsr_param_value params[2];
    uint64_t element, size;
    uint8_t *source, *back;
    uint8_t *stream; /* header and tiles */
    uint64_t header, total, tile_bytes[64];
    struct tile_grid grid;
    tsr_error err;
};

static void trial_begin(struct trial *t, int32_t dtype, uint64_t rows, uint64_t columns, int mode, int level) {
    memset(t, 0, sizeof *t);
    harness_init(&t->host);
    t->tensor = harness_tensor(rows, columns, dtype);
    t->element = ELEMENT[dtype];
    t->size = t->tensor.bytes = rows * columns * t->element;
    t->params[0].integer = mode;
    t->params[1].integer = level;
    t->source = mem_alloc_zero(t->size + 1, 1);
    t->back = mem_alloc_zero(t->size + 1, 1);
    t->stream = mem_alloc_zero(t->size * 3 + (1 << 17), 1);
    t->grid = tile_grid_make(rows, columns, tsr_plugin_passthrough.codecs[0]->tile_weights);
    CU_ASSERT_FATAL(t->grid.count <= 64);
}

static void trial_end(struct trial *t) {
    CU_ASSERT_EQUAL(t->host.blocks, 0);
    harness_clear(&t->host);
    mem_free(t->source);
    mem_free(t->back);
    mem_free(t->stream);
}

static tsr_status read_rows(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                            void *dst, tsr_error *err) {
    const struct trial *t = ctx;
    uint64_t row_bytes = columns * t->element;
    (void)err;
    CU_ASSERT(first_row + rows <= t->tensor.rows && first_column + columns <= t->tensor.columns);
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t from = ((first_row + r) * t->tensor.columns + first_column) * t->element;
        memcpy((uint8_t *)dst + r * row_bytes, t->source + from, row_bytes);
    }
    return TSR_OK;
}

static tsr_status write_header(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    struct trial *t = ctx;
    (void)err;
    memcpy(t->stream + t->header, bytes, size);
    t->header += size;
    return TSR_OK;
}

static tsr_codec_setup setup_of(struct trial *t, int decoding) {
    return (tsr_codec_setup){.struct_size = sizeof(tsr_codec_setup), .host = &t->host.host, .tensor = &t->tensor,
                             .params = t->params, .header = decoding ? t->stream : NULL,
                             .header_bytes = decoding ? t->header : 0, .bitstream_version = 1, .decoding = decoding};
}

static tsr_status encode(struct trial *t) {
    const tsr_codec *codec = tsr_plugin_passthrough.codecs[0];
    tsr_codec_setup setup = setup_of(t, 0);
    tsr_row_source source = {sizeof source, t, read_rows};
    tsr_writer writer = {sizeof writer, t, write_header};
    void *self = NULL;
    t->header = 0;
    tsr_status status = codec->create(&setup, &self, &t->err);
    if (status != TSR_OK) return status;
    status = codec->prepare(self, &source, &writer, &t->err);
    t->total = t->header;
    for (uint64_t i = 0; i < t->grid.count && status == TSR_OK; i++) {
        tsr_tile tile = tile_at(&t->grid, i, (uint32_t)t->element * 8);
        uint64_t bound = codec->encode_bound(self, &tile), *written = &t->tile_bytes[i];
        uint64_t from = (tile.first_row * t->tensor.columns + tile.first_column) * t->element;
        uint8_t *dst = t->stream + t->total;
        dst[bound] = 0xAB;
        status = codec->encode(self, &tile, t->source + from, dst, bound, written, &t->err);
        CU_ASSERT(status != TSR_OK || (*written <= bound && dst[bound] == 0xAB));
        t->total += status == TSR_OK ? *written : 0;
    }
    codec->destroy(self);
    return status;
}

/* Decodes header and tiles at `stream`; the byte behind `back` must stay. */
static tsr_status decode(struct trial *t) {
    const tsr_codec *codec = tsr_plugin_passthrough.codecs[0];
    tsr_codec_setup setup = setup_of(t, 1);
    void *self = NULL;
    uint64_t at = t->header;
    t->back[t->size] = 0xAB;
    tsr_status status = codec->create(&setup, &self, &t->err);
    for (uint64_t i = 0; i < t->grid.count && status == TSR_OK; i++) {
        tsr_tile tile = tile_at(&t->grid, i, (uint32_t)t->element * 8);
        uint64_t to = (tile.first_row * t->tensor.columns + tile.first_column) * t->element;
        status = codec->decode(self, &tile, t->stream + at, t->tile_bytes[i], t->back + to, &t->err);
        at += t->tile_bytes[i];
    }
    if (self) codec->destroy(self);
    CU_ASSERT_EQUAL(t->back[t->size], 0xAB);
    return status;
}

static void check_comes_back(struct trial *t) {
    CU_ASSERT_EQUAL(encode(t), TSR_OK);
    CU_ASSERT_EQUAL(decode(t), TSR_OK);
    CU_ASSERT_EQUAL(memcmp(t->source, t->back, t->size), 0);
}

enum { ZEROS, CONSTANT, NOISE, WEIGHTS, SPECIAL, PATTERNS };

/* Roughly normal, with scales by row and column; `bits` 16 or 32 of its F32. */
static void fill_weights(struct trial *t, uint64_t seed) {
    struct rng rng = {seed};
    for (uint64_t i = 0; i < t->size / t->element; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++) sum += rng_real(&rng);
        double row = 1 + (double)(i / t->tensor.columns * 37 % 11);
        double column = 1 + (double)(i % t->tensor.columns * 29 % 7);
        float value = (float)(sum * row * column * 0.001);
        uint8_t bytes[8] = {0};
        memcpy(bytes + (t->element >= 4 ? t->element - 4 : 0), &value, sizeof value);
        memcpy(t->source + i * t->element, bytes + (t->element == 2 ? 2 : 0), t->element);
    }
}

static void fill(struct trial *t, int pattern, uint64_t seed) {
    struct rng rng = {seed};
    if (pattern == WEIGHTS) fill_weights(t, seed);
    for (uint64_t i = 0; i < t->size && pattern != WEIGHTS; i++) {
        uint8_t constant = (uint8_t)(i % t->element + 60);
        t->source[i] = pattern == NOISE ? (uint8_t)rng_next(&rng) : pattern == CONSTANT ? constant : 0;
    }
    /* Infinities, NaN, denormals and the largest numbers of every float dtype, strewn over weights. */
    static const uint8_t odd[] = {0x7f, 0xff, 0x80, 0x00, 0x7c, 0xfc, 0xf8};
    if (pattern == SPECIAL) fill_weights(t, seed);
    for (uint64_t i = 0; i < t->size && pattern == SPECIAL; i += 97) t->source[i] = odd[i % sizeof odd];
}

static const uint64_t SHAPES[][2] = {{1, 1},   {1, 2},    {1, 31},    {33, 1},    {17, 33},
                                     {64, 64}, {300, 80}, {4, 20000}, {1, 300001}};

static void everything_comes_back(void) {
    struct trial t;
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        for (unsigned s = 0; s < sizeof SHAPES / sizeof *SHAPES; s++) {
            for (int variant = 0; variant < 3 * PATTERNS; variant++) {
                /* Long rows of every dtype need not meet every pattern. */
                if (s > 6 && variant % PATTERNS != WEIGHTS) continue;
                trial_begin(&t, dtype, SHAPES[s][0], SHAPES[s][1], LOSSLESS, variant / PATTERNS);
                fill(&t, variant % PATTERNS, (uint64_t)dtype + 1);
                check_comes_back(&t);
                trial_end(&t);
            }
        }
    }
}

static void raw_mode_copies(void) {
    struct trial t;
    trial_begin(&t, TSR_DTYPE_BF16, 100, 100, RAW, DEFAULT);
    fill(&t, WEIGHTS, 1);
    check_comes_back(&t);
    CU_ASSERT(t.header == 0 && t.total == t.size && memcmp(t.stream, t.source, t.size) == 0);
    trial_end(&t);
}

static double ratio_of(int32_t dtype, int level, uint64_t rows, uint64_t columns) {
    struct trial t;
    trial_begin(&t, dtype, rows, columns, LOSSLESS, level);
    fill(&t, WEIGHTS, 5);
    check_comes_back(&t);
    double ratio = (double)t.size / (double)t.total;
    trial_end(&t);
    return ratio;
}

static void weights_shrink_by_level(void) {
    double fast = ratio_of(TSR_DTYPE_BF16, FAST, 1536, 768), usual = ratio_of(TSR_DTYPE_BF16, DEFAULT, 1536, 768);
    double best = ratio_of(TSR_DTYPE_BF16, MAX, 1536, 768);
    CU_ASSERT(fast > 1.44 && usual > fast && usual - fast < 0.01);
    CU_ASSERT(best > usual + 0.05); /* the scales of rows and columns are worth that here */
    CU_ASSERT(ratio_of(TSR_DTYPE_F32, DEFAULT, 200, 300) > 1.18);
    CU_ASSERT(ratio_of(TSR_DTYPE_BF16, DEFAULT, 1, 768) > 1.1); /* tables of a small tensor stay small */
}

static void noise_is_left_raw(void) {
    struct trial t;
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        trial_begin(&t, dtype, 100, 100, LOSSLESS, DEFAULT);
        fill(&t, NOISE, 1);
        check_comes_back(&t);
        CU_ASSERT(t.header == 0 && t.total == t.size);
        trial_end(&t);
    }
}

static void constants_cost_next_to_nothing(void) {
    struct trial t;
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        trial_begin(&t, dtype, 500, 500, LOSSLESS, DEFAULT);
        fill(&t, CONSTANT, 1);
        check_comes_back(&t);
        CU_ASSERT(t.total < 150 * t.element + 100 || t.total < t.size * 7 / 16 + 500); /* raw sign and mantissa bits */
        trial_end(&t);
    }
}

/* F32 rows that were BF16 or F16 before, among others: their low bytes are coded where they are. */
static void parts_of_low_precision_are_found(void) {
    struct trial t;
    trial_begin(&t, TSR_DTYPE_F32, 3000, 200, LOSSLESS, DEFAULT);
    fill(&t, WEIGHTS, 9);
    check_comes_back(&t);
    uint64_t before = t.total;
    for (uint64_t i = 0; i < 1310 * 200; i++) t.source[4 * i] = t.source[4 * i + 1] = 0;
    check_comes_back(&t);
    CU_ASSERT(t.total + 1310 * 200 * 19 / 10 < before);
    trial_end(&t);
}

/* Level fast has not seen a symbol that the third block alone has: its tile brings its own model. */
static void symbols_outside_of_the_sample_are_coded(void) {
    struct trial t;
    trial_begin(&t, TSR_DTYPE_BF16, 2048, 1024, LOSSLESS, FAST);
    fill(&t, WEIGHTS, 2);
    check_comes_back(&t);
    CU_ASSERT_EQUAL(t.stream[t.header], 1);
    t.source[2 * 70000 + 1] = 0x7e;
    check_comes_back(&t);
    CU_ASSERT_EQUAL(t.stream[t.header], 2);
    trial_end(&t);
}

static void the_same_bytes_every_time(void) {
    struct trial a, b;
    for (int level = FAST; level <= MAX; level++) {
        trial_begin(&a, TSR_DTYPE_BF16, 700, 500, LOSSLESS, level);
        trial_begin(&b, TSR_DTYPE_BF16, 700, 500, LOSSLESS, level);
        fill(&a, WEIGHTS, 4);
        fill(&b, WEIGHTS, 4);
        check_comes_back(&a);
        check_comes_back(&b);
        CU_ASSERT(a.total == b.total && memcmp(a.stream, b.stream, a.total) == 0);
        trial_end(&a);
        trial_end(&b);
    }
}

static void any_allocation_may_fail(void) {
    struct trial t;
    trial_begin(&t, TSR_DTYPE_BF16, 300, 300, LOSSLESS, MAX);
    fill(&t, WEIGHTS, 4);
    for (int64_t n = 1; n < 1000; n++) {
        t.host.allocations = 0;
        t.host.fail_at = n;
        tsr_status status = encode(&t);
        CU_ASSERT_EQUAL(t.host.blocks, 0);
        if (status == TSR_OK) break;
        CU_ASSERT_EQUAL(status, TSR_E_NOMEM);
    }
    CU_ASSERT(t.host.fail_at > 10 && t.host.fail_at < 999);
    for (int64_t n = 1; n < 1000; n++) {
        t.host.allocations = 0;
        t.host.fail_at = n;
        tsr_status status = decode(&t);
        CU_ASSERT_EQUAL(t.host.blocks, 0);
        if (status == TSR_OK) break;
        CU_ASSERT_EQUAL(status, TSR_E_NOMEM);
    }
    CU_ASSERT(t.host.fail_at > 3 && t.host.fail_at < 999);
    trial_end(&t);
}

static void truncated_bytes_are_refused(void) {
    struct trial t;
    for (int level = FAST; level <= MAX; level++) {
        trial_begin(&t, level == DEFAULT ? TSR_DTYPE_F32 : TSR_DTYPE_BF16, 300, 300, LOSSLESS, level);
        fill(&t, WEIGHTS, 4);
        check_comes_back(&t);
        uint64_t header = t.header, tile = t.tile_bytes[0];
        for (t.header = 1; t.header < header; t.header++) CU_ASSERT_EQUAL(decode(&t), TSR_E_CORRUPT);
        t.header = header;
        for (t.tile_bytes[0] = 0; t.tile_bytes[0] < tile; t.tile_bytes[0] += 1 + t.tile_bytes[0] / 50) {
            CU_ASSERT_EQUAL(decode(&t), TSR_E_CORRUPT);
        }
        t.tile_bytes[0] = tile + 1;
        CU_ASSERT_EQUAL(decode(&t), TSR_E_CORRUPT);
        trial_end(&t);
    }
}

static void flipped_bits_end_in_a_verdict(void) {
    struct trial t;
    struct rng rng = {3};
    for (int level = FAST; level <= MAX; level++) {
        trial_begin(&t, TSR_DTYPE_BF16, 260, 260, LOSSLESS, level);
        fill(&t, WEIGHTS, 4);
        check_comes_back(&t);
        for (int i = 0; i < 300; i++) {
            uint64_t at = rng_below(&rng, i % 2 ? t.header : t.total);
            uint8_t kept = t.stream[at];
            t.stream[at] ^= (uint8_t)(1u << rng_below(&rng, 8));
            tsr_status status = decode(&t);
            CU_ASSERT(status == TSR_OK || status == TSR_E_CORRUPT); /* raw bits carry no check; the container does */
            t.stream[at] = kept;
        }
        CU_ASSERT_EQUAL(decode(&t), TSR_OK);
        trial_end(&t);
    }
}

/* Rows that are all alike cost no bytes of the header; nor may they cost memory, whatever their number is said to be. */
static void alike_rows_take_no_memory(void) {
    struct trial t;
    void *self = NULL;
    trial_begin(&t, TSR_DTYPE_BF16, 512, 1024, LOSSLESS, MAX);
    fill(&t, WEIGHTS, 4);
    for (uint64_t c = 512; c < 1024; c++) { /* the right half is 2^-6 times as large */
        uint8_t *value = t.source + 2 * c;
        uint32_t bits = (uint32_t)value[0] | (uint32_t)value[1] << 8;
        if ((bits >> 7 & 0xFF) > 6) bits -= 6 << 7;
        value[0] = (uint8_t)bits;
        value[1] = (uint8_t)(bits >> 8);
    }
    for (uint64_t r = 1; r < 512; r++) memcpy(t.source + r * 2048, t.source, 2048);
    check_comes_back(&t);
    CU_ASSERT_EQUAL_FATAL(t.stream[1], 3); /* contexts are in use */
    const tsr_codec *codec = tsr_plugin_passthrough.codecs[0];
    tsr_codec_setup setup = setup_of(&t, 1);
    t.tensor.rows = UINT64_C(1) << 45;
    t.tensor.bytes = t.tensor.rows * t.tensor.columns * 2;
    CU_ASSERT_EQUAL(codec->create(&setup, &self, NULL), TSR_OK);
    if (self) codec->destroy(self);
    trial_end(&t);
}

/* Seeds of the fuzzer: one small tensor of each dtype and level, written when TESSERA_CORPUS names a folder. */
static void seeds_decode(void) {
    const char *folder = getenv("TESSERA_CORPUS");
    struct trial t;
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        bool scaled = dtype == TSR_DTYPE_BF16;
        uint8_t wide = scaled ? 20 : 4;
        trial_begin(&t, dtype, scaled ? 128 : 64, 7u * wide + 1, LOSSLESS, scaled ? MAX : DEFAULT);
        fill(&t, WEIGHTS, 4);
        check_comes_back(&t);
        CU_ASSERT(!scaled || t.stream[1] == 3); /* contexts are in use */
        const uint8_t head[] = {(uint8_t)dtype, (uint8_t)(t.tensor.rows - 1), wide, (uint8_t)t.header, (uint8_t)(t.header >> 8)};
        char path[512];
        (void)snprintf(path, sizeof path, "%s/dtype-%d", folder ? folder : "", (int)dtype);
        FILE *file = folder ? fopen(path, "wb") : NULL;
        if (file) {
            CU_ASSERT(fwrite(head, sizeof head, 1, file) == 1 && fwrite(t.stream, t.total, 1, file) == 1);
            CU_ASSERT_EQUAL(fclose(file), 0);
        }
        trial_end(&t);
    }
}

static const struct unit_test TESTS[] = {
    {"everything_comes_back", everything_comes_back},
    {"raw_mode_copies", raw_mode_copies},
    {"weights_shrink_by_level", weights_shrink_by_level},
    {"noise_is_left_raw", noise_is_left_raw},
    {"constants_cost_next_to_nothing", constants_cost_next_to_nothing},
    {"parts_of_low_precision_are_found", parts_of_low_precision_are_found},
    {"symbols_outside_of_the_sample_are_coded", symbols_outside_of_the_sample_are_coded},
    {"the_same_bytes_every_time", the_same_bytes_every_time},
    {"any_allocation_may_fail", any_allocation_may_fail},
    {"truncated_bytes_are_refused", truncated_bytes_are_refused},
    {"alike_rows_take_no_memory", alike_rows_take_no_memory},
    {"flipped_bits_end_in_a_verdict", flipped_bits_end_in_a_verdict},
    {"seeds_decode", seeds_decode},
};
UNIT_MAIN(TESTS)
