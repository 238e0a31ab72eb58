/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors for the conformance suite, made from a seed, and the comparison of what came back with what went in. */
#include "rig.h"

#include <base/alloc.h>
#include <format/dtype.h>
#include <math.h>
#include <string.h>

int32_t subject_dtype(const tsr_codec *codec) {
    int32_t dtype = 0;
    if (codec->dtypes & TSR_DTYPE_BIT(TSR_DTYPE_BF16)) return TSR_DTYPE_BF16;
    while (dtype < TSR_DTYPE_COUNT - 1 && !(codec->dtypes & TSR_DTYPE_BIT(dtype))) dtype++;
    return dtype;
}

/* Sum of four uniforms: bell-shaped enough, and the same on every machine. */
static float bell(struct rng *rng) {
    double sum = rng_real(rng) + rng_real(rng) + rng_real(rng) + rng_real(rng) - 2;
    return (float)(sum * 1.7);
}

static void fill_floats(struct subject *subject, struct rng *rng) {
    uint64_t columns = subject->tensor.columns, width = subject->bits / 8;
    float scale = 0.02f;
    for (uint64_t i = 0; i < subject->tensor.rows * columns; i++) {
        if (i % columns == 0) scale = 0.01f + 0.05f * (float)rng_real(rng);
        float value = bell(rng) * scale;
        dtype_from_f32(subject->tensor.dtype, &value, 1, subject->bytes + i * width);
    }
}

/* For the other dtypes: bytes near zero are more frequent, as in weights. */
static void fill_skewed(struct subject *subject, struct rng *rng) {
    for (uint64_t i = 0; i < subject->tensor.bytes; i++) subject->bytes[i] = (uint8_t)(int8_t)(bell(rng) * 20);
    if (subject->tensor.dtype != TSR_DTYPE_BOOL) return;
    for (uint64_t i = 0; i < subject->tensor.bytes; i++) subject->bytes[i] &= 1;
}

/* Bits of the exponent and mantissa of the 16- and 32-bit floats. */
static uint32_t exponent_mask(int32_t dtype) {
    if (dtype == TSR_DTYPE_F32) return UINT32_C(0x7F800000);
    return dtype == TSR_DTYPE_F16 ? UINT32_C(0x7C00) : UINT32_C(0x7F80);
}

/* Random sign and mantissa, the exponent given: 0 for denormals, the largest finite, or all ones for NaN. */
static void write_float(struct subject *subject, uint64_t index, uint32_t exponent, uint64_t random) {
    uint64_t width = subject->bits / 8;
    uint32_t mask = exponent_mask(subject->tensor.dtype), bits = ((uint32_t)random & ~mask) | exponent;
    if (width == 2) bits &= 0xFFFF;
    memcpy(subject->bytes + index * width, &bits, width); /* little-endian machines only, as everywhere */
}

static void fill_extreme(struct subject *subject, enum fill fill, struct rng *rng) {
    uint32_t mask = exponent_mask(subject->tensor.dtype), lowest = mask & (~mask + 1);
    uint64_t count = subject->tensor.rows * subject->tensor.columns;
    for (uint64_t i = 0; i < count; i++) write_float(subject, i, fill == FILL_TINY ? 0 : mask - lowest, rng_next(rng));
}

static void add_spikes(struct subject *subject, struct rng *rng) {
    uint64_t count = subject->tensor.rows * subject->tensor.columns;
    for (uint64_t i = 0; i < 1 + count / 5000; i++) {
        uint64_t mantissa = i % 2 ? rng_next(rng) : 0; /* every other one is Inf */
        write_float(subject, rng_below(rng, count), exponent_mask(subject->tensor.dtype), mantissa);
    }
}

static void fill_bytes(struct subject *subject, enum fill fill, uint64_t seed) {
    struct rng rng = {seed};
    bool is_float = dtype_is_float(subject->tensor.dtype);
    uint64_t bytes = subject->tensor.bytes;
    if (fill == FILL_ZERO) {
        memset(subject->bytes, 0, bytes);
    } else if (fill == FILL_CONSTANT) {
        memset(subject->bytes, subject->tensor.dtype == TSR_DTYPE_BOOL ? 1 : 0x3C, bytes); /* finite in every float */
    } else if (fill == FILL_NOISE) {
        for (uint64_t i = 0; i < bytes; i++) subject->bytes[i] = (uint8_t)(rng_next(&rng) >> 56);
    } else if (is_float && (fill == FILL_TINY || fill == FILL_HUGE)) {
        fill_extreme(subject, fill, &rng);
    } else if (is_float) {
        fill_floats(subject, &rng);
        if (fill == FILL_SPIKED && bytes) add_spikes(subject, &rng);
    } else {
        fill_skewed(subject, &rng);
    }
    if (fill == FILL_HALF) memset(subject->bytes + bytes / 2, 0, bytes - bytes / 2);
}

