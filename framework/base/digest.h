/* SPDX-License-Identifier: Apache-2.0
 *
 * XXH3 of 128 bits: finds accidents and names equal contents. It is not a security hash: who can choose the bytes
 * can make two inputs collide. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#define DIGEST_BYTES 16
#define DIGEST_HEX 33 /* 32 digits and a NUL */

/* Canonical (big-endian) form, the same on every machine. */
struct digest {
    uint8_t bytes[DIGEST_BYTES];
};

/* Version of the library that is loaded, 803 for 0.8.3. [any] */
unsigned digest_library_version(void);
struct digest digest_of(const void *bytes, uint64_t size);
bool digest_equal(const struct digest *a, const struct digest *b);
char *digest_to_hex(const struct digest *digest, char hex[DIGEST_HEX]); /* lower case; returns hex */
bool digest_from_hex(const char *hex, struct digest *digest);           /* false unless 32 hex digits */

/* In pieces. NULL from create when memory is short. [instance] */
struct digest_state;
struct digest_state *digest_create(void);
void digest_add(struct digest_state *state, const void *bytes, uint64_t size);
struct digest digest_end(const struct digest_state *state); /* may be called at any time */
void digest_destroy(struct digest_state *state);

#endif
