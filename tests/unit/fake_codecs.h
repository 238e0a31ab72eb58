/* SPDX-License-Identifier: Apache-2.0
 *
 * Small codecs for tests of what stands above codecs: an exact "passthrough", a lossy "quant" of 1..8 bits, a "bloat" that
 * is never smaller than its source, a "picky" that refuses, and an "address" that only signs. */
#ifndef TESTS_UNIT_FAKE_CODECS_H
#define TESTS_UNIT_FAKE_CODECS_H

#include <math.h>
#include <plugin/registry.h>
#include <string.h>

struct fake {
    uint64_t bits; /* quant */
    const tsr_host *host;
};

static inline tsr_status fake_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    struct fake *fake = setup->host->alloc(setup->host, sizeof *fake);
    if (!fake) return tsr_fail(err, TSR_E_NOMEM, "fake");
    *fake = (struct fake){8, setup->host};
    if (setup->params) fake->bits = (uint64_t)setup->params[0].integer;
    *self = fake;
    return TSR_OK;
}

static inline void fake_destroy(void *self) {
    struct fake *fake = self;
    if (fake) fake->host->free(fake->host, fake);
}

static inline uint64_t fake_bound(void *self, const tsr_tile *tile) {
    (void)self;
    return tile->bytes + 16;
}

/* A run of one byte shrinks to that byte and, so that sizes differ, a mark; all else grows by a mark. */
static inline tsr_status copy_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                                     uint64_t *written, tsr_error *err) {
    const uint8_t *from = src;
    uint8_t *to = dst;
    uint64_t same = 1;
    (void)self, (void)capacity, (void)err;
    while (same < tile->bytes && from[same] == from[0]) same++;
    to[0] = same == tile->bytes;
    *written = to[0] ? 2 : tile->bytes + 1;
    memcpy(to + 1, from, *written - 1);
    return TSR_OK;
}

static inline tsr_status copy_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                                     tsr_error *err) {
    const uint8_t *from = src;
    (void)self;
    if (size != 2 || from[0] != 1) return tsr_fail(err, TSR_E_CORRUPT, "copy");
    memset(dst, from[1], tile->bytes);
    return TSR_OK;
}

/* Largest magnitude as F32, then the index of each value among 2^bits levels. */
static inline uint64_t quant_size(const struct fake *fake, const tsr_tile *tile) {
    return 4 + (tile->rows * tile->columns * fake->bits + 7) / 8;
}

static inline tsr_status quant_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                                      uint64_t *written, tsr_error *err) {
    const struct fake *fake = self;
    const float *values = src;
    uint8_t *to = dst;
    float largest = 0;
    (void)capacity, (void)err;
    for (uint64_t i = 0; i < tile->rows * tile->columns; i++) largest = fmaxf(largest, fabsf(values[i]));
    *written = quant_size(fake, tile);
    memset(to, 0, *written);
    memcpy(to, &largest, 4);
    uint64_t levels = (UINT64_C(1) << fake->bits) - 1;
    for (uint64_t i = 0; i < tile->rows * tile->columns; i++) {
        double unit = largest > 0 ? (values[i] / largest + 1) / 2 : 0;
        uint64_t index = (uint64_t)(unit * (double)levels + 0.5);
        for (uint64_t b = 0; b < fake->bits; b++) {
            uint64_t at = i * fake->bits + b;
            to[4 + at / 8] |= (uint8_t)((index >> b & 1) << at % 8);
        }
    }
    return TSR_OK;
}

static inline tsr_status quant_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                                      tsr_error *err) {
    const struct fake *fake = self;
    const uint8_t *from = src;
    float largest, *values = dst;
    if (size != quant_size(fake, tile)) return tsr_fail(err, TSR_E_CORRUPT, "quant");
    memcpy(&largest, from, 4);
    uint64_t levels = (UINT64_C(1) << fake->bits) - 1;
    for (uint64_t i = 0; i < tile->rows * tile->columns; i++) {
        uint64_t index = 0;
        for (uint64_t b = 0; b < fake->bits; b++) {
            uint64_t at = i * fake->bits + b;
            index |= (uint64_t)(from[4 + at / 8] >> at % 8 & 1) << b;
        }
        values[i] = ((float)index / (float)levels * 2 - 1) * largest;
    }
    return TSR_OK;
}

static const char *const FAKE_LEVELS[] = {"fast", "default", "max", NULL};

static const tsr_param COPY_PARAMS[] = {
    {.struct_size = sizeof(tsr_param), .name = "level", .doc = "effort", .default_text = "default",
     .choices = FAKE_LEVELS, .type = TSR_PARAM_CHOICE},
};

