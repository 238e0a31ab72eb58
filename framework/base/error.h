/* SPDX-License-Identifier: Apache-2.0
 *
 * Statuses on their way up: added context, and the exit code each ends in. Knows only status.h. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <tessera/status.h>

/* Puts "context: " in front of err's message (cut at its end if too long) and returns err's code, or `status`
 * unchanged when err is NULL. The floor that knows the file or tensor name calls it once. [any] */
tsr_status error_context(tsr_error *err, tsr_status status, const char *format, ...) TSR_PRINTF(3, 4);

/* 0 done, 1 wrong usage or config, 2 bad input, 3 a gate failed, 4 the system failed, 130 interrupted. [any] */
int error_exit_code(tsr_status status);

/* Stable lower-case name of a status for --json: "corrupt". Never NULL. [any] */
const char *error_name(tsr_status status);

#endif
