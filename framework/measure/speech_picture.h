/* SPDX-License-Identifier: Apache-2.0
 *
 * Sounds as a picture: waveform and log mel spectrogram of each, side by side, as one SVG file that needs nothing else. */
#ifndef MEASURE_SPEECH_PICTURE_H
#define MEASURE_SPEECH_PICTURE_H

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

#define PICTURE_WIDTH 560

/* Path data of the waveform, PICTURE_WIDTH wide: a line from the least to the largest sample of each column. */
void picture_wave(struct str *out, const struct picture_sound *sound, uint64_t x, uint64_t y, uint64_t height);
/* Appends the log mel spectrogram as PNG: low bands at the bottom; white is the loudest. */
tsr_status picture_mel(const struct picture_sound *sound, uint64_t sample_rate, struct str *png, tsr_error *err);
/* Appends a PNG of grey values [height][width]. */
void picture_png(struct str *out, const uint8_t *grey, uint64_t width, uint64_t height);

#endif
