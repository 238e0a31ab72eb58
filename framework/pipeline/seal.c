/* SPDX-License-Identifier: Apache-2.0
 *
 * The text around the digits is fixed, so there is no byte that a change could hide in. */
#include "seal.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/fs.h>
#include <base/str.h>
#include <format/json.h>
#include <string.h>

#define SEAL_BYTES_MAX (UINT64_C(1) << 30)
#define SEAL_FRONT ",\n  \"digest\": \""
#define SEAL_BACK "\"\n}\n"
#define OBJECT_END "\n}"
#define DIGITS (DIGEST_HEX - 1)

tsr_status seal_make(const json_t *object, char **text, char hex[DIGEST_HEX], tsr_error *err) {
    char *plain = json_to_text(object, 1);
    struct str sealed = {0};
    *text = NULL;
    if (plain && text_ends_with(plain, OBJECT_END)) {
        str_add(&sealed, plain, strlen(plain) - strlen(OBJECT_END));
        str_add_text(&sealed, SEAL_FRONT);
    }
    mem_free(plain);
    if (sealed.text && !sealed.failed) {
        struct digest digest = digest_of(sealed.text, sealed.length);
        str_add_text(&sealed, digest_to_hex(&digest, hex));
        str_add_text(&sealed, SEAL_BACK);
    }
    if (!sealed.text || sealed.failed) {
        str_clear(&sealed);
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for a receipt");
    }
    *text = sealed.text;
    return TSR_OK;
}

tsr_status seal_write(const char *path, const json_t *object, char hex[DIGEST_HEX], tsr_error *err) {
    char *text = NULL;
    tsr_status st = seal_make(object, &text, hex, err);
    if (st == TSR_OK) st = fs_replace(path, text, strlen(text), err);
    mem_free(text);
    return st;
}

/* The digits of a text that ends as a sealed one does, or NULL. */
static const char *find_digits(const char *text, uint64_t size) {
    size_t tail = strlen(SEAL_FRONT) + DIGITS + strlen(SEAL_BACK);
    if (size < tail || strlen(text) != size || !text_ends_with(text, SEAL_BACK)) return NULL;
    const char *front = text + size - tail;
    return strncmp(front, SEAL_FRONT, strlen(SEAL_FRONT)) ? NULL : front + strlen(SEAL_FRONT);
}

tsr_status seal_read(const char *path, json_t **object, char hex[DIGEST_HEX], tsr_error *err) {
    char *text = NULL, stated[DIGEST_HEX] = "", found_hex[DIGEST_HEX];
    uint64_t size = 0;
    *object = NULL;
    tsr_status st = fs_read_whole(path, SEAL_BYTES_MAX, &text, &size, err);
    if (st != TSR_OK) return st;
    const char *digits = find_digits(text, size);
    if (digits) memcpy(stated, digits, DIGITS);
    struct digest found = digest_of(text, digits ? (uint64_t)(digits - text) : 0);
    if (strcmp(stated, digest_to_hex(&found, found_hex)) != 0) {
        st = tsr_fail(err, TSR_E_CORRUPT, "%s: was changed: its digest is \"%s\", its bytes give %s", path, stated,
                      found_hex);
    }
    if (st == TSR_OK) st = json_parse(text, (size_t)size, path, object, err);
    if (st == TSR_OK && hex) memcpy(hex, stated, DIGEST_HEX);
    mem_free(text);
    return st;
}
