/* SPDX-License-Identifier: Apache-2.0
 *
 * The scalar decoder on any header and tile: codec_target.h. The highest bit of the header's length says that the
 * bitstream is version 2. */
#include "codec_target.h"

extern const tsr_plugin tsr_plugin_scalar;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const bool second = size >= CODEC_TARGET_HEAD && data[3] & 128;
    return codec_target((struct harness_job){.codec = tsr_plugin_scalar.codecs[0], .version = second ? 2 : 1}, data, size);
}
