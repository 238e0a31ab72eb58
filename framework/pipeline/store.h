/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder of encoded tensors that runs share: equal tensors of different models, under equal codecs and parameters, are
 * encoded once. Content is named by the part's key, which covers everything its bytes depend on. An entry is believed only
 * after its bytes were read and found to be those that were kept. Knows nothing of tensors beyond their keys.
 *
 *   STORE/ab/KEY        the part file (a hard link where the file system has them)
 *   STORE/ab/KEY.facts  its length and digest, with a digest of their own
 *   STORE/ab/KEY.lock   while a process encodes or reads it
 *
 * XXH3 finds accidents, not forgeries: share a store only with those whom you trust. */
#ifndef PIPELINE_STORE_H
#define PIPELINE_STORE_H

#include <base/digest.h>
#include <base/env.h>
#include <base/fs.h>
#include <stdbool.h>

/* Zero-initialise. */
struct store {
    char *folder;
};

/* Makes the folder. Close in any case. */
tsr_status store_open(const char *folder, struct store *store, tsr_error *err);
void store_close(struct store *store);

/* The right to one key. Zero-initialise; a zeroed one stands for "no store" in the calls below. */
struct store_claim {
    char *entry, *facts;
    struct fs_lock lock;
};

/* TSR_E_BUSY when another process has it: it may be encoding just that. Without a store the claim stays zeroed. [any] */
tsr_status store_claim(const struct store *store, const char key[DIGEST_HEX], struct store_claim *claim, tsr_error *err);
void store_release(struct store_claim *claim);
void store_pause(void); /* before asking again */

/* Puts the entry at `path` and sets *found. An entry that is not what was kept is removed with a warning. [any] */
tsr_status store_fetch(const struct store_claim *claim, const char *path, const struct env *env, bool *found,
                       tsr_error *err);
/* Keeps the finished file; what cannot be kept is only a warning. [any] */
void store_keep(const struct store_claim *claim, const char *path, const struct env *env);

/* Removes entries, the longest unused first, until at most max_bytes are left, and leftovers of runs that died. What is in
 * use stays. */
struct store_sweep {
    uint64_t entries, bytes;           /* left */
    uint64_t removed, removed_bytes;
};
tsr_status store_collect(const struct store *store, uint64_t max_bytes, struct store_sweep *sweep, tsr_error *err);

#endif
