/* SPDX-License-Identifier: Apache-2.0
 *
 * A record that is torn or changed counts as none: the command then runs again. */
#include "record.h"

#include "seal.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/fs.h>
#include <string.h>

#define RECORD_VERSION "1"

static tsr_status make_parent(const char *path, tsr_error *err) {
    const char *base = fs_base_name(path);
    if (base - path < 2) return TSR_OK;
    char *folder = mem_dup_bytes(path, (size_t)(base - path - 1));
    if (!folder) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    tsr_status st = fs_make_folder(folder, err);
    mem_free(folder);
    return st;
}

static tsr_status write_members(const char *path, struct members *record, const json_t *facts, tsr_error *err) {
    char hex[DIGEST_HEX];
    json_t *value = NULL;
    if (facts && json_object_update(record->value, (json_t *)(uintptr_t)facts)) record->failed = true;
    tsr_status st = members_finish(record, &value, err);
    if (st == TSR_OK) st = make_parent(path, err);
    if (st == TSR_OK) st = seal_write(path, value, hex, err);
    json_decref(value);
    return st;
}

tsr_status record_write(const char *path, const char *state, const char *mark, const json_t *facts, tsr_error *err) {
    struct members record = members_object();
    members_text(&record, "tessera_record", RECORD_VERSION);
    members_text(&record, "state", state);
    members_text(&record, "mark", mark);
    return write_members(path, &record, facts, err);
}

void record_failure(const char *path, tsr_status status, const char *message, const json_t *facts) {
    struct members record = members_object();
    json_t *before = NULL;
    record_read(path, &before);
    if (record_mark(before)[0]) members_text(&record, "mark", record_mark(before));
    json_decref(before);
    members_text(&record, "tessera_record", RECORD_VERSION);
    members_text(&record, "state", RECORD_FAILED);
    members_text(&record, "status", error_name(status));
    members_text(&record, "message", message);
    members_count(&record, "exit_code", (uint64_t)error_exit_code(status));
    (void)write_members(path, &record, facts, NULL);
}

void record_read(const char *path, json_t **record) {
    bool bad = false;
    *record = NULL;
    if (fs_kind_of(path) != FS_FILE || seal_read(path, record, NULL, NULL) != TSR_OK) return;
    const char *version = member_text(*record, "tessera_record", &bad);
    (void)member_text(*record, "state", &bad);
    if (!bad && !strcmp(version, RECORD_VERSION)) return;
    json_decref(*record);
    *record = NULL;
}

const char *record_mark(const json_t *record) {
    bool bad = false;
    return member_text(record, "mark", &bad);
}
