/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a payload, a blob, and a whole container file. The checksum of a payload's prefix, of a blob and of a
 * header is made right first, so that the fuzzer reaches what stands behind it. The first byte chooses. */
#define _GNU_SOURCE /* memfd_create */
#include "memory_file.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <format/container_read.h>
#include <string.h>

#define LENGTH_BYTES 8
#define TILE_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every tile that fits the buffer. */
static void read_payload(const struct safetensors *st, const struct safetensors_entry *entry) {
    static uint8_t tile[TILE_MAX];
    struct payload payload = {0};
    if (payload_open(st, entry, &payload, NULL) == TSR_OK) {
        uint64_t end = entry->offset + entry->bytes;
        for (uint64_t i = 0; i < payload.head.tile_count; i++) {
            const struct payload_tile *at = &payload.tiles[i];
            if (at->offset + at->bytes > end) abort();
            if (at->bytes <= TILE_MAX) (void)payload_read_tile(&payload, i, tile, NULL);
        }
    }
    payload_close(&payload);
}

static void read_all(const struct memory_file *file) {
    struct safetensors st = {0};
    if (safetensors_open(file->path, &st, NULL) == TSR_OK && container_is(&st)) (void)container_check(&st, NULL);
    for (uint64_t i = 0; i < st.count; i++) {
        char *bytes;
        uint64_t size;
        read_payload(&st, &st.entries[i]);
        if (blob_read(&st, &st.entries[i], TILE_MAX, &bytes, &size, NULL) == TSR_OK) mem_free(bytes);
    }
    safetensors_close(&st);
}

static void seal(uint8_t *bytes, uint64_t covered, uint64_t size) {
    if (covered > size || size - covered < DIGEST_BYTES) return;
    struct digest digest = digest_of(bytes, covered);
    memcpy(bytes + covered, digest.bytes, DIGEST_BYTES);
}

static void seal_payload(uint8_t *bytes, uint64_t size) {
    if (size < PAYLOAD_FIXED_BYTES) return;
    const uint64_t flags = load_le(bytes + 8, 1);
    seal(bytes,
         PAYLOAD_FIXED_BYTES + 8 * load_le(bytes + 7, 1) + load_le(bytes + 9, 1) + load_le(bytes + 10, 1) +
             load_le(bytes + 12, 4) + load_le(bytes + 16, 4) + PAYLOAD_ENTRY_BYTES * load_le(bytes + 48, 4) +
             (flags & PAYLOAD_FLAG_DICTIONARY ? DIGEST_BYTES : 0) +
             (flags & PAYLOAD_FLAG_COLUMNS ? load_le(bytes + 32, 8) : 0),
         size);
}

static void seal_header(uint8_t *bytes, uint64_t size) {
    const uint64_t at = LENGTH_BYTES + strlen(CONTAINER_HEADER_START);
    char hex[DIGEST_HEX];
    uint64_t header = size < LENGTH_BYTES ? 0 : load_le(bytes, LENGTH_BYTES);
    if (size < at + 32 || header > size - LENGTH_BYTES) return;
    memset(bytes + at, '0', 32);
    struct digest digest = digest_of(bytes, LENGTH_BYTES + header);
    memcpy(bytes + at, digest_to_hex(&digest, hex), 32);
}

/* A file with one U8 tensor that is the input. */
static uint8_t *wrap(const uint8_t *data, uint64_t size, uint64_t *file_bytes) {
    char json[128];
    int length = snprintf(json, sizeof json, "{\"x\":{\"dtype\":\"U8\",\"shape\":[%llu],\"data_offsets\":[0,%llu]}}",
                          (unsigned long long)size, (unsigned long long)size);
    *file_bytes = LENGTH_BYTES + (uint64_t)length + size;
    uint8_t *file = mem_alloc((size_t)*file_bytes);
    if (!file) abort();
    store_le(file, (uint64_t)length, LENGTH_BYTES);
    memcpy(file + LENGTH_BYTES, json, (size_t)length);
    if (size) memcpy(file + LENGTH_BYTES + length, data, (size_t)size);
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct memory_file file;
    uint64_t bytes_size = size - 1;
    if (size < 1) return 0;
    uint8_t *bytes =
        data[0] % 3 == 2 ? (uint8_t *)mem_dup_bytes(data + 1, size - 1) : wrap(data + 1, size - 1, &bytes_size);
    if (!bytes) abort();
    uint8_t *body = bytes + (bytes_size - (size - 1));
    if (data[0] % 3 == 0) seal_payload(body, size - 1);
    if (data[0] % 3 == 1 && size > DIGEST_BYTES) seal(body, size - 1 - DIGEST_BYTES, size - 1);
    if (data[0] % 3 == 2) seal_header(body, size - 1);
    memory_file_fill(&file, bytes, bytes_size);
    read_all(&file);
    mem_free(bytes);
    return 0;
}
