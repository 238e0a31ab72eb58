/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of entropy services, and the choice of kernels at run time. */
#include "entropy.h"

#include "entropy_rans.h"

enum rans_level rans_level_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        return RANS_AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return RANS_AVX2;
#endif
    return RANS_SCALAR;
}

struct rans_kernels rans_kernels_of(enum rans_level level) {
    enum rans_level best = rans_level_best();
    if (level > best) level = best;
#if defined(__x86_64__)
    if (level == RANS_AVX512) return rans_kernels_avx512();
    if (level == RANS_AVX2) return rans_kernels_avx2();
#endif
    return (struct rans_kernels){NULL, NULL};
}

static tsr_status model_create_one(const tsr_host *host, const uint32_t *counts, uint32_t alphabet,
                                   uint32_t probability_bits, tsr_entropy_model **model, tsr_error *err) {
    tsr_entropy_shape shape = {sizeof shape, alphabet, 1, probability_bits, 0};
    return entropy_model_create(host, counts, &shape, model, err);
}

static void model_shape(const tsr_entropy_model *model, tsr_entropy_shape *shape) {
    *shape = (tsr_entropy_shape){sizeof *shape, model->alphabet, model->contexts, model->bits, 0};
}

static tsr_status encode(const tsr_entropy_model *model, const uint16_t *symbols, uint64_t count, void *dst,
                         uint64_t capacity, uint64_t *written, tsr_error *err) {
    tsr_entropy_split split = {sizeof split, model, NULL, 0, 16};
    return rans_encode(&split, rans_level_best(), symbols, count, dst, capacity, written, err);
}

static tsr_status decode(const tsr_entropy_model *model, const void *src, uint64_t size, uint16_t *symbols,
                         uint64_t count, tsr_error *err) {
    tsr_entropy_split split = {sizeof split, model, NULL, 0, 16};
    return rans_decode(&split, rans_level_best(), src, size, symbols, count, err);
}

static uint64_t split_bound(const tsr_entropy_split *split, uint64_t count) {
    return entropy_bits_bytes(count, 16 - split->symbol_bits) + rans_bound(count);
}

static tsr_status split_encode(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, void *dst,
                               uint64_t capacity, uint64_t *written, tsr_error *err) {
    return rans_encode(split, rans_level_best(), values, count, dst, capacity, written, err);
}

static tsr_status split_decode(const tsr_entropy_split *split, const void *src, uint64_t size, uint16_t *values,
                               uint64_t count, tsr_error *err) {
    return rans_decode(split, rans_level_best(), src, size, values, count, err);
}

static tsr_status stream_decode(tsr_entropy_stream *stream, const uint8_t *contexts, uint16_t *symbols, uint64_t count,
                                tsr_error *err) {
    return rans_stream_decode(stream, rans_level_best(), contexts, symbols, count, err);
}

const tsr_entropy *entropy_services(void) {
    static const tsr_entropy services = {
        .struct_size = sizeof services,
        .model_create = model_create_one,
        .model_destroy = entropy_model_destroy,
        .model_bound = entropy_model_bound,
        .model_write = entropy_model_write,
        .model_read = entropy_model_read,
        .model_cost = entropy_model_cost,
        .encode_bound = rans_bound,
        .encode = encode,
        .decode = decode,
        .bits_pack = entropy_bits_pack,
        .bits_unpack = entropy_bits_unpack,
        .model_create_contexts = entropy_model_create,
        .model_shape = model_shape,
        .split_bound = split_bound,
        .split_encode = split_encode,
        .split_decode = split_decode,
        .split_count = entropy_split_count,
        .stream_begin = rans_stream_begin,
        .stream_decode = stream_decode,
        .stream_end = rans_stream_end,
    };
    return &services;
}
