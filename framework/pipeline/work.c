/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything is under one lock, which the system releases when its holder dies. The lock file goes last, so that
 * whoever gets it next sees either a whole work folder or none. */
#include "work.h"

#include <base/alloc.h>
#include <base/str.h>
#include <string.h>

#define WORK_SUFFIX ".tessera-work"

static tsr_status fail_memory(const char *path, tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
}

/* A path without trailing slashes; NULL when memory is short. */
static char *without_slashes(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    return mem_dup_bytes(path, length);
}

/* What OUT stands for, with a suffix; NULL when memory is short. A link stands for what it leads to, so that the work
 * folder lies on the file system of the output and two names of one output meet at one lock. */
static char *beside(const char *output, const char *suffix) {
    struct str text = {0};
    char *plain = without_slashes(output);
    char *real = plain && fs_is_link(plain) ? fs_real_path(plain) : NULL;
    if (plain) str_add_text(&text, real ? real : plain);
    str_add_text(&text, suffix);
    if (text.failed || !plain) str_clear(&text);
    mem_free(real);
    mem_free(plain);
    return text.text;
}

bool work_exists(const char *output) {
    char *folder = beside(output, WORK_SUFFIX);
    bool exists = folder && fs_kind_of(folder) == FS_FOLDER;
    mem_free(folder);
    return exists;
}

/* Absolute path of a name whose last parts may not exist yet. */
static char *future_real_path(const char *path) {
    char *real = fs_real_path(path);
    if (real) return real;
    char *copy = without_slashes(path);
    if (!copy) return NULL;
    char *slash = strrchr(copy, '/');
    const char *last = slash ? slash + 1 : copy;
    char *parent = NULL;
    if (!slash) {
        parent = fs_real_path(".");
    } else if (slash == copy) {
        parent = mem_dup_text("/");
    } else {
        *slash = '\0';
        parent = future_real_path(copy);
    }
    real = parent ? fs_join(parent, last) : NULL;
    mem_free(parent);
    mem_free(copy);
    return real;
}

static bool lies_inside(const char *inner, const char *outer) {
    size_t length = strlen(outer);
    if (length && outer[length - 1] == '/') length--;
    return !strncmp(inner, outer, length) && (inner[length] == '/' || inner[length] == '\0');
}

/* A name of its own that can be given to a folder. */
static tsr_status check_name(const char *output, tsr_error *err) {
    char *plain = without_slashes(output);
    if (!plain) return fail_memory(output, err);
    const char *last = fs_base_name(plain);
    tsr_status st = TSR_OK;
    if (!last[0] || !strcmp(last, ".") || !strcmp(last, "..")) {
        st = tsr_fail(err, TSR_E_CONFIG, "%s: cannot be an output, give the name of a new folder", output);
    } else if (fs_is_link(plain) && fs_kind_of(plain) == FS_ABSENT) {
        st = tsr_fail(err, TSR_E_CONFIG, "%s: is a link that leads nowhere, expected the name of a new folder", output);
    }
    mem_free(plain);
    return st;
}

tsr_status work_check_apart(const char *input, const char *output, tsr_error *err) {
    tsr_status named = check_name(output, err);
    if (named != TSR_OK) return named;
    char *in = future_real_path(input), *out = future_real_path(output);
    tsr_status st = TSR_OK;
    if (!in || !out) {
        st = fail_memory(output, err);
    } else if (lies_inside(out, in)) {
        st = tsr_fail(err, TSR_E_CONFIG, "%s: the output lies inside the input %s", output, input);
    } else if (lies_inside(in, out)) {
        st = tsr_fail(err, TSR_E_CONFIG, "%s: the output would replace the input %s", output, input);
    }
    mem_free(in);
    mem_free(out);
    return st;
}

static tsr_status remove_if_there(const char *path, tsr_error *err) {
    return fs_kind_of(path) == FS_ABSENT ? TSR_OK : fs_remove_tree(path, err);
}

/* A crash between the two renames of work_publish has left OUT's old content aside and its name free. */
static tsr_status put_back(const struct work *work, tsr_error *err) {
    if (fs_kind_of(work->output) != FS_ABSENT || fs_kind_of(work->aside) == FS_ABSENT) return TSR_OK;
    return fs_rename(work->aside, work->output, err);
}

