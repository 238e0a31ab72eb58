/* SPDX-License-Identifier: Apache-2.0
 *
 * One table for the dtypes, and the conversions in portable integer arithmetic. The scalar functions here are the
 * specification; the vector ones (dtype_avx2.c) give the same bits and are chosen at run time. Rounding is to nearest,
 * ties to even, in the arithmetic itself; only the default rounding mode of the F32 unit is assumed. */
#include "dtype.h"

#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "dtype_vector.h"

struct dtype_row {
    const char *name;
    uint32_t bits;
};

static const struct dtype_row DTYPES[TSR_DTYPE_COUNT] = {
    [TSR_DTYPE_OPAQUE] = {"?", 0},        [TSR_DTYPE_F64] = {"F64", 64},        [TSR_DTYPE_F32] = {"F32", 32},
    [TSR_DTYPE_F16] = {"F16", 16},        [TSR_DTYPE_BF16] = {"BF16", 16},      [TSR_DTYPE_F8_E4M3] = {"F8_E4M3", 8},
    [TSR_DTYPE_F8_E5M2] = {"F8_E5M2", 8}, [TSR_DTYPE_F8_E8M0] = {"F8_E8M0", 8}, [TSR_DTYPE_F4] = {"F4", 4},
    [TSR_DTYPE_I64] = {"I64", 64},        [TSR_DTYPE_I32] = {"I32", 32},        [TSR_DTYPE_I16] = {"I16", 16},
    [TSR_DTYPE_I8] = {"I8", 8},           [TSR_DTYPE_U64] = {"U64", 64},        [TSR_DTYPE_U32] = {"U32", 32},
    [TSR_DTYPE_U16] = {"U16", 16},        [TSR_DTYPE_U8] = {"U8", 8},           [TSR_DTYPE_BOOL] = {"BOOL", 8},
    [TSR_DTYPE_C64] = {"C64", 64},
};

#define F32_MAGNITUDE UINT32_C(0x7FFFFFFF)
#define F32_INFINITY UINT32_C(0x7F800000)
#define F32_QUIET UINT32_C(0x00400000)
#define F16_LARGEST UINT32_C(0x477FE000)         /* 65504 as F32 bits */
#define F16_SMALLEST_NORMAL UINT32_C(0x38800000) /* 2^-14 as F32 bits */
#define F16_REBIAS (UINT32_C(112) << 23)         /* F32 exponent bias 127, F16 15 */

const char *dtype_name(int32_t dtype) {
    return dtype >= 0 && dtype < TSR_DTYPE_COUNT ? DTYPES[dtype].name : DTYPES[TSR_DTYPE_OPAQUE].name;
}

int32_t dtype_from_name(const char *name) {
    for (int32_t dtype = 1; dtype < TSR_DTYPE_COUNT; dtype++) {
        if (!strcmp(DTYPES[dtype].name, name)) return dtype;
    }
    return TSR_DTYPE_OPAQUE;
}

uint32_t dtype_bits(int32_t dtype) {
    return dtype >= 0 && dtype < TSR_DTYPE_COUNT ? DTYPES[dtype].bits : 0;
}

bool dtype_is_float(int32_t dtype) {
    return dtype == TSR_DTYPE_F32 || dtype == TSR_DTYPE_F16 || dtype == TSR_DTYPE_BF16;
}

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t size = (uint32_t)(half & 0x7FFF) << 13;
    if (size >= UINT32_C(0x7C00) << 13) { /* Inf, or NaN made quiet */
        uint32_t special = size | F32_INFINITY;
        return float_of(sign | special | (special > F32_INFINITY ? F32_QUIET : 0));
    }
    if (size < UINT32_C(1) << 23) { /* m * 2^-24 as (2^-14 + m * 2^-24) - 2^-14, both exact */
        float normal = float_of(size + F16_SMALLEST_NORMAL) - float_of(F16_SMALLEST_NORMAL);
        return float_of(sign | bits_of(normal));
    }
    return float_of(sign | (size + F16_REBIAS));
}

static inline uint16_t f32_to_f16(float value) {
    uint32_t bits = bits_of(value), size = bits & F32_MAGNITUDE, sign = (bits & ~F32_MAGNITUDE) >> 16;
    if (size > F32_INFINITY) return (uint16_t)(sign | 0x7E00 | ((size >> 13) & 0x3FF));
    if (size == F32_INFINITY) return (uint16_t)(sign | 0x7C00);
    if (size > F16_LARGEST) size = F16_LARGEST;
    if (size < F16_SMALLEST_NORMAL) { /* the sum with 1/2 has its last bit at 2^-24, the unit of F16 subnormals */
        return (uint16_t)(sign | (bits_of(float_of(size) + 0.5f) - bits_of(0.5f)));
    }
    uint32_t rebiased = size - F16_REBIAS;
    return (uint16_t)(sign | ((rebiased + 0xFFF + ((rebiased >> 13) & 1)) >> 13));
}

