/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipe on stdout is read until the child closes it or the time is up; only then is the child waited for, so that one
 * that fills the pipe does not hang. */
#define _GNU_SOURCE /* pipe2 */
#include "child.h"

#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* `errors` below 0: dropped. */
static tsr_status start(const char *program, const char *const *arguments, int output, int errors, pid_t *pid,
                        tsr_error *err) {
    const struct spawn spawn = {.program = program ? program : "/proc/self/exe",
                                .arguments = arguments,
                                .output = output,
                                .errors = errors};
    return spawn_start(&spawn, pid, err);
}

/* Keeps the beginning, drops the rest. True until the pipe ends or the time is up. */
static bool read_some(int input, double deadline, struct child_end *end, size_t *length) {
    char rest[1024];
    struct pollfd poll_input = {.fd = input, .events = POLLIN};
    double left = deadline - now();
    if (left <= 0) return false;
    int ready = poll(&poll_input, 1, (int)(left * 1000) + 1);
    if (ready < 0) return errno == EINTR;
    if (ready == 0) return true;
    bool keeps = *length < sizeof end->text - 1;
    ssize_t count =
        read(input, keeps ? end->text + *length : rest, keeps ? sizeof end->text - 1 - *length : sizeof rest);
    if (count < 0) return errno == EINTR;
    if (keeps) *length += (size_t)count;
    return count > 0;
}

static void wait_for(pid_t pid, double deadline, struct child_end *end) {
    int status = 0;
    const struct timespec pause = {0, 5000000};
    pid_t ended = 0;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && now() < deadline) nanosleep(&pause, NULL);
    if (ended == 0) {
        end->timed_out = true;
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    }
    if (WIFSIGNALED(status)) end->signal = WTERMSIG(status);
    if (WIFEXITED(status)) end->code = WEXITSTATUS(status);
}

tsr_status child_run(const char *const *arguments, double seconds, struct child_end *end, tsr_error *err) {
    int ends[2];
    pid_t pid = 0;
    size_t length = 0;
    double deadline = now() + seconds;
    *end = (struct child_end){0};
    if (pipe2(ends, O_CLOEXEC)) return tsr_fail(err, TSR_E_IO, "cannot make a pipe: %s", strerror(errno));
    tsr_status st = start(NULL, arguments, ends[1], -1, &pid, err);
    close(ends[1]);
    if (st == TSR_OK) {
        while (read_some(ends[0], deadline, end, &length)) continue;
        wait_for(pid, deadline, end);
        end->text[strcspn(end->text, "\n")] = '\0';
    }
    close(ends[0]);
    return st;
}

/* ---- all of the output ---- */

#define LOOK_MILLISECONDS 100 /* how often a wish to stop is looked for */

/* Reads what is there. False when the pipe has ended. */
static bool drain(int input, struct str *into, bool *too_much) {
    char piece[65536];
    ssize_t count = read(input, piece, sizeof piece);
    if (count < 0) return errno == EINTR;
    if (into->length + (size_t)count > CHILD_OUTPUT_MAX) {
        *too_much = true;
    } else {
        str_add(into, piece, (size_t)count);
    }
    return count > 0;
}

static tsr_status collect(int inputs[2], pid_t pid, const struct env *env, struct str *const into[2], tsr_error *err) {
    struct pollfd polled[2] = {{.fd = inputs[0], .events = POLLIN}, {.fd = inputs[1], .events = POLLIN}};
    bool too_much = false;
    while ((polled[0].fd >= 0 || polled[1].fd >= 0) && !too_much) {
        if (env_cancelled(env)) {
            kill(pid, SIGTERM);
            return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        }
        if (poll(polled, 2, LOOK_MILLISECONDS) <= 0) continue;
        for (int i = 0; i < 2; i++) {
            if (polled[i].fd >= 0 && polled[i].revents && !drain(inputs[i], into[i], &too_much)) polled[i].fd = -1;
        }
    }
    if (too_much) {
        kill(pid, SIGKILL);
        return tsr_fail(err, TSR_E_LIMIT, "a process of ours wrote more than %zu bytes", CHILD_OUTPUT_MAX);
    }
    if (into[0]->failed || into[1]->failed) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a process's output");
    return TSR_OK;
}

tsr_status child_capture(const char *program, const char *const *arguments, const struct env *env, struct str *output,
                         struct str *errors, struct child_end *end, tsr_error *err) {
    int out[2], bad[2];
    pid_t pid = 0;
    *end = (struct child_end){0};
    if (pipe2(out, O_CLOEXEC)) return tsr_fail(err, TSR_E_IO, "cannot make a pipe: %s", strerror(errno));
    if (pipe2(bad, O_CLOEXEC)) {
        close(out[0]);
        close(out[1]);
        return tsr_fail(err, TSR_E_IO, "cannot make a pipe: %s", strerror(errno));
    }
    tsr_status st = start(program, arguments, out[1], bad[1], &pid, err);
    close(out[1]);
    close(bad[1]);
    if (st == TSR_OK) {
        struct str *const into[2] = {output, errors};
        st = collect((int[2]){out[0], bad[0]}, pid, env, into, err);
        wait_for(pid, now() + 1e9, end);
    }
    close(out[0]);
    close(bad[0]);
    return st;
}
