/* SPDX-License-Identifier: Apache-2.0
 *
 * A dictionary is a blob named by the digest of what it holds, so a renamed or foreign one is found before a codec is
 * given it. */
#include "dictionaries.h"

#include <base/alloc.h>
#include <base/str.h>
#include <format/container_read.h>
#include <string.h>
#include <tessera/ext/dictionary.h>

void dictionaries_clear(struct dictionaries *dictionaries) {
    for (uint64_t i = 0; i < dictionaries->count; i++) mem_free(dictionaries->items[i].bytes);
    mem_free(dictionaries->items);
    *dictionaries = (struct dictionaries){0};
}

bool dictionaries_is(const char *name) {
    return text_starts_with(name, CONTAINER_DICTIONARY);
}

const struct dictionary *dictionaries_find(const struct dictionaries *dictionaries, const struct digest *digest) {
    for (uint64_t i = 0; dictionaries && i < dictionaries->count; i++) {
        if (digest_equal(&dictionaries->items[i].digest, digest)) return &dictionaries->items[i];
    }
    return NULL;
}

/* Takes `bytes` over, on failure too. */
static tsr_status keep(struct dictionaries *dictionaries, void *bytes, uint64_t size, const struct digest *digest,
                       tsr_error *err) {
    struct dictionary *items = NULL;
    if (!dictionaries_find(dictionaries, digest)) {
        items = mem_resize(dictionaries->items, dictionaries->count + 1, sizeof *items);
        if (!items) {
            mem_free(bytes);
            return tsr_fail(err, TSR_E_NOMEM, "out of memory for a dictionary");
        }
        dictionaries->items = items;
        items[dictionaries->count++] = (struct dictionary){*digest, bytes, size};
        return TSR_OK;
    }
    mem_free(bytes);
    return TSR_OK;
}

tsr_status dictionaries_add(struct dictionaries *dictionaries, const struct safetensors *st,
                            const struct safetensors_entry *entry, tsr_error *err) {
    char *bytes = NULL, hex[DIGEST_HEX];
    uint64_t size = 0;
    tsr_status status = blob_read(st, entry, TSR_DICTIONARY_MAX, &bytes, &size, err);
    if (status != TSR_OK) return status;
    struct digest digest = digest_of(bytes, size);
    if (strcmp(entry->name + strlen(CONTAINER_DICTIONARY), digest_to_hex(&digest, hex)) != 0) {
        mem_free(bytes);
        return tsr_fail(err, TSR_E_CORRUPT, "%s: tensor \"%s\": holds another dictionary, %s", st->file.path,
                        entry->name, hex);
    }
    return keep(dictionaries, bytes, size, &digest, err);
}

tsr_status dictionaries_add_bytes(struct dictionaries *dictionaries, const void *bytes, uint64_t size, tsr_error *err) {
    struct digest digest = digest_of(bytes, size);
    void *copy = mem_alloc(size);
    if (!copy) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a dictionary");
    memcpy(copy, bytes, size);
    return keep(dictionaries, copy, size, &digest, err);
}
