/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures a sound frame by frame (20 ms), reduces, and compares with one table of limits. */
#include "speech_check.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <math.h>
#include <numeric/fourier.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 1024
#define BANDS 40
#define SILENT_DB (-50.0)
#define SEAM_PLACES_MAX 16
#define FAR_PAIRS 7 /* strides by which far frames are paired: primes spread them */

static const struct {
    const char *name;
    double low, high;
} LIMITS[SPEECH_MEASURES] = {
    [SPEECH_NOT_FINITE] = {"not_finite", 0, 0},
    [SPEECH_DURATION] = {"duration_error_frames", -1, 1},
    [SPEECH_LEVEL] = {"level_db", -40, -10},
    [SPEECH_CLIPPED] = {"clipped", 0, 0.001},
    [SPEECH_DC] = {"dc", 0, 0.01},
    [SPEECH_SILENT] = {"silent", 0, 0.7},
    [SPEECH_CROSSINGS] = {"zero_crossings", 0.02, 0.25},
    [SPEECH_CROSSING_STD] = {"zero_crossing_std", 0.02, INFINITY},
    [SPEECH_LAG_ONE] = {"lag_one", 0.5, 1},
    [SPEECH_FLATNESS] = {"flatness", 0, 0.35},
    [SPEECH_BELOW_4K] = {"energy_below_4k", 0.6, 1},
    [SPEECH_VOICED] = {"voiced", 0.15, 0.95},
    [SPEECH_RANGE] = {"envelope_range_db", 15, INFINITY},
    [SPEECH_REPETITION] = {"repetition", -1, 0.95},
    [SPEECH_CONTINUITY] = {"continuity", 0, 0.7},
    [SPEECH_SEAMS] = {"seams", 0, 1.5},
};

/* One sound, cut into frames. */
struct sound {
    const float *samples;
    uint64_t count, rate, frame, frames; /* frame: samples of 20 ms */
    double *db;                          /* [frames] level of each */
    double *crossings;                   /* [frames] a sample */
    double *scratch;                     /* [frames] */
    float *mel;                          /* [frames][BANDS] */
    double *flatness;                    /* [frames] */
    bool *voiced;                        /* [frames] */
    double low_energy, energy;           /* of all spectra */
};

