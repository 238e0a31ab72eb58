/* SPDX-License-Identifier: Apache-2.0
 *
 * The trellis decoder on any header and tile: codec_target.h. The highest bit of the header's length says that the
 * bitstream is version 3, which has all that version 2 has. */
#include "codec_target.h"

extern const tsr_plugin tsr_plugin_trellis;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const bool later = size >= CODEC_TARGET_HEAD && data[3] & 128;
    return codec_target((struct harness_job){.codec = tsr_plugin_trellis.codecs[0], .version = later ? 3 : 1}, data, size);
}
