/* SPDX-License-Identifier: Apache-2.0
 *
 * A codec that copies, and with macros every way in which a plugin can be wrong. Tests compile it as they need it. */
#include <string.h>
#include <tessera/plugin.h>

#ifndef VARIANT_ID
#define VARIANT_ID "org.example.copy"
#endif
#ifndef VARIANT_NAME
#define VARIANT_NAME "copy"
#endif
#ifndef VARIANT_FLAGS
#define VARIANT_FLAGS TSR_CODEC_EXACT
#endif
#ifndef VARIANT_CODEC_SIZE
#define VARIANT_CODEC_SIZE sizeof(tsr_codec)
#endif
#ifndef VARIANT_PLUGIN_SIZE
#define VARIANT_PLUGIN_SIZE sizeof(tsr_plugin)
#endif
#ifndef VARIANT_DEFAULT
#define VARIANT_DEFAULT "1"
#endif
#ifndef VARIANT_DTYPES
#define VARIANT_DTYPES TSR_DTYPES_ALL
#endif
#ifndef VARIANT_DECODE
#define VARIANT_DECODE copy_decode
#endif

static tsr_status copy_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    (void)setup, (void)err;
    *self = NULL;
    return TSR_OK;
}

static void copy_destroy(void *self) {
    (void)self;
}

static uint64_t copy_bound(void *self, const tsr_tile *tile) {
    (void)self;
    return tile->bytes;
}

static tsr_status copy_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                              uint64_t *written, tsr_error *err) {
    (void)self;
    if (capacity < tile->bytes) return tsr_fail(err, TSR_E_SPACE, "too small");
    memcpy(dst, src, tile->bytes);
    *written = tile->bytes;
    return TSR_OK;
}

static tsr_status copy_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                              tsr_error *err) {
    (void)self;
    if (size != tile->bytes) return tsr_fail(err, TSR_E_CORRUPT, "wrong size");
    memcpy(dst, src, size);
    return TSR_OK;
}

#ifdef VARIANT_UNRESOLVED
void nowhere_defined(void);
void variant_unresolved(void) {
    nowhere_defined();
}
#endif

static const tsr_param PARAMS[] = {
    {sizeof(tsr_param), "level", "does nothing", VARIANT_DEFAULT, NULL, 0, 9, TSR_PARAM_INT, 0},
};
static const tsr_codec CODEC = {
    .struct_size = VARIANT_CODEC_SIZE,
    .id = VARIANT_ID,
    .name = VARIANT_NAME,
    .description = "copies",
    .bitstream_version = 1,
    .bitstream_oldest = 1,
    .flags = VARIANT_FLAGS,
    .dtypes = VARIANT_DTYPES,
    .params = PARAMS,
    .param_count = 1,
#ifdef VARIANT_INPUT
    .input = VARIANT_INPUT,
#endif
    .create = copy_create,
    .destroy = copy_destroy,
    .encode_bound = copy_bound,
    .encode = copy_encode,
    .decode = VARIANT_DECODE,
};
#ifdef VARIANT_TWICE
static const tsr_codec *const CODECS[] = {&CODEC, &CODEC, NULL};
#elif defined(VARIANT_NOTHING)
static const tsr_codec *const CODECS[] = {NULL};
#else
static const tsr_codec *const CODECS[] = {&CODEC, NULL};
#endif

TSR_PLUGIN = {VARIANT_PLUGIN_SIZE, "variant", "1.0", "Apache-2.0", TSR_ABI_MINOR, CODECS, NULL};
