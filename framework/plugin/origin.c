/* SPDX-License-Identifier: Apache-2.0
 *
 * The dynamic linker knows in which file a function is. Its name for the program itself is what the shell called it, which
 * may be relative or a lie; /proc knows better. */
#define _GNU_SOURCE /* dladdr1 */
#include "origin.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

static const char anchor; /* in the file that is asked for */

struct origin origin_find(void) {
    struct link_map *map = NULL;
    Dl_info info;
    struct origin origin = {0};
    if (dladdr1(&anchor, &info, (void **)&map, RTLD_DL_LINKMAP) && map && map->l_name && *map->l_name) {
        origin.is_library = true;
        origin.folder = fs_real_path(map->l_name);
    } else {
        origin.folder = fs_real_path("/proc/self/exe");
    }
    char *slash = origin.folder ? strrchr(origin.folder, '/') : NULL;
    if (slash) {
        *slash = '\0';
    } else {
        mem_free(origin.folder);
        origin.folder = NULL;
    }
    return origin;
}
