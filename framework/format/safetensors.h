/* SPDX-License-Identifier: Apache-2.0
 *
 * One .safetensors file: its header, checked completely before anything in it is believed. Knows neither codecs nor
 * what a folder of shards is (checkpoint.h).
 *
 * Accepted: every dtype of the format, unknown ones as opaque bytes, zero-size and scalar tensors, tensors in any
 * order, unknown members of a tensor's object (as the reference implementation does). Refused with TSR_E_INPUT naming
 * file and tensor: every way in which header and file can disagree. More than TSR_RANK_MAX extents: TSR_E_LIMIT. */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include <base/fs.h>
#include <jansson.h>
#include <tessera/tensor.h>

#define SAFETENSORS_HEADER_MAX 100000000 /* bytes, as in the reference implementation */

struct safetensors_entry {
    const char *name;       /* inside the file's header object */
    const char *dtype_name; /* as written in the file */
    int32_t dtype;
    uint64_t rank;
    uint64_t shape[TSR_RANK_MAX];
    uint64_t offset; /* from the start of the file */
    uint64_t bytes;
};

struct safetensors {
    struct fs_file file;
    char *header; /* the 8 length bytes and the JSON, verbatim */
    uint64_t header_bytes;
    json_t *root;                             /* parsed; owns all names */
    struct safetensors_entry *entries;        /* by offset, empty ones by name among equals */
    const struct safetensors_entry **by_name; /* [count], sorted by bytes of the name */
    uint64_t count;
};

/* Opens and checks. Zero-initialise `st`; close with safetensors_close in any case. */
tsr_status safetensors_open(const char *path, struct safetensors *st, tsr_error *err);
void safetensors_close(struct safetensors *st);
/* String of __metadata__, or NULL. Borrowed. */
const char *safetensors_metadata(const struct safetensors *st, const char *key);
/* Entry by name, or NULL. Borrowed. */
const struct safetensors_entry *safetensors_find(const struct safetensors *st, const char *name);

#endif
