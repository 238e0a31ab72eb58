/* SPDX-License-Identifier: Apache-2.0
 *
 * PREFIX/bin and PREFIX/lib both have PREFIX/share and PREFIX/bin one step away, so a tree can be moved as a whole. Behind
 * that come the folders of the installation that this was compiled for. */
#include "library_folders.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <plugin/origin.h>

#ifndef TSR_DATA_DIR
#define TSR_DATA_DIR "/usr/local/share/tessera"
#endif
#ifndef TSR_PROGRAM_DIR
#define TSR_PROGRAM_DIR "/usr/local/bin"
#endif

struct finding {
    struct arena *arena;
    struct origin origin;
    bool failed; /* memory was short */
};

/* Three pieces of a path. */
static const char *joined(struct finding *f, const char *folder, const char *middle, const char *name) {
    const char *path = arena_format(f->arena, "%s%s%s", folder, middle, name);
    if (!path) f->failed = true;
    return path;
}

static const char *const *data_folders(struct finding *f, const char *name, const char *first, uint64_t *count) {
    const char **folders = arena_alloc(f->arena, 3, sizeof *folders);
    *count = 0;
    if (!folders) {
        f->failed = true;
        return NULL;
    }
    if (first) folders[(*count)++] = joined(f, first, "", "");
    if (f->origin.folder) folders[(*count)++] = joined(f, f->origin.folder, "/../share/tessera/", name);
    folders[(*count)++] = joined(f, TSR_DATA_DIR, "/", name);
    return folders;
}

static const char *find_program(struct finding *f) {
    const char *beside = f->origin.folder ? joined(f, f->origin.folder, "/../bin/", "tessera") : NULL;
    return beside && fs_kind_of(beside) == FS_FILE ? beside : joined(f, TSR_PROGRAM_DIR, "/", "tessera");
}

tsr_status library_folders(struct arena *arena, const char *roles_path, struct job_paths *paths, const char **program,
                           tsr_error *err) {
    struct finding f = {.arena = arena, .origin = origin_find()};
    paths->role_folders = data_folders(&f, "roles", roles_path, &paths->role_folder_count);
    paths->config_folders = data_folders(&f, "configs", NULL, &paths->config_folder_count);
    paths->family_folders = data_folders(&f, "families", NULL, &paths->family_folder_count);
    *program = find_program(&f);
    mem_free(f.origin.folder);
    return f.failed ? tsr_fail(err, TSR_E_NOMEM, "start: out of memory") : TSR_OK;
}
