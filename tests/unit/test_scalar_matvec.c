/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of the scalar codec from packed tiles: they are those of the decoded weights, whatever the rate, the groups and
 * the dtype; parts of a tile give the bits of the whole; what cannot be packed says so. */
#include "unit.h"

#include "../../plugins/scalar/scalar_kernel.h"
#include "../codec_harness.h"

#include <base/rng.h>
#include <format/dtype.h>
#include <math.h>
#include <tessera/ext/matvec.h>

extern const tsr_plugin tsr_plugin_scalar;

enum { BITS, STEP, DEAD_ZONE, CENTROIDS, GROUP, ROW_ERROR_MAX, PARAM_COUNT, ROWS = 40, COLUMNS_MAX = 700 };

static float X[ROWS * COLUMNS_MAX], Y[ROWS * COLUMNS_MAX], V[COLUMNS_MAX], WHOLE[ROWS], PART[ROWS];

struct world {
    struct harness_host host;
    struct harness_job job;
    struct harness_payload payload;
    tsr_param_value params[PARAM_COUNT];
    const tsr_matvec *group;
    void *self;
    tsr_tile tile;
    void *packed;
    uint64_t packed_bytes;
};

static void fill(float *x, uint64_t count, uint64_t seed) {
    struct rng rng = {seed};
    for (uint64_t i = 0; i < count; i++) {
        double sum = -6;
        for (int j = 0; j < 12; j++) sum += rng_real(&rng);
        x[i] = (float)sum;
    }
}

static void round_to(int32_t dtype, float *x, uint64_t count) {
    static uint8_t stored[ROWS * COLUMNS_MAX * 4];
    dtype_from_f32(dtype, x, count, stored);
    dtype_to_f32(dtype, stored, count, x);
}

