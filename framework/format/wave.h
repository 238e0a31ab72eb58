/* SPDX-License-Identifier: Apache-2.0
 *
 * Sound files by libsndfile: mono WAV and FLAC written whole or not at all, and whatever it reads as mono samples. A build
 * without the library refuses both in one line. Knows nothing of speech. */
#ifndef FORMAT_WAVE_H
#define FORMAT_WAVE_H

#include <stdbool.h>
#include <stdint.h>
#include <tessera/status.h>

enum wave_encoding { WAVE_PCM16, WAVE_PCM24, WAVE_FLOAT };

/* Whether this build has the library. [any] */
bool wave_available(void);

struct wave_writer; /* [instance] */

/* Begins a file beside `path`, which must end in .wav or .flac (TSR_E_CONFIG); finish renames it into place. */
tsr_status wave_create(const char *path, uint64_t sample_rate, enum wave_encoding encoding, struct wave_writer **writer,
                       tsr_error *err);
/* Appends samples -1..1. */
tsr_status wave_write(struct wave_writer *writer, const float *samples, uint64_t count, tsr_error *err);
/* Completes the file and puts it in place; the writer is gone in any case. */
tsr_status wave_finish(struct wave_writer *writer, tsr_error *err);
void wave_abandon(struct wave_writer *writer); /* leaves nothing behind; NULL is allowed */

/* The mean of all channels in fresh memory (mem_free). TSR_E_INPUT for another sample rate than the one wanted, TSR_E_LIMIT
 * beyond `seconds_max`. */
tsr_status wave_read(const char *path, uint64_t sample_rate, uint64_t seconds_max, float **samples, uint64_t *count,
                     tsr_error *err);

#endif
