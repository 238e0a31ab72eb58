/* SPDX-License-Identifier: Apache-2.0
 *
 * What came of a command, kept in a file of the caller's choice (--record) outside the output: the same command later sees
 * that it is done, and a scheduler reads how it ended without keeping its output. Sealed JSON; docs/cli.md has the members. */
#ifndef PIPELINE_RECORD_H
#define PIPELINE_RECORD_H

#include <reading/members.h>

#define RECORD_PUBLISHING "publishing" /* all is done but the rename */
#define RECORD_DONE "done"
#define RECORD_FAILED "failed"

/* Replaces the record durably; its folder is made. `facts` (an object, may be NULL) is merged into it. */
tsr_status record_write(const char *path, const char *state, const char *mark, const json_t *facts, tsr_error *err);
/* A record of a failure: status name and message. It keeps the mark of the output that the record knew before. What cannot
 * be written is lost. */
void record_failure(const char *path, tsr_status status, const char *message, const json_t *facts);
/* *record is NULL when there is none that can be believed. */
void record_read(const char *path, json_t **record);
/* The mark of the newest output that was published or about to be, or "". `record` may be NULL. */
const char *record_mark(const json_t *record);

#endif
