/* SPDX-License-Identifier: Apache-2.0
 *
 * The form for AVX2: the compiler makes it from divergence_lanes.h. */
#include "divergence.h"

#if defined(__x86_64__)
#define VECTOR_BYTES 32
#include "divergence_lanes.h"

void divergence_avx2(const float *p, const float *q, uint64_t count, struct divergence *result) {
    divergence_loops(p, q, count, result);
}
#endif
