/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads every tensor of a raw checkpoint once, in parallel; a compressed one has the digests in its manifest. */
#include "model_digest.h"

#include "facts.h"
#include "lanes.h"
#include "meter.h"

#include <base/alloc.h>
#include <base/str.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct digesting {
    const struct reader *reader;
    struct digest_line *lines;
    struct meter meter;
};

static int compare_lines(const void *x, const void *y) {
    const struct digest_line *a = x, *b = y;
    return strcmp(a->name, b->name);
}

static tsr_status digest_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct digesting *digesting = ctx;
    const struct reader *reader = digesting->reader;
    struct digest_line *line = &digesting->lines[index];
    (void)worker;
    if (reader->compressed) {
        line->digest = reader->stored.tensors[index].digest; /* of the source */
        return TSR_OK;
    }
    const struct checkpoint_tensor *tensor = &reader->raw.tensors[index];
    tsr_status st = meter_check_cancel(digesting->meter.env, err);
    if (st != TSR_OK) return st;
    st = facts_of_range(&reader->raw.files[tensor->file].st.file, tensor->entry->offset, tensor->entry->bytes,
                        &line->digest, err);
    if (st == TSR_OK) meter_add(&digesting->meter, line->name, tensor->entry->bytes);
    return st;
}

static void add_line(struct str *text, const struct digest_line *line) {
    char hex[DIGEST_HEX];
    str_add_format(text, "%s %s [", digest_to_hex(&line->digest, hex), line->dtype_name);
    for (uint64_t i = 0; i < line->rank; i++) str_add_format(text, i ? ",%" PRIu64 : "%" PRIu64, line->shape[i]);
    str_add_format(text, "] %s\n", line->name);
}

tsr_status model_digest_join(struct digest_line *lines, uint64_t count, struct digest *digest, tsr_error *err) {
    struct str text = {0};
    qsort(lines, (size_t)count, sizeof *lines, compare_lines);
    for (uint64_t i = 0; i < count; i++) add_line(&text, &lines[i]);
    if (!text.failed) *digest = digest_of(text.text ? text.text : "", text.length);
    tsr_status st = text.failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for the digest of a model") : TSR_OK;
    str_clear(&text);
    return st;
}

static bool decodes_exactly(const struct reader *reader) {
    for (uint64_t i = 0; reader->compressed && i < reader->stored.tensor_count; i++) {
        if (!stored_decodes_exactly(&reader->stored, &reader->stored.tensors[i])) return false;
    }
    return true;
}

tsr_status model_errors(const struct reader *reader, bool *has_errors, struct digest *digest, tsr_error *err) {
    const struct checkpoint *files = &reader->stored.checkpoint;
    struct digest_state *state = NULL;
    tsr_status st = TSR_OK;
    *has_errors = !decodes_exactly(reader);
    if (!*has_errors) return TSR_OK;
    state = digest_create();
    if (!state) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a digest");
    for (uint64_t i = 0; i < files->file_count && st == TSR_OK; i++) {
        struct digest one;
        st = facts_of_range(&files->files[i].st.file, 0, files->files[i].st.file.size, &one, err);
        if (st == TSR_OK) digest_add(state, &one, sizeof one);
    }
    *digest = digest_end(state);
    digest_destroy(state);
    return st;
}

tsr_status model_digest(const struct reader *reader, const struct env *env, struct digest *digest, tsr_error *err) {
    uint64_t count = reader_count(reader), total = 0, *bytes = mem_alloc_zero(count, sizeof *bytes);
    struct digesting digesting = {.reader = reader, .lines = mem_alloc_zero(count, sizeof *digesting.lines)};
    tsr_status st = TSR_OK;
    if (!digesting.lines || !bytes) {
        st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the digest of a model");
        goto done;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct reader_tensor tensor = reader_tensor(reader, i);
        digesting.lines[i] = (struct digest_line){
            .name = tensor.name, .dtype_name = tensor.dtype_name, .shape = tensor.shape, .rank = tensor.rank};
        total += bytes[i] = tensor.bytes;
    }
    meter_begin(&digesting.meter, env, "digest", total, count);
    st = lanes_run(env, bytes, count, digest_one, &digesting, err);
    meter_end(&digesting.meter);
    if (st == TSR_OK) st = model_digest_join(digesting.lines, count, digest, err);
done:
    mem_free(digesting.lines);
    mem_free(bytes);
    return st;
}