static inline uint16_t f32_to_bf16(float value) {
    uint32_t bits = bits_of(value), size = bits & F32_MAGNITUDE, sign = (bits & ~F32_MAGNITUDE) >> 16;
    if (size > F32_INFINITY) return (uint16_t)(sign | ((size | F32_QUIET) >> 16));
    if (size == F32_INFINITY) return (uint16_t)(sign | 0x7F80);
    uint32_t rounded = (size + 0x7FFF + ((size >> 16) & 1)) >> 16;
    return (uint16_t)(sign | (rounded > 0x7F7F ? 0x7F7F : rounded));
}

static pthread_once_t vector_once = PTHREAD_ONCE_INIT;
static bool vector_is_there;

/* AVX2 as the system allows it, and F16C, whose name __builtin_cpu_supports knows in gcc but not in clang 14. Asked
 * once: under a hypervisor the question takes longer than a small tile. */
static void find_vector(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    vector_is_there = __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
#endif
}

static bool has_avx2(void) {
    pthread_once(&vector_once, find_vector);
    return vector_is_there;
}

static inline uint16_t half_at(const void *src, uint64_t index) {
    uint16_t half;
    memcpy(&half, (const uint8_t *)src + 2 * index, sizeof half);
    return half;
}

static inline void put_half(void *dst, uint64_t index, uint16_t half) {
    memcpy((uint8_t *)dst + 2 * index, &half, sizeof half);
}

void dtype_to_f32_scalar(int32_t dtype, const void *src, uint64_t count, float *dst) {
    if (dtype == TSR_DTYPE_F32) {
        if (count) memcpy(dst, src, count * sizeof *dst);
    } else if (dtype == TSR_DTYPE_BF16) {
        for (uint64_t i = 0; i < count; i++) dst[i] = float_of((uint32_t)half_at(src, i) << 16);
    } else {
        for (uint64_t i = 0; i < count; i++) dst[i] = f16_to_f32(half_at(src, i));
    }
}

void dtype_from_f32_scalar(int32_t dtype, const float *src, uint64_t count, void *dst) {
    if (dtype == TSR_DTYPE_F32) {
        if (count) memcpy(dst, src, count * sizeof *src);
    } else if (dtype == TSR_DTYPE_BF16) {
        for (uint64_t i = 0; i < count; i++) put_half(dst, i, f32_to_bf16(src[i]));
    } else {
        for (uint64_t i = 0; i < count; i++) put_half(dst, i, f32_to_f16(src[i]));
    }
}

void dtype_to_f32(int32_t dtype, const void *src, uint64_t count, float *dst) {
    uint64_t done = 0;
    if (dtype != TSR_DTYPE_F32 && has_avx2()) {
        done =
            dtype == TSR_DTYPE_BF16 ? dtype_avx2_bf16_to_f32(src, count, dst) : dtype_avx2_f16_to_f32(src, count, dst);
    }
    dtype_to_f32_scalar(dtype, (const uint8_t *)src + 2 * done, count - done, dst + done);
}

void dtype_from_f32(int32_t dtype, const float *src, uint64_t count, void *dst) {
    uint64_t done = 0;
    if (dtype != TSR_DTYPE_F32 && has_avx2()) {
        done =
            dtype == TSR_DTYPE_BF16 ? dtype_avx2_f32_to_bf16(src, count, dst) : dtype_avx2_f32_to_f16(src, count, dst);
    }
    dtype_from_f32_scalar(dtype, src + done, count - done, (uint8_t *)dst + 2 * done);
}

#define FINITE_BLOCK 256

/* The largest magnitude of a block tells; blocks of fixed length let the compiler use vectors. */
static bool block_is_finite(const float *values, uint64_t count) {
    uint32_t special = 0;
    for (uint64_t i = 0; i < count; i++) special |= (bits_of(values[i]) & F32_MAGNITUDE) >= F32_INFINITY;
    return !special;
}

bool dtype_all_finite(const float *values, uint64_t count) {
    uint64_t done = 0;
    for (; done + FINITE_BLOCK <= count; done += FINITE_BLOCK) {
        if (!block_is_finite(values + done, FINITE_BLOCK)) return false;
    }
    return block_is_finite(values + done, count - done);
}
