/* SPDX-License-Identifier: Apache-2.0
 *
 * The hhtld-block decoder on any header and tile: codec_target.h. */
#include "codec_target.h"

extern const tsr_plugin tsr_plugin_hhtld;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return codec_target((struct harness_job){.codec = tsr_plugin_hhtld.codecs[1]}, data, size);
}
