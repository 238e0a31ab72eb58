/* SPDX-License-Identifier: Apache-2.0
 *
 * One digest for a model's weights, whatever files they lie in: statistics carry it, so that those of another model are
 * refused. */
#ifndef READING_MODEL_DIGEST_H
#define READING_MODEL_DIGEST_H

#include "reader.h"

/* What the digest says of one tensor; all borrowed. */
struct digest_line {
    const char *name, *dtype_name;
    const uint64_t *shape;
    uint64_t rank;
    struct digest digest; /* of its bytes */
};

/* XXH3-128 of the lines "DIGEST DTYPE [SHAPE] NAME" of all tensors, sorted by name; DIGEST is that of the tensor's bytes.
 * A compressed checkpoint has the digest of its source, also where it is not exact. */
tsr_status model_digest(const struct reader *reader, const struct env *env, struct digest *digest, tsr_error *err);
/* The same from lines in any order, which are sorted. */
tsr_status model_digest_join(struct digest_line *lines, uint64_t count, struct digest *digest, tsr_error *err);
/* Whether what is decoded has errors, and then the digest of the files that it comes from. */
tsr_status model_errors(const struct reader *reader, bool *has_errors, struct digest *digest, tsr_error *err);

#endif
