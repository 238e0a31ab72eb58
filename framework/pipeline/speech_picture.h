/* SPDX-License-Identifier: Apache-2.0
 *
 * Sounds as a picture: waveform and log mel spectrogram of each, side by side, as one SVG file that needs nothing else. */
#ifndef PIPELINE_SPEECH_PICTURE_H
#define PIPELINE_SPEECH_PICTURE_H

#include <base/str.h>
#include <tessera/status.h>

struct picture_sound {
    const char *title;
    const float *samples;
    uint64_t count;
};

/* The file is whole or not there. */
tsr_status speech_picture_write(const char *path, const struct picture_sound *sounds, uint64_t count, uint64_t sample_rate,
                                tsr_error *err);

/* Appends a PNG of grey values [height][width]. */
void picture_png(struct str *out, const uint8_t *grey, uint64_t width, uint64_t height);

#endif
