/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder beside an output in which it grows: OUT.tessera-work/ with the lock, the journal, the parts and the staged
 * copy of OUT. Nothing is ever seen under OUT's own name before it is complete. */
#ifndef PIPELINE_WORK_H
#define PIPELINE_WORK_H

#include <base/fs.h>

/* Zero-initialise. Paths are owned. */
struct work {
    char *output;  /* without trailing slashes; what it leads to, if it is a link */
    char *folder;  /* OUT.tessera-work */
    char *parts;   /* folder/parts */
    char *staged;  /* folder/staged: becomes OUT */
    char *journal; /* folder/journal: of compress, see journal.h */
    char *aside;   /* folder/replaced: an old OUT, where the file system cannot swap */
    struct fs_lock lock;
};

/* True when an unfinished run left its folder beside `output`. [any] */
bool work_exists(const char *output);
/* True when what compress journals in an open work folder is there: work that can be resumed, or that stayed behind. */
bool work_has_journal(const struct work *work);
/* Refuses an output that is, contains or lies inside `input` (TSR_E_CONFIG). [any] */
tsr_status work_check_apart(const char *input, const char *output, tsr_error *err);
/* Makes the folder and locks it: TSR_E_BUSY when another run holds it. An old output that a crash left aside gets its
 * name back. Close in any case. */
tsr_status work_open(const char *output, struct work *work, tsr_error *err);
void work_close(struct work *work);
/* Empties staged (and parts), keeping the lock. */
tsr_status work_clear_staged(const struct work *work, tsr_error *err);
tsr_status work_clear_all(const struct work *work, tsr_error *err);
/* Syncs the staged folder's entries and gives it OUT's name in one step. An old OUT moves into the work folder. */
tsr_status work_publish(const struct work *work, tsr_error *err);
/* Removes the work folder and gives up the lock. */
tsr_status work_remove(struct work *work, tsr_error *err);

/* Path below a folder with its parent folders made. mem_free. */
tsr_status work_path(const char *folder, const char *name, char **path, tsr_error *err);

#endif
