/* SPDX-License-Identifier: Apache-2.0
 *
 * Standard error: error and warning lines, and progress. On a terminal progress is one line that is redrawn at most ten
 * times a second; elsewhere a plain line after some
 * seconds, and further ones at most a minute apart. */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <tessera/host.h>
#include <tessera/tessera.h>

struct console {
    pthread_mutex_t lock;
    bool terminal;
    bool colour;
    int32_t level; /* TSR_LOG_*: what is said */
    bool show_progress;
    bool line_open;     /* a progress line stands on the terminal */
    char stage[32];     /* the one being timed */
    double stage_start; /* seconds */
    double last_shown;
    double pause; /* until the next showing */
    uint64_t first_bytes; /* done when the stage was first heard of: resumed work is not counted as speed */
};

void console_init(struct console *console);
void console_destroy(struct console *console);
/* Takes a progress line off the terminal: results follow. */
void console_settle(struct console *console);
/* Text as it stands, such as a prompt. */
void console_text(struct console *console, const char *text);
/* The one line of a failure, and a line of advice or NULL. */
void console_error(struct console *console, const char *message, const char *hint);
/* Callbacks of a library; ctx is the console. */
void console_log(void *ctx, int32_t level, const char *text);
int32_t console_progress(void *ctx, const tsr_progress *progress); /* 0: nobody stops here */

#endif
