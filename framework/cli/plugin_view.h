/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors of plugins as JSON (docs/cli.md), and the run of the conformance suite. */
#ifndef CLI_PLUGIN_VIEW_H
#define CLI_PLUGIN_VIEW_H

#include "session.h"

/* New references, NULL when memory is short. */
json_t *plugin_list_json(const struct registry *registry);
json_t *plugin_codec_json(const tsr_codec *codec, const struct registry_plugin *owner);

/* One line a property; TSR_E_GATE when one does not hold. */
tsr_status plugin_check(struct session *session, const char *file, tsr_error *err);
/* A child of the suite: operands are FILE CODEC PROPERTY SEED. Sets the session's exit code. */
tsr_status plugin_check_one(struct session *session, const char *const *operands, tsr_error *err);

#endif
