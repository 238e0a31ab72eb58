/* SPDX-License-Identifier: Apache-2.0
 *
 * The coder with small codecs of its own: exact bytes come back for any shape and order, raw tiles where they must be,
 * the same bytes from any number of workers, and codecs that break the contract are named. */
#include "unit.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/rng.h>
#include <base/str.h>
#include <format/dtype.h>
#include <math.h>
#include <plugin/coder.h>
#include <plugin/matrix.h>
#include <stdlib.h>
#include <string.h>

/* ---- fake codecs ---- */

static tsr_status fake_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    (void)err;
    *self = (void *)(uintptr_t)setup;
    return TSR_OK;
}

static void fake_destroy(void *self) {
    (void)self;
}

static uint64_t bound_of_tile(void *self, const tsr_tile *tile) {
    (void)self;
    return tile->bytes + 1;
}

/* Run of one byte: that byte; else all bytes and a mark, which does not shrink. */
static tsr_status run_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                             uint64_t *written, tsr_error *err) {
    const uint8_t *bytes = src;
    uint64_t same = 1;
    (void)self;
    while (same < tile->bytes && bytes[same] == bytes[0]) same++;
    *written = same == tile->bytes ? 1 : tile->bytes + 1;
    if (*written > capacity) return tsr_fail(err, TSR_E_SPACE, "too small");
    memcpy(dst, src, *written == 1 ? 1 : tile->bytes);
    return TSR_OK;
}

static tsr_status run_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                             tsr_error *err) {
    (void)self;
    if (size != 1) return tsr_fail(err, TSR_E_CORRUPT, "found %llu bytes, expected 1", (unsigned long long)size);
    memset(dst, *(const uint8_t *)src, tile->bytes);
    return TSR_OK;
}

/* F32 -> one byte a weight: value / header step. The header holds the largest magnitude of the tensor. */
static tsr_status step_prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    const tsr_codec_setup *setup = self;
    float largest = 0;
    float *row = malloc(setup->tensor->columns * sizeof *row);
    tsr_status st = TSR_OK;
    for (uint64_t r = 0; r < setup->tensor->rows && st == TSR_OK; r++) {
        st = source->read(source->ctx, r, 1, 0, setup->tensor->columns, row, err);
        for (uint64_t c = 0; c < setup->tensor->columns && st == TSR_OK; c++) largest = fmaxf(largest, fabsf(row[c]));
    }
    free(row);
    return st == TSR_OK ? header->write(header->ctx, &largest, sizeof largest, err) : st;
}

static uint64_t step_bound(void *self, const tsr_tile *tile) {
    (void)self;
    return tile->bytes / 4;
}

static tsr_status step_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                              uint64_t *written, tsr_error *err) {
    const float *values = src;
    (void)self;
    (void)err;
    *written = capacity;
    for (uint64_t i = 0; i < tile->bytes / 4; i++) ((int8_t *)dst)[i] = (int8_t)lrintf(values[i] * 64);
    return TSR_OK;
}

static tsr_status step_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                              tsr_error *err) {
    (void)self;
    if (size != tile->bytes / 4) return tsr_fail(err, TSR_E_CORRUPT, "wrong size");
    for (uint64_t i = 0; i < size; i++) ((float *)dst)[i] = (float)((const int8_t *)src)[i] / 64;
    return TSR_OK;
}

static const tsr_codec RUN = {.struct_size = sizeof RUN,
                              .id = "test.run",
                              .name = "run",
                              .description = "runs",
                              .bitstream_version = 2,
                              .bitstream_oldest = 1,
                              .flags = TSR_CODEC_EXACT,
                              .dtypes = TSR_DTYPES_ALL,
                              .tile_weights = 1 << 12,
                              .input = TSR_INPUT_SOURCE,
                              .create = fake_create,
                              .destroy = fake_destroy,
                              .encode_bound = bound_of_tile,
                              .encode = run_encode,
                              .decode = run_decode};
static const tsr_codec STEP = {.struct_size = sizeof STEP,
                               .id = "test.step",
                               .name = "step",
                               .description = "steps",
                               .bitstream_version = 1,
                               .bitstream_oldest = 1,
                               .flags = TSR_CODEC_RECONSTRUCT,
                               .dtypes = TSR_DTYPES_FLOAT,
                               .tile_weights = 1 << 12,
                               .input = TSR_INPUT_F32,
                               .create = fake_create,
                               .destroy = fake_destroy,
                               .prepare = step_prepare,
                               .encode_bound = step_bound,
                               .encode = step_encode,
                               .decode = step_decode};

