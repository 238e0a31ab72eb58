/* SPDX-License-Identifier: Apache-2.0
 *
 * Rate-distortion bounds against tabled values, a numeric optimum, and samples whose entropy is known. */
#include "unit.h"

#include <base/alloc.h>
#include <base/rng.h>
#include <math.h>
#include <policy/bound.h>
#include <policy/plan_sample.h>

static void gaussian_bound_has_its_known_values(void) {
    static const double table[][3] = {/* bits, D, cosine */
        {0, 1, 0}, {0.5, 0.5, 0.70711}, {1, 0.25, 0.86603}, {2, 0.0625, 0.96825}, {4, 0.00390625, 0.99805}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        CU_ASSERT_DOUBLE_EQUAL(bound_gaussian(table[i][0]), table[i][1], 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(bound_cosine(table[i][0]), table[i][2], 1e-5);
    }
    CU_ASSERT_EQUAL(bound_gaussian(-1), 1);
    /* 16 bits at 343:1 */
    CU_ASSERT_DOUBLE_EQUAL(bound_cosine(16.0 / 343), 0.250, 2e-3);
}

/* The least error for the budget by giving bits away in small pieces, always where they help most. */
static double greedy_optimum(const double *variances, const double *weights, uint64_t count, double bits) {
    double error[8], total = 0, energy = 0, left = 0, sum = 0;
    const double piece = 1e-5;
    for (uint64_t i = 0; i < count; i++) {
        error[i] = variances[i];
        total += weights[i];
        energy += weights[i] * variances[i];
    }
    for (left = bits * total; left > 0; left -= piece) {
        uint64_t best = 0;
        for (uint64_t i = 1; i < count; i++) {
            if (error[i] > error[best]) best = i;
        }
        error[best] *= exp2(-2 * piece / weights[best]);
    }
    for (uint64_t i = 0; i < count; i++) sum += weights[i] * error[i];
    return sum / energy;
}

static void water_filling_is_the_numeric_optimum(void) {
    const double variances[6] = {4, 1, 0.25, 0.01, 9, 1e-6}, weights[6] = {1, 2, 1, 3, 0.5, 1};
    for (double bits = 0.1; bits < 3; bits += 0.4) {
        double bound = bound_water_filling(variances, weights, 6, bits);
        double optimum = greedy_optimum(variances, weights, 6, bits);
        CU_ASSERT_DOUBLE_EQUAL(bound / optimum, 1, 1e-3);
    }
}

static void water_filling_of_equal_rows_is_gaussian(void) {
    const double equal[3] = {2, 2, 2}, zero[2] = {0, 0}, half[2] = {1, 0};
    CU_ASSERT_DOUBLE_EQUAL(bound_water_filling(equal, NULL, 3, 1.5), bound_gaussian(1.5), 1e-12);
    CU_ASSERT_EQUAL(bound_water_filling(equal, NULL, 3, 0), 1);
    CU_ASSERT_EQUAL(bound_water_filling(zero, NULL, 2, 1), 0);
    CU_ASSERT_EQUAL(bound_water_filling(NULL, NULL, 0, 1), 0);
    CU_ASSERT_DOUBLE_EQUAL(bound_water_filling(half, NULL, 2, 1), bound_gaussian(2), 1e-12);
}

#define SAMPLES 65536

static double gaussian(struct rng *rng) {
    double radius = sqrt(-2 * log(1 - rng_real(rng)));
    return radius * cos(6.283185307179586 * rng_real(rng));
}

static float round_to_bf16(float value) {
    union {
        float f;
        uint32_t u;
    } bits = {value};
    bits.u = (bits.u + 0x7FFF + ((bits.u >> 16) & 1)) & 0xFFFF0000u;
    return bits.f;
}

static void entropy_of_samples_is_near_the_truth(void) {
    const double sigma = 0.02, truth = 0.5 * log2(2 * 3.141592653589793 * 2.718281828459045 * sigma * sigma);
    float *values = mem_alloc_array(SAMPLES, sizeof *values), *scratch = mem_alloc_array(SAMPLES, sizeof *scratch);
    CU_ASSERT_TRUE_FATAL(values && scratch);
    struct rng rng = {1};
    for (int i = 0; i < SAMPLES; i++) values[i] = (float)(sigma * gaussian(&rng));
    CU_ASSERT_DOUBLE_EQUAL(bound_differential_entropy(values, SAMPLES, scratch), truth, 0.02);
    for (int i = 0; i < SAMPLES; i++) values[i] = round_to_bf16(values[i]);
    CU_ASSERT_DOUBLE_EQUAL(bound_differential_entropy(values, SAMPLES, scratch), truth, 0.02);
    for (int i = 0; i < SAMPLES; i++) values[i] = (float)(8 * rng_real(&rng));
    CU_ASSERT_DOUBLE_EQUAL(bound_differential_entropy(values, SAMPLES, scratch), 3, 0.02);
    for (int i = 0; i < SAMPLES; i++) values[i] = 0.5f;
    CU_ASSERT_TRUE(isinf(bound_differential_entropy(values, SAMPLES, scratch)));
    CU_ASSERT_TRUE(isinf(bound_differential_entropy(values, 3, scratch)));
    mem_free(values);
    mem_free(scratch);
}

static void entropy_power_of_a_gaussian_is_its_bound(void) {
    double h = 0.5 * log2(2 * 3.14159265358979 * 2.71828182845905 * 7);
    CU_ASSERT_DOUBLE_EQUAL(bound_entropy_power(h, 7, 2.5), bound_gaussian(2.5), 1e-9);
    CU_ASSERT_EQUAL(bound_entropy_power(-INFINITY, 1, 1), 0);
    CU_ASSERT_EQUAL(bound_entropy_power(0, 0, 1), 0);
    CU_ASSERT_TRUE(bound_entropy_power(h - 0.2, 7, 2.5) < bound_gaussian(2.5));
}

/* ---- of a sample ---- */

/* Smallest D at 4 bits by all bounds; Gaussian rows with means of columns that are so many deviations. */
static double floor_of(double means) {
    enum { ROWS = 256, COLUMNS = 96 };
    static float values[ROWS * COLUMNS];
    struct rng rng = {11};
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++) sum += rng_real(&rng);
        values[i] = (float)(sum + means * (i % COLUMNS % 5 - 2) / sqrt(2));
    }
    const struct sample sample = {.rows = ROWS,
                                  .columns = COLUMNS,
                                  .bits = 32,
                                  .tensor = {.struct_size = sizeof(tsr_tensor), .dtype = TSR_DTYPE_F32},
                                  .bytes = (uint8_t *)values};
    double error = 0;
    CU_ASSERT_EQUAL(sample_bound(&sample, 4, true, &error, NULL), TSR_OK);
    return error;
}

/* Told once for all rows, means cost nothing: what is left is 1 / (1 + means^2) of the energy. */
static void means_of_columns_are_below_no_bound(void) {
    CU_ASSERT_DOUBLE_EQUAL(floor_of(0) * exp2(8), 1, 0.1);
    CU_ASSERT_DOUBLE_EQUAL(floor_of(3) * exp2(8) * 10, 1, 0.1);
}

static const struct unit_test TESTS[] = {
    {"gaussian_bound_has_its_known_values", gaussian_bound_has_its_known_values},
    {"water_filling_is_the_numeric_optimum", water_filling_is_the_numeric_optimum},
    {"water_filling_of_equal_rows_is_gaussian", water_filling_of_equal_rows_is_gaussian},
    {"entropy_of_samples_is_near_the_truth", entropy_of_samples_is_near_the_truth},
    {"entropy_power_of_a_gaussian_is_its_bound", entropy_power_of_a_gaussian_is_its_bound},
    {"means_of_columns_are_below_no_bound", means_of_columns_are_below_no_bound},
};
UNIT_MAIN(TESTS)
