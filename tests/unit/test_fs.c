/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in a folder under a name may be anything: a file that is none ends in a message, not in waiting. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "unit.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/tessera-test-fs-XXXXXX";

static char *path_of(const char *name) {
    return fs_join(folder, name);
}

static void a_pipe_without_a_writer_is_refused_at_once(void) {
    char *path = path_of("model.safetensors");
    struct fs_file file = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
    alarm(5); /* an open that waits ends the test */
    CU_ASSERT_EQUAL(fs_open(path, &file, &err), TSR_E_INPUT);
    alarm(0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "expected a regular file"));
    CU_ASSERT_EQUAL(fs_remove(path, NULL), TSR_OK);
    mem_free(path);
}

static void a_folder_is_not_a_file(void) {
    struct fs_file file = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL(fs_open(folder, &file, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "is a folder"));
}

static void an_absent_file_is_an_input_error_with_its_path(void) {
    char *path = path_of("absent");
    struct fs_file file = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL(fs_open(path, &file, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, path));
    mem_free(path);
}

static void a_file_that_grew_is_noticed(void) {
    char *path = path_of("grows");
    struct fs_file file = {0};
    struct fs_output output = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL(fs_replace(path, "abc", 3, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_open(path, &file, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_unchanged(&file, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_reopen(path, 3, &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_write(&output, "d", 1, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_unchanged(&file, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "changed while it was read"));
    fs_close(&file);
    mem_free(path);
}

static void reading_behind_the_end_names_the_byte(void) {
    char *path = path_of("short");
    struct fs_file file = {0};
    tsr_error err = {0};
    char bytes[8];
    CU_ASSERT_EQUAL(fs_replace(path, "abc", 3, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(fs_open(path, &file, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_read_at(&file, 1, bytes, 4, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "ends at byte 3, 2 more were expected"));
    fs_close(&file);
    mem_free(path);
}

static void names_that_leave_the_folder_are_known(void) {
    static const char *const inside[] = {"a", "a/b", "..a", "a..", ".hidden/x"};
    static const char *const outside[] = {"", "/a", "..", "../a", "a/../b", "a//b", "a/", "./a", "a/.", "a/.."};
    for (unsigned i = 0; i < sizeof inside / sizeof *inside; i++) CU_ASSERT_TRUE(fs_is_inside(inside[i]));
    for (unsigned i = 0; i < sizeof outside / sizeof *outside; i++) CU_ASSERT_FALSE(fs_is_inside(outside[i]));
}

static void links_are_removed_not_followed(void) {
    char *kept = path_of("kept"), *tree = path_of("tree"), *link = path_of("tree/link");
    CU_ASSERT_EQUAL(fs_make_folder(kept, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_make_folder(tree, NULL), TSR_OK);
    CU_ASSERT_EQUAL(symlink(kept, link), 0);
    CU_ASSERT_EQUAL(fs_remove_tree(tree, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_kind_of(kept), FS_FOLDER);
    CU_ASSERT_EQUAL(fs_kind_of(tree), FS_ABSENT);
    mem_free(kept);
    mem_free(tree);
    mem_free(link);
}

static const struct unit_test TESTS[] = {
    {"a_pipe_without_a_writer_is_refused_at_once", a_pipe_without_a_writer_is_refused_at_once},
    {"a_folder_is_not_a_file", a_folder_is_not_a_file},
    {"an_absent_file_is_an_input_error_with_its_path", an_absent_file_is_an_input_error_with_its_path},
    {"a_file_that_grew_is_noticed", a_file_that_grew_is_noticed},
    {"reading_behind_the_end_names_the_byte", reading_behind_the_end_names_the_byte},
    {"names_that_leave_the_folder_are_known", names_that_leave_the_folder_are_known},
    {"links_are_removed_not_followed", links_are_removed_not_followed},
};

int main(void) {
    if (!mkdtemp(folder)) return 1;
    int code = unit_run(__FILE__, TESTS, sizeof TESTS / sizeof *TESTS);
    (void)fs_remove_tree(folder, NULL);
    return code;
}
