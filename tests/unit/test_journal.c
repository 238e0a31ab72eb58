/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal believes what was written and nothing else: torn, damaged, moved and foreign lines end the trust. */
#define _GNU_SOURCE
#include "unit.h"

#include <base/alloc.h>
#include <pipeline/journal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTS 5

static char folder[40];
static char path[64];

static struct journal_part part_of(int number) {
    struct journal_part part = {.bytes = 1000 + (uint64_t)number};
    struct digest digest = digest_of(&number, sizeof number);
    digest_to_hex(&digest, part.key);
    part.payload = digest;
    part.source = digest;
    return part;
}

/* A journal of one run with PARTS parts; its text in *text (mem_free). */
static void write_journal(char **text, uint64_t *size) {
    tsr_error err = {0};
    struct journal journal = {0};
    (void)snprintf(folder, sizeof folder, "%s/tessera-journal-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/journal", folder);
    CU_ASSERT_EQUAL_FATAL(journal_open(path, &journal, &err), TSR_OK);
    CU_ASSERT_EQUAL(journal_add_run(&journal, &err), TSR_OK);
    for (int i = 0; i < PARTS; i++) {
        struct journal_part part = part_of(i);
        CU_ASSERT_EQUAL(journal_add_part(&journal, &part, &err), TSR_OK);
    }
    journal_close(&journal);
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(path, 1 << 20, text, size, &err), TSR_OK);
}

static void end(char *text) {
    mem_free(text);
    (void)fs_remove_tree(folder, NULL);
}

/* Parts that a journal of these bytes gives, after which it must still take a line and give one more. */
static uint64_t parts_in(const char *text, uint64_t size) {
    tsr_error err = {0};
    struct journal journal = {0};
    struct journal_part extra = part_of(99);
    CU_ASSERT_EQUAL_FATAL(fs_replace(path, text, size, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(journal_open(path, &journal, &err), TSR_OK);
    uint64_t count = journal.count;
    for (uint64_t i = 0; i < count; i++) {
        struct journal_part part = part_of((int)i);
        CU_ASSERT(!memcmp(&journal.parts[i], &part, sizeof part));
    }
    CU_ASSERT_EQUAL(journal_add_part(&journal, &extra, &err), TSR_OK);
    journal_close(&journal);
    CU_ASSERT_EQUAL_FATAL(journal_open(path, &journal, &err), TSR_OK);
    CU_ASSERT_EQUAL(journal.count, count + 1);
    CU_ASSERT_PTR_NOT_NULL(journal_find(&journal, extra.key));
    journal_close(&journal);
    return count;
}

static void what_was_written_is_read(void) {
    char *text = NULL;
    uint64_t size = 0;
    write_journal(&text, &size);
    CU_ASSERT_EQUAL(parts_in(text, size), PARTS);
    end(text);
}

/* Cut at every byte: never more parts than whole lines, and exactly those. */
static void torn_lines_are_cut(void) {
    char *text = NULL;
    uint64_t size = 0;
    write_journal(&text, &size);
    for (uint64_t cut = 0; cut < size; cut++) {
        uint64_t lines = 0;
        for (uint64_t i = 0; i < cut; i++) lines += text[i] == '\n';
        CU_ASSERT_EQUAL(parts_in(text, cut), lines > 2 ? lines - 2 : 0);
    }
    end(text);
}

/* A flipped bit ends the trust at its line, wherever it is. */
static void a_flipped_bit_ends_the_trust(void) {
    char *text = NULL;
    uint64_t size = 0, lines = 0;
    write_journal(&text, &size);
    for (uint64_t i = 0; i < size; i++) {
        text[i] = (char)(text[i] ^ (1 << i % 7));
        CU_ASSERT_EQUAL(parts_in(text, size), lines > 2 ? lines - 2 : 0);
        text[i] = (char)(text[i] ^ (1 << i % 7));
        lines += text[i] == '\n';
    }
    end(text);
}

/* A line that was left out, or comes twice, does not fit the one before it. */
static void moved_lines_end_the_trust(void) {
    char *text = NULL;
    uint64_t size = 0;
    write_journal(&text, &size);
    char *third = text;
    for (int i = 0; i < 3; i++) third = strchr(third, '\n') + 1;
    char *fourth = strchr(third, '\n') + 1;
    char *changed = mem_alloc(2 * size);
    size_t front = (size_t)(third - text), line = (size_t)(fourth - third);
    memcpy(changed, text, front);
    memcpy(changed + front, fourth, size - front - line);
    CU_ASSERT_EQUAL(parts_in(changed, size - line), 1);
    memcpy(changed, text, front + line);
    memcpy(changed + front + line, third, size - front);
    CU_ASSERT_EQUAL(parts_in(changed, size + line), 2);
    mem_free(changed);
    end(text);
}

static void foreign_files_are_no_journals(void) {
    char *text = NULL;
    uint64_t size = 0;
    write_journal(&text, &size);
    CU_ASSERT_EQUAL(parts_in("", 0), 0);
    CU_ASSERT_EQUAL(parts_in("\n\n\n", 3), 0);
    CU_ASSERT_EQUAL(parts_in("00000000000000000000000000000000 run\n", 37), 0);
    CU_ASSERT_EQUAL(parts_in(strchr(text, '\n') + 1, size - (uint64_t)(strchr(text, '\n') + 1 - text)), 0);
    end(text);
}

static void the_newest_part_of_a_key_counts(void) {
    char *text = NULL;
    uint64_t size = 0;
    tsr_error err = {0};
    struct journal journal = {0};
    write_journal(&text, &size);
    CU_ASSERT_EQUAL_FATAL(journal_open(path, &journal, &err), TSR_OK);
    struct journal_part part = part_of(2);
    part.bytes = 7;
    CU_ASSERT_EQUAL(journal_add_part(&journal, &part, &err), TSR_OK);
    CU_ASSERT_EQUAL(journal_add_published(&journal, part.key, &err), TSR_OK);
    journal_close(&journal);
    CU_ASSERT_EQUAL_FATAL(journal_open(path, &journal, &err), TSR_OK);
    CU_ASSERT_EQUAL(journal_find(&journal, part.key)->bytes, 7);
    CU_ASSERT_EQUAL(journal.runs, 1);
    CU_ASSERT_STRING_EQUAL(journal.published, part.key);
    CU_ASSERT_PTR_NULL(journal_find(&journal, "0123"));
    journal_close(&journal);
    end(text);
}

static const struct unit_test TESTS[] = {
    {"what_was_written_is_read", what_was_written_is_read},
    {"torn_lines_are_cut", torn_lines_are_cut},
    {"a_flipped_bit_ends_the_trust", a_flipped_bit_ends_the_trust},
    {"moved_lines_end_the_trust", moved_lines_end_the_trust},
    {"foreign_files_are_no_journals", foreign_files_are_no_journals},
    {"the_newest_part_of_a_key_counts", the_newest_part_of_a_key_counts},
};
UNIT_MAIN(TESTS)
