/* SPDX-License-Identifier: Apache-2.0
 *
 * One digest for the tensor files of an output. What was measured on an output carries it, so that a report does not show
 * figures of another one. XXH3-128 of the lines "DIGEST NAME" of all .safetensors files, sorted by name. */
#ifndef READING_OUTPUT_DIGEST_H
#define READING_OUTPUT_DIGEST_H

#include <base/digest.h>
#include <jansson.h>
#include <tessera/status.h>

/* Of what is on disk below the folder `path` now: reads every file. [any] */
tsr_status output_digest(const char *path, struct digest *digest, tsr_error *err);
/* Of what a receipt lists: the array "files". TSR_E_INPUT when that is no such list. [any] */
tsr_status output_digest_listed(const json_t *files, struct digest *digest, tsr_error *err);

#endif
