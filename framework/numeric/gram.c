/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums stay in F32: a moment of 2^20 tokens in calls of 256 is 4096 additions, a relative error of about 1e-6, which is
 * far below the noise of any calibration text. */
#include "gram.h"

#include <base/checked.h>
#include <base/pool.h>
#include <cblas.h>

#define GRAM_ROWS 128

struct gram {
    float *sums;
    const float *x;
    uint64_t n, count, blocks;
    const struct env *env;
};

/* Later blocks are longer, so they come first. */
static tsr_status add_block(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct gram *gram = ctx;
    uint64_t first = (gram->blocks - 1 - index) * GRAM_ROWS, rows = min_u64(GRAM_ROWS, gram->n - first);
    (void)worker;
    (void)err;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rows, (int)(first + rows), (int)gram->count, 1,
                gram->x + first, (int)gram->n, gram->x, (int)gram->n, 1, gram->sums + first * gram->n, (int)gram->n);
    return TSR_OK;
}

tsr_status gram_add(float *gram, uint64_t n, const float *x, uint64_t count, const struct env *env, tsr_error *err) {
    struct gram work = {.sums = gram, .x = x, .n = n, .count = count, .blocks = ceil_div(n, GRAM_ROWS), .env = env};
    return count ? pool_for(env->pool, work.blocks, add_block, &work, err) : TSR_OK;
}

void gram_finish(float *gram, uint64_t n, double scale, const float *diagonal) {
    for (uint64_t r = 0; r < n; r++) {
        for (uint64_t c = 0; c < r; c++) {
            float value = (float)((double)gram[r * n + c] * scale);
            gram[r * n + c] = gram[c * n + r] = value;
        }
        gram[r * n + r] = diagonal[r];
    }
}
