/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan as the JSON that `plan --json` prints (docs/cli.md); also kept in the work folder, with the keys of the parts.
 */
#ifndef PIPELINE_PLAN_JSON_H
#define PIPELINE_PLAN_JSON_H

#include "encode.h"

#include <jansson.h>

/* `parts` may be NULL. */
tsr_status plan_json_make(const char *model, const struct config *config, const struct plan *plan,
                          const struct parts *parts, json_t **result, tsr_error *err);

/* Finds and parses the config a user named, or the built-in one for NULL. Arena memory. */
struct job_paths;
tsr_status plan_config(const char *name, const struct registry *registry, const struct job_paths *paths,
                       struct arena *arena, struct config *config, tsr_error *err);
/* Above 0 a divergence is the budget, whatever the config says. */
void plan_override_budget(struct config *config, double target_kld);

#endif
