/* SPDX-License-Identifier: Apache-2.0
 *
 * absmax: a complete third-party codec to copy and change. Each row gets one step, its largest magnitude divided by the
 * largest code, and each weight the nearest multiple of it in 2..8 bits (what llama.cpp's Q8_0 does with blocks of 32).
 * Zero is a code, so no weight is ever wrong by more than its own magnitude.
 *
 * Payload of a tile, little-endian, for each row: step (F32), then the codes, code + largest in `bits` bits each, least
 * significant bit first, padded to a byte. docs/plugin-guide.md walks through this file from the bottom up. */
#include <float.h>
#include <string.h>
#include <tessera/plugin.h>

#define STEP_BYTES 4

/* What create made. encode and decode only read it: many threads use it at once. */
struct absmax {
    const tsr_host *host;
    uint32_t bits;
    int32_t largest; /* codes are -largest..largest */
};

/* Positions of the parameters in PARAMS. */
enum { PARAM_BITS };

static tsr_status absmax_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    struct absmax *made = setup->host->alloc(setup->host, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "absmax: out of memory");
    made->host = setup->host;
    made->bits = (uint32_t)setup->params[PARAM_BITS].integer;
    made->largest = (1 << (made->bits - 1)) - 1;
    *self = made;
    return TSR_OK;
}

static void absmax_destroy(void *self) {
    struct absmax *codec = self;
    codec->host->free(codec->host, codec);
}

/* The size of a tile follows from its shape: no overflow, a tile has at most 2^22 weights. */
static uint64_t row_bytes(const struct absmax *codec, const tsr_tile *tile) {
    return STEP_BYTES + (tile->columns * codec->bits + 7) / 8;
}

static uint64_t absmax_encode_bound(void *self, const tsr_tile *tile) {
    return tile->rows * row_bytes(self, tile);
}

/* ---- numbers in bytes: the same on every machine, and no alignment is assumed ---- */

static void store_float(uint8_t *bytes, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(bits >> (8 * i));
}

static float load_float(const uint8_t *bytes) {
    uint32_t bits = 0;
    float value;
    for (int i = 0; i < 4; i++) bits |= (uint32_t)bytes[i] << (8 * i);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- one row ---- */

static float row_step(const float *row, uint64_t columns, int32_t largest) {
    float magnitude = 0;
    for (uint64_t c = 0; c < columns; c++) {
        float value = row[c] < 0 ? -row[c] : row[c];
        if (value > magnitude) magnitude = value;
    }
    float step = magnitude / (float)largest;
    return magnitude > 0 && step == 0 ? FLT_TRUE_MIN : step; /* denormals: the quotient may have become 0 */
}

/* Nearest multiple of step. Written out: the current rounding mode must not decide what is stored. */
static int32_t nearest_code(float value, float step, int32_t largest) {
    double quotient = step > 0 ? (double)value / (double)step : 0;
    int32_t code = (int32_t)(quotient < 0 ? quotient - 0.5 : quotient + 0.5);
    if (code > largest) return largest;
    return code < -largest ? -largest : code;
}

static void encode_row(const struct absmax *codec, const float *row, uint64_t columns, uint8_t *dst) {
    float step = row_step(row, columns, codec->largest);
    uint32_t waiting = 0, count = 0; /* bits not written yet */
    store_float(dst, step);
    dst += STEP_BYTES;
    for (uint64_t c = 0; c < columns; c++) {
        waiting |= (uint32_t)(nearest_code(row[c], step, codec->largest) + codec->largest) << count;
        for (count += codec->bits; count >= 8; count -= 8) {
            *dst++ = (uint8_t)waiting;
            waiting >>= 8;
        }
    }
    if (count) *dst = (uint8_t)waiting;
}

static void decode_row(const struct absmax *codec, const uint8_t *src, float step, uint64_t columns, float *row) {
    uint32_t waiting = 0, count = 0, mask = (1u << codec->bits) - 1;
    for (uint64_t c = 0; c < columns; c++) {
        if (count < codec->bits) {
            waiting |= (uint32_t)*src++ << count;
            count += 8;
        }
        double value = (double)step * ((int32_t)(waiting & mask) - codec->largest);
        row[c] = value > FLT_MAX ? FLT_MAX : value < -FLT_MAX ? -FLT_MAX : (float)value;
        waiting >>= codec->bits;
        count -= codec->bits;
    }
}

/* ---- one tile ---- */

static tsr_status absmax_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                                uint64_t *written, tsr_error *err) {
    const struct absmax *codec = self;
    uint64_t bytes = row_bytes(codec, tile);
    if (capacity < tile->rows * bytes) return tsr_fail(err, TSR_E_SPACE, "absmax: the buffer is too small");
    for (uint64_t r = 0; r < tile->rows; r++) {
        encode_row(codec, (const float *)src + r * tile->columns, tile->columns, (uint8_t *)dst + r * bytes);
    }
    *written = tile->rows * bytes;
    return TSR_OK;
}

/* Nothing in src is believed: its size must be what the shape says, a step must be a number. */
static tsr_status absmax_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                                tsr_error *err) {
    const struct absmax *codec = self;
    uint64_t bytes = row_bytes(codec, tile);
    if (size != tile->rows * bytes) {
        return tsr_fail(err, TSR_E_CORRUPT, "absmax: found %llu bytes, expected %llu", (unsigned long long)size,
                        (unsigned long long)(tile->rows * bytes));
    }
    for (uint64_t r = 0; r < tile->rows; r++) {
        const uint8_t *row = (const uint8_t *)src + r * bytes;
        float step = load_float(row);
        if (!(step >= 0 && step <= FLT_MAX)) return tsr_fail(err, TSR_E_CORRUPT, "absmax: the step is no step");
        decode_row(codec, row + STEP_BYTES, step, tile->columns, (float *)dst + r * tile->columns);
    }
    return TSR_OK;
}

/* ---- what the host sees: read the file upward from here ---- */

static const tsr_param PARAMS[] = {
    [PARAM_BITS] = {.struct_size = sizeof(tsr_param),
                    .name = "bits",
                    .doc = "bits a weight, besides 4 bytes a row",
                    .default_text = "8",
                    .minimum = 2,
                    .maximum = 8,
                    .type = TSR_PARAM_INT},
};

static const tsr_codec ABSMAX = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.example.absmax",
    .name = "absmax",
    .description = "nearest multiple of a step per row, 2 to 8 bits",
    .bitstream_version = 1,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = sizeof PARAMS / sizeof *PARAMS,
    .input = TSR_INPUT_F32,
    .create = absmax_create,
    .destroy = absmax_destroy,
    .encode_bound = absmax_encode_bound,
    .encode = absmax_encode,
    .decode = absmax_decode,
};

static const tsr_codec *const CODECS[] = {&ABSMAX, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "absmax",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
