/* SPDX-License-Identifier: Apache-2.0
 *
 * Read in pieces, so that memory does not grow with the file. */
#include "facts.h"

#include <base/alloc.h>
#include <base/checked.h>

#define PIECE (UINT64_C(1) << 20)

tsr_status facts_of_range(const struct fs_file *file, uint64_t offset, uint64_t size, struct digest *digest,
                          tsr_error *err) {
    struct digest_state *state = digest_create();
    uint8_t *buffer = mem_alloc((size_t)min_u64(PIECE, size));
    tsr_status st = state && buffer ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", file->path);
    while (st == TSR_OK && size) {
        uint64_t piece = min_u64(PIECE, size);
        st = fs_read_at(file, offset, buffer, piece, err);
        if (st == TSR_OK) digest_add(state, buffer, piece);
        offset += piece;
        size -= piece;
    }
    if (st == TSR_OK) *digest = digest_end(state);
    mem_free(buffer);
    digest_destroy(state);
    return st;
}

tsr_status facts_of_file(const struct fs_file *file, struct digest *digest, tsr_error *err) {
    return facts_of_range(file, 0, file->size, digest, err);
}

tsr_status facts_of_path(const char *path, uint64_t *bytes, struct digest *digest, tsr_error *err) {
    struct fs_file file = {0};
    tsr_status st = fs_open(path, &file, err);
    if (st == TSR_OK) st = facts_of_file(&file, digest, err);
    *bytes = file.size;
    fs_close(&file);
    return st;
}
