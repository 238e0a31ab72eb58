/* SPDX-License-Identifier: Apache-2.0
 *
 * Progress is what the process group has read and written (/proc/PID/io): a codec that spins does neither, whatever stage
 * it hangs in. All times are those of the monotonic clock. */
#define _GNU_SOURCE /* syscall */
#include "batch_process.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <plugin/spawn.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_SECONDS 0.5 /* how often progress is looked for */

double process_clock(void) {
    struct timespec time;
    return clock_gettime(CLOCK_MONOTONIC, &time) ? 0 : (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- start ---- */

tsr_status process_start(const char *program, const char *const *arguments, const char *log,
                         const struct process_limits *limits, struct process *process, tsr_error *err) {
    struct fs_output output = {0};
    pid_t pid = 0;
    /* Not /proc/self/exe itself: the name of the program is seen in lists of processes. */
    char *self = program ? NULL : fs_real_path("/proc/self/exe");
    tsr_status st = fs_open_log(log, &output, err);
    if (st == TSR_OK) {
        const struct spawn spawn = {.program = program ? program : self ? self : "/proc/self/exe",
                                    .arguments = arguments,
                                    .output = output.fd,
                                    .errors = output.fd,
                                    .own_group = true,
                                    .data_bytes = limits->data_bytes};
        st = spawn_start(&spawn, &pid, err);
    }
    if (st == TSR_OK) {
        double time = process_clock();
        *process = (struct process){.pid = pid, .limits = *limits, .started = time, .moved = time};
        process->watch = (int)syscall(SYS_pidfd_open, pid, 0);
    }
    fs_abandon(&output);
    mem_free(self);
    return st;
}

/* ---- watch ---- */

/* Bytes that one process has read and written; 0 when it cannot be seen. */
static uint64_t transferred_by(pid_t pid) {
    char path[48], text[512];
    uint64_t read_bytes = 0, written_bytes = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/io", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (got <= 0) return 0;
    text[got] = '\0';
    (void)sscanf(text, "rchar: %" SCNu64 " wchar: %" SCNu64, &read_bytes, &written_bytes);
    return read_bytes + written_bytes;
}

/* The worker and what it has started, such as the process of the gates. */
static uint64_t transferred_by_group(pid_t pid) {
    char path[64], text[512];
    uint64_t sum = transferred_by(pid);
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = '\0';
    long child = 0;
    int used = 0;
    for (const char *at = text; sscanf(at, "%ld%n", &child, &used) == 1; at += used) sum += transferred_by((pid_t)child);
    return sum;
}

static void watch(struct process *process) {
    double time = process_clock();
    if (process->verdict != PROCESS_RUNS) return;
    if (process->limits.wall_seconds && time - process->started > (double)process->limits.wall_seconds) {
        process->verdict = PROCESS_TOO_LONG;
    } else if (process->limits.idle_seconds && time - process->moved > LOOK_SECONDS) {
        uint64_t transferred = transferred_by_group(process->pid);
        if (transferred != process->transferred) {
            process->transferred = transferred;
            process->moved = time;
        } else if (time - process->moved > (double)process->limits.idle_seconds) {
            process->verdict = PROCESS_IDLE;
        }
    }
    if (process->verdict != PROCESS_RUNS) process_stop(process, true);
}

bool process_runs(struct process *process) {
    int status = 0;
    pid_t ended = waitpid(process->pid, &status, WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR)) {
        watch(process);
        return true;
    }
    /* What it started and left behind goes too. */
    kill(-process->pid, SIGKILL);
    if (process->verdict == PROCESS_RUNS) process->verdict = PROCESS_ENDED;
    if (ended > 0 && WIFSIGNALED(status)) process->signal = WTERMSIG(status);
    if (ended > 0 && WIFEXITED(status)) process->code = WEXITSTATUS(status);
    process->seconds = process_clock() - process->started;
    if (process->watch >= 0) close(process->watch);
    process->pid = 0;
    return false;
}

void process_stop(const struct process *process, bool hard) {
    if (hard) {
        kill(-process->pid, SIGKILL);
    } else {
        kill(process->pid, SIGTERM);
    }
}

void process_wait_any(const struct process *processes, uint64_t count, int milliseconds) {
    struct pollfd polled[64];
    nfds_t used = 0;
    for (uint64_t i = 0; i < count && used < 64; i++) {
        if (processes[i].pid && processes[i].watch >= 0) polled[used++] = (struct pollfd){processes[i].watch, POLLIN, 0};
    }
    /* Without pidfd_open (before Linux 5.3) short naps do. */
    (void)poll(polled, used, used ? milliseconds : milliseconds < 10 ? milliseconds : 10);
}
