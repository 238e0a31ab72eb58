/* SPDX-License-Identifier: Apache-2.0
 *
 * The one symbol a plugin exports. There is no init and no deinit, and a plugin has no constructors and no
 * mutable globals: so there is nothing to call twice or in the wrong order. */
#ifndef TESSERA_PLUGIN_H
#define TESSERA_PLUGIN_H

#include "codec.h"
#include "model.h"
#include "version.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tsr_plugin {
    uint64_t struct_size;
    const char *name;    /* of the package: "tessera-rvq" */
    const char *version; /* of the package: "1.2.0" */
    const char *license; /* SPDX expression */
    uint64_t abi_minor;  /* TSR_ABI_MINOR it was built with */
    const tsr_codec *const *codecs; /* NULL-terminated, or NULL */
    const tsr_model *const *models; /* NULL-terminated, or NULL */
} tsr_plugin;

#define TSR_PLUGIN_SYMBOL "tsr_plugin_v1"

/* Defines the exported constant: TSR_PLUGIN = { ... };  A static build gives each plugin its own name. */
#ifndef TSR_PLUGIN_NAME
#define TSR_PLUGIN_NAME tsr_plugin_v1
#endif
#if defined(__GNUC__)
#define TSR_EXPORT __attribute__((visibility("default")))
#else
#define TSR_EXPORT
#endif
#define TSR_PLUGIN extern TSR_EXPORT const tsr_plugin TSR_PLUGIN_NAME; const tsr_plugin TSR_PLUGIN_NAME

#ifdef __cplusplus
}
#endif
#endif
