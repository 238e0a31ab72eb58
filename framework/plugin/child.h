/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs this program again in a process of its own (never a bare fork: other threads exist) and says how it ended. The
 * process dies with us (spawn.h). */
#ifndef PLUGIN_CHILD_H
#define PLUGIN_CHILD_H

#include <base/env.h>
#include <base/str.h>
#include <stdbool.h>

#define CHILD_TEXT 240

struct child_end {
    bool timed_out;
    int signal;            /* that ended it, or 0 */
    int code;              /* its exit code, when it ended by itself */
    char text[CHILD_TEXT]; /* the beginning of what it wrote to stdout, up to a newline */
};

/* Starts /proc/self/exe with arguments (NULL-terminated, the program's name first), stdin empty, stderr dropped, and
 * waits at most `seconds`, then kills it. TSR_E_IO when it cannot be started. */
tsr_status child_run(const char *const *arguments, double seconds, struct child_end *end, tsr_error *err);

/* Starts `program` (NULL: this one) and keeps all it writes, stdout and stderr apart, at most CHILD_OUTPUT_MAX bytes each
 * (TSR_E_LIMIT). No time limit; when the user asks to stop, the child is ended: TSR_E_CANCELLED. */
#define CHILD_OUTPUT_MAX ((size_t)256 << 20)
tsr_status child_capture(const char *program, const char *const *arguments, const struct env *env, struct str *output,
                         struct str *errors, struct child_end *end, tsr_error *err);

#endif
