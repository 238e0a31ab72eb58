/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a .safetensors file: it is refused, or its tensors lie inside it, one behind the other, and are found by
 * name. */
#define _GNU_SOURCE /* memfd_create */
#include "memory_file.h"

#include <format/safetensors.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct memory_file file;
    struct safetensors st = {0};
    memory_file_fill(&file, data, size);
    if (safetensors_open(file.path, &st, NULL) == TSR_OK) {
        uint64_t end = st.header_bytes;
        for (uint64_t i = 0; i < st.count; i++) {
            if (st.entries[i].offset != end || safetensors_find(&st, st.entries[i].name) != &st.entries[i]) abort();
            end += st.entries[i].bytes;
        }
        if (end != size) abort();
    }
    safetensors_close(&st);
    return 0;
}
