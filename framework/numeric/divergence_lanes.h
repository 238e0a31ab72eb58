/* SPDX-License-Identifier: Apache-2.0
 *
 * The loops of divergence.h over 16 lanes, written once in the compiler's vectors and compiled for several processors; no
 * operation is fused, so all give the same bits. Element i belongs to lane i mod 16. Sums are F32 over a block, double over
 * blocks. Included by the sources that define one form each, after VECTOR_BYTES, the size of the processor's vectors. */
#ifndef NUMERIC_DIVERGENCE_LANES_H
#define NUMERIC_DIVERGENCE_LANES_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "divergence.h"

#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#endif
#define LANES 16
#define WIDTH (VECTOR_BYTES / 4)
#define PARTS (LANES / WIDTH)
#define BLOCK 256 /* elements */
#define LANE_FN __attribute__((always_inline)) static inline

typedef float lanes_f __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t lanes_i __attribute__((vector_size(VECTOR_BYTES)));

/* a where the mask is set, else b. */
LANE_FN void choose(lanes_f *to, lanes_i mask, const lanes_f *a, const lanes_f *b) {
    lanes_i bits = (mask & (lanes_i)*a) | (~mask & (lanes_i)*b);
    *to = (lanes_f)bits;
}

/* exp within 2 ulp (after Moshier's Cephes) of values up to 88; below -86 it is that of -86, NaN stays. */
LANE_FN void exp_lanes(lanes_f *value) {
    static const float terms[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                  4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    const lanes_f low = {0}, lowest = low - 86.0f, highest = low + 88.0f, given = *value;
    lanes_f x = given;
    choose(&x, x < lowest, &lowest, &x);
    choose(&x, x > highest, &highest, &x);
    lanes_f rounded = x * 1.44269504088896341f + 12582912.0f, n = rounded - 12582912.0f;
    lanes_f r = (x - n * 0.693359375f) - n * -2.12194440e-4f, sum = low + terms[0];
    for (int i = 1; i < 6; i++) sum = sum * r + terms[i];
    sum = (sum * (r * r) + r) + 1.0f;
    lanes_f power = (lanes_f)((lanes_i)sum + ((lanes_i)rounded << 23));
    choose(value, given != given, &given, &power);
}

/* exp(-d) - 1 + d without cancellation: d^2 times its series up to |d| = 1. Where all are `near`, nothing else is needed. */
LANE_FN void excess_lanes(lanes_f *value, bool near) {
    static const float terms[] = {2.7557319e-7f, 2.7557319e-6f, 2.4801587e-5f, 1.9841270e-4f, 1.3888889e-3f,
                                  8.3333333e-3f, 4.1666667e-2f, 1.6666667e-1f, 5.0e-1f};
    const lanes_f zero = {0}, d = *value, minus = zero - d;
    lanes_f series = zero + terms[0], direct = minus;
    for (int i = 1; i < 9; i++) series = series * minus + terms[i];
    series = series * (d * d);
    if (near) {
        *value = series;
        return;
    }
    exp_lanes(&direct);
    direct = (direct - 1.0f) + d;
    choose(value, (d <= 1.0f) & (d >= -1.0f), &series, &direct);
}

LANE_FN bool any_lane(const lanes_i *mask) {
    int64_t words[VECTOR_BYTES / 8], any = 0;
    memcpy(words, mask, sizeof words);
    for (int i = 0; i < VECTOR_BYTES / 8; i++) any |= words[i];
    return any != 0;
}

/* The two largest of all; NaN is passed over. */
LANE_FN void two_largest(const float *row, uint64_t count, float *first, float *second) {
    lanes_f best = (lanes_f){0} - INFINITY, next = best, x;
    float lane[2][WIDTH];
    for (uint64_t i = 0; i + WIDTH <= count; i += WIDTH) {
        memcpy(&x, row + i, sizeof x);
        lanes_i above = x > best, between = (x > next) & ~above;
        choose(&next, between, &x, &next);
        choose(&next, above, &best, &next);
        choose(&best, above, &x, &best);
    }
    memcpy(lane[0], &best, sizeof lane[0]);
    memcpy(lane[1], &next, sizeof lane[1]);
    *first = *second = -INFINITY;
    for (uint64_t i = 0; i < 2 * WIDTH + count % WIDTH; i++) {
        float value = i < 2 * WIDTH ? lane[i / WIDTH][i % WIDTH] : row[count - 1 - (i - 2 * WIDTH)];
        if (value > *first) {
            *second = *first;
            *first = value;
        } else if (value > *second) {
            *second = value;
        }
    }
}

LANE_FN uint32_t first_of(const float *row, uint64_t count, float value) {
    uint64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        lanes_i found = {0};
        lanes_f x;
        for (uint64_t j = 0; j < BLOCK; j += WIDTH) {
            memcpy(&x, row + i + j, sizeof x);
            found |= x == value;
        }
        if (any_lane(&found)) break;
    }
    for (; i < count; i++) {
        if (row[i] == value) return (uint32_t)i;
    }
    return 0; /* all are NaN */
}

