/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as files hold them: with a decimal point, whatever locale the program around us has set. */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#define NUMBER_TEXT 32

/* From begin to end the calling thread has the "C" locale, so that everything it calls reads and prints a point. What begin
 * returns goes to end, on the same thread. [any] */
void *number_begin(void);
void number_end(void *before);

/* strtod with a point. [any] */
double number_read(const char *text, char **end);
/* Shortest of 15 to 17 digits that reads back as `value` (finite); returns the buffer. [any] */
char *number_text(double value, char text[NUMBER_TEXT]);

#endif