/* ---- a tensor in memory, and what was stored of it ---- */

struct stored {
    struct str header, bytes;
    struct tile_grid grid;
    uint64_t sizes[4096];
    bool raw[4096];
    uint64_t count, raws;
};

struct bench {
    struct pool *pool;
    struct env env;
    struct host_services services;
    struct coder_job job;
    struct coder_source source;
    tsr_tensor tensor;
    uint64_t shape[3];
    uint8_t *bytes;
    struct stored stored;
    atomic_int reads;
};

static tsr_status read_bytes(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    struct bench *bench = ctx;
    atomic_fetch_add(&bench->reads, 1);
    if (offset > bench->tensor.bytes || size > bench->tensor.bytes - offset)
        return tsr_fail(err, TSR_E_INPUT, "outside");
    memcpy(dst, bench->bytes + offset, size);
    return TSR_OK;
}

static tsr_status take_begin(void *ctx, const struct tile_grid *grid, const void *header, uint64_t bytes,
                             tsr_error *err) {
    struct stored *stored = ctx;
    (void)err;
    stored->grid = *grid;
    str_add(&stored->header, header, bytes);
    return TSR_OK;
}

static tsr_status take_tile(void *ctx, const void *bytes, uint64_t size, bool raw, tsr_error *err) {
    struct stored *stored = ctx;
    (void)err;
    stored->sizes[stored->count] = size;
    stored->raw[stored->count++] = raw;
    stored->raws += raw;
    str_add(&stored->bytes, bytes, size);
    return TSR_OK;
}

static void bench_open(struct bench *bench, const tsr_codec *codec, int32_t dtype, uint64_t rows, uint64_t columns,
                       uint64_t workers) {
    *bench = (struct bench){0};
    bench->pool = pool_create(workers);
    bench->env = (struct env){.pool = bench->pool};
    host_services_init(&bench->services, &bench->env);
    uint32_t bits = dtype_bits(dtype);
    bench->shape[0] = rows;
    bench->shape[1] = columns;
    bench->tensor = (tsr_tensor){sizeof bench->tensor,      "t",   bench->shape,     2, rows, columns,
                                 rows * columns * bits / 8, dtype, TSR_REGIME_ARGMAX};
    bench->bytes = mem_alloc_aligned(bench->tensor.bytes);
    bench->source = (struct coder_source){bench, read_bytes};
    bench->job = (struct coder_job){.env = &bench->env,
                                     .host = &bench->services.host,
                                     .codec = codec,
                                     .tensor = &bench->tensor,
                                     .dtype_bits = bits};
}

static void bench_close(struct bench *bench) {
    str_clear(&bench->stored.header);
    str_clear(&bench->stored.bytes);
    mem_free(bench->bytes);
    pool_destroy(bench->pool);
}

/* Small finite values of BF16, seeded. */
static void fill_bf16(struct bench *bench) {
    struct rng rng = {7};
    for (uint64_t i = 0; i < bench->tensor.bytes / 2; i++) {
        float value = (float)(rng_real(&rng) * 2 - 1);
        dtype_from_f32(TSR_DTYPE_BF16, &value, 1, bench->bytes + 2 * i);
    }
}

static tsr_status bench_encode(struct bench *bench, struct digest *digest, tsr_error *err) {
    struct coder_sink sink = {&bench->stored, take_begin, take_tile};
    return coder_encode(&bench->job, &bench->source, &sink, digest, err);
}

/* All tiles into dst, matrix order. */
static tsr_status bench_decode(struct bench *bench, uint8_t *dst, tsr_error *err) {
    struct coder *coder = NULL;
    const struct stored *stored = &bench->stored;
    uint64_t at = 0, to = 0;
    tsr_status st = coder_open(&bench->job, &stored->grid, stored->header.text, stored->header.length,
                               bench->job.codec->bitstream_version, &coder, err);
    for (uint64_t i = 0; i < stored->count && st == TSR_OK; i++) {
        tsr_tile tile = tile_at(&stored->grid, i, bench->job.dtype_bits);
        st = coder_decode_tile(coder, i, stored->bytes.text + at, stored->sizes[i], stored->raw[i], dst + to, 0, err);
        at += stored->sizes[i];
        to += tile.bytes;
    }
    coder_close(coder);
    return st;
}

/* ---- properties ---- */

