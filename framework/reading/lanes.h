/* SPDX-License-Identifier: Apache-2.0
 *
 * Many tensors at once, the largest first (longest processing time first, Graham 1969), never more in flight than
 * memory allows. The order decides only who waits, never what is written. */
#ifndef READING_LANES_H
#define READING_LANES_H

#include <base/env.h>

/* One tensor in flight holds a few tiles in source, float and stored form. */
#define LANE_BYTES (UINT64_C(48) << 20)

/* Runs task(ctx, i) for i in 0..count-1 in descending order of bytes[i]; equal ones by index. After a
 * failure nothing further starts. */
tsr_status lanes_run(const struct env *env, const uint64_t *bytes, uint64_t count, tsr_task task, void *ctx,
                     tsr_error *err);
/* The same where one tensor in flight takes `lane_bytes`. */
tsr_status lanes_run_wide(const struct env *env, const uint64_t *bytes, uint64_t count, uint64_t lane_bytes,
                          tsr_task task, void *ctx, tsr_error *err);

#endif
