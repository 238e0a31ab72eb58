/* SPDX-License-Identifier: Apache-2.0
 *
 * The verify stage says no: to a codec that claims to be exact and is not, to a row beyond its bound. Nothing is
 * published then. And metrics of pieces join to those of the whole. */
#define _GNU_SOURCE
#include "pipeline_world.h"

#include <math.h>
#include <measure/compare.h>

/* Two codecs that promise more than they hold. The exact one keeps one byte a tile and gives back zeros. The sloppy one
 * is a decent 8-bit quantiser as long as plans are made and tensors encoded, and gives back zeros from then on. */
static atomic_bool sloppy_lies;

static void lie_after_encoding(void *ctx, const struct progress *progress) {
    (void)ctx;
    if (!strcmp(progress->stage, "assemble")) atomic_store(&sloppy_lies, true);
}

static tsr_status liar_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    (void)setup, (void)err;
    static int instance;
    *self = &instance;
    return TSR_OK;
}

static void liar_destroy(void *self) {
    (void)self;
}

static uint64_t liar_bound(void *self, const tsr_tile *tile) {
    (void)self, (void)tile;
    return 1;
}

static tsr_status liar_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                              uint64_t *written, tsr_error *err) {
    (void)self, (void)tile, (void)src, (void)capacity, (void)err;
    *(uint8_t *)dst = 7;
    *written = 1;
    return TSR_OK;
}

static tsr_status liar_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                              tsr_error *err) {
    (void)self, (void)src, (void)err, (void)size;
    memset(dst, 0, tile->bytes);
    return TSR_OK;
}

static uint64_t sloppy_bound(void *self, const tsr_tile *tile) {
    (void)self;
    return 4 + tile->rows * tile->columns;
}

static tsr_status sloppy_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                                uint64_t *written, tsr_error *err) {
    const float *values = src;
    float largest = 1e-30f;
    (void)self, (void)capacity, (void)err;
    for (uint64_t i = 0; i < tile->rows * tile->columns; i++) largest = fmaxf(largest, fabsf(values[i]));
    memcpy(dst, &largest, sizeof largest);
    for (uint64_t i = 0; i < tile->rows * tile->columns; i++) {
        ((int8_t *)dst)[4 + i] = (int8_t)(values[i] / largest * 127);
    }
    *written = sloppy_bound(self, tile);
    return TSR_OK;
}

static tsr_status sloppy_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                                tsr_error *err) {
    float *values = dst, largest;
    if (size != sloppy_bound(self, tile)) return tsr_fail(err, TSR_E_CORRUPT, "sloppy");
    memcpy(&largest, src, sizeof largest);
    if (atomic_load(&sloppy_lies)) largest = 0;
    for (uint64_t i = 0; i < tile->rows * tile->columns; i++) values[i] = ((const int8_t *)src)[4 + i] * largest / 127;
    return TSR_OK;
}

#define LIAR(short_name, codec_flags, form, size, there, back)                                                         \
    {                                                                                                                  \
        .struct_size = sizeof(tsr_codec), .id = "org.test." short_name, .name = short_name, .description = "lies",     \
        .bitstream_version = 1, .bitstream_oldest = 1, .flags = codec_flags, .dtypes = TSR_DTYPES_FLOAT,               \
        .input = form, .create = liar_create, .destroy = liar_destroy, .encode_bound = size, .encode = there,          \
        .decode = back                                                                                                 \
    }

static const tsr_codec EXACT_LIAR =
    LIAR("exactliar", TSR_CODEC_EXACT, TSR_INPUT_SOURCE, liar_bound, liar_encode, liar_decode);
static const tsr_codec SLOPPY =
    LIAR("sloppy", TSR_CODEC_RECONSTRUCT, TSR_INPUT_F32, sloppy_bound, sloppy_encode, sloppy_decode);
static const tsr_codec *const CODECS[] = {&EXACT_LIAR, &SLOPPY, NULL};
static const tsr_plugin LIARS = {.struct_size = sizeof LIARS,
                                 .name = "liars",
                                 .version = "1",
                                 .license = "Apache-2.0",
                                 .abi_minor = TSR_ABI_MINOR,
                                 .codecs = CODECS};

static const struct gen_tensor MODEL[] = {
    {"embed.weight", "BF16", 2, {100, 64}, 1},
    {"layers.0.up", "BF16", 2, {128, 100}, 2},
    {"norm", "F32", 1, {64}, 4},
};

