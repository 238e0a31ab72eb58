/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything about one key happens under its lock, which the system releases when its holder dies: so an entry is half
 * there only after a crash, and then its facts do not fit. Nothing is synced: what a power failure loses is encoded again.
 * A process holds at most one lock a thread and never waits while it holds one, so runs cannot block each other. */
#include "store.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>
#include <inttypes.h>
#include <reading/facts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FACTS_SUFFIX ".facts"
#define LOCK_SUFFIX ".lock"
#define FACTS_BYTES_MAX 256
#define PAUSE_NANOSECONDS 10000000

tsr_status store_open(const char *folder, struct store *store, tsr_error *err) {
    tsr_status st = fs_make_folder(folder, err);
    if (st == TSR_OK) store->folder = mem_dup_text(folder);
    if (st == TSR_OK && !store->folder) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", folder);
    return st;
}

void store_close(struct store *store) {
    mem_free(store->folder);
    *store = (struct store){0};
}

/* ---- one key ---- */

static char *with_suffix(const char *path, const char *suffix) {
    struct str text = {0};
    str_add_text(&text, path);
    str_add_text(&text, suffix);
    if (text.failed) str_clear(&text);
    return text.text;
}

tsr_status store_claim(const struct store *store, const char key[DIGEST_HEX], struct store_claim *claim,
                       tsr_error *err) {
    char name[DIGEST_HEX + 3];
    if (!store) return TSR_OK;
    (void)snprintf(name, sizeof name, "%.2s", key);
    char *folder = fs_join(store->folder, name);
    claim->entry = folder ? fs_join(folder, key) : NULL;
    claim->facts = claim->entry ? with_suffix(claim->entry, FACTS_SUFFIX) : NULL;
    char *lock = claim->entry ? with_suffix(claim->entry, LOCK_SUFFIX) : NULL;
    tsr_status st = claim->facts && lock ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", store->folder);
    if (st == TSR_OK) st = fs_make_folder(folder, err);
    if (st == TSR_OK) st = fs_lock(lock, &claim->lock, err);
    mem_free(lock);
    mem_free(folder);
    if (st != TSR_OK) store_release(claim);
    return st;
}

void store_release(struct store_claim *claim) {
    /* The lock file goes while it is held: who waits for the removed one tries the name again. */
    if (claim->lock.path) (void)fs_remove(claim->lock.path, NULL);
    fs_unlock(&claim->lock);
    mem_free(claim->entry);
    mem_free(claim->facts);
    *claim = (struct store_claim){0};
}

void store_pause(void) {
    const struct timespec pause = {0, PAUSE_NANOSECONDS};
    nanosleep(&pause, NULL);
}

/* "tessera-store 1 KEY BYTES DIGEST": the key keeps an entry from passing for another. */
static void facts_text(const struct store_claim *claim, uint64_t bytes, const struct digest *digest, struct str *text) {
    char hex[DIGEST_HEX];
    str_add_format(text, "tessera-store 1 %s %" PRIu64 " %s\n", fs_base_name(claim->entry), bytes,
                   digest_to_hex(digest, hex));
}

/* That the bytes at `path` are those whose facts were kept. A failure to read is a no. */
static bool is_genuine(const struct store_claim *claim, const char *path) {
    struct str wanted = {0};
    struct digest digest;
    char *kept = NULL;
    uint64_t bytes = 0, size = 0;
    bool genuine = facts_of_path(path, &bytes, &digest, NULL) == TSR_OK &&
                   fs_read_whole(claim->facts, FACTS_BYTES_MAX, &kept, &size, NULL) == TSR_OK;
    if (genuine) {
        facts_text(claim, bytes, &digest, &wanted);
        genuine = !wanted.failed && wanted.length == size && !memcmp(wanted.text, kept, size);
    }
    str_clear(&wanted);
    mem_free(kept);
    return genuine;
}

static void drop(const struct store_claim *claim) {
    (void)fs_remove(claim->facts, NULL);
    (void)fs_remove(claim->entry, NULL);
}

tsr_status store_fetch(const struct store_claim *claim, const char *path, const struct env *env, bool *found,
                       tsr_error *err) {
    *found = false;
    if (!claim->entry || fs_kind_of(claim->entry) != FS_FILE) return TSR_OK;
    tsr_status st = fs_share(claim->entry, path, err);
    if (st != TSR_OK) return st;
    *found = is_genuine(claim, path);
    if (*found) {
        fs_touch(claim->facts);
        return TSR_OK;
    }
    env_log(env, TSR_LOG_WARNING, "%s: is not what was kept there, encoded anew", claim->entry);
    drop(claim);
    return fs_remove(path, err);
}

