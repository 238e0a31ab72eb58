/* SPDX-License-Identifier: Apache-2.0
 *
 * Digests of whole files: the source's, for manifest and receipt, and those of an output on disk. */
#ifndef READING_FACTS_H
#define READING_FACTS_H

#include <base/digest.h>
#include <base/env.h>
#include <base/fs.h>

/* XXH3-128 of an open file's bytes. [any] */
tsr_status facts_of_file(const struct fs_file *file, struct digest *digest, tsr_error *err);
/* The same by path, with its size. [any] */
tsr_status facts_of_path(const char *path, uint64_t *bytes, struct digest *digest, tsr_error *err);
/* Digest over a range of an open file. [any] */
tsr_status facts_of_range(const struct fs_file *file, uint64_t offset, uint64_t size, struct digest *digest,
                          tsr_error *err);

#endif