LANE_FN void exponential_of(const float *p, const float *q, float largest, float shift, lanes_f *value) {
    (void)q;
    (void)shift;
    memcpy(value, p, sizeof *value);
    *value = *value - largest;
    exp_lanes(value);
}

/* exp(p - largest) (exp(-d) - 1 + d), d = p - q - shift. */
LANE_FN void weighted_excess(const float *p, const float *q, float largest, float shift, lanes_f *value, bool near) {
    lanes_f weight, other;
    exponential_of(p, q, largest, shift, &weight);
    memcpy(value, p, sizeof *value);
    memcpy(&other, q, sizeof other);
    *value = (*value - other) - shift;
    excess_lanes(value, near);
    *value = *value * weight;
}

LANE_FN void excess_of(const float *p, const float *q, float largest, float shift, lanes_f *value) {
    weighted_excess(p, q, largest, shift, value, false);
}

LANE_FN void near_excess_of(const float *p, const float *q, float largest, float shift, lanes_f *value) {
    weighted_excess(p, q, largest, shift, value, true);
}

/* |d| <= 1 for a whole block, which is the rule between a model and its good copy. */
LANE_FN bool block_is_near(const float *p, const float *q, float shift) {
    lanes_i far = {0};
    lanes_f a, b;
    for (uint64_t i = 0; i < BLOCK; i += WIDTH) {
        memcpy(&a, p + i, sizeof a);
        memcpy(&b, q + i, sizeof b);
        a = (a - b) - shift;
        far |= ~((a <= 1.0f) & (a >= -1.0f));
    }
    return !any_lane(&far);
}

typedef void (*term)(const float *p, const float *q, float largest, float shift, lanes_f *value);

/* Adds the terms of at most one block, its end padded with lanes that count nothing. */
LANE_FN double sum_block(term of, const float *p, const float *q, uint64_t count, float largest, float shift) {
    lanes_f sum[PARTS] = {{0}}, value;
    float lane[LANES], rest[3][LANES] = {{0}};
    uint64_t i = 0;
    double whole = 0;
    for (; i + LANES <= count; i += LANES) {
        for (uint64_t part = 0; part < PARTS; part++) {
            of(p + i + part * WIDTH, q + i + part * WIDTH, largest, shift, &value);
            sum[part] += value;
        }
    }
    memcpy(lane, sum, sizeof lane);
    memcpy(rest[0], p + i, (count - i) * sizeof *p);
    memcpy(rest[1], q + i, (count - i) * sizeof *q);
    for (uint64_t part = 0; part < PARTS && i < count; part++) {
        of(rest[0] + part * WIDTH, rest[1] + part * WIDTH, largest, shift, &value);
        memcpy(rest[2] + part * WIDTH, &value, sizeof value);
    }
    for (uint64_t j = 0; j < count - i; j++) lane[j] += rest[2][j];
    for (int j = 0; j < LANES; j++) whole += (double)lane[j];
    return whole;
}

LANE_FN double sum_exponentials(const float *row, uint64_t count, float largest) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i += BLOCK) {
        sum += sum_block(exponential_of, row + i, row + i, count - i < BLOCK ? count - i : BLOCK, largest, 0);
    }
    return sum;
}

LANE_FN double sum_excess(const float *p, const float *q, uint64_t count, float largest, float shift) {
    double sum = 0;
    uint64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        if (block_is_near(p + i, q + i, shift)) {
            sum += sum_block(near_excess_of, p + i, q + i, BLOCK, largest, shift);
        } else {
            sum += sum_block(excess_of, p + i, q + i, BLOCK, largest, shift);
        }
    }
    return sum + sum_block(excess_of, p + i, q + i, count - i, largest, shift);
}

LANE_FN void divergence_loops(const float *p, const float *q, uint64_t count, struct divergence *result) {
    float p_largest, p_next, q_largest, q_next;
    two_largest(p, count, &p_largest, &p_next);
    two_largest(q, count, &q_largest, &q_next);
    double p_sum = sum_exponentials(p, count, p_largest);
    double q_sum = sum_exponentials(q, count, q_largest);
    double shift = ((double)p_largest - (double)q_largest) + (log(p_sum) - log(q_sum));
    double kld = sum_excess(p, q, count, p_largest, (float)shift) / p_sum;
    *result = (struct divergence){.kld = isfinite(kld) ? kld : INFINITY,
                                  .p_norm = (double)p_largest + log(p_sum),
                                  .q_norm = (double)q_largest + log(q_sum),
                                  .margin = p_largest - p_next,
                                  .p_best = first_of(p, count, p_largest),
                                  .q_best = first_of(q, count, q_largest)};
}

#endif
