/* SPDX-License-Identifier: Apache-2.0
 *
 * The speech gate's measures: speech passes; silence, direct current, tones, noises and shuffled speech do not. With files as
 * arguments: each must pass, and must not when its frames are shuffled (tests/soak/espeak.sh). */
#include "unit.h"

#include <base/alloc.h>
#include <base/rng.h>
#include <format/wave.h>
#include <math.h>
#include <measure/speech_picture.h>
#include <policy/speech_check.h>
#include <string.h>

#define RATE 24000
#define COUNT (5 * RATE)
#define HOP 1920
#define PI 3.14159265358979323846

static float sound[COUNT];

static bool passes(const float *samples, uint64_t count, const char **wrong) {
    struct speech_report report;
    if (speech_check(samples, count, RATE, count / HOP, HOP, &report, NULL) != TSR_OK) return false;
    const struct speech_measure *first = speech_first_wrong(&report);
    if (wrong) *wrong = first ? first->name : "";
    return report.ok && !first;
}

static void must_fail(const char *what) {
    const char *wrong;
    bool passed = passes(sound, COUNT, &wrong);
    printf("%s - %s_is_no_speech (%s)\n", passed ? "not ok" : "ok", what, wrong);
    CU_ASSERT_FALSE(passed);
}

static double noise(struct rng *rng) {
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += rng_real(rng);
    return sum - 6;
}

static void silence_and_constants_fail(void) {
    memset(sound, 0, sizeof sound);
    must_fail("silence");
    for (uint64_t i = 0; i < COUNT; i++) sound[i] = 0.2f;
    must_fail("direct_current");
}

static void tones_fail(void) {
    for (uint64_t i = 0; i < COUNT; i++) sound[i] = 0.2f * (float)sin(2 * PI * 440 * (double)i / RATE);
    must_fail("a_sine");
    for (uint64_t i = 0; i < COUNT; i++) sound[i] = i / 60 % 2 ? 0.2f : -0.2f;
    must_fail("a_square_wave");
    for (uint64_t i = 0; i < COUNT; i++) {
        sound[i] = 0.2f * (float)(sin(2 * PI * 150 * (double)i / RATE) * (1 + sin(2 * PI * 4 * (double)i / RATE)) / 2);
    }
    must_fail("a_tone_that_swells");
}

static void noises_fail(void) {
    struct rng rng = {1};
    double pink[3] = {0};
    for (uint64_t i = 0; i < COUNT; i++) sound[i] = 0.1f * (float)noise(&rng);
    must_fail("white_noise");
    for (uint64_t i = 0; i < COUNT; i++) { /* three poles (Kellet) */
        double white = noise(&rng);
        pink[0] = 0.99765 * pink[0] + white * 0.0990460;
        pink[1] = 0.96300 * pink[1] + white * 0.2965164;
        pink[2] = 0.57000 * pink[2] + white * 1.0526913;
        sound[i] = 0.03f * (float)(pink[0] + pink[1] + pink[2] + white * 0.1848);
    }
    must_fail("pink_noise");
}

/* Pieces of `size` samples in another order. */
static void shuffle(float *samples, uint64_t count, uint64_t size) {
    struct rng rng = {7};
    for (uint64_t i = count / size - 1; i > 0; i--) {
        uint64_t j = rng_below(&rng, i + 1);
        for (uint64_t k = 0; k < size; k++) {
            float swap = samples[i * size + k];
            samples[i * size + k] = samples[j * size + k];
            samples[j * size + k] = swap;
        }
    }
}

static bool check_speech(const char *path) {
    static const uint64_t sizes[] = {480, 1920};
    const char *wrong = "";
    float *samples = NULL;
    uint64_t count = 0;
    tsr_error err = {0};
    tsr_status st = wave_read(path, RATE, 600, &samples, &count, &err);
    bool good = st == TSR_OK && passes(samples, count, &wrong);
    printf("%s - speech passes: %s %s%s\n", good ? "ok" : "not ok", path, wrong, err.message);
    for (int i = 0; i < 2 && st == TSR_OK; i++) {
        shuffle(samples, count, sizes[i]);
        bool refused = !passes(samples, count - count % sizes[i], &wrong);
        printf("%s - shuffled by %u ms fails: %s (%s)\n", refused ? "ok" : "not ok", (unsigned)(sizes[i] / 24), path, wrong);
        good = good && refused;
        mem_free(samples);
        samples = NULL;
        st = wave_read(path, RATE, 600, &samples, &count, &err);
    }
    mem_free(samples);
    return good;
}

