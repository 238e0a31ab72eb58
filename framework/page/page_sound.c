/* SPDX-License-Identifier: Apache-2.0
 *
 * Speech in the report: waveform, spectrogram and the sound itself. Sound is most of such a page, so the given files share a
 * budget and what is longer is cut, which the page says. */
#include "page_parts.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/fs.h>
#include <format/wave.h>
#include <measure/speech_picture.h>
#include <stdio.h>
#include <string.h>

#define SOUND_BYTES_MAX 640000 /* of all sounds, 16 bits a sample, before base64 */
#define SAMPLE_RATE 24000      /* what the models of this version speak */
#define SECONDS_MAX 600
#define WAVE_HEIGHT 90

/* RIFF with one chunk of 16-bit PCM (Multimedia Programming Interface 1.0, chapter 3). */
static void add_wav(struct str *out, const float *samples, uint64_t count) {
    str_add_text(out, "RIFF");
    str_add_le(out, 36 + count * 2, 4);
    str_add_text(out, "WAVEfmt ");
    str_add_le(out, 16, 4);
    str_add_le(out, 1, 2); /* PCM */
    str_add_le(out, 1, 2); /* channels */
    str_add_le(out, SAMPLE_RATE, 4);
    str_add_le(out, SAMPLE_RATE * 2, 4);
    str_add_le(out, 2, 2);
    str_add_le(out, 16, 2);
    str_add_text(out, "data");
    str_add_le(out, count * 2, 4);
    for (uint64_t i = 0; i < count; i++) {
        float value = samples[i] < -1 ? -1 : samples[i] > 1 ? 1 : samples[i];
        str_add_le(out, (uint64_t)(int64_t)(value * 32767.0F), 2);
    }
}

/* src="data:TYPE;base64,...". The digits need no escaping. */
static void add_data(struct page *page, const char *type, const struct str *bytes) {
    page_add(page, " src=\"data:%s;base64,", type);
    page->body.failed = page->body.failed || bytes->failed;
    if (!bytes->failed) str_add_base64(&page->body, bytes->text, bytes->length);
    page_add(page, "\"");
}

static void add_wave(struct page *page, const struct picture_sound *sound) {
    page_add(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>Waveform of %s</title><path class=\"line\" d=\"", PICTURE_WIDTH, WAVE_HEIGHT,
             sound->title);
    picture_wave(&page->body, sound, 0, 0, WAVE_HEIGHT);
    page_add(page, "\"/></svg>\n");
}

static tsr_status add_sound(struct page *page, const char *path, const char *title, uint64_t samples_max, tsr_error *err) {
    float *samples = NULL;
    uint64_t count = 0;
    struct str png = {0}, wav = {0};
    tsr_status st = wave_read(path, SAMPLE_RATE, SECONDS_MAX, &samples, &count, err);
    uint64_t kept = min_u64(count, samples_max);
    struct picture_sound sound = {title, samples, kept};
    if (st == TSR_OK) st = picture_mel(&sound, SAMPLE_RATE, &png, err);
    if (st == TSR_OK) {
        add_wav(&wav, samples, kept);
        page_add(page, "<figure>\n<figcaption>%s: %.2f s</figcaption>\n", title, (double)count / SAMPLE_RATE);
        add_wave(page, &sound);
        page_add(page, "<img class=\"mel\" alt=\"Spectrogram of %s: low bands at the bottom, loud is light\"", title);
        add_data(page, "image/png", &png);
        page_add(page, "/>\n<audio controls=\"controls\" preload=\"none\" aria-label=\"%s\"", title);
        add_data(page, "audio/wav", &wav);
        page_add(page, "></audio>\n");
        if (kept < count) page_add(page, "<p>Cut to %.2f s: pages have a size limit.</p>\n", (double)kept / SAMPLE_RATE);
        page_add(page, "</figure>\n");
    }
    str_clear(&png);
    str_clear(&wav);
    mem_free(samples);
    return st;
}

tsr_status report_sounds(struct page *page, const struct report *report, tsr_error *err) {
    uint64_t count = report->options->sound_count;
    tsr_status st = TSR_OK;
    if (!count) return TSR_OK;
    page_section(page, "sounds", "Sounds");
    page_add(page, "<p>What the models said. That words are understood, only a listener can tell.</p>\n<div class=\"figures\">\n");
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        const char *given = report->options->sounds[i], *equals = strrchr(given, '=');
        struct str path = {0};
        str_add(&path, given, equals ? (size_t)(equals - given) : strlen(given));
        st = path.failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for a path")
                         : add_sound(page, path.text, equals ? equals + 1 : fs_base_name(given), SOUND_BYTES_MAX / 2 / count, err);
        str_clear(&path);
    }
    page_add(page, "</div>\n");
    page_origin(page, PAGE_MEASURED, "from the sound files that were handed in.", "tessera run OUT --text TEXT -o FILE.wav");
    return st;
}
