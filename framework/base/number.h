/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as files hold them: with a decimal point, whatever locale the program around us has set. */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#define NUMBER_TEXT 32

/* strtod with a point. [any] */
double number_read(const char *text, char **end);
/* Shortest of 15 to 17 digits that reads back as `value` (finite); returns the buffer. [any] */
char *number_text(double value, char text[NUMBER_TEXT]);

#endif
