/* SPDX-License-Identifier: Apache-2.0
 *
 * Formats a log line and hands it to whoever runs us. */
#include "env.h"

#include <stdio.h>

void env_log(const struct env *env, int32_t level, const char *format, ...) {
    if (!env->log) return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    env->log(env->ctx, level, line);
}
