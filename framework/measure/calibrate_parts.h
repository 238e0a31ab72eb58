/* SPDX-License-Identifier: Apache-2.0
 *
 * The files that calibrate works with: lists of tensors to write, and finished passes, each one safetensors file sealed by the
 * job that made it and by the digest of its data. */
#ifndef MEASURE_CALIBRATE_PARTS_H
#define MEASURE_CALIBRATE_PARTS_H

#include <base/arena.h>
#include <base/digest.h>
#include <format/safetensors.h>
#include <format/safetensors_write.h>
#include <stdbool.h>

/* Tensors to write, with names of their own. Zero-initialise; gathered_clear in any case. */
struct gathered {
    struct arena arena;
    struct safetensors_part *parts; /* [capacity] */
    uint64_t count, capacity;
};

tsr_status gathered_init(struct gathered *list, uint64_t capacity, tsr_error *err);
void gathered_clear(struct gathered *list);
/* Appends a tensor NAME SUFFIX of `rank` times `extent`; `memory` is borrowed. */
tsr_status gathered_add(struct gathered *list, const char *name, const char *suffix, int32_t dtype, uint64_t rank,
                        uint64_t extent, const void *memory, tsr_error *err);
/* Appends the tensor NAME SUFFIX that lies in one of `files`; none is no failure. */
tsr_status gathered_link(struct gathered *list, const struct safetensors *files, uint64_t file_count, const char *name,
                      const char *suffix, tsr_error *err);

/* Writes a pass of tensors in memory. `job` names everything that its bytes depend on. */
tsr_status gathered_seal(const struct gathered *list, const char *path, const char *job, tsr_error *err);
/* Opens a whole pass of this very job; where there is none, *found is false and the file stays closed. */
tsr_status gathered_open(const char *path, const char *job, struct safetensors *file, bool *found, tsr_error *err);

#endif
