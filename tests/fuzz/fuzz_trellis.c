/* SPDX-License-Identifier: Apache-2.0
 *
 * The trellis decoder on any header and tile: codec_target.h. */
#include "codec_target.h"

extern const tsr_plugin tsr_plugin_trellis;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return codec_target((struct harness_job){.codec = tsr_plugin_trellis.codecs[0]}, data, size);
}
