/* SPDX-License-Identifier: Apache-2.0
 *
 * A file counts once its journal line is on disk, and the line is written only after the file is; what was kept is
 * believed only if its digest is the journal's. */
#include "trained.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/str.h>
#include <string.h>
#include <tessera/ext/dictionary.h>

#define FOLDER "dictionaries"

static tsr_status path_of(const struct trained *trained, const char *key, char **path, tsr_error *err) {
    struct str name = {0};
    str_add_format(&name, FOLDER "/%s", key);
    tsr_status st = name.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", trained->work->folder)
                                : work_path(trained->work->folder, name.text, path, err);
    str_clear(&name);
    return st;
}

static tsr_status load(void *ctx, const char *key, void **bytes, uint64_t *size, tsr_error *err) {
    const struct trained *trained = ctx;
    const struct journal_part *record = journal_find_dictionary(trained->journal, key);
    char *path = NULL, *read = NULL;
    *bytes = NULL;
    if (!record) return TSR_OK;
    tsr_status st = path_of(trained, key, &path, err);
    if (st == TSR_OK && fs_kind_of(path) == FS_FILE) st = fs_read_whole(path, TSR_DICTIONARY_MAX, &read, size, err);
    if (st == TSR_OK && read) {
        struct digest digest = digest_of(read, *size);
        if (*size == record->bytes && digest_equal(&digest, &record->payload)) {
            *bytes = read;
            read = NULL;
        }
    }
    mem_free(read);
    mem_free(path);
    return st;
}

static tsr_status save(void *ctx, const char *key, const void *bytes, uint64_t size, tsr_error *err) {
    const struct trained *trained = ctx;
    struct journal_part record = {.bytes = size, .payload = digest_of(bytes, size)};
    char *path = NULL;
    memcpy(record.key, key, DIGEST_HEX);
    tsr_status st = path_of(trained, key, &path, err);
    if (st == TSR_OK) st = fs_replace(path, bytes, size, err);
    if (st == TSR_OK) st = journal_add_dictionary(trained->journal, &record, err);
    mem_free(path);
    return st;
}

void trained_init(struct trained *trained, const struct work *work, struct journal *journal) {
    *trained = (struct trained){.work = work, .journal = journal};
    trained->operations = (struct plan_dictionaries){trained, load, save};
}
