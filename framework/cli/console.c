/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines on standard error, one write each, so that lines of several processes do not tear. What cannot be written to
 * standard error is lost: there is nobody left to tell. */
#include "console.h"

#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define LINE_SECONDS 3.0      /* the first line of a stage in a log; each further one comes after twice the time */
#define LINE_SECONDS_MAX 60.0
#define RATE_AFTER_SECONDS 0.5 /* before that an ETA is a guess */

static double now_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void console_init(struct console *console) {
    const char *term = getenv("TERM");
    bool dumb = !term || !strcmp(term, "dumb");
    *console = (struct console){.terminal = isatty(STDERR_FILENO) == 1 && !dumb, .level = TSR_LOG_WARNING};
    console->colour = console->terminal && !getenv("NO_COLOR");
    pthread_mutex_init(&console->lock, NULL);
}

/* Takes a progress line off the terminal. */
static void close_line(struct console *console, struct str *out) {
    if (console->line_open) str_add_text(out, "\r\033[K");
    console->line_open = false;
}

static void write_out(struct str *out) {
    for (size_t at = 0; at < out->length;) {
        ssize_t wrote = write(STDERR_FILENO, out->text + at, out->length - at);
        if (wrote > 0) {
            at += (size_t)wrote;
        } else if (errno != EINTR) {
            break;
        }
    }
    str_clear(out);
}

void console_settle(struct console *console) {
    struct str out = {0};
    pthread_mutex_lock(&console->lock);
    close_line(console, &out);
    write_out(&out);
    pthread_mutex_unlock(&console->lock);
}

void console_text(struct console *console, const char *text) {
    struct str out = {0};
    pthread_mutex_lock(&console->lock);
    close_line(console, &out);
    str_add_text(&out, text);
    write_out(&out);
    pthread_mutex_unlock(&console->lock);
}

void console_destroy(struct console *console) {
    pthread_mutex_destroy(&console->lock);
}

static void add_line(struct console *console, struct str *out, const char *kind, const char *colour, const char *text) {
    str_add_format(out, console->colour && *colour ? "tessera: \033[%sm%s\033[0m: " : "tessera: %.0s%s: ", colour,
                   kind);
    str_add_safe(out, text);
    str_add_text(out, "\n");
}

void console_error(struct console *console, const char *message, const char *hint) {
    struct str out = {0};
    pthread_mutex_lock(&console->lock);
    close_line(console, &out);
    add_line(console, &out, "error", "1;31", message);
    if (hint) add_line(console, &out, "hint", "", hint);
    write_out(&out);
    pthread_mutex_unlock(&console->lock);
}

void console_log(void *ctx, int32_t level, const char *text) {
    static const char *const kinds[] = {"error", "warning", "info", "debug"};
    static const char *const colours[] = {"1;31", "33", "", ""};
    struct console *console = ctx;
    if (level < TSR_LOG_ERROR || level > TSR_LOG_DEBUG || level > console->level) return;
    /* An error is told once, by whoever reports the failed status; a log line at that level is at most a warning. */
    if (level == TSR_LOG_ERROR) level = TSR_LOG_WARNING;
    struct str out = {0};
    pthread_mutex_lock(&console->lock);
    close_line(console, &out);
    add_line(console, &out, kinds[level], colours[level], text);
    write_out(&out);
    pthread_mutex_unlock(&console->lock);
}

/* "1:02:03" or "2:03". */
static void add_duration(struct str *out, double seconds) {
    unsigned long total = seconds < 359999 ? (unsigned long)(seconds + 0.5) : 359999;
    if (total >= 3600) {
        str_add_format(out, "%lu:%02lu:%02lu", total / 3600, total / 60 % 60, total % 60);
    } else {
        str_add_format(out, "%lu:%02lu", total / 60, total % 60);
    }
}

/* A stage that counts items, not bytes. */
static void add_items(struct str *out, const tsr_progress *progress) {
    double share = progress->total_items ? (double)progress->done_items / (double)progress->total_items : 1;
    str_add_format(out, "%-10s %3.0f%%  %llu of %llu", progress->stage, 100 * share,
                   (unsigned long long)progress->done_items, (unsigned long long)progress->total_items);
}

static void add_progress(const struct console *console, const tsr_progress *progress, double now, struct str *out) {
    char done[32], total[32], rate[32];
    if (!progress->total_bytes) {
        add_items(out, progress);
        return;
    }
    double share = (double)progress->done_bytes / (double)progress->total_bytes;
    str_add_format(out, "%-10s %3.0f%%  %s of %s", progress->stage, 100 * share,
                   text_bytes(progress->done_bytes, done, sizeof done),
                   text_bytes(progress->total_bytes, total, sizeof total));
    if (progress->total_items) {
        str_add_format(out, "  %llu/%llu", (unsigned long long)progress->done_items,
                       (unsigned long long)progress->total_items);
    }
    double elapsed = now - console->stage_start;
    if (elapsed < RATE_AFTER_SECONDS || progress->done_bytes <= console->first_bytes) return;
    double speed = (double)(progress->done_bytes - console->first_bytes) / elapsed;
    str_add_format(out, "  %s/s", text_bytes((uint64_t)speed, rate, sizeof rate));
    if (progress->done_bytes >= progress->total_bytes) return;
    str_add_text(out, "  ETA ");
    add_duration(out, (double)(progress->total_bytes - progress->done_bytes) / speed);
}

/* Appends as much of the subject as the terminal has room for; a line that wraps could not be redrawn. */
static void fit_terminal(const tsr_progress *progress, struct str *out) {
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col) size.ws_col = 80;
    size_t room = size.ws_col - 1U;
    if (progress->subject && out->length + 2 < room) {
        str_add_text(out, "  ");
        str_add_safe(out, progress->subject);
    }
    size_t length = out->length < room ? out->length : room;
    while (length && length < out->length && ((unsigned char)out->text[length] & 0xC0) == 0x80) length--;
    str_truncate(out, length);
}

static void time_stage(struct console *console, const tsr_progress *progress, double now) {
    if (!strcmp(console->stage, progress->stage)) return;
    (void)snprintf(console->stage, sizeof console->stage, "%s", progress->stage);
    console->stage_start = now;
    console->first_bytes = progress->done_bytes;
    console->last_shown = console->terminal ? 0 : now;
    console->pause = console->terminal ? REDRAW_SECONDS : LINE_SECONDS;
}

int32_t console_progress(void *ctx, const tsr_progress *progress) {
    struct console *console = ctx;
    if (!console->show_progress) return 0;
    struct str line = {0}, out = {0};
    pthread_mutex_lock(&console->lock);
    double now = now_seconds();
    time_stage(console, progress, now);
    if (now - console->last_shown >= console->pause) {
        console->last_shown = now;
        if (!console->terminal && console->pause < LINE_SECONDS_MAX) console->pause *= 2;
        add_progress(console, progress, now, &line);
        if (console->terminal) fit_terminal(progress, &line);
        close_line(console, &out);
        str_add(&out, line.text ? line.text : "", line.length);
        if (!console->terminal) str_add_text(&out, "\n");
        console->line_open = console->terminal;
        write_out(&out);
    }
    pthread_mutex_unlock(&console->lock);
    str_clear(&line);
    return 0;
}