void store_keep(const struct store_claim *claim, const char *path, const struct env *env) {
    struct fs_output output = {0};
    struct digest digest;
    struct str text = {0};
    tsr_error why = {0};
    uint64_t bytes = 0;
    if (!claim->entry) return;
    tsr_status st = facts_of_path(path, &bytes, &digest, &why);
    if (st == TSR_OK) st = fs_share(path, claim->entry, &why);
    if (st == TSR_OK) {
        facts_text(claim, bytes, &digest, &text);
        st = text.failed ? tsr_fail(&why, TSR_E_NOMEM, "out of memory") : fs_create(claim->facts, &output, &why);
    }
    if (st == TSR_OK) st = fs_write(&output, text.text, text.length, &why);
    if (st == TSR_OK) st = fs_finish(&output, &why);
    fs_abandon(&output);
    str_clear(&text);
    if (st == TSR_OK) return;
    drop(claim);
    env_log(env, TSR_LOG_WARNING, "the store does not keep a tensor: %s", why.message);
}

/* ---- garbage collection ---- */

struct stored_entry {
    char *name; /* below the store's folder; borrowed from the list */
    uint64_t bytes;
    int64_t used_seconds, used_nanoseconds;
};

static int longest_unused_first(const void *a, const void *b) {
    const struct stored_entry *x = a, *y = b;
    if (x->used_seconds != y->used_seconds) return x->used_seconds < y->used_seconds ? -1 : 1;
    if (x->used_nanoseconds != y->used_nanoseconds) return x->used_nanoseconds < y->used_nanoseconds ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Size of the entry and when its facts were last looked at; one without facts is the oldest. */
static tsr_status look_at(const struct store *store, struct stored_entry *entry, tsr_error *err) {
    struct fs_file file = {0}, facts = {0};
    char *path = fs_join(store->folder, entry->name);
    char *beside = path ? with_suffix(path, FACTS_SUFFIX) : NULL;
    tsr_status st = beside ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", store->folder);
    if (st == TSR_OK && fs_open(path, &file, NULL) == TSR_OK) entry->bytes = file.size;
    if (st == TSR_OK && fs_open(beside, &facts, NULL) == TSR_OK) {
        entry->used_seconds = facts.mtime_seconds;
        entry->used_nanoseconds = facts.mtime_nanoseconds;
    }
    fs_close(&file);
    fs_close(&facts);
    mem_free(beside);
    mem_free(path);
    return st;
}

static tsr_status list_entries(const struct store *store, struct fs_list *list, struct stored_entry **entries,
                               uint64_t *count, tsr_error *err) {
    tsr_status st = fs_list(store->folder, true, list, err);
    if (st != TSR_OK) return st;
    *entries = mem_alloc_zero(list->count + 1, sizeof **entries);
    if (!*entries) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", store->folder);
    for (uint64_t i = 0; i < list->count && st == TSR_OK; i++) {
        if (text_ends_with(list->names[i], FACTS_SUFFIX) || text_ends_with(list->names[i], LOCK_SUFFIX)) continue;
        if (strlen(fs_base_name(list->names[i])) != DIGEST_HEX - 1) continue;
        struct stored_entry *entry = &(*entries)[(*count)++];
        *entry = (struct stored_entry){.name = list->names[i]};
        st = look_at(store, entry, err);
    }
    if (*count) qsort(*entries, (size_t)*count, sizeof **entries, longest_unused_first);
    return st;
}

/* An entry that is in use stays: its lock is held. */
static tsr_status remove_entry(const struct store *store, const struct stored_entry *entry, bool *removed,
                               tsr_error *err) {
    struct store_claim claim = {0};
    tsr_status st = store_claim(store, fs_base_name(entry->name), &claim, err);
    *removed = st == TSR_OK;
    if (st == TSR_E_BUSY) return TSR_OK;
    if (st == TSR_OK) drop(&claim);
    store_release(&claim);
    return st;
}

tsr_status store_collect(const struct store *store, uint64_t max_bytes, struct store_sweep *sweep, tsr_error *err) {
    struct fs_list list = {0};
    struct stored_entry *entries = NULL;
    uint64_t count = 0;
    *sweep = (struct store_sweep){0};
    tsr_status st = list_entries(store, &list, &entries, &count, err);
    for (uint64_t i = 0; i < count; i++) sweep->bytes += entries[i].bytes;
    sweep->entries = count;
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        bool removed = false;
        if (sweep->bytes <= max_bytes && entries[i].used_seconds) break;
        st = remove_entry(store, &entries[i], &removed, err);
        if (!removed) continue;
        sweep->entries--;
        sweep->bytes -= entries[i].bytes;
        sweep->removed++;
        sweep->removed_bytes += entries[i].bytes;
    }
    mem_free(entries);
    fs_list_clear(&list);
    return st;
}
