/* SPDX-License-Identifier: Apache-2.0
 *
 * Is a sound speech? Measurements that silence, tones and noise cannot all meet (docs/gates.md, "The speech gate"): they are
 * necessary, not sufficient. Everything is measured on the samples as they are, before any normalisation. */
#ifndef POLICY_SPEECH_CHECK_H
#define POLICY_SPEECH_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <tessera/status.h>

enum speech_measure_id {
    SPEECH_NOT_FINITE,   /* samples */
    SPEECH_DURATION,     /* difference from what was asked for, in frames of the codec */
    SPEECH_LEVEL,        /* RMS, dB of full scale */
    SPEECH_CLIPPED,      /* share of samples at full scale */
    SPEECH_DC,           /* absolute mean */
    SPEECH_SILENT,       /* share of 20 ms frames below -50 dB */
    SPEECH_CROSSINGS,    /* zero crossings a sample, mean over frames that are not silent */
    SPEECH_CROSSING_STD, /* and their standard deviation between frames */
    SPEECH_LAG_ONE,      /* autocorrelation of neighbouring samples */
    SPEECH_FLATNESS,     /* median over frames: geometric over arithmetic mean of the power spectrum */
    SPEECH_BELOW_4K,     /* share of energy */
    SPEECH_VOICED,       /* share of frames that are not silent and repeat at 70 to 400 Hz */
    SPEECH_RANGE,        /* dB between the 5th and 95th percentile of frame energies */
    SPEECH_REPETITION,   /* largest normalised autocorrelation at 0.1 s and more */
    SPEECH_CONTINUITY,   /* distance of spectra 20 ms apart over that of frames far apart */
    SPEECH_SEAMS,        /* change where codec frames meet over change elsewhere */
    SPEECH_MEASURES
};

struct speech_measure {
    const char *name;
    double value, low, high; /* it should lie in low..high; infinite where there is no limit */
    bool ok;
};

struct speech_report {
    struct speech_measure measures[SPEECH_MEASURES];
    bool ok;
};

/* `frames` of `hop` samples were asked for. Limits are the defaults of docs/gates.md. TSR_E_NOMEM. */
tsr_status speech_check(const float *samples, uint64_t count, uint64_t sample_rate, uint64_t frames, uint64_t hop,
                        struct speech_report *report, tsr_error *err);
/* The first measure that is not ok, or NULL. */
const struct speech_measure *speech_first_wrong(const struct speech_report *report);

/* How far a sound is from a reference of the same words at the same pace. */
struct speech_distance {
    bool same_length;
    double level;    /* relative difference of RMS */
    double crossings; /* of zero crossings */
    double envelope; /* of 20 ms energies: mean absolute difference over mean */
    double mel;      /* mean absolute difference of log10 mel bands */
};
tsr_status speech_compare(const float *reference, uint64_t reference_count, const float *samples, uint64_t count,
                          uint64_t sample_rate, struct speech_distance *distance, tsr_error *err);

/* Log mel bands of a sound, [*columns][bands] in fresh memory (mem_free), a column every 10 ms. */
tsr_status speech_mel(const float *samples, uint64_t count, uint64_t sample_rate, uint64_t bands, float **mel,
                      uint64_t *columns, tsr_error *err);

#endif
