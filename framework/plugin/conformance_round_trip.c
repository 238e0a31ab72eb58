/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes in comes out: shapes, dtypes, values that are easy to get wrong. */
#include <format/dtype.h>

#include "conformance_list.h"

#define REFUSED "the codec refuses every tensor of this property"

struct shape {
    uint64_t rows, columns;
};

static tsr_status try_shapes(struct rig *rig, const struct shape *shapes, uint64_t count, enum fill fill,
                             tsr_error *err) {
    int32_t dtype = subject_dtype(rig->codec);
    uint64_t tried = 0;
    for (uint64_t i = 0; i < count; i++) {
        tsr_status st = rig_round_trip(rig, dtype, shapes[i].rows, shapes[i].columns, fill, &tried, err);
        if (st != TSR_OK) return st;
    }
    return conformance_tried(tried, REFUSED, err);
}

static tsr_status small_shapes(struct rig *rig, tsr_error *err) {
    static const struct shape SHAPES[] = {{1, 1},   {1, 2},   {2, 1},   {1, 3},    {1, 17},  {17, 1},  {3, 5},
                                          {7, 7},   {8, 8},   {1, 64},  {64, 1},   {2, 255}, {255, 2}, {16, 16},
                                          {31, 33}, {64, 65}, {100, 1}, {1, 1000}, {1000, 1}};
    return try_shapes(rig, SHAPES, sizeof SHAPES / sizeof *SHAPES, FILL_WEIGHTS, err);
}

static tsr_status empty_tensors(struct rig *rig, tsr_error *err) {
    static const struct shape SHAPES[] = {{0, 0}, {0, 5}, {5, 0}};
    return try_shapes(rig, SHAPES, 3, FILL_WEIGHTS, err);
}

/* Several tiles, the last one shorter, whatever the codec prefers (at most 2^20 weights). */
static tsr_status several_tiles(struct rig *rig, tsr_error *err) {
    uint64_t tile = rig->codec->tile_weights ? rig->codec->tile_weights : TILE_WEIGHTS_DEFAULT;
    const struct shape shapes[] = {{2 * tile / 509 + 3, 509}, {2, tile + 65}};
    tsr_status st = try_shapes(rig, shapes, 1, FILL_HALF, err);
    return st == TSR_OK ? try_shapes(rig, shapes, tile > UINT64_C(1) << 20 ? 1 : 2, FILL_WEIGHTS, err) : st;
}

static tsr_status one_huge_row(struct rig *rig, tsr_error *err) {
    static const struct shape SHAPES[] = {{1, (UINT64_C(1) << 20) + 3}};
    return try_shapes(rig, SHAPES, 1, FILL_WEIGHTS, err);
}

static tsr_status one_huge_column(struct rig *rig, tsr_error *err) {
    static const struct shape SHAPES[] = {{(UINT64_C(1) << 18) + 3, 1}};
    return try_shapes(rig, SHAPES, 1, FILL_WEIGHTS, err);
}

static tsr_status every_dtype(struct rig *rig, tsr_error *err) {
    uint64_t tried = 0;
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        if (!(rig->codec->dtypes & TSR_DTYPE_BIT(dtype))) continue;
        tsr_status st = rig_round_trip(rig, dtype, 33, 129, FILL_WEIGHTS, &tried, err);
        if (st == TSR_OK) st = rig_round_trip(rig, dtype, 1, 1, FILL_WEIGHTS, &tried, err);
        if (st == TSR_OK) st = rig_round_trip(rig, dtype, 21, 700, FILL_HALF, &tried, err);
        if (st == TSR_OK) st = rig_round_trip(rig, dtype, 5, 700, FILL_ZERO, &tried, err);
        if (st == TSR_OK) continue;
        if (err) {
            tsr_error inner = *err;
            tsr_fail(err, inner.code, "%s: %.220s", dtype_name(dtype), inner.message);
        }
        return st;
    }
    return conformance_tried(tried, REFUSED, err);
}

static tsr_status try_fill(struct rig *rig, enum fill fill, uint64_t dtypes, tsr_error *err) {
    uint64_t tried = 0;
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        if (!(rig->codec->dtypes & dtypes & TSR_DTYPE_BIT(dtype))) continue;
        tsr_status st = rig_round_trip(rig, dtype, 40, 300, fill, &tried, err);
        if (st == TSR_OK) st = rig_round_trip(rig, dtype, 1, 7, fill, &tried, err);
        if (st != TSR_OK) return st;
    }
    return conformance_tried(tried, "no accepted dtype has such values", err);
}

static tsr_status all_zeros(struct rig *rig, tsr_error *err) {
    return try_fill(rig, FILL_ZERO, TSR_DTYPES_ALL, err);
}

static tsr_status constants(struct rig *rig, tsr_error *err) {
    return try_fill(rig, FILL_CONSTANT, TSR_DTYPES_ALL, err);
}

static tsr_status denormals(struct rig *rig, tsr_error *err) {
    return try_fill(rig, FILL_TINY, TSR_DTYPES_FLOAT, err);
}

static tsr_status largest_values(struct rig *rig, tsr_error *err) {
    return try_fill(rig, FILL_HUGE, TSR_DTYPES_FLOAT, err);
}

static tsr_status nan_and_inf(struct rig *rig, tsr_error *err) {
    return try_fill(rig, FILL_SPIKED, TSR_DTYPES_FLOAT, err);
}

static tsr_status random_bits(struct rig *rig, tsr_error *err) {
    return try_fill(rig, FILL_NOISE, TSR_DTYPES_ALL & ~TSR_DTYPE_BIT(TSR_DTYPE_BOOL), err);
}

const struct conformance_property CONFORMANCE_ROUND_TRIP[] = {
    {"empty_tensors", "tensors without elements are stored and come back", empty_tensors},
    {"small_shapes", "1x1, 1xN, Nx1 and odd sizes come back, exact or with relative error at most 1", small_shapes},
    {"several_tiles", "several tiles, the last one shorter, come back", several_tiles},
    {"one_huge_row", "one row of 2^20+3 weights comes back", one_huge_row},
    {"one_huge_column", "2^18+3 rows of one weight come back", one_huge_column},
    {"every_dtype", "every dtype that the codec accepts comes back", every_dtype},
    {"all_zeros", "zeros come back as zeros", all_zeros},
    {"constants", "tensors of one value come back", constants},
    {"denormals", "denormals come back finite, relative error at most 1", denormals},
    {"largest_values", "the largest finite values come back finite, relative error at most 1", largest_values},
    {"nan_and_inf", "tiles with NaN or Inf come back bit for bit", nan_and_inf},
    {"random_bits", "noise stays within encode_bound and comes back", random_bits},
    {NULL, NULL, NULL},
};
