/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON and YAML documents as the immutable trees that plugins get (tessera/node.h). Knows nothing of what they mean. */
#ifndef FORMAT_DOCUMENT_H
#define FORMAT_DOCUMENT_H

#include <base/arena.h>
#include <tessera/node.h>
#include <tessera/status.h>

/* Trees live in the arena. `subject` names the document in messages. TSR_E_INPUT (JSON), TSR_E_CONFIG (YAML). */
tsr_status document_from_json(const char *text, size_t size, const char *subject, struct arena *arena, tsr_node *root,
                              tsr_error *err);
tsr_status document_from_yaml(const char *text, size_t size, const char *subject, struct arena *arena, tsr_node *root,
                              tsr_error *err);

#endif
