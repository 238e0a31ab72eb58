/* SPDX-License-Identifier: Apache-2.0
 *
 * A thin layer over libxxhash that fixes the byte order. The state is allocated by us: XXH3 wants 64-byte
 * alignment, and allocation has one owner. */
#include "digest.h"

#define XXH_STATIC_LINKING_ONLY
#include <string.h>
#include <xxhash.h>

#include "alloc.h"

struct digest_state {
    XXH3_state_t xxh;
};

static struct digest canonical(XXH128_hash_t hash) {
    XXH128_canonical_t form;
    struct digest digest;
    XXH128_canonicalFromHash(&form, hash);
    memcpy(digest.bytes, form.digest, DIGEST_BYTES);
    return digest;
}

struct digest digest_of(const void *bytes, uint64_t size) {
    return canonical(XXH3_128bits(bytes, size));
}

bool digest_equal(const struct digest *a, const struct digest *b) {
    return !memcmp(a->bytes, b->bytes, DIGEST_BYTES);
}

char *digest_to_hex(const struct digest *digest, char hex[DIGEST_HEX]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < DIGEST_BYTES; i++) {
        hex[2 * i] = digits[digest->bytes[i] >> 4];
        hex[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    hex[DIGEST_HEX - 1] = '\0';
    return hex;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

bool digest_from_hex(const char *hex, struct digest *digest) {
    if (strlen(hex) != DIGEST_HEX - 1) return false;
    for (int i = 0; i < DIGEST_BYTES; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        digest->bytes[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

struct digest_state *digest_create(void) {
    struct digest_state *state = mem_alloc_aligned(sizeof *state);
    if (state) {
        XXH3_INITSTATE(&state->xxh);
        XXH3_128bits_reset(&state->xxh);
    }
    return state;
}

void digest_add(struct digest_state *state, const void *bytes, uint64_t size) {
    if (size) XXH3_128bits_update(&state->xxh, bytes, size);
}

struct digest digest_end(const struct digest_state *state) {
    return canonical(XXH3_128bits_digest(&state->xxh));
}

void digest_destroy(struct digest_state *state) {
    mem_free(state);
}

unsigned digest_library_version(void) {
    return XXH_versionNumber();
}
