/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin of spiral-index alone. */
#include "spiral_index.h"

#include <tessera/plugin.h>

static const tsr_codec *const CODECS[] = {&spiral_index_codec, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-spiral-index",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
