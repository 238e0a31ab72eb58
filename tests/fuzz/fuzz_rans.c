/* SPDX-License-Identifier: Apache-2.0
 *
 * The entropy decoder on any model and stream, with every kernel. Input: low bits, symbol bits, two bytes of count, use
 * of contexts, the model, the stream. All kernels must agree on the verdict and, where they accept, on the values. */
#include "../codec_harness.h"

#include <numeric/entropy_rans.h>

#define VALUES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_all(const tsr_entropy_split *split, const uint8_t *src, uint64_t size, uint64_t count) {
    tsr_status expected = TSR_OK;
    uint16_t *first = mem_alloc_array(count, sizeof *first), *values = mem_alloc_array(count, sizeof *values);
    for (enum rans_level level = RANS_SCALAR; first && values && level < RANS_LEVELS; level++) {
        uint16_t *into = level == RANS_SCALAR ? first : values;
        tsr_status status = rans_decode(split, level, src, size, into, count, NULL);
        if (level == RANS_SCALAR) expected = status;
        if (status != expected) __builtin_trap();
        if (status == TSR_OK && memcmp(first, into, count * sizeof *first) != 0) __builtin_trap();
    }
    mem_free(first);
    mem_free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tsr_entropy *entropy = entropy_services();
    struct harness_host host;
    tsr_entropy_model *model = NULL;
    uint64_t consumed = 0;
    if (size < 5) return 0;
    uint64_t count = (data[2] + 256u * data[3]) % VALUES_MAX;
    harness_init(&host);
    if (entropy->model_read(&host.host, data + 5, size - 5, &consumed, &model, NULL) == TSR_OK) {
        uint8_t contexts[VALUES_MAX];
        for (uint64_t i = 0; i < count; i++) contexts[i] = (uint8_t)(i * 7 % model->contexts);
        tsr_entropy_split split = {sizeof split, model, data[4] % 2 ? contexts : NULL, data[0] % 17, data[1] % 18};
        /* A block of its exact size, so that a sanitizer sees a read behind the end. */
        uint64_t left = size - 5 - consumed;
        uint8_t *src = mem_alloc(left);
        if (src) {
            memcpy(src, data + 5 + consumed, left);
            decode_all(&split, src, left, count);
        }
        mem_free(src);
    }
    entropy->model_destroy(&host.host, model);
    harness_clear(&host);
    if (host.blocks != 0) __builtin_trap();
    return 0;
}
