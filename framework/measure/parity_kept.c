/* SPDX-License-Identifier: Apache-2.0
 *
 * States are a few hundred numbers a position where logits are tens of thousands. */
#include "parity_kept.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <string.h>

static tsr_status digest_text(const struct token_run *documents, uint64_t count, const struct parity_options *options,
                              struct digest *digest, tsr_error *err) {
    const uint64_t scored[] = {options->window, options->skip, options->positions, count};
    struct digest_state *state = digest_create();
    if (!state) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a digest");
    digest_add(state, scored, sizeof scored);
    for (uint64_t i = 0; i < count; i++) {
        digest_add(state, &documents[i].count, sizeof documents[i].count);
        digest_add(state, documents[i].tokens, documents[i].count * sizeof *documents[i].tokens);
    }
    *digest = digest_end(state);
    digest_destroy(state);
    return TSR_OK;
}

tsr_status parity_kept_begin(struct parity_kept *kept, const struct token_run *documents, uint64_t count,
                             const struct parity_options *options, tsr_error *err) {
    struct digest text = {0};
    tsr_status st = digest_text(documents, count, options, &text, err);
    kept->at = 0;
    if (st == TSR_OK && kept->whole && digest_equal(&text, &kept->text)) return TSR_OK;
    parity_kept_clear(kept);
    kept->text = text;
    return st;
}

tsr_status parity_kept_add(struct parity_kept *kept, const float *states, uint64_t tokens, uint64_t width, tsr_error *err) {
    uint64_t needed = kept->tokens + tokens, row = width * sizeof *states;
    if (kept->dropped || !tokens) return TSR_OK;
    if (needed > PARITY_KEPT_BYTES / row) {
        parity_kept_clear(kept);
        kept->dropped = true;
        return TSR_OK;
    }
    if (needed > kept->capacity) {
        uint64_t capacity = min_u64(max_u64(needed, kept->capacity * 2), PARITY_KEPT_BYTES / row);
        float *grown = mem_resize(kept->states, capacity, row);
        if (!grown) return tsr_fail(err, TSR_E_NOMEM, "out of memory for states of %llu positions", (unsigned long long)capacity);
        kept->states = grown;
        kept->capacity = capacity;
    }
    memcpy(kept->states + kept->tokens * width, states, tokens * row);
    kept->tokens = needed;
    kept->width = width;
    return TSR_OK;
}

const float *parity_kept_next(struct parity_kept *kept, uint64_t tokens) {
    const float *states = kept->states + kept->at * kept->width;
    kept->at += tokens;
    return states;
}

void parity_kept_end(struct parity_kept *kept) {
    kept->whole = !kept->dropped;
}

void parity_kept_clear(struct parity_kept *kept) {
    mem_free(kept->states);
    *kept = (struct parity_kept){0};
}