static void speech_passes_and_shuffled_speech_fails(void) {
    if (!wave_available()) return;
    CU_ASSERT_TRUE(check_speech("tests/data/speech/espeak.flac"));
}

/* The same sound is at no distance; half as loud is at 50 %. */
static void distance_tells_what_changed(void) {
    static float other[COUNT];
    struct speech_distance distance;
    struct rng rng = {3};
    for (uint64_t i = 0; i < COUNT; i++) sound[i] = 0.1f * (float)noise(&rng);
    memcpy(other, sound, sizeof other);
    CU_ASSERT_EQUAL_FATAL(speech_compare(sound, COUNT, other, COUNT, RATE, &distance, NULL), TSR_OK);
    CU_ASSERT_TRUE(distance.same_length && distance.level == 0 && distance.crossings == 0 && distance.envelope == 0 &&
                   distance.mel == 0);
    for (uint64_t i = 0; i < COUNT; i++) other[i] *= 0.5f;
    CU_ASSERT_EQUAL_FATAL(speech_compare(sound, COUNT, other, COUNT - 1, RATE, &distance, NULL), TSR_OK);
    CU_ASSERT_FALSE(distance.same_length);
    CU_ASSERT_DOUBLE_EQUAL(distance.level, 0.5, 1e-3);
    CU_ASSERT_DOUBLE_EQUAL(distance.envelope, 0.5, 1e-2);
    CU_ASSERT_DOUBLE_EQUAL(distance.mel, log10(4), 1e-2);
}

static void a_sample_that_is_no_number_fails(void) {
    struct speech_report report;
    memset(sound, 0, sizeof sound);
    sound[17] = NAN;
    CU_ASSERT_EQUAL_FATAL(speech_check(sound, COUNT, RATE, COUNT / HOP, HOP, &report, NULL), TSR_OK);
    CU_ASSERT_FALSE(report.ok);
    CU_ASSERT_STRING_EQUAL(speech_first_wrong(&report)->name, "not_finite");
}

static void png_has_its_checksums(void) {
    /* One black pixel, as zlib and a PNG decoder agree on it. */
    static const uint8_t expected[] = {0x78, 0x01, 0x01, 0x02, 0x00, 0xFD, 0xFF, 0x00, 0x00, 0x00, 0x02, 0x00, 0x01};
    const uint8_t black = 0;
    struct str png = {0};
    picture_png(&png, &black, 1, 1);
    CU_ASSERT_EQUAL_FATAL(png.length, 8 + 25 + 12 + sizeof expected + 12);
    CU_ASSERT_EQUAL(memcmp(png.text + 8 + 25 + 8, expected, sizeof expected), 0);
    CU_ASSERT_EQUAL(memcmp(png.text + png.length - 4, "\xAE\x42\x60\x82", 4), 0);
    str_clear(&png);
}

static const struct unit_test TESTS[] = {
    {"silence_and_constants_fail", silence_and_constants_fail},
    {"tones_fail", tones_fail},
    {"noises_fail", noises_fail},
    {"speech_passes_and_shuffled_speech_fails", speech_passes_and_shuffled_speech_fails},
    {"distance_tells_what_changed", distance_tells_what_changed},
    {"a_sample_that_is_no_number_fails", a_sample_that_is_no_number_fails},
    {"png_has_its_checksums", png_has_its_checksums},
};

int main(int argc, char **argv) {
    bool good = true;
    if (argc < 2) return unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]);
    for (int i = 1; i < argc; i++) good = check_speech(argv[i]) && good;
    return good ? 0 : 1;
}