static const tsr_param QUANT_PARAMS[] = {
    {.struct_size = sizeof(tsr_param), .name = "bits", .doc = "bits a weight", .default_text = "8", .minimum = 1,
     .maximum = 8, .type = TSR_PARAM_INT},
    {.struct_size = sizeof(tsr_param), .name = "row_error_max", .doc = "bound of a row", .default_text = "0",
     .minimum = 0, .maximum = 1, .type = TSR_PARAM_REAL},
    {.struct_size = sizeof(tsr_param), .name = "centroids", .doc = "unused", .default_text = "true",
     .type = TSR_PARAM_BOOL},
    {.struct_size = sizeof(tsr_param), .name = "ladder", .doc = "unused", .default_text = "[256]", .minimum = 2,
     .maximum = 4096, .type = TSR_PARAM_INTS},
};

static const tsr_codec FAKE_COPY = {.struct_size = sizeof(tsr_codec), .id = "org.example.copy", .name = "passthrough",
    .description = "copy", .bitstream_version = 1, .bitstream_oldest = 1,
    .flags = TSR_CODEC_EXACT | TSR_CODEC_ENCODE_PORTABLE, .dtypes = TSR_DTYPES_ALL, .params = COPY_PARAMS,
    .param_count = 1, .input = TSR_INPUT_SOURCE, .create = fake_create, .destroy = fake_destroy,
    .encode_bound = fake_bound, .encode = copy_encode, .decode = copy_decode};

static const tsr_codec FAKE_QUANT = {.struct_size = sizeof(tsr_codec), .id = "org.example.quant", .name = "quant",
    .description = "uniform", .bitstream_version = 1, .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_ENCODE_PORTABLE, .dtypes = TSR_DTYPES_FLOAT, .params = QUANT_PARAMS,
    .param_count = 4, .input = TSR_INPUT_F32, .create = fake_create, .destroy = fake_destroy,
    .encode_bound = fake_bound, .encode = quant_encode, .decode = quant_decode};

static const tsr_codec FAKE_BLOAT = {.struct_size = sizeof(tsr_codec), .id = "org.example.bloat", .name = "bloat",
    .description = "grows", .bitstream_version = 1, .bitstream_oldest = 1, .flags = TSR_CODEC_RECONSTRUCT,
    .dtypes = TSR_DTYPES_FLOAT, .input = TSR_INPUT_SOURCE, .create = fake_create, .destroy = fake_destroy,
    .encode_bound = fake_bound, .encode = copy_encode, .decode = copy_decode};

/* Takes matrices of an even number of columns only. */
static inline tsr_status picky_can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    if (setup->tensor->columns % 2 == 0) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "%llu columns are odd", (unsigned long long)setup->tensor->columns);
}

static const tsr_codec FAKE_PICKY = {.struct_size = sizeof(tsr_codec), .id = "org.example.picky", .name = "picky",
    .description = "chooses", .bitstream_version = 1, .bitstream_oldest = 1, .flags = TSR_CODEC_EXACT,
    .dtypes = TSR_DTYPES_FLOAT, .input = TSR_INPUT_SOURCE, .can_encode = picky_can_encode, .create = fake_create,
    .destroy = fake_destroy, .encode_bound = fake_bound, .encode = copy_encode, .decode = copy_decode};

static const tsr_codec FAKE_ADDRESS = {.struct_size = sizeof(tsr_codec), .id = "org.example.address", .name = "address",
    .description = "signs", .bitstream_version = 1, .bitstream_oldest = 1, .flags = TSR_CODEC_SIGNATURE,
    .dtypes = TSR_DTYPES_ALL, .input = TSR_INPUT_SOURCE, .create = fake_create, .destroy = fake_destroy,
    .encode_bound = fake_bound, .encode = copy_encode, .decode = copy_decode};

/* A second lossy codec, to stand behind the first in a stack. */
static const tsr_codec FAKE_ROUGH = {.struct_size = sizeof(tsr_codec), .id = "org.example.rough", .name = "rough",
    .description = "uniform", .bitstream_version = 1, .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_ENCODE_PORTABLE, .dtypes = TSR_DTYPES_FLOAT, .params = QUANT_PARAMS,
    .param_count = 4, .input = TSR_INPUT_F32, .create = fake_create, .destroy = fake_destroy,
    .encode_bound = fake_bound, .encode = quant_encode, .decode = quant_decode};

static const tsr_codec *const FAKE_CODECS[] = {&FAKE_COPY, &FAKE_QUANT, &FAKE_BLOAT, &FAKE_PICKY, &FAKE_ADDRESS, &FAKE_ROUGH, NULL};

static const tsr_plugin FAKE_PLUGIN = {.struct_size = sizeof(tsr_plugin), .name = "fakes", .version = "1",
    .license = "Apache-2.0", .abi_minor = TSR_ABI_MINOR, .codecs = FAKE_CODECS};

/* A registry that holds all of them, or NULL. */
static inline struct registry *fake_registry(const struct env *env) {
    struct registry *registry = NULL;
    tsr_error err = {0};
    if (registry_create(NULL, 0, env, &registry, &err)) return NULL;
    if (!registry_add(registry, &FAKE_PLUGIN, &err)) return registry;
    fprintf(stderr, "%s\n", err.message);
    registry_destroy(registry);
    return NULL;
}

#endif
