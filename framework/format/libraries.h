/* SPDX-License-Identifier: Apache-2.0
 *
 * Versions of the libraries that formats are read and written with, as they are loaded, not as they were compiled against. */
#ifndef FORMAT_LIBRARIES_H
#define FORMAT_LIBRARIES_H

#include <stddef.h>

#define FORMAT_LIBRARIES 6

/* Name and version of the index-th; the version is "" where this build goes without it. Strings are static or live in
 * `buffer`. [any] */
const char *format_library(unsigned index, char *buffer, size_t size, const char **version);

#endif
