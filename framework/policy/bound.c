/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms where there are any; water-filling by shrinking the set of components that get bits. */
#include "bound.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define PI 3.14159265358979323846
#define E 2.71828182845904523536

double bound_gaussian(double bits_per_weight) {
    return exp2(-2 * fmax(bits_per_weight, 0));
}

double bound_cosine(double bits_per_weight) {
    return sqrt(1 - bound_gaussian(bits_per_weight));
}

static double weight_of(const double *weights, uint64_t i) {
    return weights ? weights[i] : 1;
}

/* The level theta at which the components above it use all bits (Cover & Thomas 10.3.3): log2 theta is the weighted
 * mean of log2 of their variances less twice the bits each of them gets. Components that turn out to lie below are
 * dropped, which raises the level, so the set only shrinks and the loop ends. */
static double water_level(const double *variances, const double *weights, uint64_t count, double bits) {
    double level = 0, all = 0;
    for (uint64_t i = 0; i < count; i++) all += weight_of(weights, i);
    for (uint64_t before = 0;;) {
        double active = 0, logs = 0;
        uint64_t members = 0;
        for (uint64_t i = 0; i < count; i++) {
            if (variances[i] <= level || weight_of(weights, i) <= 0) continue;
            active += weight_of(weights, i);
            logs += weight_of(weights, i) * log2(variances[i]);
            members++;
        }
        if (members == before || members == 0) return level;
        before = members;
        level = exp2((logs - 2 * bits * all) / active);
    }
}

double bound_water_filling(const double *variances, const double *weights, uint64_t count, double bits_per_weight) {
    double level = water_level(variances, weights, count, fmax(bits_per_weight, 0));
    double energy = 0, error = 0;
    for (uint64_t i = 0; i < count; i++) {
        energy += weight_of(weights, i) * variances[i];
        error += weight_of(weights, i) * fmin(variances[i], level);
    }
    return energy > 0 ? error / energy : 0;
}

double bound_entropy_power(double differential_entropy_bits, double variance, double bits_per_weight) {
    if (variance <= 0) return 0;
    double bound = exp2(2 * (differential_entropy_bits - fmax(bits_per_weight, 0))) / (2 * PI * E * variance);
    return fmin(bound, 1);
}

static int compare_floats(const void *a, const void *b) {
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

/* Weights of 16 bits repeat, and equal neighbours would have no spacing: the members of a run of equal values are
 * spread evenly over the cell that reaches half-way to the values beside it. False when all values are equal. */
static bool spread_ties(float *sorted, uint64_t count) {
    if (sorted[0] == sorted[count - 1]) return false;
    double left_edge = 0;
    for (uint64_t first = 0, end; first < count; first = end) {
        double value = sorted[first];
        for (end = first + 1; end < count && (double)sorted[end] == value; end++) continue;
        double right_edge = end < count ? (value + sorted[end]) / 2 : 2 * value - left_edge;
        if (first == 0) left_edge = 2 * value - right_edge;
        double step = (right_edge - left_edge) / (double)(end - first);
        for (uint64_t i = first; i < end; i++) sorted[i] = (float)(left_edge + step * ((double)(i - first) + 0.5));
        left_edge = right_edge;
    }
    return true;
}

double bound_differential_entropy(const float *values, uint64_t count, float *scratch) {
    if (count < 4) return -INFINITY;
    for (uint64_t i = 0; i < count; i++) scratch[i] = values[i];
    qsort(scratch, count, sizeof *scratch, compare_floats);
    if (!spread_ties(scratch, count)) return -INFINITY;
    uint64_t m = (uint64_t)(sqrt((double)count) + 0.5);
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t low = i >= m ? i - m : 0, high = i + m < count ? i + m : count - 1;
        double spacing = (double)scratch[high] - (double)scratch[low];
        if (spacing <= 0) return -INFINITY;
        sum += log2(spacing * (double)count / (double)(high - low));
    }
    return sum / (double)count;
}
