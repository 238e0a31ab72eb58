/* SPDX-License-Identifier: Apache-2.0
 *
 * What an unfinished run has done: one text line a fact, appended and synced, so that the same command can go on after
 * any kind of end. Knows nothing of tensors beyond their keys. */
#ifndef PIPELINE_JOURNAL_H
#define PIPELINE_JOURNAL_H

#include "ledger.h"

/* A finished part. The key names everything its bytes depend on. */
struct journal_part { /* also a trained dictionary: `source` is zero then */
    char key[DIGEST_HEX];
    uint64_t bytes;
    struct digest payload; /* of the part file */
    struct digest source;  /* of the tensor's source bytes */
};

/* Zero-initialise. */
struct journal {
    struct ledger ledger;
    struct journal_part *parts;
    uint64_t count;
    struct journal_part *dictionaries;
    uint64_t dictionary_count;
    uint64_t runs;              /* how often a run began */
    char published[DIGEST_HEX]; /* mark of what was about to be published, or "" */
};

/* Opens or creates. The first line that is torn, damaged or not of this file ends the trust: it and all behind it are
 * cut off. Close in any case. */
tsr_status journal_open(const char *path, struct journal *journal, tsr_error *err);
void journal_close(struct journal *journal);

/* Each appends one line and syncs it. [instance] */
tsr_status journal_add_run(struct journal *journal, tsr_error *err);
tsr_status journal_add_part(struct journal *journal, const struct journal_part *part, tsr_error *err);
tsr_status journal_add_dictionary(struct journal *journal, const struct journal_part *dictionary, tsr_error *err);
tsr_status journal_add_published(struct journal *journal, const char mark[DIGEST_HEX], tsr_error *err);

/* The newest part of that key, or NULL. Borrowed until the next append. */
const struct journal_part *journal_find(const struct journal *journal, const char *key);
const struct journal_part *journal_find_dictionary(const struct journal *journal, const char *key);

#endif
