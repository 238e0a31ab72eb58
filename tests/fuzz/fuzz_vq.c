/* SPDX-License-Identifier: Apache-2.0
 *
 * The vector quantisers' decoders on any header and tile. Input: form (codec, level, group, rotation), then that of
 * codec_target.h. */
#include "codec_target.h"

extern const tsr_plugin tsr_plugin_rvq, tsr_plugin_hclam;

/* Small codebooks: 12 words in stages of 2 columns, a tree of 4 x 4 words. */
static void set_params(tsr_param_value *params, uint8_t form) {
    static const int64_t SIZES[] = {4, 4, 5};
    params[0].integer = form & 16 ? 4 : 2;
    params[1] = (tsr_param_value){.list = SIZES, .count = form & 1 ? 2 : 3};
    params[2].integer = form & 2 ? 16 : 0;
    params[3].integer = 1;
    params[7].integer = form >> 2 & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tsr_param_value params[CODEC_TARGET_PARAMS] = {{0}};
    if (size < 1) return 0;
    const uint8_t form = data[0];
    set_params(params, form);
    const struct harness_job job = {.codec = form & 1 ? tsr_plugin_hclam.codecs[0] : tsr_plugin_rvq.codecs[0],
                                    .params = params,
                                    .level = form >> 3 & 1};
    return codec_target(job, data + 1, size - 1);
}