static void exact_bytes_come_back_for_any_shape(void) {
    static const uint64_t SHAPES[][2] = {{1, 1}, {1, 9000}, {9000, 1}, {33, 129}, {3, 8200}, {500, 768}};
    for (unsigned i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        struct bench bench;
        struct digest digest, expected;
        bench_open(&bench, &RUN, TSR_DTYPE_BF16, SHAPES[i][0], SHAPES[i][1], 2);
        memset(bench.bytes, 3, bench.tensor.bytes);
        bench.bytes[bench.tensor.bytes / 2] = 4;
        uint8_t *back = malloc(bench.tensor.bytes);
        CU_ASSERT_EQUAL(bench_encode(&bench, &digest, NULL), TSR_OK);
        CU_ASSERT_EQUAL(bench_decode(&bench, back, NULL), TSR_OK);
        CU_ASSERT_EQUAL(memcmp(back, bench.bytes, bench.tensor.bytes), 0);
        expected = digest_of(bench.bytes, bench.tensor.bytes);
        CU_ASSERT_TRUE(digest_equal(&digest, &expected));
        CU_ASSERT_EQUAL(bench.stored.raws, 1);
        free(back);
        bench_close(&bench);
    }
}

static void an_empty_tensor_has_no_tiles(void) {
    struct bench bench;
    struct digest digest, expected = digest_of("", 0);
    bench_open(&bench, &RUN, TSR_DTYPE_F32, 0, 12, 1);
    CU_ASSERT_EQUAL(bench_encode(&bench, &digest, NULL), TSR_OK);
    CU_ASSERT_EQUAL(bench.stored.count, 0);
    CU_ASSERT_TRUE(digest_equal(&digest, &expected));
    CU_ASSERT_EQUAL(bench_decode(&bench, NULL, NULL), TSR_OK);
    bench_close(&bench);
}

/* The matrix [blocks * rows][columns] of a source [blocks][columns][rows], by definition. */
static void turn_reference(const struct bench *bench, uint64_t blocks, uint8_t *dst) {
    uint64_t rows = bench->tensor.rows / blocks, columns = bench->tensor.columns, width = bench->job.dtype_bits / 8;
    for (uint64_t i = 0; i < bench->tensor.rows * columns; i++) {
        uint64_t r = i / columns, c = i % columns;
        uint64_t from = ((r / rows) * columns + c) * rows + r % rows;
        memcpy(dst + i * width, bench->bytes + from * width, width);
    }
}

