/* SPDX-License-Identifier: Apache-2.0
 *
 * Where plugins are looked for. The current folder is never one of them; the environment is not believed when the
 * program runs with rights that its caller does not have. */
#define _GNU_SOURCE /* secure_getenv */
#include "registry.h"

#include "origin.h"

#include <base/alloc.h>
#include <base/arena.h>
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

/* The program in PREFIX/bin finds PREFIX/lib/tessera, installed or in the build folder; the shared library finds the folder
 * beside it. */
static void add_neighbour(struct folders *folders) {
    struct origin origin = origin_find();
    if (origin.folder) {
        const char *relative = origin.is_library ? "tessera" : "../lib/tessera";
        const char *name = arena_format(folders->arena, "%s/%s", origin.folder, relative);
        if (name) add(folders, name, strlen(name));
    }
    mem_free(origin.folder);
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
