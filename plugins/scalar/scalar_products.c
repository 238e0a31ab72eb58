/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with packed tiles in plain C, and the choice between them and vector ones. */
#include "scalar_kernel.h"

#include <stdbool.h>
#include <string.h>
#include <tessera/tensor.h>

#define BF16_LARGEST 3.38953139e38f
#define F16_LARGEST 65504.0f
#define F16_SMALLEST_NORMAL 6.103515625e-5f

static float to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Ten bits of mantissa; below the normal numbers the last bit stays at 2^-24. */
static float to_f16(float value) {
    uint32_t bits;
    if (value < F16_SMALLEST_NORMAL && value > -F16_SMALLEST_NORMAL) {
        return value < 0 ? -((0.5f - value) - 0.5f) : (value + 0.5f) - 0.5f;
    }
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fill(const float *points, uint64_t count, float step, int32_t dtype, float *table) {
    const float largest = dtype == TSR_DTYPE_F16 ? F16_LARGEST : BF16_LARGEST;
    for (uint64_t i = 0; i < count; i++) {
        float value = points[i] * step;
        if (dtype != TSR_DTYPE_F32) {
            value = value > largest ? largest : value < -largest ? -largest : value;
            value = dtype == TSR_DTYPE_F16 ? to_f16(value) : to_bf16(value);
        }
        table[i] = value;
    }
}

static float dot(const uint8_t *codes, uint64_t columns, const float *table, uint64_t table_size, const float *x) {
    float lanes[16] = {0};
    for (uint64_t c = 0; c < columns; c++) lanes[c % 16] += table[codes[scalar_code_place(c)] & (table_size - 1)] * x[c];
    for (int width = 8; width; width /= 2) {
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    }
    return lanes[0];
}

static void add_rows(const struct scalar_rows *rows, float *y) {
    float table[SCALAR_TABLE_MAX];
    for (uint64_t r = 0; r < rows->rows; r++) {
        fill(rows->points + rows->lists[r * rows->stride] * rows->table, rows->table, rows->steps[r * rows->stride], rows->dtype,
             table);
        y[r] += dot(rows->codes + r * rows->row_bytes, rows->columns, table, rows->table, rows->x);
    }
}

const struct scalar_products scalar_products_portable = {fill, add_rows};

const struct scalar_products *scalar_products_get(void) {
#if defined(__x86_64__)
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512) return &scalar_products_avx512;
#endif
    return &scalar_products_portable;
}
