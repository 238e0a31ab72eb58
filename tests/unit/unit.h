/* SPDX-License-Identifier: Apache-2.0
 *
 * A test program in one table: properties by name and the functions that show them, run by CUnit, one "ok - name" or
 * "not ok - name" line each (tests/run adds them up). */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <CUnit/CUnit.h>
#include <CUnit/TestRun.h>
#include <stdio.h>

struct unit_test {
    const char *name; /* the property that holds: "decode_rejects_truncated_index" */
    void (*run)(void);
};

static void unit_report(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord failure) {
    (void)suite;
    for (CU_pFailureRecord at = failure; at; at = at->pNext) {
        printf("  %s:%u: %s\n", at->strFileName, at->uiLineNumber, at->strCondition);
    }
    printf("%s - %s\n", failure ? "not ok" : "ok", test->pName);
    fflush(stdout);
}

static inline int unit_run(const char *suite_name, const struct unit_test *tests, unsigned count) {
    if (CU_initialize_registry() != CUE_SUCCESS) return 1;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (unsigned i = 0; suite && i < count; i++) CU_add_test(suite, tests[i].name, tests[i].run);
    CU_set_test_complete_handler(unit_report);
    CU_run_all_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return !suite || failures ? 1 : 0;
}

#define UNIT_MAIN(tests)                                                                     \
    int main(void) {                                                                         \
        return unit_run(__FILE__, tests, (unsigned)(sizeof(tests) / sizeof((tests)[0])));    \
    }

#endif
