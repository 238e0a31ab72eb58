/* SPDX-License-Identifier: Apache-2.0
 *
 * What a line says is understood wholly or not at all; ledger.c knows which lines can be trusted. */
#include "journal.h"

#include <base/alloc.h>
#include <base/str.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define JOURNAL_START "tessera-journal 1"
#define DIGITS (DIGEST_HEX - 1)

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
static bool take_text(void *ctx, const char *text, bool *memory) {
    struct journal *journal = ctx;
    struct journal_part part = {0};
    char payload[DIGEST_HEX] = "", source[DIGEST_HEX] = "";
    int used = 0;
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

tsr_status journal_open(const char *path, struct journal *journal, tsr_error *err) {
    return ledger_open(path, JOURNAL_START, take_text, journal, &journal->ledger, err);
}

void journal_close(struct journal *journal) {
    ledger_close(&journal->ledger);
    mem_free(journal->parts);
    mem_free(journal->dictionaries);
    *journal = (struct journal){0};
}

tsr_status journal_add_run(struct journal *journal, tsr_error *err) {
    tsr_status st = ledger_append(&journal->ledger, "run", true, err);
    if (st == TSR_OK) journal->runs++;
    return st;
}

tsr_status journal_add_part(struct journal *journal, const struct journal_part *part, tsr_error *err) {
    char text[160], payload[DIGEST_HEX], source[DIGEST_HEX];
    (void)snprintf(text, sizeof text, "part %s %" PRIu64 " %s %s", part->key, part->bytes,
                   digest_to_hex(&part->payload, payload), digest_to_hex(&part->source, source));
    tsr_status st = ledger_append(&journal->ledger, text, true, err);
    if (st == TSR_OK && !keep_part(journal, part)) {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", journal->ledger.output.path);
    }
    return st;
}

tsr_status journal_add_published(struct journal *journal, const char mark[DIGEST_HEX], tsr_error *err) {
    char text[64];
    (void)snprintf(text, sizeof text, "published %.32s", mark);
    tsr_status st = ledger_append(&journal->ledger, text, true, err);
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
    tsr_status st = ledger_append(&journal->ledger, text, true, err);
    if (st == TSR_OK && !keep_dictionary(journal, dictionary)) {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", journal->ledger.output.path);
    }
    return st;
}

const struct journal_part *journal_find_dictionary(const struct journal *journal, const char *key) {
    for (uint64_t i = journal->dictionary_count; i > 0; i--) {
        if (!strcmp(journal->dictionaries[i - 1].key, key)) return &journal->dictionaries[i - 1];
    }
    return NULL;
}
