/* SPDX-License-Identifier: Apache-2.0
 *
 * A pattern, a zero byte, a tensor name: compiling and matching end, within bounds. */
#include <base/alloc.h>
#include <policy/pattern.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = mem_dup_bytes(data, size);
    if (!text) return 0;
    size_t pattern_length = strlen(text);
    const char *name = pattern_length < size ? text + pattern_length + 1 : "";
    bool matches;
    int64_t layer;
    tsr_error err = {0};
    if (pattern_match(text, name, &matches, &layer, &err) != TSR_OK && matches) __builtin_trap();
    mem_free(text);
    return 0;
}
