/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding in memory on one thread, in processor time: opening a tokenizer, a text in one call, and the same text line
 * by line. bench_tokenizer.py adds the peer in the same run. usage: bench_tokenizer_core [TOKENIZER TEXT ...] without
 * arguments: the demo model's */
#include <base/alloc.h>
#include <base/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tokenizer/tokenizer.h>

#define REPEATS 3
#define TEXT_BYTES_MAX (UINT64_C(1) << 30)

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void check(tsr_status status, const tsr_error *err) {
    if (status == TSR_OK) return;
    fprintf(stderr, "bench_tokenizer_core: %s\n", err->message);
    exit(1);
}

/* Lines keep their newline; `whole` is one line. */
static uint64_t encode(const struct tokenizer *tokenizer, const char *text, size_t size, bool whole) {
    struct token_ids ids = {0};
    tsr_error err = {0};
    for (size_t at = 0, length; at < size; at += length) {
        const char *newline = whole ? NULL : memchr(text + at, '\n', size - at);
        length = newline ? (size_t)(newline + 1 - text) - at : size - at;
        check(tokenizer_encode(tokenizer, text + at, length, false, &ids, &err), &err);
    }
    uint64_t count = ids.count;
    token_ids_clear(&ids);
    return count;
}

static double seconds_of(const struct tokenizer *tokenizer, const char *text, size_t size, bool whole,
                         uint64_t *count) {
    double best = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        double start = now();
        *count = encode(tokenizer, text, size, whole);
        double seconds = now() - start;
        if (seconds < best) best = seconds;
    }
    return best;
}

static void measure(const char *model, const char *path) {
    struct tokenizer *tokenizer = NULL;
    char *text = NULL;
    uint64_t size, tokens;
    double open = 1e9;
    tsr_error err = {0};
    for (int i = 0; i < REPEATS; i++) {
        tokenizer_close(tokenizer);
        double start = now();
        check(tokenizer_open(model, &tokenizer, &err), &err);
        if (now() - start < open) open = now() - start;
    }
    check(fs_read_whole(path, TEXT_BYTES_MAX, &text, &size, &err), &err);
    double whole = seconds_of(tokenizer, text, (size_t)size, true, &tokens);
    double lines = seconds_of(tokenizer, text, (size_t)size, false, &tokens);
    printf("| %s | %s | tessera | %.3f | %.3f | %.1f | %.1f |\n", fs_base_name(model), fs_base_name(path), open, whole,
           (double)size / whole * 1e-6, (double)size / lines * 1e-6);
    mem_free(text);
    tokenizer_close(tokenizer);
}

int main(int count, char **arguments) {
    if (count < 3) measure("demo/stories-1m", "demo/text/stories.txt");
    for (int i = 1; i + 1 < count; i += 2) measure(arguments[i], arguments[i + 1]);
    return 0;
}
