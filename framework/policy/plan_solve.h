/* SPDX-License-Identifier: Apache-2.0
 *
 * The budget solver's part in planning: bits of the tensors whose rule says `bits: auto`. Private to plan*.c. */
#ifndef POLICY_PLAN_SOLVE_H
#define POLICY_PLAN_SOLVE_H

#include "plan_parts.h"

/* Looks at the tensors, encodes samples of all others to know what they take, and binds the first solution. Nothing to do
 * without free tensors; TSR_E_CONFIG where rules and budget do not go together. plan_solve_end in any case. */
tsr_status plan_solve_begin(struct planner *planner, tsr_error *err);
/* After trials: whether what they say of the total calls for another round; a new solution is bound then. */
tsr_status plan_solve_again(struct planner *planner, bool *again, tsr_error *err);
/* Puts what was decided into the plan. */
void plan_solve_tell(const struct planner *planner);
void plan_solve_end(struct planner *planner);

bool plan_is_free(const struct plan_entry *entry);

#endif
