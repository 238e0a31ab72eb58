/* SPDX-License-Identifier: Apache-2.0
 *
 * A locale with a decimal comma, which is made for the test. Include first: it asks the C library for more. */
#ifndef TESTS_UNIT_COMMA_H
#define TESTS_UNIT_COMMA_H

#include <base/fs.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char comma_folder[] = "/tmp/tessera-locale-XXXXXX";

/* A locale with nothing but a comma: localedef comes with the C library and needs no other files for it. */
static inline bool comma_begin(void) {
    static const char SOURCE[] = "LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \"\"\ngrouping -1\nEND LC_NUMERIC\n";
    char path[128], command[400];
    if (!mkdtemp(comma_folder)) return false;
    (void)snprintf(path, sizeof path, "%s/source", comma_folder);
    if (fs_replace(path, SOURCE, sizeof SOURCE - 1, NULL) != TSR_OK) return false;
    (void)snprintf(command, sizeof command, "I18NPATH=/nonexistent localedef -c -i %s %s/comma >/dev/null 2>&1", path,
                   comma_folder);
    int ignored = system(command); /* warns of what is left out, with a status of its own */
    (void)ignored;
    if (setenv("LOCPATH", comma_folder, 1) || !setlocale(LC_NUMERIC, "comma")) return false;
    (void)snprintf(path, sizeof path, "%.1f", 0.5);
    return !strcmp(path, "0,5");
}

static inline void comma_end(void) {
    (void)setlocale(LC_NUMERIC, "C");
    (void)fs_remove_tree(comma_folder, NULL);
}

#endif
