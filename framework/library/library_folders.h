/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the installation that this code is in keeps its data files and its program. */
#ifndef LIBRARY_LIBRARY_FOLDERS_H
#define LIBRARY_LIBRARY_FOLDERS_H

#include <base/arena.h>
#include <pipeline/job.h>

/* Fills `paths` with the folders of roles, configs and families, `roles_path` (may be NULL) first, and says where the program
 * `tessera` should be. Memory is the arena's. */
tsr_status library_folders(struct arena *arena, const char *roles_path, struct job_paths *paths, const char **program,
                           tsr_error *err);

#endif