static void check_turned(int32_t dtype, uint64_t blocks, uint64_t rows, uint64_t columns, const tsr_codec *codec) {
    struct bench bench;
    struct digest digest, expected;
    bench_open(&bench, codec, dtype, blocks * rows, columns, 2);
    bench.shape[0] = blocks;
    bench.shape[1] = columns;
    bench.shape[2] = rows;
    bench.tensor.rank = 3;
    bench.job.transposed = true;
    if (dtype == TSR_DTYPE_BF16) {
        fill_bf16(&bench);
    } else {
        struct rng rng = {5};
        for (uint64_t i = 0; i < bench.tensor.bytes; i++) bench.bytes[i] = (uint8_t)rng_next(&rng);
    }
    uint8_t *back = malloc(bench.tensor.bytes), *turned = malloc(bench.tensor.bytes);
    turn_reference(&bench, blocks, turned);
    CU_ASSERT_EQUAL(bench_encode(&bench, &digest, NULL), TSR_OK);
    CU_ASSERT_EQUAL(bench_decode(&bench, back, NULL), TSR_OK);
    if (codec->flags & TSR_CODEC_EXACT) {
        CU_ASSERT_EQUAL(memcmp(back, turned, bench.tensor.bytes), 0);
    } else {
        uint64_t wrong = 0;
        for (uint64_t i = 0; i < bench.tensor.rows * columns; i++) {
            float a, b;
            dtype_to_f32(dtype, back + 2 * i, 1, &a);
            dtype_to_f32(dtype, turned + 2 * i, 1, &b);
            wrong += fabsf(a - b) > 0.01f;
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
    expected = digest_of(bench.bytes, bench.tensor.bytes);
    CU_ASSERT_TRUE(digest_equal(&digest, &expected));
    /* One run of each column a window, and the pass of the digest; not one read a row and column. */
    uint64_t windows = blocks * rows / ((UINT64_C(1) << 21) / columns) + blocks;
    CU_ASSERT_TRUE((uint64_t)bench.reads < 2 * (windows + 1) * columns + 100);
    free(back);
    free(turned);
    bench_close(&bench);
}

static void transposed_sources_are_turned(void) {
    check_turned(TSR_DTYPE_BF16, 1, 5, 7, &RUN);
    check_turned(TSR_DTYPE_BF16, 3, 50, 33, &RUN);
    check_turned(TSR_DTYPE_F64, 2, 40, 100, &RUN);
    check_turned(TSR_DTYPE_I8, 1, 9, 9000, &RUN);
    check_turned(TSR_DTYPE_BF16, 2, 300, 4500, &RUN);
    check_turned(TSR_DTYPE_BF16, 1, 640, 300, &STEP);
    check_turned(TSR_DTYPE_BF16, 2, 300, 4500, &STEP);
}

static void tiles_with_nan_or_inf_are_raw(void) {
    static const float WRONG[] = {NAN, INFINITY, -INFINITY};
    static const int32_t DTYPES[] = {TSR_DTYPE_F32, TSR_DTYPE_F16, TSR_DTYPE_BF16};
    for (unsigned i = 0; i < 9; i++) {
        struct bench bench;
        int32_t dtype = DTYPES[i / 3];
        bench_open(&bench, &STEP, dtype, 64, 256, 2);
        uint64_t width = bench.job.dtype_bits / 8;
        memset(bench.bytes, 0, bench.tensor.bytes);
        dtype_from_f32(dtype, &WRONG[i % 3], 1, bench.bytes + 5000 * width);
        if (isinf(WRONG[i % 3])) { /* conversion saturates, so write Inf by its bits */
            uint32_t bits = dtype == TSR_DTYPE_F32 ? 0x7F800000 : dtype == TSR_DTYPE_F16 ? 0x7C00 : 0x7F80;
            memcpy(bench.bytes + 5000 * width, &bits, width);
        }
        uint8_t *back = malloc(bench.tensor.bytes);
        CU_ASSERT_EQUAL(bench_encode(&bench, NULL, NULL), TSR_OK);
        CU_ASSERT_EQUAL(bench.stored.raws, 1);
        CU_ASSERT_TRUE(bench.stored.raw[1]);
        float largest;
        memcpy(&largest, bench.stored.header.text, sizeof largest);
        CU_ASSERT_EQUAL(largest, 0); /* prepare saw 0 in its place */
        CU_ASSERT_EQUAL(bench_decode(&bench, back, NULL), TSR_OK);
        CU_ASSERT_EQUAL(memcmp(back, bench.bytes, bench.tensor.bytes), 0);
        free(back);
        bench_close(&bench);
    }
}

/* Every value of the 8- and 16-bit floats, at every place of a word and of the tail. */
static void finite_is_what_the_dtype_says(void) {
    static const int32_t DTYPES[] = {TSR_DTYPE_F16, TSR_DTYPE_BF16, TSR_DTYPE_F8_E4M3, TSR_DTYPE_F8_E5M2,
                                     TSR_DTYPE_F8_E8M0};
    static const uint32_t MASKS[] = {0x7C00, 0x7F80, 0x7F, 0x7C, 0xFF};
    uint64_t wrong = 0;
    for (int d = 0; d < 5; d++) {
        uint32_t width = dtype_bits(DTYPES[d]) / 8;
        for (uint32_t value = 0; value < 1u << 8 * width; value++) {
            uint8_t bytes[22] = {0};
            uint64_t at = value % (22 / width), count = 22 / width;
            memcpy(bytes + at * width, &value, width);
            wrong += matrix_finite(DTYPES[d], bytes, count) != ((value & MASKS[d]) != MASKS[d]);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    const double doubles[] = {1, -INFINITY, 2, NAN, 1e308};
    CU_ASSERT_FALSE(matrix_finite(TSR_DTYPE_F64, doubles, 2));
    CU_ASSERT_TRUE(matrix_finite(TSR_DTYPE_F64, doubles + 4, 1));
    const float floats[] = {1, -3e38f, 0, NAN};
    CU_ASSERT_TRUE(matrix_finite(TSR_DTYPE_F32, floats, 3));
    CU_ASSERT_FALSE(matrix_finite(TSR_DTYPE_F32, floats, 4));
    CU_ASSERT_FALSE(matrix_finite(TSR_DTYPE_C64, floats, 2));
    CU_ASSERT_TRUE(matrix_finite(TSR_DTYPE_I32, floats, 4));
}

static void bytes_do_not_depend_on_workers(void) {
    static const uint64_t WORKERS[] = {1, 2, 7};
    struct bench bench[3];
    for (int i = 0; i < 3; i++) {
        bench_open(&bench[i], &STEP, TSR_DTYPE_BF16, 900, 700, WORKERS[i]);
        fill_bf16(&bench[i]);
        CU_ASSERT_EQUAL(bench_encode(&bench[i], NULL, NULL), TSR_OK);
        CU_ASSERT_EQUAL(bench[i].stored.bytes.length, bench[0].stored.bytes.length);
        CU_ASSERT_EQUAL(memcmp(bench[i].stored.bytes.text, bench[0].stored.bytes.text, bench[0].stored.bytes.length),
                        0);
    }
    for (int i = 0; i < 3; i++) bench_close(&bench[i]);
}

/* ---- codecs that break the contract ---- */

static tsr_status odd_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                             uint64_t *written, tsr_error *err) {
    (void)self, (void)tile, (void)src, (void)dst, (void)capacity, (void)written, (void)err;
    return 7;
}

static tsr_status silent_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                                uint64_t *written, tsr_error *err) {
    (void)self, (void)tile, (void)src, (void)dst, (void)capacity, (void)written, (void)err;
    return TSR_E_UNSUPPORTED;
}

static tsr_status wide_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                              uint64_t *written, tsr_error *err) {
    (void)self, (void)src, (void)tile, (void)err;
    memset(dst, 1, capacity + 1);
    *written = capacity;
    return TSR_OK;
}

static tsr_status long_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                              uint64_t *written, tsr_error *err) {
    (void)self, (void)src, (void)tile, (void)err, (void)dst;
    *written = capacity + 1;
    return TSR_OK;
}

