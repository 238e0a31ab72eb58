/* SPDX-License-Identifier: Apache-2.0
 *
 * The "C" locale, which always exists, stands in front of the calling thread's for the time of one call. */
#include "number.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t with_a_point;

static void make_locale(void) {
    with_a_point = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void *number_begin(void) {
    pthread_once(&once, make_locale);
    return with_a_point ? (void *)uselocale(with_a_point) : NULL;
}

void number_end(void *before) {
    if (before) (void)uselocale((locale_t)before);
}

double number_read(const char *text, char **end) {
    void *before = number_begin();
    double value = strtod(text, end);
    number_end(before);
    return value;
}

char *number_text(double value, char text[NUMBER_TEXT]) {
    void *before = number_begin();
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, NUMBER_TEXT, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    number_end(before);
    return text;
}
