/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics are foreign bytes: shapes, dtypes and counts are checked before a value is read; values must be finite and
 * diagonals not negative, since encoders divide by them. */
#include "calibrate_read.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/checked.h>
#include <base/str.h>
#include <format/dtype.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (UINT64_C(1) << 20)

static tsr_status read_metadata(struct calibration *calibration, tsr_error *err) {
    const char *path = calibration->st.file.path;
    const char *version = safetensors_metadata(&calibration->st, STATS_KEY_VERSION);
    const char *model = safetensors_metadata(&calibration->st, STATS_KEY_MODEL);
    const char *text = safetensors_metadata(&calibration->st, STATS_KEY_TEXT);
    const char *tokens = safetensors_metadata(&calibration->st, STATS_KEY_TOKENS);
    const char *fisher = safetensors_metadata(&calibration->st, STATS_KEY_FISHER_TOKENS);
    if (!version) return tsr_fail(err, TSR_E_INPUT, "%s: no statistics of tessera calibrate", path);
    if (strcmp(version, STATS_VERSION)) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: version %.20s, this program reads %s", path, version, STATS_VERSION);
    }
    if (!model || !digest_from_hex(model, &calibration->model) || !text || !digest_from_hex(text, &calibration->text)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: digests of model and text are missing", path);
    }
    calibration->tokens = tokens ? strtoull(tokens, NULL, 10) : 0;
    calibration->fisher_tokens = fisher ? strtoull(fisher, NULL, 10) : 0;
    if (calibration->fisher_tokens == 0) calibration->fisher_tokens = calibration->tokens;
    return calibration->tokens ? TSR_OK : tsr_fail(err, TSR_E_INPUT, "%s: no count of tokens", path);
}

tsr_status calibrate_open(const char *path, const struct digest *model, struct calibration *calibration,
                          tsr_error *err) {
    char ours[DIGEST_HEX], theirs[DIGEST_HEX];
    tsr_status st = safetensors_open(path, &calibration->st, err);
    if (st == TSR_OK) st = read_metadata(calibration, err);
    if (st != TSR_OK || !model || digest_equal(model, &calibration->model)) return st;
    return tsr_fail(err, TSR_E_CONFIG, "%s: statistics of another model (digest %s, this one has %s)", path,
                    digest_to_hex(&calibration->model, theirs), digest_to_hex(model, ours));
}

void calibrate_close(struct calibration *calibration) {
    safetensors_close(&calibration->st);
    *calibration = (struct calibration){0};
}

/* Entry "NAME SUFFIX"; NULL when there is none. */
static tsr_status find_entry(const struct calibration *calibration, const char *name, const char *suffix,
                             const struct safetensors_entry **entry, tsr_error *err) {
    struct str full = {0};
    str_add_text(&full, name);
    str_add_text(&full, suffix);
    *entry = full.failed ? NULL : safetensors_find(&calibration->st, full.text);
    tsr_status st = full.failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for a name") : TSR_OK;
    str_clear(&full);
    return st;
}

static bool has_shape(const struct safetensors_entry *entry, int32_t dtype, uint64_t rank, uint64_t extent) {
    bool good = entry->dtype == dtype && entry->rank == rank;
    for (uint64_t i = 0; good && i < rank; i++) good = entry->shape[i] == extent;
    return good;
}

tsr_status calibrate_find(const struct calibration *calibration, const char *name, uint64_t columns,
                          struct calibration_input *input, bool *found, tsr_error *err) {
    const struct safetensors_entry *tokens = NULL;
    uint8_t bytes[8];
    *input = (struct calibration_input){.columns = columns};
    *found = false;
    tsr_status st = find_entry(calibration, name, STATS_MOMENT, &input->moment, err);
    if (st == TSR_OK) st = find_entry(calibration, name, STATS_DIAGONAL, &input->diagonal, err);
    if (st == TSR_OK) st = find_entry(calibration, name, STATS_TOKENS, &tokens, err);
    if (st != TSR_OK || (!input->moment && !input->diagonal && !tokens)) return st;
    if (!input->diagonal || !tokens || !has_shape(input->diagonal, TSR_DTYPE_F32, 1, columns) ||
        !has_shape(tokens, TSR_DTYPE_I64, 1, 1) ||
        (input->moment && !has_shape(input->moment, TSR_DTYPE_F32, 2, columns))) {
        return tsr_fail(err, TSR_E_INPUT, "%s: statistics of \"%s\" are not those of %llu inputs",
                        calibration->st.file.path, name, (unsigned long long)columns);
    }
    st = fs_read_at(&calibration->st.file, tokens->offset, bytes, sizeof bytes, err);
    input->tokens = st == TSR_OK ? load_le(bytes, sizeof bytes) : 0;
    *found = input->tokens > 0;
    return st;
}

