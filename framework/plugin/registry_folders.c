/* SPDX-License-Identifier: Apache-2.0
 *
 * Where plugins are looked for. The current folder is never one of them; the environment is not believed when the
 * program runs with rights that its caller does not have. */
#define _GNU_SOURCE /* secure_getenv */
#include "registry.h"

#include <base/alloc.h>
#include <base/arena.h>
#include <base/fs.h>
#include <stdlib.h>
#include <string.h>

#ifndef TSR_PLUGIN_DIR
#define TSR_PLUGIN_DIR "/usr/local/lib/tessera"
#endif

struct folders {
    struct arena *arena;
    const char **names;
    uint64_t count, max;
};

static void add(struct folders *folders, const char *name, size_t length) {
    if (length == 0 || folders->count == folders->max) return;
    const char *copy = arena_dup(folders->arena, name, length);
    if (copy) folders->names[folders->count++] = copy;
}

static void add_list(struct folders *folders, const char *list) {
    while (*list) {
        size_t length = strcspn(list, ":");
        add(folders, list, length);
        list += length + (list[length] == ':');
    }
}

/* The binary in PREFIX/bin finds PREFIX/lib/tessera, installed or in the build folder. */
static void add_neighbour(struct folders *folders) {
    char *self = fs_real_path("/proc/self/exe");
    char *slash = self ? strrchr(self, '/') : NULL;
    if (slash) {
        *slash = '\0';
        const char *name = arena_format(folders->arena, "%s/../lib/tessera", self);
        if (name) add(folders, name, strlen(name));
    }
    mem_free(self);
}

uint64_t registry_default_folders(struct arena *arena, const char *flag, const char **folders, uint64_t max) {
    struct folders found = {arena, folders, 0, max};
    const char *path = secure_getenv("TESSERA_PLUGIN_PATH");
    if (flag) add(&found, flag, strlen(flag));
    if (path) add_list(&found, path);
    add_neighbour(&found);
    add(&found, TSR_PLUGIN_DIR, strlen(TSR_PLUGIN_DIR));
    return found.count;
}
