/* SPDX-License-Identifier: Apache-2.0
 *
 * A line is "DIGEST TEXT\n". DIGEST is the XXH3-128 of the digest before it (32 zeros at first) followed by TEXT, so a
 * line that was torn, damaged, moved or taken from another journal does not fit and ends the trust. */
#include "journal.h"

#include <base/alloc.h>
#include <base/str.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define JOURNAL_START "tessera-journal 1"
#define JOURNAL_BYTES_MAX (UINT64_C(1) << 30)
#define DIGITS (DIGEST_HEX - 1)
#define LINE_MIN (DIGITS + 2) /* digest, space, newline */

static struct digest line_digest(const struct digest *before, const char *text, size_t length, struct str *scratch) {
    char hex[DIGEST_HEX];
    str_truncate(scratch, 0);
    str_add(scratch, digest_to_hex(before, hex), DIGITS);
    str_add(scratch, text, length);
    return digest_of(scratch->text, scratch->length);
}

static bool keep_in(struct journal_part **list, uint64_t *count, const struct journal_part *part) {
    if ((*count & (*count - 1)) == 0) {
        void *longer = mem_resize(*list, *count ? *count * 2 : 1, sizeof *part);
        if (!longer) return false;
        *list = longer;
    }
    (*list)[(*count)++] = *part;
    return true;
}

static bool keep_part(struct journal *journal, const struct journal_part *part) {
    return keep_in(&journal->parts, &journal->count, part);
}

static bool keep_dictionary(struct journal *journal, const struct journal_part *dictionary) {
    return keep_in(&journal->dictionaries, &journal->dictionary_count, dictionary);
}

/* "dictionary KEY BYTES DIGEST". */
static bool take_dictionary(struct journal *journal, const char *text, bool *memory) {
    struct journal_part dictionary = {0};
    char payload[DIGEST_HEX] = "";
    int used = 0;
    if (sscanf(text, "dictionary %32[0-9a-f] %" SCNu64 " %32[0-9a-f]%n", dictionary.key, &dictionary.bytes, payload,
               &used) != 3 ||
        text[used] != '\0' || strlen(dictionary.key) != DIGITS || !digest_from_hex(payload, &dictionary.payload)) {
        return false;
    }
    *memory = keep_dictionary(journal, &dictionary);
    return *memory;
}

/* True when the whole of `text` was understood. *memory says false when it was, but memory was short. */
static bool take_text(struct journal *journal, const char *text, bool *memory) {
    struct journal_part part = {0};
    char payload[DIGEST_HEX] = "", source[DIGEST_HEX] = "";
    int used = 0;
    if (!strcmp(text, JOURNAL_START)) return journal->runs == 0 && journal->count == 0;
    if (!strcmp(text, "run")) {
        journal->runs++;
        return true;
    }
    if (sscanf(text, "published %32[0-9a-f]%n", part.key, &used) == 1 && text[used] == '\0' && used == 10 + DIGITS) {
        memcpy(journal->published, part.key, DIGEST_HEX);
        return true;
    }
    if (text_starts_with(text, "dictionary ")) return take_dictionary(journal, text, memory);
    if (sscanf(text, "part %32[0-9a-f] %" SCNu64 " %32[0-9a-f] %32[0-9a-f]%n", part.key, &part.bytes, payload, source,
               &used) != 4 ||
        text[used] != '\0' || strlen(part.key) != DIGITS) {
        return false;
    }
    if (!digest_from_hex(payload, &part.payload) || !digest_from_hex(source, &part.source)) return false;
    *memory = keep_part(journal, &part);
    return *memory;
}

/* Takes the line at the front of text[left]; returns its length with the newline, or 0 when it cannot be trusted. */
static size_t take_line(struct journal *journal, char *text, size_t left, struct str *scratch, bool *memory) {
    char *newline = memchr(text, '\n', left);
    if (!newline || newline - text < LINE_MIN - 1 || text[DIGITS] != ' ') return 0;
    struct digest stated;
    *newline = '\0';
    text[DIGITS] = '\0';
    char *said = text + DIGITS + 1;
    bool readable = digest_from_hex(text, &stated) && strlen(said) == (size_t)(newline - said);
    if (!readable) return 0;
    struct digest found = line_digest(&journal->last, said, strlen(said), scratch);
    *memory = !scratch->failed;
    if (!*memory || !digest_equal(&found, &stated)) return 0;
    if (!strcmp(said, JOURNAL_START) != digest_equal(&journal->last, &(struct digest){{0}})) return 0;
    if (!take_text(journal, said, memory)) return 0;
    journal->last = found;
    return (size_t)(newline - text) + 1;
}

