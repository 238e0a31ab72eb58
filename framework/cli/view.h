/* SPDX-License-Identifier: Apache-2.0
 *
 * How results look on a terminal: pieces that several commands share. */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include "session.h"

/* Prints the result: the JSON itself with --json, else what `show` makes of it. view_summary is for results that merely
 * say that all went well: nothing with -q. */
tsr_status view_result(struct session *session, const json_t *result,
                       void (*show)(struct output *out, const json_t *result), tsr_error *err);
tsr_status view_summary(struct session *session, const json_t *result,
                        void (*show)(struct output *out, const json_t *result), tsr_error *err);

/* A line "name   value"; nothing for an empty value. */
void view_pair(struct output *out, const char *name, const char *value);
void view_pair_count(struct output *out, const char *name, uint64_t value);
void view_pair_bytes(struct output *out, const char *name, uint64_t bytes); /* "2.10 MB (2101944)" */
void view_pair_ratio(struct output *out, const char *name, double ratio);   /* "1.512:1"; nothing for 0 */

/* Cell "[128, 384]" of the member "shape". */
void view_shape(struct table *table, const json_t *tensor);
/* Cell of the tensor's codecs, "scalar+remainder", or `instead` where it is not NULL. */
void view_codecs(struct table *table, const json_t *tensor, const char *instead);
/* Cell of a relative squared error: "exact", "1.2e-03". */
void view_error(struct table *table, double error);

/* One line a gate: name, verdict, finding. Nothing for an empty list. */
void view_gates(struct output *out, const json_t *gates);

/* Totals of a receipt. */
void view_totals(struct output *out, const json_t *receipt);

#endif