/* Compresses under these rules; the error must be a gate's and name the tensor. */
static void expect_gate(const char *rules, const char *tensor, const char *words) {
    struct world world;
    struct str text = {0};
    tsr_error err = {0};
    world_begin(&world, 2);
    world.env.progress = lie_after_encoding;
    atomic_store(&sloppy_lies, false);
    EXPECT_OK(registry_add(world.registry, &LIARS, &err));
    gen_file(in_world(&world, "model/model.safetensors"), MODEL, COUNT(MODEL));
    gen_config(&world, "model");
    str_add_format(&text, "tessera: 1\nroles: auto\nrules:\n%s  - {codec: passthrough, optional: true}\n", rules);
    write_text(in_world(&world, "job.yaml"), text.text, text.length);
    tsr_status st = world_compress(&world, "model", "job.yaml", "out", 0, false, NULL, &err);
    if (st != TSR_E_GATE) printf("  %d: %s\n", st, err.message);
    CU_ASSERT_EQUAL(st, TSR_E_GATE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, tensor));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    CU_ASSERT_EQUAL(fs_kind_of(in_world(&world, "out")), FS_ABSENT);
    str_clear(&text);
    world_end(&world);
}

static void an_exact_codec_that_is_not_is_caught(void) {
    expect_gate("  - {role: mlp_up, codec: exactliar}\n", "layers.0.up", "row 0");
}

static void a_row_beyond_its_bound_is_caught(void) {
    expect_gate("  - {role: embed, codec: sloppy, row_error_max: 0.5}\n", "embed.weight",
                "row 0 has a relative error of 1");
}

/* Pieces of one row have the row's error, and rows of pieces the tensor's. */
static void pieces_join_to_the_whole(void) {
    float source[6][8], decoded[6][8];
    struct rng rng = {5};
    struct metric whole = {0}, joined = {0};
    for (int r = 0; r < 6; r++) {
        for (int c = 0; c < 8; c++) {
            source[r][c] = (float)rng_real(&rng) - 0.5f;
            decoded[r][c] = source[r][c] + (r == 4 ? 0.1f : 0.01f) * (float)rng_real(&rng);
        }
        metric_add_row(&whole, (uint64_t)r, source[r], decoded[r], 8);
    }
    for (uint64_t first = 0; first < 6; first += 2) {
        struct metric piece = {0};
        for (uint64_t r = first; r < first + 2; r++) metric_add_row(&piece, r, source[r], decoded[r], 8);
        compare_join(&joined, &piece);
    }
    CU_ASSERT_DOUBLE_EQUAL(metric_relative_error(&whole), metric_relative_error(&joined), 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(metric_cosine(&whole), metric_cosine(&joined), 1e-12);
    CU_ASSERT_EQUAL(whole.max_abs_error, joined.max_abs_error);
    CU_ASSERT_EQUAL(whole.worst_row_error, joined.worst_row_error);
    CU_ASSERT_EQUAL(joined.worst_row, 4);
    CU_ASSERT_EQUAL(whole.rows, joined.rows);
}

/* One row longer than a tile: the receipt's row error is that of the row, not of its worst piece. */
static void a_row_in_pieces_has_one_error(void) {
    static const struct gen_tensor wide[] = {{"layers.0.up", "BF16", 2, {2, 300000}, 3}};
    static const char rules[] = "tessera: 1\nroles: auto\nrules:\n  - {codec: scalar, params: {bits: 3}}\n";
    struct world world;
    tsr_error err = {0};
    json_t *receipt = NULL;
    world_begin(&world, 2);
    gen_file(in_world(&world, "model/model.safetensors"), wide, 1);
    gen_config(&world, "model");
    write_text(in_world(&world, "job.yaml"), rules, sizeof rules - 1);
    EXPECT_OK(world_compress(&world, "model", "job.yaml", "out", 0, false, &receipt, &err));
    const json_t *tensor = json_array_get(json_object_get(receipt, "tensors"), 0);
    double d = json_real_value(json_object_get(tensor, "relative_error"));
    double row = json_real_value(json_object_get(tensor, "worst_row_error"));
    CU_ASSERT(d > 0 && row * row >= d * (1 - 1e-12) && row * row < 1.05 * d);
    json_decref(receipt);
    world_end(&world);
}

static const struct unit_test TESTS[] = {
    {"an_exact_codec_that_is_not_is_caught", an_exact_codec_that_is_not_is_caught},
    {"a_row_beyond_its_bound_is_caught", a_row_beyond_its_bound_is_caught},
    {"pieces_join_to_the_whole", pieces_join_to_the_whole},
    {"a_row_in_pieces_has_one_error", a_row_in_pieces_has_one_error},
};
UNIT_MAIN(TESTS)
