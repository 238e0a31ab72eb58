/* SPDX-License-Identifier: Apache-2.0
 *
 * The encode stage: every tensor of the plan that is not an alias becomes one part file in the work folder, named by
 * its key, or is taken over from an unfinished run. Knows nothing of how parts become an output.
 *
 * A part holds the payloads of all stages of a stack and that of the search index, if the tensor has one, one after the
 * other; where there are several, the end of each stands behind them as a little-endian u64. */
#ifndef PIPELINE_ENCODE_H
#define PIPELINE_ENCODE_H

#include "journal.h"
#include "store.h"
#include "work.h"

#include <policy/plan.h>
#include <reading/dictionaries.h>

#define PART_PAYLOADS_MAX (CONFIG_STAGES_MAX + 1)

/* A finished part, or the wish for one. */
struct part {
    char key[DIGEST_HEX];
    char *path;
    uint64_t bytes;
    struct digest payload; /* of the file, once it is done */
    bool done;
    uint64_t ends[PART_PAYLOADS_MAX]; /* of the payloads in the file, once it is done */
};

struct parts {
    struct arena arena;
    struct part *items; /* [plan->count]; aliases have no path */
    uint64_t reused;    /* taken over from an unfinished run */
    const struct store *store; /* of encoded tensors, or NULL */
    const struct registry *registry; /* of the codecs whose stages are read back while a stack is encoded */
    const struct plan_statistics *statistics; /* that the plan was made with, or NULL */
    struct dictionaries dictionaries; /* of the plan's groups */
    uint64_t encoded_bytes, stored_bytes; /* source bytes that were encoded, and that the store had */
};

/* Payloads in the part of this entry. */
static inline uint64_t part_payloads(const struct plan_entry *entry) {
    return entry->more_count + 1 + (entry->index != NULL);
}

/* Everything that a part's bytes depend on, as one digest. [any] */
tsr_status part_key(const struct plan *plan, const struct plan_entry *entry, char key[DIGEST_HEX], tsr_error *err);

/* Names the parts, takes over what the journal and the disk agree about, removes other part files. TSR_E_CONFIG when
 * the work folder holds parts of which this plan needs none. Zero-initialise; parts_close in any case. */
tsr_status parts_open(const struct plan *plan, const struct work *work, const struct journal *journal,
                      const struct env *env, struct parts *parts, tsr_error *err);
void parts_close(struct parts *parts);

/* Encodes what is missing. After a failure or TSR_E_CANCELLED the finished parts stay. */
tsr_status parts_encode(const struct checkpoint *checkpoint, const struct plan *plan, const struct work *work,
                        struct journal *journal, const struct env *env, struct parts *parts, tsr_error *err);

#endif
