/* SPDX-License-Identifier: Apache-2.0
 *
 * The file is never synced: after a crash it is made again. */
#include "states.h"

#include <base/alloc.h>
#include <string.h>

static tsr_status open_file(struct states *states, const char *folder, const char *name, tsr_error *err) {
    char *path = fs_join(folder, name);
    tsr_status st = path ? fs_create(path, &states->file, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    if (st == TSR_OK) st = fs_open(path, &states->view, err);
    mem_free(path);
    return st;
}

tsr_status states_open(struct states *states, uint64_t floats, const char *folder, const char *name, tsr_error *err) {
    if (folder) return open_file(states, folder, name, err);
    states->memory = mem_alloc_array(floats, sizeof *states->memory);
    if (states->memory) return TSR_OK;
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu values between layers", (unsigned long long)floats);
}

void states_close(struct states *states) {
    if (states->view.path) (void)fs_remove(states->view.path, NULL);
    fs_close(&states->view);
    fs_abandon(&states->file);
    mem_free(states->memory);
    *states = (struct states){0};
}

tsr_status states_put(struct states *states, uint64_t at, const float *values, uint64_t count, tsr_error *err) {
    if (!states->memory) return fs_write_at(&states->file, at * sizeof *values, values, count * sizeof *values, err);
    memcpy(states->memory + at, values, count * sizeof *values);
    return TSR_OK;
}

tsr_status states_get(const struct states *states, uint64_t at, float *values, uint64_t count, tsr_error *err) {
    if (!states->memory) return fs_read_at(&states->view, at * sizeof *values, values, count * sizeof *values, err);
    memcpy(values, states->memory + at, count * sizeof *values);
    return TSR_OK;
}
