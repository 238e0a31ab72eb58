/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance suite finds what it promises to find: codecs with one planted mistake each (tests/abi/faulty.c), and
 * nothing in the sound one. This program is its own child, as the command line is. */
#include "unit.h"

#include <base/fs.h>
#include <plugin/child.h>
#include <plugin/conformance.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char root[64], library[96];

static void compile(int fault) {
    char command[512];
    const char *cc = getenv("CC") ? getenv("CC") : "cc";
    snprintf(library, sizeof library, "%s/tessera-codec-faulty-%d.so", root, fault);
    snprintf(command, sizeof command,
             "%s -w -std=c11 -O1 -fPIC -shared -fvisibility=hidden -Iframework/include -DFAULT=%d "
             "tests/abi/faulty.c -o %s",
             cc, fault, library);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

/* How one property ends for the compiled codec. */
static struct child_end attempt(const char *property, double seconds) {
    struct child_end end;
    const char *const arguments[] = {"tessera", "plugin", "check-one", library, "org.example.faulty",
                                     property,  "1",      NULL};
    CU_ASSERT_EQUAL_FATAL(child_run(arguments, seconds, &end, NULL), TSR_OK);
    return end;
}

struct count {
    uint64_t holds, skipped, others;
};

static void count_result(void *ctx, const struct conformance_result *result) {
    struct count *count = ctx;
    bool holds = result->verdict == CONFORMANCE_HOLDS, skipped = result->verdict == CONFORMANCE_SKIPPED;
    count->holds += holds;
    count->skipped += skipped;
    count->others += !holds && !skipped;
    if (!holds && !skipped) printf("  %s: %s\n", result->property, result->text);
}

static void a_sound_codec_passes(void) {
    struct count count = {0};
    uint64_t failures = 99;
    compile(0);
    CU_ASSERT_EQUAL(conformance_check(library, CONFORMANCE_SEED, count_result, &count, &failures, NULL), TSR_OK);
    CU_ASSERT_EQUAL(failures, 0);
    CU_ASSERT_EQUAL(count.others, 0);
    CU_ASSERT_EQUAL(count.skipped, 8); /* it has no parameters, no header and no groups */
    CU_ASSERT_EQUAL(count.holds + count.skipped, conformance_count());
}

struct mistake {
    int fault;
    const char *property;
    int signal;        /* by which the child ends, or 0 */
    const char *words; /* in its message otherwise */
};

static void planted_mistakes_are_found(void) {
    static const struct mistake MISTAKES[] = {
        {1, "small_shapes", 11, ""},
        {2, "small_shapes", 11, ""},
        {3, "small_shapes", 0, "encode wrote in front of its buffer"},
        {4, "constants", 11, ""},
        {5, "short_memory", 0, "1 allocations were not freed"},
        {6, "short_memory", 11, ""},
        {7, "short_memory", 0, "expected TSR_E_NOMEM"},
        {8, "truncated_payloads", 11, ""},
        {10, "same_in_every_run", 0, "the encoded bytes are others"},
        {11, "several_tiles", 0, "comes back as 0x1, was 0"},
        {12, "short_buffers", 11, ""},
        {13, "small_shapes", 11, ""},
        {14, "same_in_every_run", 0, "the encoded bytes are others"},
        {15, "small_shapes", 11, ""},
        {16, "small_shapes", 11, ""},
        {17, "small_shapes", 0, "encode returned 42, which is no status"},
        {18, "same_for_any_workers", 0, "the encoded bytes are others"},
        {19, "small_shapes", 0, "not today"},
    };
    for (unsigned i = 0; i < sizeof MISTAKES / sizeof *MISTAKES; i++) {
        const struct mistake *mistake = &MISTAKES[i];
        compile(mistake->fault);
        struct child_end end = attempt(mistake->property, 60);
        bool found =
            mistake->signal ? end.signal == mistake->signal : end.code == 3 && strstr(end.text, mistake->words);
        found = found || end.code == 1 || end.code == 66; /* a sanitizer saw it first */
        if (!found) printf("  fault %d: signal %d, code %d, %s\n", mistake->fault, end.signal, end.code, end.text);
        CU_ASSERT_TRUE(found);
    }
}

static void an_endless_loop_is_ended(void) {
    compile(9);
    struct child_end end = attempt("invented_payloads", 1.5);
    CU_ASSERT_TRUE(end.timed_out);
}

static void what_cannot_be_tried_is_said(void) {
    compile(0);
    struct child_end end = attempt("no_such_property", 10);
    CU_ASSERT_EQUAL(end.code, 2);
    CU_ASSERT_STRING_EQUAL(end.text, "no property \"no_such_property\"");
    uint64_t failures;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(conformance_check("/dev/null", 1, count_result, NULL, &failures, &err), TSR_E_INPUT);
}

static int run_child(char **arguments) {
    struct conformance_case one = {arguments[3], arguments[4], arguments[5], strtoull(arguments[6], NULL, 10)};
    tsr_error err = {0};
    tsr_status status = conformance_run(&one, &err);
    puts(err.message);
    return conformance_exit_code(status);
}

static const struct unit_test TESTS[] = {
    {"a_sound_codec_passes", a_sound_codec_passes},
    {"planted_mistakes_are_found", planted_mistakes_are_found},
    {"an_endless_loop_is_ended", an_endless_loop_is_ended},
    {"what_cannot_be_tried_is_said", what_cannot_be_tried_is_said},
};

int main(int count, char **arguments) {
    if (count == 7 && !strcmp(arguments[2], "check-one")) return run_child(arguments);
    snprintf(root, sizeof root, "/tmp/tessera-conformance-XXXXXX");
    if (!mkdtemp(root)) return 1;
    int result = unit_run(__FILE__, TESTS, (unsigned)(sizeof TESTS / sizeof *TESTS));
    fs_remove_tree(root, NULL);
    return result;
}
