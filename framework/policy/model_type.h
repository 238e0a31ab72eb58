/* SPDX-License-Identifier: Apache-2.0
 *
 * What family a checkpoint says it is of. */
#ifndef POLICY_MODEL_TYPE_H
#define POLICY_MODEL_TYPE_H

#include <base/arena.h>
#include <format/checkpoint.h>

/* config.json's model_type in arena memory; NULL when there is no such file or member. TSR_E_INPUT when the file is
 * malformed. */
tsr_status model_type_read(const struct checkpoint *checkpoint, struct arena *arena, const char **type, tsr_error *err);

#endif
