/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops that run once for every key or sample. The scalar code is the specification; vector code keeps its order and
 * may fuse multiply and add. One machine always takes the same path. */
#ifndef QWEN3_TTS_KERNELS_H
#define QWEN3_TTS_KERNELS_H

#include <stdint.h>

struct kernels {
    float (*dot)(const float *a, const float *b, uint64_t count);
    void (*add_scaled)(float *y, float scale, const float *x, uint64_t count); /* y += scale * x */
    /* y = x + factor * sin^2(frequency * x), channel by channel. x and y may be the same. */
    void (*snake)(const float *x, const float *frequency, const float *factor, float *y, uint64_t count);
};

/* The fastest this processor runs. [any] */
const struct kernels *speech_kernels_best(void);
extern const struct kernels speech_kernels_avx2; /* only where __x86_64__ */

#endif
