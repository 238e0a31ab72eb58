/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine slurm is refused in this version. */
#include "batch_run.h"

void batch_follow_slurm(struct batch_state *state) {
    (void)state;
}

void batch_forget_slurm(struct batch_state *state) {
    (void)state;
}

tsr_status batch_run_slurm(const struct batch_run *run, tsr_error *err) {
    return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: the engine slurm is not in this version", run->batch->path);
}

tsr_status batch_cancel_slurm(const struct batch_run *run, tsr_error *err) {
    (void)run;
    (void)err;
    return TSR_OK;
}
