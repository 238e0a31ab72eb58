/* SPDX-License-Identifier: Apache-2.0
 *
 * The speech gate's measurement: the model speaks the lines of a text, and each sound must look like speech; against a raw
 * model, its own codes are decoded by both vocoders and must sound alike. */
#ifndef MEASURE_SPEECH_SOUND_H
#define MEASURE_SPEECH_SOUND_H

#include "speech_parity.h"

#include <policy/speech_check.h>

struct speech_sound_result {
    uint64_t lines, passed;
    uint64_t frames;
    struct speech_report worst; /* of the first line that did not pass, else of the first */
    uint64_t worst_line;
    bool has_distance;
    struct speech_distance distance; /* largest over lines */
    float *ours, *raw;               /* samples of the first line, for pictures; raw NULL without a reference */
    uint64_t our_count, raw_count;
};

/* `reference` may be NULL; at most `frames` of each line. Clear in any case. */
tsr_status speech_sound_run(const struct open_model *reference, const struct open_model *other,
                            const struct tokenizer *tokenizer, const struct speech_lines *lines, uint64_t frames,
                            const struct env *env, struct speech_sound_result *result, tsr_error *err);
void speech_sound_clear(struct speech_sound_result *result);

#endif
