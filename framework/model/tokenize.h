/* SPDX-License-Identifier: Apache-2.0
 *
 * What `tessera tokenize` does: ids of a text, text of ids, and the comparison with another implementation's encodings.
 * Results are JSON values (docs/cli.md), released with json_decref. */
#ifndef MODEL_TOKENIZE_H
#define MODEL_TOKENIZE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <tessera/status.h>

/* `model` is a folder or a tokenizer.json. */
tsr_status job_tokenize(const char *model, const char *text, size_t length, bool add_special, json_t **result,
                        tsr_error *err);
/* `ids` are decimal numbers between spaces, commas or brackets. */
tsr_status job_detokenize(const char *model, const char *ids, size_t length, bool skip_special, json_t **result,
                          tsr_error *err);
/* Lines {"text", "ids", "ids_template" (only if different), "decoded"}. Every line is encoded without and with the
 * template, decoded at once and in a stream. TSR_E_GATE when one differs; *result then lists the first. */
tsr_status job_tokenize_golden(const char *model, const char *golden, json_t **result, tsr_error *err);

#endif
