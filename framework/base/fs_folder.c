/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders and names: making, listing, removing, joining. Listings are sorted by bytes, so that nothing depends on the
 * order in which a file system answers. Links are never followed downwards: a loop cannot be entered. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "alloc.h"
#include "checked.h"
#include "fault.h"
#include "fs.h"

#define DEPTH_MAX 64

enum fs_kind fs_kind_of(const char *path) {
    struct stat facts;
    if (stat(path, &facts)) return FS_ABSENT;
    if (S_ISREG(facts.st_mode)) return FS_FILE;
    return S_ISDIR(facts.st_mode) ? FS_FOLDER : FS_OTHER;
}

bool fs_is_link(const char *path) {
    struct stat facts;
    return !lstat(path, &facts) && S_ISLNK(facts.st_mode);
}

const char *fs_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *fs_join(const char *folder, const char *name) {
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = mem_alloc(length);
    if (!path) return NULL;
    bool slash = folder[0] && folder[strlen(folder) - 1] == '/';
    (void)snprintf(path, length, "%s%s%s", folder, slash ? "" : "/", name);
    return path;
}

char *fs_real_path(const char *path) {
    return realpath(path, NULL);
}

bool fs_is_inside(const char *path) {
    if (!path[0] || path[0] == '/') return false;
    while (*path) {
        size_t part = strcspn(path, "/");
        if (part == 0 || (part == 2 && path[0] == '.' && path[1] == '.') || (part == 1 && path[0] == '.')) return false;
        path += part;
        if (*path == '/' && !*++path) return false;
    }
    return true;
}

uint64_t fs_free_bytes(const char *path) {
    struct statvfs facts;
    char *parent = mem_dup_text(path);
    uint64_t bytes = UINT64_MAX;
    while (parent) {
        if (!statvfs(parent[0] ? parent : "/", &facts)) {
            if (!checked_mul(facts.f_bavail, facts.f_frsize, &bytes)) bytes = UINT64_MAX;
            break;
        }
        char *slash = strrchr(parent, '/');
        if (!slash) {
            if (!strcmp(parent, ".")) break;
            mem_free(parent);
            parent = mem_dup_text(".");
        } else {
            *slash = '\0';
        }
    }
    mem_free(parent);
    return bytes;
}

static tsr_status make_one(const char *path, tsr_error *err) {
    bool failed = fault_hit(FAULT_OPEN) ? (errno = EACCES, true) : mkdir(path, 0777) != 0;
    if (!failed || errno == EEXIST) {
        if (fs_kind_of(path) == FS_FOLDER) return TSR_OK;
        return tsr_fail(err, TSR_E_IO, "%s: exists and is not a folder", path);
    }
    return tsr_fail(err, TSR_E_IO, "%s: cannot create folder: %s", path, strerror(errno));
}

tsr_status fs_make_folder(const char *path, tsr_error *err) {
    char *copy = mem_dup_text(path);
    if (!copy) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    tsr_status st = TSR_OK;
    for (char *at = copy + 1; copy[0] && *at && st == TSR_OK; at++) {
        if (*at != '/') continue;
        *at = '\0';
        if (fs_kind_of(copy) != FS_FOLDER) st = make_one(copy, err);
        *at = '/';
    }
    if (st == TSR_OK) st = make_one(copy, err);
    mem_free(copy);
    return st;
}

tsr_status fs_remove(const char *path, tsr_error *err) {
    if (!unlink(path) || errno == ENOENT) return TSR_OK;
    return tsr_fail(err, TSR_E_IO, "%s: cannot remove: %s", path, strerror(errno));
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_push(struct fs_list *list, char *name) {
    if ((list->count & (list->count - 1)) == 0) {
        char **names = mem_resize(list->names, list->count ? list->count * 2 : 1, sizeof *names);
        if (!names) return false;
        list->names = names;
    }
    list->names[list->count++] = name;
    return true;
}

void fs_list_clear(struct fs_list *list) {
    for (uint64_t i = 0; i < list->count; i++) mem_free(list->names[i]);
    mem_free(list->names);
    *list = (struct fs_list){0};
}

static bool is_real_folder(const char *path) {
    struct stat facts;
    return !lstat(path, &facts) && S_ISDIR(facts.st_mode);
}

static tsr_status list_into(const char *root, const char *below, bool deep, unsigned depth, struct fs_list *list,
                            tsr_error *err);

/* One entry: its name below the root, and with `deep` what stands in it. */
static tsr_status list_entry(const char *root, const char *below, const char *name, bool deep, unsigned depth,
                             struct fs_list *list, tsr_error *err) {
    char *relative = below[0] ? fs_join(below, name) : mem_dup_text(name);
    char *full = relative ? fs_join(root, relative) : NULL;
    tsr_status st = TSR_OK;
    if (!full) {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", root);
    } else if (deep && is_real_folder(full)) {
        st = list_into(root, relative, deep, depth + 1, list, err);
    } else if (list_push(list, relative)) {
        relative = NULL;
    } else {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", root);
    }
    mem_free(relative);
    mem_free(full);
    return st;
}

static tsr_status list_into(const char *root, const char *below, bool deep, unsigned depth, struct fs_list *list,
                            tsr_error *err) {
    if (depth > DEPTH_MAX) return tsr_fail(err, TSR_E_LIMIT, "%s: more than %d levels of folders", root, DEPTH_MAX);
    char *path = below[0] ? fs_join(root, below) : mem_dup_text(root);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", root);
    DIR *folder = opendir(path);
    tsr_status st = TSR_OK;
    if (!folder) st = tsr_fail(err, TSR_E_IO, "%s: cannot list: %s", path, strerror(errno));
    while (st == TSR_OK) {
        errno = 0; /* the end and a failure look alike otherwise, and a short list would pass for a whole one */
        const struct dirent *entry = fault_hit(FAULT_READ) ? (errno = EIO, NULL) : readdir(folder);
        if (!entry && errno) st = tsr_fail(err, TSR_E_IO, "%s: cannot list: %s", path, strerror(errno));
        if (!entry) break;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        st = list_entry(root, below, entry->d_name, deep, depth, list, err);
    }
    if (folder) closedir(folder);
    mem_free(path);
    return st;
}

tsr_status fs_list(const char *path, bool deep, struct fs_list *list, tsr_error *err) {
    *list = (struct fs_list){0};
    tsr_status st = list_into(path, "", deep, 0, list, err);
    if (st != TSR_OK) {
        fs_list_clear(list);
        return st;
    }
    if (list->count) qsort(list->names, (size_t)list->count, sizeof *list->names, compare_names);
    return TSR_OK;
}

static tsr_status remove_below(const char *path, unsigned depth, tsr_error *err) {
    if (!is_real_folder(path)) return fs_remove(path, err);
    if (depth > DEPTH_MAX) return tsr_fail(err, TSR_E_LIMIT, "%s: more than %d levels of folders", path, DEPTH_MAX);
    struct fs_list list;
    tsr_status st = fs_list(path, false, &list, err);
    if (st != TSR_OK) return st;
    for (uint64_t i = 0; i < list.count && st == TSR_OK; i++) {
        char *full = fs_join(path, list.names[i]);
        st = full ? remove_below(full, depth + 1, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
        mem_free(full);
    }
    fs_list_clear(&list);
    if (st == TSR_OK && rmdir(path)) st = tsr_fail(err, TSR_E_IO, "%s: cannot remove: %s", path, strerror(errno));
    return st;
}

tsr_status fs_remove_tree(const char *path, tsr_error *err) {
    return remove_below(path, 0, err);
}