tsr_status subject_make(struct subject *subject, int32_t dtype, uint64_t rows, uint64_t columns, enum fill fill,
                        uint64_t seed, tsr_error *err) {
    *subject = (struct subject){0};
    uint64_t bytes = rows * columns; /* of F4 and opaque: they get as many bytes as elements were asked for */
    if (dtype_bits(dtype) >= 8) bytes *= dtype_bits(dtype) / 8;
    subject->shape[0] = rows;
    subject->shape[1] = columns;
    subject->bits = tile_matrix_of(dtype, bytes, &rows, &columns);
    subject->tensor = (tsr_tensor){
        sizeof subject->tensor, "conformance", subject->shape, 2, rows, columns, bytes, dtype, TSR_REGIME_ARGMAX};
    if (dtype == TSR_DTYPE_F4) subject->shape[1] *= 2;
    subject->bytes = mem_alloc_aligned(bytes);
    if (!subject->bytes) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    fill_bytes(subject, fill, seed);
    return TSR_OK;
}

void subject_clear(struct subject *subject) {
    mem_free(subject->bytes);
    *subject = (struct subject){0};
}

/* ---- comparison ---- */

struct sums {
    double error, energy;
};

static tsr_status compare_floats(const struct subject *subject, const tsr_tile *tile, const uint8_t *source,
                                 const uint8_t *decoded, struct sums *sums, tsr_error *err) {
    uint64_t width = subject->bits / 8;
    for (uint64_t i = 0; i < tile->rows * tile->columns; i++) {
        float a, b;
        dtype_to_f32(subject->tensor.dtype, source + i * width, 1, &a);
        dtype_to_f32(subject->tensor.dtype, decoded + i * width, 1, &b);
        if (!isfinite(b)) {
            return tsr_fail(err, TSR_E_GATE, "tile %llu: weight %llu comes back as %g", (unsigned long long)tile->index,
                            (unsigned long long)i, (double)b);
        }
        double difference = (double)a - (double)b;
        sums->error += difference * difference;
        sums->energy += (double)a * (double)a;
    }
    return TSR_OK;
}

static tsr_status compare_tile(const struct rig *rig, const struct subject *subject, const struct stored *stored,
                               uint64_t index, const uint8_t *decoded, struct sums *sums, tsr_error *err) {
    tsr_tile tile = tile_at(&stored->grid, index, subject->bits);
    uint64_t at = (tile.first_row * stored->grid.columns + tile.first_column) * (subject->bits / 8);
    const uint8_t *source = subject->bytes + at;
    bool exact = (rig->codec->flags & TSR_CODEC_EXACT) || stored_tile_at(stored, index)->raw;
    if (!exact && dtype_is_float(subject->tensor.dtype)) {
        return compare_floats(subject, &tile, source, decoded + at, sums, err);
    }
    if (!exact || !memcmp(source, decoded + at, tile.bytes)) return TSR_OK;
    uint64_t byte = 0;
    while (source[byte] == decoded[at + byte]) byte++;
    return tsr_fail(err, TSR_E_GATE, "tile %llu: byte %llu of %llu comes back as %#x, was %#x",
                    (unsigned long long)index, (unsigned long long)byte, (unsigned long long)tile.bytes,
                    decoded[at + byte], source[byte]);
}

tsr_status rig_compare(const struct rig *rig, const struct subject *subject, const struct stored *stored,
                       const uint8_t *decoded, double *error, tsr_error *err) {
    struct sums sums = {0};
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < stored->count && st == TSR_OK; i++) {
        st = compare_tile(rig, subject, stored, i, decoded, &sums, err);
    }
    if (st != TSR_OK) return st;
    /* A tensor of zeros has no energy to lose: it must come back as it is. */
    double relative = sums.error == 0 ? 0 : sums.error / sums.energy;
    if (error) *error = relative;
    if (rig->codec->flags & TSR_CODEC_SIGNATURE || relative <= 1.000001) return TSR_OK;
    return tsr_fail(err, TSR_E_GATE, "relative squared error %g, expected at most 1", relative);
}