/* Encodes X, decodes it to Y as the host would, and opens an instance over the one tile. */
static void world_open(struct world *world, uint64_t columns, double bits, int64_t group, int32_t dtype) {
    memset(world, 0, sizeof *world);
    harness_init(&world->host);
    world->params[BITS].real = bits;
    world->params[CENTROIDS].integer = 1;
    world->params[GROUP].integer = group;
    world->job = (struct harness_job){.host = &world->host,
                                      .codec = tsr_plugin_scalar.codecs[0],
                                      .params = world->params,
                                      .x = X,
                                      .tensor = harness_tensor(ROWS, columns, dtype)};
    CU_ASSERT_EQUAL_FATAL(harness_encode(&world->job, &world->payload, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(world->payload.grid.count, 1);
    CU_ASSERT_EQUAL_FATAL(harness_decode(&world->job, &world->payload, Y, NULL), TSR_OK);
    round_to(dtype, Y, ROWS * columns);
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &world->host.host,
                                   .tensor = &world->job.tensor,
                                   .params = world->params,
                                   .header = world->payload.header,
                                   .header_bytes = world->payload.header_bytes,
                                   .bitstream_version = tsr_plugin_scalar.codecs[0]->bitstream_version,
                                   .decoding = 1};
    CU_ASSERT_EQUAL_FATAL(world->job.codec->create(&setup, &world->self, NULL), TSR_OK);
    world->group = world->job.codec->get_extension(TSR_MATVEC_ID);
    world->tile = tile_at(&world->payload.grid, 0, 32);
    world->packed_bytes = world->group->packed_bytes(world->self, &world->tile);
    world->packed = mem_alloc_aligned(world->packed_bytes + 64);
    memset((uint8_t *)world->packed + world->packed_bytes, 0x5A, 64);
}

static tsr_status world_pack(struct world *world, uint64_t size) {
    tsr_status status = world->group->pack(world->self, &world->tile, world->payload.bytes, size, world->packed, NULL);
    for (int i = 0; i < 64; i++) CU_ASSERT_EQUAL(((uint8_t *)world->packed)[world->packed_bytes + (uint64_t)i], 0x5A);
    return status;
}

static void world_close(struct world *world) {
    world->job.codec->destroy(world->self);
    CU_ASSERT_EQUAL(world->host.blocks, 0);
    mem_free(world->packed);
    harness_payload_clear(&world->payload);
    harness_clear(&world->host);
}

static void check_products(struct world *world, uint64_t columns) {
    fill(V, columns, 5);
    CU_ASSERT_EQUAL_FATAL(world_pack(world, world->payload.tile_bytes[0]), TSR_OK);
    CU_ASSERT_EQUAL(world->group->apply(world->self, &world->tile, world->packed, V, NULL, WHOLE, NULL), TSR_OK);
    for (uint64_t r = 0; r < ROWS; r++) {
        double sum = 0, size = 1e-30;
        for (uint64_t c = 0; c < columns; c++) {
            sum += (double)Y[r * columns + c] * (double)V[c];
            size += fabs((double)Y[r * columns + c] * (double)V[c]);
        }
        CU_ASSERT(fabs(sum - (double)WHOLE[r]) <= 1e-6 * size);
    }
    for (uint64_t r = 0; r < ROWS; r += 7) {
        uint64_t rows = ROWS - r < 7 ? ROWS - r : 7;
        CU_ASSERT_EQUAL(
            world->group->apply_rows(world->self, &world->tile, world->packed, r, rows, V, NULL, PART + r, NULL), TSR_OK);
    }
    CU_ASSERT(!memcmp(WHOLE, PART, sizeof WHOLE));
}

/* Outliers are exceptions, zero rows have no symbols. */
static void products_are_those_of_the_decoded_weights(void) {
    static const double rates[] = {1.5, 3, 4, 5};
    static const uint64_t columns[] = {64, 100, 576, 700};
    static const int64_t groups[] = {0, 64, 128};
    static const int32_t dtypes[] = {TSR_DTYPE_F32, TSR_DTYPE_F16, TSR_DTYPE_BF16};
    for (int i = 0; i < 4 * 4 * 3 * 3; i++) {
        struct world world;
        uint64_t width = columns[i / 4 % 4];
        fill(X, ROWS * width, (uint64_t)i);
        memset(X + 3 * width, 0, width * sizeof *X);
        X[11] = 35;
        X[5 * width + 7] = -28;
        round_to(dtypes[i / 48], X, ROWS * width);
        world_open(&world, width, rates[i % 4], groups[i / 16 % 3], dtypes[i / 48]);
        check_products(&world, width);
        world_close(&world);
    }
}

static void what_cannot_be_packed_says_so(void) {
    struct world world;
    fill(X, ROWS * 256, 1);
    world_open(&world, 256, 11, 0, TSR_DTYPE_F32); /* thousands of indices */
    CU_ASSERT_EQUAL(world_pack(&world, world.payload.tile_bytes[0]), TSR_E_UNSUPPORTED);
    world_close(&world);
    world_open(&world, 256, 4, 32, TSR_DTYPE_F32); /* groups that are no whole blocks */
    CU_ASSERT_EQUAL(world.packed_bytes, 0);
    world_close(&world);
}

static void damaged_tiles_are_refused(void) {
    struct world world;
    fill(X, ROWS * 128, 2);
    X[9] = 40;
    world_open(&world, 128, 3, 0, TSR_DTYPE_BF16);
    for (uint64_t size = 0; size < world.payload.tile_bytes[0]; size++) CU_ASSERT_EQUAL(world_pack(&world, size), TSR_E_CORRUPT);
    for (uint64_t i = 0; i < world.payload.tile_bytes[0]; i++) {
        world.payload.bytes[i] ^= 0x10;
        tsr_status status = world_pack(&world, world.payload.tile_bytes[0]);
        CU_ASSERT(status == TSR_OK || status == TSR_E_CORRUPT || status == TSR_E_UNSUPPORTED);
        if (status == TSR_OK) (void)world.group->apply(world.self, &world.tile, world.packed, V, NULL, WHOLE, NULL);
        world.payload.bytes[i] ^= 0x10;
    }
    world_close(&world);
}

static void compare_forms(const struct scalar_products *a, const struct scalar_products *b) {
    static const int32_t dtypes[] = {TSR_DTYPE_F32, TSR_DTYPE_F16, TSR_DTYPE_BF16};
    static const float steps[] = {1, 0.0371f, 1e-7f, 3e4f};
    float points[SCALAR_TABLE_MAX], want[SCALAR_TABLE_MAX], tables[2][SCALAR_TABLE_MAX];
    uint8_t codes[320];
    for (int i = 0; i < SCALAR_TABLE_MAX; i++) points[i] = (float)(i - 64) + 0.25f;
    for (int i = 0; i < 320; i++) codes[i] = (uint8_t)(i * 37);
    fill(V, 320, 3);
    for (int i = 0; i < 12; i++) {
        a->fill(points, SCALAR_TABLE_MAX, steps[i % 4], dtypes[i / 4], tables[0]);
        b->fill(points, SCALAR_TABLE_MAX, steps[i % 4], dtypes[i / 4], tables[1]);
        for (int j = 0; j < SCALAR_TABLE_MAX; j++) want[j] = points[j] * steps[i % 4];
        round_to(dtypes[i / 4], want, SCALAR_TABLE_MAX);
        CU_ASSERT(!memcmp(want, tables[0], sizeof want) && !memcmp(want, tables[1], sizeof want));
    }
    for (uint64_t size = 32; size <= SCALAR_TABLE_MAX; size *= 2) {
        for (int i = 0; i < 320; i++) codes[i] = (uint8_t)((unsigned)i * 37 % size);
        for (uint64_t columns = 1; columns <= 320; columns += 13) {
            uint8_t classes[5] = {0};
            float sizes[5] = {0.5f, 1, 0.25f, 2, 0.125f}, sums[2][5] = {{0}};
            const struct scalar_rows rows = {codes, 0, 5, columns, points, size, sizes, classes, 1, TSR_DTYPE_BF16, V};
            a->add_rows(&rows, sums[0]);
            b->add_rows(&rows, sums[1]);
            for (int i = 0; i < 5; i++) CU_ASSERT_DOUBLE_EQUAL(sums[0][i], sums[1][i], 1e-2);
        }
    }
}

static void every_form_rounds_as_the_host_does(void) {
    compare_forms(&scalar_products_portable, scalar_products_get());
    compare_forms(&scalar_products_portable, &scalar_products_portable);
}

static const struct unit_test TESTS[] = {
    {"products_are_those_of_the_decoded_weights", products_are_those_of_the_decoded_weights},
    {"what_cannot_be_packed_says_so", what_cannot_be_packed_says_so},
    {"damaged_tiles_are_refused", damaged_tiles_are_refused},
    {"every_form_rounds_as_the_host_does", every_form_rounds_as_the_host_does},
};
UNIT_MAIN(TESTS)
