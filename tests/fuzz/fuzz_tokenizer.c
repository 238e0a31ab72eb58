/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer.json of any bytes up to the first NUL; what stands behind it is encoded, decoded and decoded in a stream,
 * which must give the same text. */
#include <stdlib.h>
#include <string.h>
#include <tokenizer/tokenizer.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_stream(const struct tokenizer *tokenizer, const struct token_ids *ids) {
    struct str whole = {0}, streamed = {0};
    tsr_error err = {0};
    struct token_stream *stream = token_stream_create(tokenizer, false);
    tsr_status st = tokenizer_decode(tokenizer, ids->ids, ids->count, false, &whole, &err);
    for (uint64_t i = 0; st == TSR_OK && stream && i < ids->count && i < 256; i++) {
        st = token_stream_step(stream, ids->ids[i], &streamed, &err);
    }
    if (st == TSR_OK && stream) st = token_stream_end(stream, &streamed, &err);
    if (st == TSR_OK && stream && ids->count <= 256 &&
        (whole.length != streamed.length || (whole.length && memcmp(whole.text, streamed.text, whole.length) != 0))) {
        abort();
    }
    token_stream_destroy(stream);
    str_clear(&whole);
    str_clear(&streamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t json_size = end ? (size_t)(end - data) : size;
    struct tokenizer *tokenizer = NULL;
    struct token_ids ids = {0};
    tsr_error err = {0};
    if (tokenizer_parse((const char *)data, json_size, "fuzz.json", &tokenizer, &err) == TSR_OK) {
        const char *text = end ? (const char *)end + 1 : "a b";
        size_t length = end ? size - json_size - 1 : 3;
        if (tokenizer_encode(tokenizer, text, length, true, &ids, &err) == TSR_OK) check_stream(tokenizer, &ids);
    }
    token_ids_clear(&ids);
    tokenizer_close(tokenizer);
    return 0;
}
