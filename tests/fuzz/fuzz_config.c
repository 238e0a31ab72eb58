/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a config: the YAML tree, its positions, the rules. Codecs are small ones of the tests, so that every kind of
 * parameter is reached. */
#include <assert.h>
#include <base/pool.h>
#include <policy/config.h>
#include <stdio.h>

#include "../unit/fake_codecs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct env env;
    static struct registry *registry;
    if (!registry) {
        env.pool = pool_create(1);
        registry = fake_registry(&env);
        assert(registry);
    }
    struct arena arena = {0};
    struct config config;
    tsr_error err = {0};
    tsr_status st = config_parse((const char *)data, size, "f", registry, &arena, &config, &err);
    /* A refusal says where; a config that was taken can be obeyed. */
    assert(st == TSR_OK || (st == TSR_E_CONFIG && strncmp(err.message, "f:", 2) == 0 && err.message[2] != '0'));
    for (uint64_t i = 0; st == TSR_OK && i < config.rule_count; i++) {
        assert(config.rules[i].codec && config.rules[i].params.canonical);
    }
    arena_clear(&arena);
    return 0;
}
