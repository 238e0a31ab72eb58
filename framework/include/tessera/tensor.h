/* SPDX-License-Identifier: Apache-2.0
 *
 * What a tensor is to a plugin: dtype, shape, a row-major matrix view, and what an error in it costs.
 * Data is never part of it: bytes arrive separately, tile by tile. */
#ifndef TESSERA_TENSOR_H
#define TESSERA_TENSOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element types of safetensors. Numbers are stored in files: never renumber, add at the end. */
enum {
    TSR_DTYPE_OPAQUE = 0, /* a dtype this version does not know: bytes only */
    TSR_DTYPE_F64 = 1,
    TSR_DTYPE_F32 = 2,
    TSR_DTYPE_F16 = 3,
    TSR_DTYPE_BF16 = 4,
    TSR_DTYPE_F8_E4M3 = 5,
    TSR_DTYPE_F8_E5M2 = 6,
    TSR_DTYPE_F8_E8M0 = 7,
    TSR_DTYPE_F4 = 8, /* two elements a byte */
    TSR_DTYPE_I64 = 9,
    TSR_DTYPE_I32 = 10,
    TSR_DTYPE_I16 = 11,
    TSR_DTYPE_I8 = 12,
    TSR_DTYPE_U64 = 13,
    TSR_DTYPE_U32 = 14,
    TSR_DTYPE_U16 = 15,
    TSR_DTYPE_U8 = 16,
    TSR_DTYPE_BOOL = 17,
    TSR_DTYPE_C64 = 18, /* two F32 an element */
    TSR_DTYPE_COUNT = 19
};

/* Bit of a dtype in a codec's mask of accepted dtypes. */
#define TSR_DTYPE_BIT(dtype) (UINT64_C(1) << (dtype))
#define TSR_DTYPES_ALL ((UINT64_C(1) << TSR_DTYPE_COUNT) - 1)
#define TSR_DTYPES_FLOAT \
    (TSR_DTYPE_BIT(TSR_DTYPE_F32) | TSR_DTYPE_BIT(TSR_DTYPE_F16) | TSR_DTYPE_BIT(TSR_DTYPE_BF16))

/* What an error in a tensor costs (docs/config.md, "Regimes"). */
enum {
    TSR_REGIME_EXACT = 0,  /* bit copy only */
    TSR_REGIME_INDEX = 1,  /* row i is looked up by id: relative precision of each row */
    TSR_REGIME_ARGMAX = 2  /* feeds a product that ends in a decision: judged by decisions */
};

#define TSR_RANK_MAX 8

/* One tensor. Lent by the host for the life of the object it was given to.
 * The matrix view has `rows` x `columns` elements in row-major order, where a row is one output unit (a
 * transposed weight is turned by the host before a codec sees it); rows * columns is the element count. Tensors of
 * F4 and of unknown dtypes are seen as one row of bytes: rows is 1, columns is `bytes`. */
typedef struct tsr_tensor {
    uint64_t struct_size;
    const char *name;      /* UTF-8; for messages and seeds only */
    const uint64_t *shape; /* `rank` extents, as in the source file */
    uint64_t rank;         /* 0 for a scalar, at most TSR_RANK_MAX */
    uint64_t rows;
    uint64_t columns;
    uint64_t bytes; /* in the source dtype */
    int32_t dtype;
    int32_t regime;
} tsr_tensor;

#ifdef __cplusplus
}
#endif
#endif
