/* SPDX-License-Identifier: Apache-2.0
 *
 * The dictionaries of a checkpoint in memory, by digest: payloads name them, decoders are lent their bytes. */
#ifndef READING_DICTIONARIES_H
#define READING_DICTIONARIES_H

#include <base/digest.h>
#include <format/safetensors.h>

struct dictionary {
    struct digest digest; /* of the bytes; also the tensor's name */
    void *bytes;          /* owned */
    uint64_t size;
};

/* Zero-initialise; clear in any case. */
struct dictionaries {
    struct dictionary *items;
    uint64_t count;
};

void dictionaries_clear(struct dictionaries *dictionaries);
/* True for the tensor of a dictionary. [any] */
bool dictionaries_is(const char *name);
/* Reads one. TSR_E_CORRUPT when its bytes are not those that its name promises. One that is there already is fine. */
tsr_status dictionaries_add(struct dictionaries *dictionaries, const struct safetensors *st,
                            const struct safetensors_entry *entry, tsr_error *err);
/* Takes a copy of bytes that were just trained. */
tsr_status dictionaries_add_bytes(struct dictionaries *dictionaries, const void *bytes, uint64_t size, tsr_error *err);
/* NULL when there is none of that digest. [any] */
const struct dictionary *dictionaries_find(const struct dictionaries *dictionaries, const struct digest *digest);

#endif