static uint64_t endless_bound(void *self, const tsr_tile *tile) {
    (void)self, (void)tile;
    return UINT64_C(1) << 40;
}

static tsr_status leaving_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    *self = (void *)(uintptr_t)setup;
    return tsr_fail(err, TSR_E_NOMEM, "none left");
}

static tsr_status endless_prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    static const uint8_t chunk[65536];
    (void)self, (void)source;
    for (;;) {
        tsr_status st = header->write(header->ctx, chunk, sizeof chunk, err);
        if (st != TSR_OK) return st;
    }
}

static void expect_failure(const tsr_codec *codec, tsr_status status, const char *words) {
    struct bench bench;
    tsr_error err = {0};
    bench_open(&bench, codec, TSR_DTYPE_BF16, 100, 100, 2);
    fill_bf16(&bench);
    CU_ASSERT_EQUAL(bench_encode(&bench, NULL, &err), status);
    if (!strstr(err.message, words)) printf("  %s\n", err.message);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    bench_close(&bench);
}

static void codecs_that_misbehave_are_named(void) {
    tsr_codec codec = RUN;
    codec.encode = odd_encode;
    expect_failure(&codec, TSR_E_PLUGIN, "codec run misbehaves: encode returned 7, which is no status");
    codec.encode = wide_encode;
    expect_failure(&codec, TSR_E_PLUGIN, "codec run misbehaves: encode wrote more than its bound");
    codec.encode = long_encode;
    expect_failure(&codec, TSR_E_PLUGIN, "codec run misbehaves: encode wrote more than its bound");
    codec.encode = silent_encode;
    expect_failure(&codec, TSR_E_UNSUPPORTED, "codec run: encode failed without a message");
    codec = RUN;
    codec.encode_bound = endless_bound;
    expect_failure(&codec, TSR_E_PLUGIN, "codec run misbehaves: encode_bound is");
    codec = RUN;
    codec.create = leaving_create;
    expect_failure(&codec, TSR_E_PLUGIN, "left something behind");
    codec = RUN;
    codec.prepare = endless_prepare;
    expect_failure(&codec, TSR_E_LIMIT, "codec header above");
}

static tsr_status behind_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                                tsr_error *err) {
    (void)self, (void)src, (void)size, (void)err;
    memset(dst, 0, tile->bytes + 4);
    return TSR_OK;
}

static tsr_status odd_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                             tsr_error *err) {
    (void)self, (void)tile, (void)src, (void)size, (void)dst, (void)err;
    return -99;
}

static void decoders_that_misbehave_are_named(void) {
    struct bench bench;
    tsr_error err = {0};
    tsr_codec codec = STEP;
    bench_open(&bench, &codec, TSR_DTYPE_BF16, 100, 100, 1);
    fill_bf16(&bench);
    uint8_t *back = malloc(bench.tensor.bytes);
    CU_ASSERT_EQUAL(bench_encode(&bench, NULL, &err), TSR_OK);
    codec.decode = behind_decode;
    CU_ASSERT_EQUAL(bench_decode(&bench, back, &err), TSR_E_PLUGIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "tile 0: codec step misbehaves: decode wrote behind"));
    codec.decode = odd_decode;
    CU_ASSERT_EQUAL(bench_decode(&bench, back, &err), TSR_E_PLUGIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "decode returned -99"));
    free(back);
    bench_close(&bench);
}