static tsr_status append_line(struct journal *journal, const char *text, tsr_error *err) {
    struct str line = {0};
    char hex[DIGEST_HEX];
    struct digest digest = line_digest(&journal->last, text, strlen(text), &line);
    if (!line.failed) {
        str_truncate(&line, 0);
        str_add_format(&line, "%s %s\n", digest_to_hex(&digest, hex), text);
    }
    tsr_status st = line.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", journal->output.path)
                                : fs_write(&journal->output, line.text, line.length, err);
    if (st == TSR_OK) st = fs_sync(&journal->output, err);
    if (st == TSR_OK) journal->last = digest;
    str_clear(&line);
    return st;
}

/* How many bytes at the front of the journal's text can be trusted. */
static tsr_status replay(struct journal *journal, const char *path, char *text, uint64_t size, uint64_t *trusted,
                         tsr_error *err) {
    struct str scratch = {0};
    bool memory = true;
    uint64_t at = 0;
    for (size_t step = 1; at < size && step && memory; at += step) {
        step = take_line(journal, text + at, (size_t)(size - at), &scratch, &memory);
    }
    str_clear(&scratch);
    *trusted = at;
    return memory ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
}

tsr_status journal_open(const char *path, struct journal *journal, tsr_error *err) {
    char *text = NULL;
    uint64_t size = 0, trusted = 0;
    tsr_status st = TSR_OK;
    if (fs_kind_of(path) != FS_ABSENT) {
        st = fs_read_whole(path, JOURNAL_BYTES_MAX, &text, &size, err);
        if (st == TSR_OK) st = replay(journal, path, text, size, &trusted, err);
        if (st == TSR_OK) st = fs_reopen(path, trusted, &journal->output, err);
    } else {
        st = fs_create(path, &journal->output, err);
    }
    mem_free(text);
    if (st == TSR_OK && trusted == 0) st = append_line(journal, JOURNAL_START, err);
    return st;
}

void journal_close(struct journal *journal) {
    fs_abandon(&journal->output);
    mem_free(journal->parts);
    mem_free(journal->dictionaries);
    *journal = (struct journal){0};
}

tsr_status journal_add_run(struct journal *journal, tsr_error *err) {
    tsr_status st = append_line(journal, "run", err);
    if (st == TSR_OK) journal->runs++;
    return st;
}

tsr_status journal_add_part(struct journal *journal, const struct journal_part *part, tsr_error *err) {
    char text[160], payload[DIGEST_HEX], source[DIGEST_HEX];
    (void)snprintf(text, sizeof text, "part %s %" PRIu64 " %s %s", part->key, part->bytes,
                   digest_to_hex(&part->payload, payload), digest_to_hex(&part->source, source));
    tsr_status st = append_line(journal, text, err);
    if (st == TSR_OK && !keep_part(journal, part)) {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", journal->output.path);
    }
    return st;
}

tsr_status journal_add_published(struct journal *journal, const char mark[DIGEST_HEX], tsr_error *err) {
    char text[64];
    (void)snprintf(text, sizeof text, "published %.32s", mark);
    tsr_status st = append_line(journal, text, err);
    if (st == TSR_OK) (void)snprintf(journal->published, sizeof journal->published, "%.32s", mark);
    return st;
}

const struct journal_part *journal_find(const struct journal *journal, const char *key) {
    for (uint64_t i = journal->count; i-- > 0;) {
        if (!strcmp(journal->parts[i].key, key)) return &journal->parts[i];
    }
    return NULL;
}

tsr_status journal_add_dictionary(struct journal *journal, const struct journal_part *dictionary, tsr_error *err) {
    char text[160], payload[DIGEST_HEX];
    (void)snprintf(text, sizeof text, "dictionary %s %" PRIu64 " %s", dictionary->key, dictionary->bytes,
                   digest_to_hex(&dictionary->payload, payload));
    tsr_status st = append_line(journal, text, err);
    if (st == TSR_OK && !keep_dictionary(journal, dictionary)) {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", journal->output.path);
    }
    return st;
}

const struct journal_part *journal_find_dictionary(const struct journal *journal, const char *key) {
    for (uint64_t i = journal->dictionary_count; i > 0; i--) {
        if (!strcmp(journal->dictionaries[i - 1].key, key)) return &journal->dictionaries[i - 1];
    }
    return NULL;
}
