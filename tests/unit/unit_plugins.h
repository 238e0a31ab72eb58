/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests that open models: two workers, and the plugins of the build that is tested. */
#ifndef TESTS_UNIT_PLUGINS_H
#define TESTS_UNIT_PLUGINS_H

#include <base/env.h>
#include <base/pool.h>
#include <plugin/registry.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* False when there is nothing to test with. Whoever calls it destroys both. */
static inline bool unit_plugins(struct env *env, struct registry **registry) {
    const char *build = getenv("TESSERA_BUILD");
    char folder[512];
    (void)snprintf(folder, sizeof folder, "%s/lib/tessera", build ? build : "build");
    const char *folders[] = {folder};
    env->pool = pool_create(2);
    return env->pool && registry_create(folders, 1, env, registry, NULL) == TSR_OK;
}

#endif
