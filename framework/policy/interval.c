/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantiles, Wilson bounds, cluster-robust means. */
#include "interval.h"

#include <math.h>

#define PI 3.14159265358979323846

static double polynomial(const double *coefficients, int count, double x) {
    double value = 0;
    for (int i = 0; i < count; i++) value = value * x + coefficients[i];
    return value;
}

double normal_quantile(double p) {
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                               1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,  -1.556989798598866e+02,
                               6.680131188771972e+01,  -1.328068155288572e+01, 1};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                               -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1};
    if (p > 0.5) return -normal_quantile(1 - p);
    if (p < 0.02425) {
        double q = sqrt(-2 * log(p));
        return polynomial(c, 6, q) / polynomial(d, 5, q);
    }
    double q = p - 0.5, r = q * q;
    return polynomial(a, 6, r) * q / polynomial(b, 6, r);
}

double student_quantile(double p, double degrees) {
    if (p < 0.5) return -student_quantile(1 - p, degrees);
    double tail = 2 * (1 - p), n = degrees;
    if (n == 1) return tan(PI * (p - 0.5));
    if (n == 2) return sqrt(2 / (tail * (2 - tail)) - 2);
    double a = 1 / (n - 0.5), b = 48 / (a * a), c = ((20700 * a / b - 98) * a - 16) * a + 96.36;
    double d = ((94.5 / (b + c) - 3) / b + 1) * sqrt(a * PI / 2) * n, y = pow(d * tail, 2 / n);
    if (y > 0.05 + a) {
        double x = normal_quantile(tail / 2);
        y = x * x;
        if (n < 5) c += 0.3 * (n - 4.5) * (x + 0.6);
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c;
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x;
        y = expm1(a * y * y);
    } else {
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (n + 2) +
            1 / y;
    }
    return sqrt(n * y);
}

static double wilson_bound(double successes, double trials, double z) {
    if (trials <= 0) return z < 0 ? 0 : 1;
    double p = successes / trials, square = z * z;
    double middle = p + square / (2 * trials);
    double spread = z * sqrt(fmax(p * (1 - p) / trials + square / (4 * trials * trials), 0));
    return fmin(fmax((middle + spread) / (1 + square / trials), 0), 1);
}

double wilson_lower(double successes, double trials, double confidence) {
    return wilson_bound(successes, trials, -normal_quantile(confidence));
}

double wilson_upper(double successes, double trials, double confidence) {
    return wilson_bound(successes, trials, normal_quantile(confidence));
}

double wilson_needed(double proportion, double threshold, double confidence) {
    double low = 1, high = 1;
    if (proportion <= threshold) return INFINITY;
    while (wilson_lower(proportion * high, high, confidence) < threshold && high < 1e15) high *= 2;
    if (high >= 1e15) return INFINITY;
    while (high - low > 0.5) {
        double middle = (low + high) / 2;
        if (wilson_lower(proportion * middle, middle, confidence) < threshold) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return ceil(high);
}

struct group_estimate group_mean(const struct group *groups, uint64_t count) {
    struct group_estimate estimate = {0};
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (groups[i].count <= 0) continue;
        sum += groups[i].sum;
        estimate.total += groups[i].count;
        estimate.groups++;
    }
    if (estimate.total <= 0) return estimate;
    estimate.mean = sum / estimate.total;
    for (uint64_t i = 0; i < count; i++) {
        double residual = groups[i].sum - estimate.mean * groups[i].count;
        squares += residual * residual;
    }
    if (estimate.groups > 1) {
        estimate.standard_error = sqrt(estimate.groups / (estimate.groups - 1) * squares) / estimate.total;
    }
    return estimate;
}

double group_upper(const struct group_estimate *estimate, double confidence) {
    if (estimate->groups < 2) return INFINITY;
    return estimate->mean + student_quantile(confidence, estimate->groups - 1) * estimate->standard_error;
}

double group_design_effect(const struct group_estimate *estimate) {
    double p = estimate->mean, independent = estimate->total > 0 ? p * (1 - p) / estimate->total : 0;
    if (independent <= 0) return 1;
    return fmax(estimate->standard_error * estimate->standard_error / independent, 1);
}
