/* SPDX-License-Identifier: Apache-2.0
 *
 * A JSON file that can tell whether it was changed: its last member "digest" is the XXH3-128 of every byte in front of
 * the digits. Used by tessera.json and tessera.run.json. */
#ifndef PIPELINE_SEAL_H
#define PIPELINE_SEAL_H

#include <base/digest.h>
#include <jansson.h>
#include <tessera/status.h>

/* Indented text of the object with the digest as its last member (mem_free); `hex` gets the digits. */
tsr_status seal_make(const json_t *object, char **text, char hex[DIGEST_HEX], tsr_error *err);
/* Writes it durably. */
tsr_status seal_write(const char *path, const json_t *object, char hex[DIGEST_HEX], tsr_error *err);
/* Reads such a file; TSR_E_CORRUPT when the digest does not fit. `hex` may be NULL. */
tsr_status seal_read(const char *path, json_t **object, char hex[DIGEST_HEX], tsr_error *err);

#endif
