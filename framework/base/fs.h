/* SPDX-License-Identifier: Apache-2.0
 *
 * The one owner of files: reading, mapping, writing, locking, listing. Every failure is TSR_E_IO with the path and
 * the system's reason, unless said otherwise. Paths are UTF-8 and used as given. Knows no file format. */
#ifndef BASE_FS_H
#define BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <tessera/status.h>

/* ---- reading ---- */

/* An open regular file and the identity it had when it was opened. Zero-initialise. */
struct fs_file {
    char *path;
    int fd; /* valid while path is not NULL */
    uint64_t size;
    uint64_t device, inode;
    int64_t mtime_seconds, mtime_nanoseconds;
    const uint8_t *map; /* see fs_map */
};

/* Opens for reading. TSR_E_INPUT when the path is not there or not a regular file. Close with fs_close. */
tsr_status fs_open(const char *path, struct fs_file *file, tsr_error *err);
void fs_close(struct fs_file *file); /* zeroes; a zeroed file is allowed */

/* Reads exactly `size` bytes; a file that ended early is TSR_E_INPUT. [any] */
tsr_status fs_read_at(const struct fs_file *file, uint64_t offset, void *dst, uint64_t size, tsr_error *err);

/* Maps the whole file read-only into file->map, valid until fs_close. A file that shrinks while it is mapped ends
 * the process, so data of unknown owners is read with fs_read_at; maps are for inference. [instance] */
tsr_status fs_map(struct fs_file *file, tsr_error *err);

/* TSR_E_INPUT when size, time or identity differ from when it was opened. [any] */
tsr_status fs_unchanged(const struct fs_file *file, tsr_error *err);

/* Whole file with a NUL behind it, at most `limit` bytes (more is TSR_E_LIMIT). Free with mem_free. [any] */
tsr_status fs_read_whole(const char *path, uint64_t limit, char **bytes, uint64_t *size, tsr_error *err);

/* ---- writing ---- */

struct fs_output {
    char *path;
    int fd; /* valid while path is not NULL */
    uint64_t size;
};

/* Creates an empty file (an old one of that name is emptied), or opens one to append at `keep` bytes, cutting what is
 * behind. Zero-initialise `output`. */
tsr_status fs_create(const char *path, struct fs_output *output, tsr_error *err);
tsr_status fs_reopen(const char *path, uint64_t keep, struct fs_output *output, tsr_error *err);
/* Opens one that is there to write inside of it or behind it, cutting nothing. Zero-initialise `output`. */
tsr_status fs_continue(const char *path, struct fs_output *output, tsr_error *err);
/* Opens at its end, with what is there; creates it if need be. Several processes may append at once. */
tsr_status fs_open_log(const char *path, struct fs_output *output, tsr_error *err);
/* Appends. [instance] */
tsr_status fs_write(struct fs_output *output, const void *bytes, uint64_t size, tsr_error *err);
/* Writes inside what is already there or behind it; holes read as zero. [any] */
tsr_status fs_write_at(struct fs_output *output, uint64_t offset, const void *bytes, uint64_t size, tsr_error *err);
/* Appends `size` bytes of `from`, inside the kernel where it can. */
tsr_status fs_append_range(struct fs_output *output, const struct fs_file *from, uint64_t offset, uint64_t size,
                           tsr_error *err);
tsr_status fs_sync(struct fs_output *output, tsr_error *err);
/* Gives the bytes of a finished file that never changes again a second name: a hard link, or a synced copy where the file
 * system has none. An old file of that name is replaced. */
tsr_status fs_share(const char *from, const char *to, tsr_error *err);
/* Closes; reports what a delayed write could not do. The output is zeroed in any case. */
tsr_status fs_finish(struct fs_output *output, tsr_error *err);
void fs_abandon(struct fs_output *output); /* closes, removes nothing */

void fs_touch(const char *path); /* it was used just now; a failure does not matter */

/* Durable replace: writes beside `path`, syncs, renames over it, syncs the folder. All or nothing. */
tsr_status fs_replace(const char *path, const void *bytes, uint64_t size, tsr_error *err);
/* Renames and syncs the folders of both names. */
tsr_status fs_rename(const char *from, const char *to, tsr_error *err);
/* Swaps two names of one file system in one step and syncs their folders. TSR_E_UNSUPPORTED where the file system
 * cannot. */
tsr_status fs_exchange(const char *a, const char *b, tsr_error *err);
tsr_status fs_sync_folder(const char *path, tsr_error *err);

/* ---- folders and names ---- */

enum fs_kind { FS_ABSENT, FS_FILE, FS_FOLDER, FS_OTHER };
enum fs_kind fs_kind_of(const char *path); /* follows links; what cannot be looked at is FS_ABSENT */
bool fs_is_link(const char *path);         /* also one that leads nowhere */

tsr_status fs_make_folder(const char *path, tsr_error *err); /* with parents; one that is there is fine */
tsr_status fs_remove(const char *path, tsr_error *err);      /* a file; one that is absent is fine */
tsr_status fs_remove_tree(const char *path, tsr_error *err); /* links are removed, not followed */

/* Names of the entries below `path`, sorted by bytes, "." and ".." left out. With `deep`, relative paths of all
 * files in subfolders too (links to folders are not followed, at most 64 levels). Free with fs_list_clear. */
struct fs_list {
    char **names;
    uint64_t count;
};
tsr_status fs_list(const char *path, bool deep, struct fs_list *list, tsr_error *err);
void fs_list_clear(struct fs_list *list);

/* folder + "/" + name in fresh memory (mem_free), or NULL when memory is short. [any] */
char *fs_join(const char *folder, const char *name);
/* Absolute path without links, in fresh memory; NULL when it does not exist or memory is short. [any] */
char *fs_real_path(const char *path);
const char *fs_base_name(const char *path); /* behind the last slash, inside `path` */
/* Bytes that can still be written where `path` (or its nearest existing parent) is; UINT64_MAX when unknown. [any] */
uint64_t fs_free_bytes(const char *path);
/* True when `path` stays inside the folder it is joined to: relative, no "..", no empty part. [any] */
bool fs_is_inside(const char *path);

/* ---- locks ---- */

struct fs_lock {
    char *path;
    int fd;
};
/* Takes an exclusive lock on a file (created if need be), which a crash releases. TSR_E_BUSY names the holder. A holder
 * may remove the file before it unlocks: who waited for the removed one tries again with the name. */
tsr_status fs_lock(const char *path, struct fs_lock *lock, tsr_error *err);
void fs_unlock(struct fs_lock *lock); /* the file stays */

#endif
