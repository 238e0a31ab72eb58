/* SPDX-License-Identifier: Apache-2.0
 *
 * Conversions between dtypes, over all 65536 patterns of the 16-bit floats, the midpoints between them, and the
 * vector code against the scalar code. */
#include "unit.h"

#include <base/rng.h>
#include <format/dtype.h>
#include <format/dtype_vector.h>
#include <math.h>
#include <string.h>

#define PATTERNS 65536

static const int32_t HALVES[] = {TSR_DTYPE_BF16, TSR_DTYPE_F16};

static uint16_t patterns[PATTERNS], narrowed[PATTERNS], narrowed_scalar[PATTERNS];
static float widened[PATTERNS], widened_scalar[PATTERNS];

static void fill_patterns(void) {
    for (uint32_t i = 0; i < PATTERNS; i++) patterns[i] = (uint16_t)i;
}

/* The value of a pattern by definition: sign, exponent bits, fraction bits. */
static double value_of(uint16_t pattern, int fraction_bits, int bias) {
    int exponent = (pattern & 0x7FFF) >> fraction_bits, top = (1 << (15 - fraction_bits)) - 1;
    int fraction = pattern & ((1 << fraction_bits) - 1);
    double sign = pattern & 0x8000 ? -1 : 1;
    if (exponent == top) return fraction ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static bool is_nan_pattern(int32_t dtype, uint16_t pattern) {
    return (pattern & 0x7FFF) > (dtype == TSR_DTYPE_F16 ? 0x7C00 : 0x7F80);
}

static void every_half_pattern_widens_to_its_value(void) {
    fill_patterns();
    for (int d = 0; d < 2; d++) {
        bool f16 = HALVES[d] == TSR_DTYPE_F16;
        uint32_t wrong = 0;
        dtype_to_f32(HALVES[d], patterns, PATTERNS, widened);
        for (uint32_t i = 0; i < PATTERNS; i++) {
            double expected = value_of((uint16_t)i, f16 ? 10 : 7, f16 ? 15 : 127);
            bool both_nan = isnan(expected) && isnan(widened[i]);
            bool same = (double)widened[i] == expected && !signbit(widened[i]) == !signbit(expected);
            wrong += !both_nan && !same;
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

static void every_half_pattern_survives_the_way_through_f32(void) {
    fill_patterns();
    for (int d = 0; d < 2; d++) {
        uint32_t wrong = 0;
        dtype_to_f32(HALVES[d], patterns, PATTERNS, widened);
        dtype_from_f32(HALVES[d], widened, PATTERNS, narrowed);
        for (uint32_t i = 0; i < PATTERNS; i++) {
            bool nan = is_nan_pattern(HALVES[d], patterns[i]);
            wrong += nan ? !is_nan_pattern(HALVES[d], narrowed[i]) : narrowed[i] != patterns[i];
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

/* Between neighbours a < b the midpoint goes to the even one, and a hair to either side to the nearer one. */
static void ties_go_to_even_and_the_rest_to_nearest(void) {
    for (int d = 0; d < 2; d++) {
        uint16_t last = HALVES[d] == TSR_DTYPE_F16 ? 0x7BFF : 0x7F7F;
        uint32_t wrong = 0;
        for (uint16_t low = 0; low < last; low++) {
            uint16_t pair[2] = {low, (uint16_t)(low + 1)}, got[3];
            float ends[2], probes[3];
            dtype_to_f32_scalar(HALVES[d], pair, 2, ends);
            probes[1] = (float)(((double)ends[0] + (double)ends[1]) / 2);
            probes[0] = nextafterf(probes[1], 0);
            probes[2] = nextafterf(probes[1], INFINITY);
            dtype_from_f32(HALVES[d], probes, 3, got);
            wrong += got[0] != low || got[1] != (low & 1 ? low + 1 : low) || got[2] != low + 1;
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

static void finite_overflow_gives_the_largest_finite_value(void) {
    const float big[] = {65504.0f, 65519.0f, 65520.0f, 1e30f, 3.3895314e38f, 3.4028235e38f, INFINITY, -INFINITY};
    const uint16_t f16[] = {0x7BFF, 0x7BFF, 0x7BFF, 0x7BFF, 0x7BFF, 0x7BFF, 0x7C00, 0xFC00};
    const uint16_t bf16[] = {0x4780, 0x4780, 0x4780, 0x714A, 0x7F7F, 0x7F7F, 0x7F80, 0xFF80};
    uint16_t got[8];
    for (uint64_t count = 1; count <= 8; count++) {
        dtype_from_f32(TSR_DTYPE_F16, big, count, got);
        CU_ASSERT_EQUAL(memcmp(got, f16, count * sizeof *got), 0);
        dtype_from_f32(TSR_DTYPE_BF16, big, count, got);
        CU_ASSERT_EQUAL(memcmp(got, bf16, count * sizeof *got), 0);
    }
}

static void nan_stays_nan(void) {
    const uint32_t nans[] = {0x7F800001, 0x7FC00000, 0xFF800001, 0x7FFFFFFF,
                             0xFFFFFFFF, 0x7F802000, 0x7F810000, 0x7FA00000};
    float values[8];
    uint16_t got[8];
    memcpy(values, nans, sizeof values);
    for (int d = 0; d < 2; d++) {
        for (uint64_t count = 1; count <= 8; count++) {
            dtype_from_f32(HALVES[d], values, count, got);
            for (uint64_t i = 0; i < count; i++) CU_ASSERT_TRUE(is_nan_pattern(HALVES[d], got[i]));
        }
    }
}

static void vector_code_gives_the_bits_of_scalar_code(void) {
    struct rng rng = {rng_seed("dtype")};
    fill_patterns();
    for (int d = 0; d < 2; d++) {
        dtype_to_f32(HALVES[d], patterns, PATTERNS, widened);
        dtype_to_f32_scalar(HALVES[d], patterns, PATTERNS, widened_scalar);
        CU_ASSERT_EQUAL(memcmp(widened, widened_scalar, sizeof widened), 0);
        for (int round = 0; round < 64; round++) {
            for (uint32_t i = 0; i < PATTERNS; i++) {
                uint32_t bits = (uint32_t)rng_next(&rng);
                memcpy(&widened[i], &bits, sizeof bits);
            }
            dtype_from_f32(HALVES[d], widened, PATTERNS, narrowed);
            dtype_from_f32_scalar(HALVES[d], widened, PATTERNS, narrowed_scalar);
            CU_ASSERT_EQUAL(memcmp(narrowed, narrowed_scalar, sizeof narrowed), 0);
        }
    }
}

static void unaligned_bytes_and_odd_counts_convert(void) {
    uint8_t buffer[2 * 19 + 1], back[2 * 19 + 1];
    float values[19];
    for (size_t i = 0; i < sizeof buffer; i++) buffer[i] = (uint8_t)(i * 7 % 120);
    for (int d = 0; d < 2; d++) {
        for (uint64_t count = 0; count <= 19; count++) {
            memcpy(back, buffer, sizeof back);
            dtype_to_f32(HALVES[d], buffer + 1, count, values);
            memset(back + 1, 0xEE, 2 * count);
            dtype_from_f32(HALVES[d], values, count, back + 1);
            CU_ASSERT_EQUAL(memcmp(back, buffer, sizeof back), 0);
        }
    }
}

static void one_special_value_anywhere_is_seen(void) {
    float values[600] = {0};
    for (uint64_t count = 0; count <= 600; count += 75) {
        CU_ASSERT_TRUE(dtype_all_finite(values, count));
        for (uint64_t i = 0; i < count; i++) {
            values[i] = i & 1 ? NAN : -INFINITY;
            CU_ASSERT_FALSE(dtype_all_finite(values, count));
            values[i] = 3.4028235e38f;
            CU_ASSERT_TRUE(dtype_all_finite(values, count));
        }
    }
}

static void names_and_numbers_agree(void) {
    for (int32_t dtype = 1; dtype < TSR_DTYPE_COUNT; dtype++) {
        CU_ASSERT_EQUAL(dtype_from_name(dtype_name(dtype)), dtype);
        CU_ASSERT_TRUE(dtype_bits(dtype) >= 4 && dtype_bits(dtype) <= 64);
    }
    CU_ASSERT_EQUAL(dtype_from_name("F6_E2M3"), TSR_DTYPE_OPAQUE);
    CU_ASSERT_EQUAL(dtype_from_name("?"), TSR_DTYPE_OPAQUE);
    CU_ASSERT_STRING_EQUAL(dtype_name(-1), "?");
    CU_ASSERT_STRING_EQUAL(dtype_name(TSR_DTYPE_COUNT), "?");
    CU_ASSERT_EQUAL(dtype_bits(TSR_DTYPE_F4), 4);
    CU_ASSERT_EQUAL(dtype_bits(TSR_DTYPE_C64), 64);
}

static const struct unit_test TESTS[] = {
    {"every_half_pattern_widens_to_its_value", every_half_pattern_widens_to_its_value},
    {"every_half_pattern_survives_the_way_through_f32", every_half_pattern_survives_the_way_through_f32},
    {"ties_go_to_even_and_the_rest_to_nearest", ties_go_to_even_and_the_rest_to_nearest},
    {"finite_overflow_gives_the_largest_finite_value", finite_overflow_gives_the_largest_finite_value},
    {"nan_stays_nan", nan_stays_nan},
    {"vector_code_gives_the_bits_of_scalar_code", vector_code_gives_the_bits_of_scalar_code},
    {"unaligned_bytes_and_odd_counts_convert", unaligned_bytes_and_odd_counts_convert},
    {"one_special_value_anywhere_is_seen", one_special_value_anywhere_is_seen},
    {"names_and_numbers_agree", names_and_numbers_agree},
};
UNIT_MAIN(TESTS)