static int compare_reals(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Percentile of values that may be reordered. */
static double percentile(double *values, uint64_t count, double share) {
    if (!count) return 0;
    qsort(values, (size_t)count, sizeof *values, compare_reals);
    return values[(uint64_t)(share * (double)(count - 1) + 0.5)];
}

static bool is_silent(const struct sound *sound, uint64_t f) {
    return sound->db[f] < SILENT_DB;
}

/* ---- frames ---- */

static void measure_level(struct sound *sound, uint64_t f) {
    const float *x = sound->samples + f * sound->frame;
    double squares = 0, crossings = 0;
    for (uint64_t i = 0; i < sound->frame; i++) {
        squares += (double)x[i] * (double)x[i];
        if (i && (x[i] < 0) != (x[i - 1] < 0)) crossings++;
    }
    sound->db[f] = 10 * log10(squares / (double)sound->frame + 1e-20);
    sound->crossings[f] = crossings / (double)sound->frame;
}

/* The window around a frame, with silence beyond the ends. */
static void take_window(const struct sound *sound, uint64_t f, float *window) {
    int64_t first = (int64_t)(f * sound->frame + sound->frame / 2) - WINDOW / 2;
    for (int64_t i = 0; i < WINDOW; i++) {
        bool inside = first + i >= 0 && first + i < (int64_t)sound->count;
        window[i] = inside ? sound->samples[first + i] : 0;
    }
}

static void measure_spectrum(struct sound *sound, uint64_t f, const float *window, double *power, double *room) {
    double logs = 0, sum = 0;
    uint64_t split = 4000 * WINDOW / sound->rate;
    fourier_power(window, WINDOW, power, room);
    for (uint64_t i = 1; i < WINDOW / 2; i++) {
        logs += log(power[i] + 1e-20);
        sum += power[i] + 1e-20;
        sound->energy += power[i];
        if (i < split) sound->low_energy += power[i];
    }
    double bins = WINDOW / 2 - 1;
    sound->flatness[f] = exp(logs / bins) / (sum / bins);
    /* A frame's own spectrum, not its neighbours': half of the window. */
    fourier_power(window + WINDOW / 4, WINDOW / 2, power, room);
    fourier_mel(power, WINDOW / 4 + 1, sound->rate, sound->mel + f * BANDS, BANDS);
}

/* Does the window repeat with a period of 70 to 400 Hz? */
static bool is_voiced(const struct sound *sound, const float *window) {
    uint64_t shortest = sound->rate / 400, longest = min_u64(sound->rate / 70, WINDOW / 2);
    double best = 0;
    for (uint64_t lag = shortest; lag <= longest; lag++) {
        double product = 0, a = 0, b = 0;
        for (uint64_t i = 0; i + lag < WINDOW; i++) {
            product += (double)window[i] * (double)window[i + lag];
            a += (double)window[i] * (double)window[i];
            b += (double)window[i + lag] * (double)window[i + lag];
        }
        if (a > 0 && b > 0) best = fmax(best, product / sqrt(a * b));
    }
    return best > 0.4;
}

static tsr_status measure_frames(struct sound *sound, tsr_error *err) {
    float *window = mem_alloc_array(WINDOW, sizeof *window);
    double *power = mem_alloc_array(WINDOW / 2 + 1, sizeof *power), *room = mem_alloc_array(2 * WINDOW, sizeof *room);
    tsr_status st = window && power && room ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a spectrum");
    for (uint64_t f = 0; f < sound->frames && st == TSR_OK; f++) {
        measure_level(sound, f);
        take_window(sound, f, window);
        measure_spectrum(sound, f, window, power, room);
        sound->voiced[f] = !is_silent(sound, f) && is_voiced(sound, window);
    }
    mem_free(window);
    mem_free(power);
    mem_free(room);
    return st;
}

static tsr_status open_sound(struct sound *sound, const float *samples, uint64_t count, uint64_t rate, tsr_error *err) {
    *sound = (struct sound){.samples = samples, .count = count, .rate = rate, .frame = max_u64(rate / 50, 1)};
    uint64_t n = sound->frames = count / sound->frame;
    sound->db = mem_alloc_zero(n + 1, sizeof *sound->db);
    sound->crossings = mem_alloc_zero(n + 1, sizeof *sound->crossings);
    sound->scratch = mem_alloc_zero(n + 1, sizeof *sound->scratch);
    sound->flatness = mem_alloc_zero(n + 1, sizeof *sound->flatness);
    sound->mel = mem_alloc_zero(n + 1, BANDS * sizeof *sound->mel);
    sound->voiced = mem_alloc_zero(n + 1, sizeof *sound->voiced);
    bool got = sound->db && sound->crossings && sound->scratch && sound->flatness && sound->mel && sound->voiced;
    return got ? measure_frames(sound, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu frames", (unsigned long long)n);
}

static void close_sound(struct sound *sound) {
    mem_free(sound->db);
    mem_free(sound->crossings);
    mem_free(sound->scratch);
    mem_free(sound->flatness);
    mem_free(sound->mel);
    mem_free(sound->voiced);
}

/* ---- measures ---- */

static void measure_samples(const struct sound *sound, double *values) {
    double sum = 0, squares = 0, neighbours = 0, clipped = 0, bad = 0;
    for (uint64_t i = 0; i < sound->count; i++) {
        double x = (double)sound->samples[i];
        bad += !isfinite(x);
        sum += x;
        squares += x * x;
        clipped += fabs(x) >= 0.999;
        if (i) neighbours += x * (double)sound->samples[i - 1];
    }
    double n = fmax((double)sound->count, 1);
    values[SPEECH_NOT_FINITE] = bad;
    values[SPEECH_LEVEL] = 10 * log10(squares / n + 1e-20);
    values[SPEECH_CLIPPED] = clipped / n;
    values[SPEECH_DC] = fabs(sum / n);
    values[SPEECH_LAG_ONE] = squares > 0 ? neighbours / squares : 0;
}

static void measure_crossings(const struct sound *sound, double *values) {
    double sum = 0, squares = 0, loud = 0;
    for (uint64_t f = 0; f < sound->frames; f++) {
        if (is_silent(sound, f)) continue;
        sum += sound->crossings[f];
        squares += sound->crossings[f] * sound->crossings[f];
        loud++;
    }
    double mean = loud > 0 ? sum / loud : 0;
    values[SPEECH_CROSSINGS] = mean;
    values[SPEECH_CROSSING_STD] = loud > 0 ? sqrt(fmax(squares / loud - mean * mean, 0)) : 0;
}

static void measure_energy(const struct sound *sound, double *values) {
    uint64_t loud = 0, voiced = 0;
    for (uint64_t f = 0; f < sound->frames; f++) {
        if (is_silent(sound, f)) continue;
        sound->scratch[loud++] = sound->flatness[f];
        voiced += sound->voiced[f];
    }
    double all = fmax((double)sound->frames, 1);
    values[SPEECH_SILENT] = sound->frames ? 1 - (double)loud / all : 1;
    values[SPEECH_VOICED] = loud ? (double)voiced / (double)loud : 0;
    values[SPEECH_FLATNESS] = loud ? percentile(sound->scratch, loud, 0.5) : 1;
    values[SPEECH_BELOW_4K] = sound->energy > 0 ? sound->low_energy / sound->energy : 0;
    memcpy(sound->scratch, sound->db, sound->frames * sizeof *sound->db);
    double high = percentile(sound->scratch, sound->frames, 0.95), low = percentile(sound->scratch, sound->frames, 0.05);
    values[SPEECH_RANGE] = high - low;
}

static double mel_distance(const struct sound *sound, uint64_t a, uint64_t b) {
    double sum = 0;
    for (uint64_t i = 0; i < BANDS; i++) sum += fabs((double)sound->mel[a * BANDS + i] - (double)sound->mel[b * BANDS + i]);
    return sum / BANDS;
}

/* Mean distance of frames `lag` apart. */
static double mean_distance(const struct sound *sound, uint64_t lag) {
    double sum = 0, pairs = 0;
    for (uint64_t f = 0; f + lag < sound->frames; f++) {
        sum += mel_distance(sound, f, f + lag);
        pairs++;
    }
    return pairs > 0 ? sum / pairs : 0;
}

/* Speech changes smoothly: neighbours are alike, frames far apart are not. */
static void measure_continuity(const struct sound *sound, double *values) {
    static const uint64_t apart[FAR_PAIRS] = {29, 37, 43, 53, 61, 71, 83};
    double sum = 0, used = 0;
    for (int i = 0; i < FAR_PAIRS; i++) {
        if (apart[i] >= sound->frames) continue;
        sum += mean_distance(sound, apart[i]);
        used++;
    }
    double far = used > 0 ? sum / used : 0;
    values[SPEECH_CONTINUITY] = far > 0 ? mean_distance(sound, 1) / far : 1;
}

/* Where codec frames meet, spectra change no more than elsewhere: the place between two of our frames with the largest mean
 * change, of the places that repeat with every codec frame, over the mean of the others. */
static void measure_seams(const struct sound *sound, uint64_t hop, double *values) {
    double sums[SEAM_PLACES_MAX] = {0}, counts[SEAM_PLACES_MAX] = {0}, all = 0, most = 0;
    uint64_t places = hop / sound->frame;
    values[SPEECH_SEAMS] = 1;
    if (places < 2 || places > SEAM_PLACES_MAX || hop % sound->frame || sound->frames < 2 * places) return;
    for (uint64_t f = 0; f + 1 < sound->frames; f++) {
        sums[f % places] += mel_distance(sound, f, f + 1);
        counts[f % places]++;
    }
    for (uint64_t p = 0; p < places; p++) {
        double mean = sums[p] / counts[p];
        all += mean;
        most = fmax(most, mean);
    }
    double others = (all - most) / (double)(places - 1);
    values[SPEECH_SEAMS] = others > 0 ? most / others : 1;
}

/* A loop is equal to itself later: normalised by the energies of the two parts that overlap. */
static tsr_status measure_repetition(const struct sound *sound, double *values, tsr_error *err) {
    uint64_t first = sound->rate / 10, end = sound->count / 2;
    double total = 0, head = 0, tail = 0, best = 0;
    values[SPEECH_REPETITION] = 1;
    if (end <= first) return TSR_OK;
    double *sums = mem_alloc_array(end, sizeof *sums);
    if (!sums) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a spectrum");
    tsr_status st = fourier_autocorrelation(sound->samples, sound->count, sums, end, err);
    for (uint64_t i = 0; i < sound->count; i++) total += (double)sound->samples[i] * (double)sound->samples[i];
    for (uint64_t lag = 1; st == TSR_OK && lag < end; lag++) {
        double from_front = (double)sound->samples[lag - 1], from_back = (double)sound->samples[sound->count - lag];
        head += from_front * from_front;
        tail += from_back * from_back;
        double norm = sqrt(fmax(total - head, 0) * fmax(total - tail, 0));
        if (lag >= first && norm > 0) best = fmax(best, sums[lag] / norm);
    }
    mem_free(sums);
    values[SPEECH_REPETITION] = total > 0 ? best : 1;
    return st;
}

static void judge(const double *values, struct speech_report *report) {
    report->ok = true;
    for (int i = 0; i < SPEECH_MEASURES; i++) {
        bool ok = values[i] >= LIMITS[i].low && values[i] <= LIMITS[i].high;
        report->measures[i] = (struct speech_measure){LIMITS[i].name, values[i], LIMITS[i].low, LIMITS[i].high, ok};
        report->ok = report->ok && ok;
    }
}

tsr_status speech_check(const float *samples, uint64_t count, uint64_t sample_rate, uint64_t frames, uint64_t hop,
                        struct speech_report *report, tsr_error *err) {
    double values[SPEECH_MEASURES] = {0};
    struct sound sound;
    tsr_status st = open_sound(&sound, samples, count, sample_rate, err);
    values[SPEECH_DURATION] = hop ? ((double)count - (double)frames * (double)hop) / (double)hop : 0;
    if (st == TSR_OK) {
        measure_samples(&sound, values);
        measure_crossings(&sound, values);
        measure_energy(&sound, values);
        measure_continuity(&sound, values);
        measure_seams(&sound, hop, values);
        st = measure_repetition(&sound, values, err);
    }
    close_sound(&sound);
    judge(values, report);
    return st;
}

const struct speech_measure *speech_first_wrong(const struct speech_report *report) {
    for (int i = 0; i < SPEECH_MEASURES; i++) {
        if (!report->measures[i].ok) return &report->measures[i];
    }
    return NULL;
}

/* ---- against a reference ---- */

static double relative(double reference, double value) {
    return reference > 0 ? fabs(value - reference) / reference : value > 0 ? INFINITY : 0;
}

static double amplitude(const struct sound *sound, uint64_t f) {
    return pow(10, sound->db[f] / 20);
}

static void compare_sounds(const struct sound *a, const struct sound *b, struct speech_distance *distance) {
    double values[2][SPEECH_MEASURES], difference = 0, level = 0, mel = 0;
    uint64_t frames = min_u64(a->frames, b->frames);
    measure_samples(a, values[0]);
    measure_samples(b, values[1]);
    measure_crossings(a, values[0]);
    measure_crossings(b, values[1]);
    distance->level = relative(pow(10, values[0][SPEECH_LEVEL] / 20), pow(10, values[1][SPEECH_LEVEL] / 20));
    distance->crossings = relative(values[0][SPEECH_CROSSINGS], values[1][SPEECH_CROSSINGS]);
    for (uint64_t f = 0; f < frames; f++) {
        difference += fabs(amplitude(a, f) - amplitude(b, f));
        level += amplitude(a, f);
        for (uint64_t i = 0; i < BANDS; i++) mel += fabs((double)a->mel[f * BANDS + i] - (double)b->mel[f * BANDS + i]);
    }
    distance->envelope = relative(level, level + difference);
    distance->mel = frames ? mel / (double)(frames * BANDS) : 0;
}

tsr_status speech_compare(const float *reference, uint64_t reference_count, const float *samples, uint64_t count,
                          uint64_t sample_rate, struct speech_distance *distance, tsr_error *err) {
    struct sound a = {0}, b = {0};
    *distance = (struct speech_distance){.same_length = reference_count == count};
    tsr_status st = open_sound(&a, reference, reference_count, sample_rate, err);
    if (st == TSR_OK) st = open_sound(&b, samples, count, sample_rate, err);
    if (st == TSR_OK) compare_sounds(&a, &b, distance);
    close_sound(&a);
    close_sound(&b);
    return st;
}

tsr_status speech_mel(const float *samples, uint64_t count, uint64_t sample_rate, uint64_t bands, float **mel,
                      uint64_t *columns, tsr_error *err) {
    struct sound sound = {.samples = samples, .count = count, .rate = sample_rate, .frame = max_u64(sample_rate / 100, 1)};
    float window[WINDOW];
    double *room = mem_alloc_array(2 * WINDOW + WINDOW / 2 + 1, sizeof *room);
    *columns = count / sound.frame;
    *mel = mem_alloc_array(*columns + 1, bands * sizeof **mel);
    tsr_status st = room && *mel ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a spectrum");
    for (uint64_t f = 0; f < *columns && st == TSR_OK; f++) {
        take_window(&sound, f, window);
        fourier_power(window, WINDOW, room + 2 * WINDOW, room);
        fourier_mel(room + 2 * WINDOW, WINDOW / 2 + 1, sample_rate, *mel + f * bands, bands);
    }
    mem_free(room);
    return st;
}
