/* SPDX-License-Identifier: Apache-2.0
 *
 * fork, then exec, with nothing between them but calls that are safe after a fork of a program with threads. Not
 * posix_spawn: it cannot ask for the signal at the parent's death. */
#define _GNU_SOURCE /* pipe2 */
#include "spawn.h"

#include <base/error.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static bool enter_group(void) {
    signal(SIGINT, SIG_DFL);
    return !setpgid(0, 0);
}

/* In the child. A failure is told through the pipe, which a successful exec closes. */
static void become(const struct spawn *spawn, int failures, pid_t parent) {
    sigset_t none;
    struct rlimit data = {spawn->data_bytes, spawn->data_bytes};
    int empty = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigemptyset(&none);
    /* A parent that died before prctl sends no signal: that is seen by who the parent is. */
    bool ready = empty >= 0 && (!spawn->own_group || enter_group()) && !prctl(PR_SET_PDEATHSIG, SIGKILL) &&
                 getppid() == parent && dup2(empty, STDIN_FILENO) >= 0 &&
                 dup2(spawn->output < 0 ? empty : spawn->output, STDOUT_FILENO) >= 0 &&
                 dup2(spawn->errors < 0 ? empty : spawn->errors, STDERR_FILENO) >= 0 &&
                 !sigprocmask(SIG_SETMASK, &none, NULL);
    if (ready && spawn->data_bytes) ready = !setrlimit(RLIMIT_DATA, &data);
    if (ready) execv(spawn->program, (char *const *)(uintptr_t)spawn->arguments); /* older than const */
    int failure = errno;
    while (write(failures, &failure, sizeof failure) < 0 && errno == EINTR) continue;
    raise(SIGKILL);
}

tsr_status spawn_start(const struct spawn *spawn, pid_t *pid, tsr_error *err) {
    int ends[2], failure = 0;
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC)) return tsr_fail(err, TSR_E_IO, "cannot make a pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) become(spawn, ends[1], parent);
    tsr_status st = child < 0 ? tsr_fail(err, TSR_E_IO, "cannot start a process: %s", strerror(errno)) : TSR_OK;
    close(ends[1]);
    if (child > 0 && spawn->own_group) (void)setpgid(child, child); /* whoever of the two is first */
    ssize_t got = 0;
    while (child > 0 && (got = read(ends[0], &failure, sizeof failure)) < 0 && errno == EINTR) continue;
    close(ends[0]);
    if (st == TSR_OK && got > 0) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
        st = tsr_fail(err, TSR_E_IO, "cannot start %s: %s", spawn->program, strerror(failure));
    }
    if (st == TSR_OK) *pid = child;
    return st;
}
