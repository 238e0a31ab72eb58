/* SPDX-License-Identifier: Apache-2.0
 *
 * A line is "DIGEST TEXT\n". DIGEST is the XXH3-128 of the digest before it (32 zeros at first) followed by TEXT. */
#include "ledger.h"

#include <base/alloc.h>
#include <base/str.h>
#include <string.h>

#define LEDGER_BYTES_MAX (UINT64_C(1) << 30)
#define DIGITS (DIGEST_HEX - 1)
#define LINE_MIN (DIGITS + 2) /* digest, space, newline */

/* The lines of one file on their way to their reader. */
struct reading {
    const char *start;
    ledger_take take;
    void *ctx;
    struct digest last;
    struct str scratch;
    bool memory;
};

static struct digest line_digest(const struct digest *before, const char *text, size_t length, struct str *scratch) {
    char hex[DIGEST_HEX];
    str_truncate(scratch, 0);
    str_add(scratch, digest_to_hex(before, hex), DIGITS);
    str_add(scratch, text, length);
    return digest_of(scratch->text, scratch->length);
}

static bool understood(struct reading *reading, const char *text, bool is_first) {
    bool is_start = !strcmp(text, reading->start);
    if (is_start != is_first) return false;
    return is_start || reading->take(reading->ctx, text, &reading->memory);
}

/* Takes the line at the front of text[left]; returns its length with the newline, or 0 when it cannot be trusted. */
static size_t take_line(struct reading *reading, char *text, size_t left, bool is_first) {
    char *newline = memchr(text, '\n', left);
    if (!newline || newline - text < LINE_MIN - 1 || text[DIGITS] != ' ') return 0;
    struct digest stated;
    *newline = '\0';
    text[DIGITS] = '\0';
    char *said = text + DIGITS + 1;
    bool readable = digest_from_hex(text, &stated) && strlen(said) == (size_t)(newline - said);
    if (!readable) return 0;
    struct digest found = line_digest(&reading->last, said, strlen(said), &reading->scratch);
    reading->memory = !reading->scratch.failed;
    if (!reading->memory || !digest_equal(&found, &stated)) return 0;
    if (!understood(reading, said, is_first)) return 0;
    reading->last = found;
    return (size_t)(newline - text) + 1;
}

/* How many bytes at the front of the file can be trusted. */
static tsr_status replay(struct reading *reading, const char *path, uint64_t *trusted, tsr_error *err) {
    char *text = NULL;
    uint64_t size = 0;
    tsr_status st = fs_read_whole(path, LEDGER_BYTES_MAX, &text, &size, err);
    reading->memory = true;
    *trusted = 0;
    for (size_t step = 1; st == TSR_OK && *trusted < size && step && reading->memory; *trusted += step) {
        step = take_line(reading, text + *trusted, (size_t)(size - *trusted), *trusted == 0);
    }
    if (st == TSR_OK && !reading->memory) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    str_clear(&reading->scratch);
    mem_free(text);
    return st;
}

tsr_status ledger_read(const char *path, const char *start, ledger_take take, void *ctx, tsr_error *err) {
    struct reading reading = {.start = start, .take = take, .ctx = ctx};
    uint64_t trusted = 0;
    return fs_kind_of(path) == FS_ABSENT ? TSR_OK : replay(&reading, path, &trusted, err);
}

tsr_status ledger_open(const char *path, const char *start, ledger_take take, void *ctx, struct ledger *ledger,
                       tsr_error *err) {
    struct reading reading = {.start = start, .take = take, .ctx = ctx};
    uint64_t trusted = 0;
    tsr_status st = TSR_OK;
    if (fs_kind_of(path) != FS_ABSENT) {
        st = replay(&reading, path, &trusted, err);
        if (st == TSR_OK) st = fs_reopen(path, trusted, &ledger->output, err);
    } else {
        st = fs_create(path, &ledger->output, err);
    }
    ledger->last = reading.last;
    if (st == TSR_OK && trusted == 0) st = ledger_append(ledger, start, true, err);
    return st;
}

void ledger_close(struct ledger *ledger) {
    fs_abandon(&ledger->output);
    *ledger = (struct ledger){0};
}

tsr_status ledger_append(struct ledger *ledger, const char *text, bool sync, tsr_error *err) {
    struct str line = {0};
    char hex[DIGEST_HEX];
    struct digest digest = line_digest(&ledger->last, text, strlen(text), &line);
    if (!line.failed) {
        str_truncate(&line, 0);
        str_add_format(&line, "%s %s\n", digest_to_hex(&digest, hex), text);
    }
    tsr_status st = line.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", ledger->output.path)
                                : fs_write(&ledger->output, line.text, line.length, err);
    if (st == TSR_OK && sync) st = fs_sync(&ledger->output, err);
    if (st == TSR_OK) ledger->last = digest;
    str_clear(&line);
    return st;
}
