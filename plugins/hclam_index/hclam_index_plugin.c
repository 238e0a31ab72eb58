/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin of hclam-index alone. */
#include "hclam_index.h"

#include <tessera/plugin.h>

static const tsr_codec *const CODECS[] = {&hclam_index_codec, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-hclam-index",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
