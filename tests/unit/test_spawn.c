/* SPDX-License-Identifier: Apache-2.0
 *
 * A started program says that it could not be started, and does not outlive who started it. */
#define _DEFAULT_SOURCE /* prctl's constants, usleep */
#include "unit.h"

#include <plugin/child.h>
#include <plugin/spawn.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const SLEEP[] = {"sleep", "60", NULL};

static void an_absent_program_is_named(void) {
    const struct spawn spawn = {.program = "/nowhere/at-all", .arguments = SLEEP, .output = -1, .errors = -1};
    pid_t pid = 0;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(spawn_start(&spawn, &pid, &err), TSR_E_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/nowhere/at-all: No such file"));
    CU_ASSERT_EQUAL(pid, 0);
}

static void stdin_is_empty_and_outputs_stay_apart(void) {
    static const char *const script[] = {"sh", "-c", "cat; echo out; echo bad >&2; exit 7", NULL};
    struct str output = {0}, errors = {0};
    struct child_end end;
    CU_ASSERT_EQUAL_FATAL(child_capture("/bin/sh", script, &(struct env){0}, &output, &errors, &end, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(output.text, "out\n");
    CU_ASSERT_STRING_EQUAL(errors.text, "bad\n");
    CU_ASSERT_EQUAL(end.code, 7);
    str_clear(&output);
    str_clear(&errors);
}

/* In a process of its own: starts a sleeper, tells its id, and waits to be killed. */
static void parent(int tell) {
    const struct spawn spawn = {.program = "/bin/sleep", .arguments = SLEEP, .output = -1, .errors = -1};
    pid_t pid = 0;
    if (spawn_start(&spawn, &pid, NULL) == TSR_OK && write(tell, &pid, sizeof pid) == (ssize_t)sizeof pid) pause();
    raise(SIGKILL);
}

static void a_program_dies_with_a_killed_parent(void) {
    int ends[2], status = 0;
    pid_t sleeper = 0, ended = 0;
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    CU_ASSERT_EQUAL_FATAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* the orphan becomes ours to wait for */
    pid_t middle = fork();
    if (middle == 0) parent(ends[1]);
    close(ends[1]);
    CU_ASSERT_EQUAL_FATAL(read(ends[0], &sleeper, sizeof sleeper), (ssize_t)sizeof sleeper);
    close(ends[0]);
    CU_ASSERT_EQUAL(kill(sleeper, 0), 0);
    kill(middle, SIGKILL);
    CU_ASSERT_EQUAL(waitpid(middle, NULL, 0), middle);
    for (int i = 0; i < 1000 && ended == 0; i++) {
        ended = waitpid(sleeper, &status, WNOHANG);
        if (ended == 0) usleep(10000);
    }
    CU_ASSERT_EQUAL(ended, sleeper);
    CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    if (ended != sleeper) kill(sleeper, SIGKILL);
}

static const struct unit_test TESTS[] = {
    {"an_absent_program_is_named", an_absent_program_is_named},
    {"stdin_is_empty_and_outputs_stay_apart", stdin_is_empty_and_outputs_stay_apart},
    {"a_program_dies_with_a_killed_parent", a_program_dies_with_a_killed_parent},
};

UNIT_MAIN(TESTS)
