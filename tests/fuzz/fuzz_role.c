/* SPDX-License-Identifier: Apache-2.0
 *
 * A role file of any bytes, then a few names asked of it. */
#include <policy/role.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const NAMES[] = {"", "model.layers.3.self_attn.q_proj.weight", "h.0.attn.bias", "lm_head.weight"};
    const uint64_t shape[] = {3, 4, 5};
    struct arena arena = {0};
    struct role_set *set = NULL;
    tsr_error err = {0};
    if (role_parse((const char *)data, size, "fuzz.yaml", &arena, &set, &err) == TSR_OK) {
        for (uint64_t i = 0; i < 4; i++) {
            struct role_assignment assignment;
            (void)role_assign(set, NAMES[i], i, shape, &assignment, &err);
        }
    }
    arena_clear(&arena);
    return 0;
}