tsr_status work_open(const char *output, struct work *work, tsr_error *err) {
    work->output = beside(output, "");
    work->folder = beside(output, WORK_SUFFIX);
    work->parts = work->folder ? fs_join(work->folder, "parts") : NULL;
    work->staged = work->folder ? fs_join(work->folder, "staged") : NULL;
    work->journal = work->folder ? fs_join(work->folder, "journal") : NULL;
    work->aside = work->folder ? fs_join(work->folder, "replaced") : NULL;
    char *lock = work->folder ? fs_join(work->folder, "lock") : NULL;
    tsr_status st = TSR_OK;
    if (!work->output || !work->parts || !work->staged || !work->journal || !work->aside || !lock) {
        st = fail_memory(output, err);
    }
    if (st == TSR_OK) st = fs_make_folder(work->folder, err);
    if (st == TSR_OK) st = fs_lock(lock, &work->lock, err);
    if (st == TSR_OK) st = put_back(work, err);
    if (st == TSR_OK) st = fs_make_folder(work->parts, err);
    mem_free(lock);
    return st;
}

void work_close(struct work *work) {
    fs_unlock(&work->lock);
    mem_free(work->output);
    mem_free(work->folder);
    mem_free(work->parts);
    mem_free(work->staged);
    mem_free(work->journal);
    mem_free(work->aside);
    *work = (struct work){0};
}

bool work_has_journal(const struct work *work) {
    return fs_kind_of(work->journal) != FS_ABSENT;
}

tsr_status work_clear_staged(const struct work *work, tsr_error *err) {
    tsr_status st = remove_if_there(work->staged, err);
    return st == TSR_OK ? fs_make_folder(work->staged, err) : st;
}

tsr_status work_clear_all(const struct work *work, tsr_error *err) {
    struct fs_list list;
    tsr_status st = fs_list(work->folder, false, &list, err);
    for (uint64_t i = 0; st == TSR_OK && i < list.count; i++) {
        if (!strcmp(list.names[i], "lock")) continue;
        char *path = fs_join(work->folder, list.names[i]);
        st = path ? fs_remove_tree(path, err) : fail_memory(work->folder, err);
        mem_free(path);
    }
    fs_list_clear(&list);
    return st == TSR_OK ? fs_make_folder(work->parts, err) : st;
}

/* Every folder that holds a staged file, so that the names are as durable as the bytes. */
static tsr_status sync_folders(const char *root, tsr_error *err) {
    struct fs_list list;
    tsr_status st = fs_list(root, true, &list, err);
    for (uint64_t i = 0; st == TSR_OK && i < list.count; i++) {
        for (char *slash = strrchr(list.names[i], '/'); slash && st == TSR_OK; slash = strrchr(list.names[i], '/')) {
            *slash = '\0';
            char *folder = fs_join(root, list.names[i]);
            st = folder ? fs_sync_folder(folder, err) : fail_memory(root, err);
            mem_free(folder);
        }
    }
    fs_list_clear(&list);
    return st == TSR_OK ? fs_sync_folder(root, err) : st;
}

tsr_status work_publish(const struct work *work, tsr_error *err) {
    tsr_status st = sync_folders(work->staged, err);
    if (st != TSR_OK) return st;
    if (fs_kind_of(work->output) == FS_ABSENT) return fs_rename(work->staged, work->output, err);
    st = fs_exchange(work->staged, work->output, err);
    if (st != TSR_E_UNSUPPORTED) return st;
    /* Two renames: after a crash between them the next run finds the old output aside and puts it back. */
    st = remove_if_there(work->aside, err);
    if (st == TSR_OK) st = fs_rename(work->output, work->aside, err);
    if (st != TSR_OK) return st;
    st = fs_rename(work->staged, work->output, err);
    if (st != TSR_OK) (void)put_back(work, NULL);
    return st;
}

tsr_status work_remove(struct work *work, tsr_error *err) {
    tsr_status st = remove_if_there(work->staged, err);
    if (st == TSR_OK) st = remove_if_there(work->aside, err);
    if (st == TSR_OK) st = remove_if_there(work->parts, err);
    /* The journal says that publication is done as long as anything else is left; it goes with the lock. */
    if (st == TSR_OK) st = fs_remove_tree(work->folder, err);
    fs_unlock(&work->lock);
    return st;
}

tsr_status work_path(const char *folder, const char *name, char **path, tsr_error *err) {
    *path = fs_join(folder, name);
    if (!*path) return fail_memory(folder, err);
    char *slash = strrchr(*path, '/');
    *slash = '\0';
    tsr_status st = fs_make_folder(*path, err);
    *slash = '/';
    if (st != TSR_OK) {
        mem_free(*path);
        *path = NULL;
    }
    return st;
}