/* Values that must be finite and not negative. */
static tsr_status read_squares(const struct calibration *calibration, const struct safetensors_entry *entry,
                               uint64_t count, float *values, tsr_error *err) {
    tsr_status st = fs_read_at(&calibration->st.file, entry->offset, values, entry->bytes, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        if (values[i] >= 0 && dtype_all_finite(&values[i], 1)) continue;
        st = tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": %g at %llu is no second moment", calibration->st.file.path,
                      entry->name, (double)values[i], (unsigned long long)i);
    }
    return st;
}

tsr_status calibrate_read_diagonal(const struct calibration *calibration, const struct calibration_input *input,
                                   float *diagonal, tsr_error *err) {
    return read_squares(calibration, input->diagonal, input->columns, diagonal, err);
}

tsr_status calibrate_read_fisher(const struct calibration *calibration, const char *name, const char *suffix,
                                 uint64_t rows, float *fisher, bool *found, tsr_error *err) {
    const struct safetensors_entry *entry = NULL;
    tsr_status st = find_entry(calibration, name, suffix, &entry, err);
    *found = st == TSR_OK && entry;
    if (!*found) return st;
    if (has_shape(entry, TSR_DTYPE_F32, 1, rows)) return read_squares(calibration, entry, rows, fisher, err);
    return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\" is not of %llu outputs", calibration->st.file.path, entry->name,
                    (unsigned long long)rows);
}

tsr_status calibrate_fisher_share(const struct calibration *calibration, const char *name, double *share, tsr_error *err) {
    const struct safetensors_entry *entry = NULL;
    uint8_t bytes[8];
    tsr_status st = find_entry(calibration, name, STATS_FISHER_TOKENS, &entry, err);
    *share = 1;
    if (st != TSR_OK || !entry) return st;
    st = has_shape(entry, TSR_DTYPE_I64, 1, 1) ? fs_read_at(&calibration->st.file, entry->offset, bytes, sizeof bytes, err)
                                               : TSR_E_INPUT;
    const uint64_t tokens = st == TSR_OK ? load_le(bytes, sizeof bytes) : 0;
    if (st == TSR_OK && tokens > 0 && tokens <= calibration->fisher_tokens) {
        *share = (double)tokens / (double)calibration->fisher_tokens;
        return TSR_OK;
    }
    return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\" is no count of 1 to %llu tokens", calibration->st.file.path, entry->name,
                    (unsigned long long)calibration->fisher_tokens);
}

tsr_status calibrate_digest_moment(const struct calibration *calibration, const struct calibration_input *input,
                                   struct digest *digest, tsr_error *err) {
    const struct safetensors_entry *entry = input->moment;
    struct digest_state *state = digest_create();
    uint8_t *chunk = mem_alloc(CHUNK_BYTES);
    tsr_status st = state && chunk ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a digest");
    for (uint64_t at = 0; at < entry->bytes && st == TSR_OK; at += CHUNK_BYTES) {
        const uint64_t size = min_u64(CHUNK_BYTES, entry->bytes - at);
        st = fs_read_at(&calibration->st.file, entry->offset + at, chunk, size, err);
        if (st == TSR_OK) digest_add(state, chunk, size);
    }
    if (st == TSR_OK) *digest = digest_end(state);
    digest_destroy(state);
    mem_free(chunk);
    return st;
}

tsr_status calibrate_read_moment(const struct calibration *calibration, const struct calibration_input *input,
                                 float *moment, tsr_error *err) {
    const struct safetensors_entry *entry = input->moment;
    if (!entry) return tsr_fail(err, TSR_E_ARGUMENT, "only the diagonal is kept");
    tsr_status st = fs_read_at(&calibration->st.file, entry->offset, moment, entry->bytes, err);
    if (st == TSR_OK && !dtype_all_finite(moment, input->columns * input->columns)) {
        st = tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": not all values are finite", calibration->st.file.path,
                      entry->name);
    }
    return st;
}
