/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a tsr_library, for the program, whose other commands are jobs that tessera.h does not offer: they work with
 * the workers, plugins and folders that the library has. Knows pipeline; nothing of a command line. */
#ifndef LIBRARY_LIBRARY_H
#define LIBRARY_LIBRARY_H

#include <pipeline/job.h>
#include <tessera/tessera.h>

/* Borrowed; for as long as the library. No call of tessera.h may run while they are used. */
const struct env *library_env(const tsr_library *library);
const struct job_paths *library_paths(const tsr_library *library);
/* Loads plugins when that was not done yet. */
tsr_status library_registry(tsr_library *library, const struct registry **registry, tsr_error *err);

/* ---- between the files of this folder ---- */

/* A call from outside: from begin to end it has the library and a locale to itself. */
struct library_call {
    tsr_library *library;
    void *locale;
};
struct library_call library_begin(tsr_library *library);
/* Returns `status`. */
tsr_status library_end(struct library_call *call, tsr_status status);

/* Copies a struct of the caller, which may be older (shorter) or newer; `size` is that of ours. TSR_E_ARGUMENT for NULL or a
 * struct_size too small to be one. */
tsr_status library_take(void *ours, uint64_t size, const void *theirs, const char *name, tsr_error *err);

/* Folder of options.plugin_path, or NULL. */
const char *library_plugin_path(const tsr_library *library);
/* The program `tessera` of this installation; it may not be there. */
const char *library_program(const tsr_library *library);

#endif