static void stored_lies_are_refused(void) {
    struct bench bench;
    struct coder *coder = NULL;
    uint8_t dst[20000];
    tsr_error err = {0};
    bench_open(&bench, &RUN, TSR_DTYPE_BF16, 100, 100, 1);
    struct tile_grid grid = tile_grid_make(100, 100, 1 << 12), wrong = grid;
    CU_ASSERT_EQUAL(coder_open(&bench.job, &grid, NULL, 0, 0, &coder, NULL), TSR_E_UNSUPPORTED);
    CU_ASSERT_EQUAL(coder_open(&bench.job, &grid, NULL, 0, 3, &coder, NULL), TSR_E_UNSUPPORTED);
    wrong.rows = 99;
    CU_ASSERT_EQUAL(coder_open(&bench.job, &wrong, NULL, 0, 1, &coder, NULL), TSR_E_CORRUPT);
    CU_ASSERT_EQUAL(coder_open(&bench.job, &grid, NULL, 0, 1, &coder, NULL), TSR_OK);
    CU_ASSERT_EQUAL(coder_decode_tile(coder, grid.count, "a", 1, false, dst, 0, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(coder_decode_tile(coder, 1, "ab", 2, false, dst, 0, &err), TSR_E_CORRUPT);
    CU_ASSERT_STRING_EQUAL(err.message, "tile 1: codec run: found 2 bytes, expected 1");
    CU_ASSERT_EQUAL(coder_decode_tile(coder, 0, "ab", 2, true, dst, 0, NULL), TSR_E_CORRUPT);
    coder_close(coder);
    bench.tensor.dtype = TSR_DTYPE_I16;
    bench.job.codec = &STEP;
    CU_ASSERT_EQUAL(coder_accepts(&bench.job, &err), TSR_E_UNSUPPORTED);
    CU_ASSERT_STRING_EQUAL(err.message, "codec step does not take dtype I16");
    bench_close(&bench);
}

static void a_job_that_contradicts_itself_is_refused(void) {
    struct bench bench;
    bench_open(&bench, &RUN, TSR_DTYPE_BF16, 10, 10, 1);
    memset(bench.bytes, 0, bench.tensor.bytes);
    bench.tensor.rows = 11;
    CU_ASSERT_EQUAL(bench_encode(&bench, NULL, NULL), TSR_E_ARGUMENT);
    bench.tensor.rows = 10;
    bench.job.transposed = true;
    bench.shape[0] = 9;
    CU_ASSERT_EQUAL(bench_encode(&bench, NULL, NULL), TSR_E_ARGUMENT);
    bench_close(&bench);
}

static void the_user_can_stop_it(void) {
    struct bench bench;
    atomic_int cancel = 1;
    bench_open(&bench, &RUN, TSR_DTYPE_BF16, 10, 10, 1);
    memset(bench.bytes, 0, bench.tensor.bytes);
    bench.env.cancel = &cancel;
    CU_ASSERT_EQUAL(bench_encode(&bench, NULL, NULL), TSR_E_CANCELLED);
    bench_close(&bench);
}

static const struct unit_test TESTS[] = {
    {"exact_bytes_come_back_for_any_shape", exact_bytes_come_back_for_any_shape},
    {"an_empty_tensor_has_no_tiles", an_empty_tensor_has_no_tiles},
    {"transposed_sources_are_turned", transposed_sources_are_turned},
    {"tiles_with_nan_or_inf_are_raw", tiles_with_nan_or_inf_are_raw},
    {"finite_is_what_the_dtype_says", finite_is_what_the_dtype_says},
    {"bytes_do_not_depend_on_workers", bytes_do_not_depend_on_workers},
    {"codecs_that_misbehave_are_named", codecs_that_misbehave_are_named},
    {"decoders_that_misbehave_are_named", decoders_that_misbehave_are_named},
    {"stored_lies_are_refused", stored_lies_are_refused},
    {"a_job_that_contradicts_itself_is_refused", a_job_that_contradicts_itself_is_refused},
    {"the_user_can_stop_it", the_user_can_stop_it},
};
UNIT_MAIN(TESTS)
