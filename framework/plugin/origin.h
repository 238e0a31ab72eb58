/* SPDX-License-Identifier: Apache-2.0
 *
 * Where this code was loaded from: plugins and data are looked for in the same installation. */
#ifndef PLUGIN_ORIGIN_H
#define PLUGIN_ORIGIN_H

#include <stdbool.h>

struct origin {
    char *folder;    /* absolute, of the program or of libtessera.so; NULL when it cannot be known. mem_free */
    bool is_library; /* a shared library, not part of the program */
};

/* [any] */
struct origin origin_find(void);

#endif
