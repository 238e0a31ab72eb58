/* SPDX-License-Identifier: Apache-2.0
 *
 * SVG with the spectrograms inside as PNG (ISO/IEC 15948) whose data is stored, not compressed: a few hundred kilobytes that
 * every viewer shows. */
#include "speech_picture.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/fs.h>
#include <math.h>
#include <policy/speech_check.h>

#define BANDS 80
#define WAVE_HEIGHT 120
#define MEL_HEIGHT 160
#define COLUMNS_MAX 1120 /* of a spectrogram: longer sounds are thinned out */
#define RANGE 6.0        /* log10 from black to white */
#define STORED_MAX 65535 /* bytes of a stored block of deflate */

/* ---- PNG ---- */

static uint32_t crc_of(const uint8_t *bytes, size_t size) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    return crc ^ 0xFFFFFFFFu;
}

static void add_be32(struct str *out, uint32_t value) {
    const uint8_t bytes[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    str_add(out, bytes, 4);
}

/* `body` begins with the chunk's type. */
static void add_chunk(struct str *out, const struct str *body) {
    if (body->failed) out->failed = true;
    if (out->failed) return;
    add_be32(out, (uint32_t)(body->length - 4));
    str_add(out, body->text, body->length);
    add_be32(out, crc_of((const uint8_t *)body->text, body->length));
}

/* Rows of the image, each behind filter type 0, as stored blocks of a zlib stream (RFC 1950, 1951). */
static void add_rows(struct str *body, const struct str *rows) {
    uint32_t a = 1, b = 0;
    str_add(body, "\x78\x01", 2);
    for (size_t at = 0; at < rows->length;) {
        size_t size = min_u64(rows->length - at, STORED_MAX);
        const uint8_t last = at + size == rows->length;
        str_add(body, &last, 1);
        str_add_le(body, size, 2);
        str_add_le(body, ~size & 0xFFFF, 2);
        str_add(body, rows->text + at, size);
        at += size;
    }
    for (size_t i = 0; i < rows->length; i++) {
        a = (a + (uint8_t)rows->text[i]) % 65521;
        b = (b + a) % 65521;
    }
    add_be32(body, b << 16 | a);
}

void picture_png(struct str *out, const uint8_t *grey, uint64_t width, uint64_t height) {
    struct str header = {0}, data = {0}, rows = {0}, end = {0};
    str_add(out, "\x89PNG\r\n\x1A\n", 8);
    str_add(&header, "IHDR", 4);
    add_be32(&header, (uint32_t)width);
    add_be32(&header, (uint32_t)height);
    str_add(&header, "\x08\x00\x00\x00\x00", 5); /* 8 bits of grey */
    add_chunk(out, &header);
    for (uint64_t y = 0; y < height; y++) {
        str_add(&rows, "", 1);
        str_add(&rows, grey + y * width, width);
    }
    str_add(&data, "IDAT", 4);
    if (!rows.failed) add_rows(&data, &rows);
    data.failed = data.failed || rows.failed;
    add_chunk(out, &data);
    str_add(&end, "IEND", 4);
    add_chunk(out, &end);
    str_clear(&header);
    str_clear(&data);
    str_clear(&rows);
    str_clear(&end);
}

/* ---- panels ---- */

void picture_wave(struct str *out, const struct picture_sound *sound, uint64_t x, uint64_t y, uint64_t height) {
    for (uint64_t column = 0; column < PICTURE_WIDTH; column++) {
        uint64_t from = sound->count * column / PICTURE_WIDTH, to = max_u64(sound->count * (column + 1) / PICTURE_WIDTH, from + 1);
        float low = 1, high = -1;
        for (uint64_t i = from; i < to && i < sound->count; i++) {
            low = fminf(low, sound->samples[i]);
            high = fmaxf(high, sound->samples[i]);
        }
        if (low > high) low = high = 0;
        double half = (double)height / 2, middle = (double)y + half;
        str_add_format(out, "M%.1f %.1fV%.1f", (double)(x + column) + 0.5, middle - (double)high * half, middle - (double)low * half + 0.5);
    }
}

tsr_status picture_mel(const struct picture_sound *sound, uint64_t sample_rate, struct str *png, tsr_error *err) {
    float *mel = NULL, top = -INFINITY;
    uint64_t columns = 0;
    tsr_status st = speech_mel(sound->samples, sound->count, sample_rate, BANDS, &mel, &columns, err);
    uint64_t width = max_u64(min_u64(columns, COLUMNS_MAX), 1);
    uint8_t *grey = mem_alloc_zero(width, BANDS);
    if (st == TSR_OK && !grey) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a picture");
    for (uint64_t i = 0; st == TSR_OK && i < columns * BANDS; i++) top = fmaxf(top, mel[i]);
    for (uint64_t x = 0; st == TSR_OK && columns && x < width; x++) {
        const float *column = mel + columns * x / width * BANDS;
        for (uint64_t b = 0; b < BANDS; b++) {
            double level = 1 + ((double)column[b] - (double)top) / RANGE;
            grey[(BANDS - 1 - b) * width + x] = (uint8_t)(255 * fmin(fmax(level, 0), 1));
        }
    }
    if (st == TSR_OK) picture_png(png, grey, width, BANDS);
    mem_free(grey);
    mem_free(mel);
    return st;
}

static tsr_status add_panel(struct str *out, const struct picture_sound *sound, uint64_t x, uint64_t sample_rate,
                            tsr_error *err) {
    struct str png = {0};
    str_add_format(out, "<text x=\"%llu\" y=\"16\" font-family=\"sans-serif\" font-size=\"13\">%s: %.2f s</text>\n",
                   (unsigned long long)x, sound->title, (double)sound->count / (double)sample_rate);
    str_add_text(out, "<path stroke=\"#246\" stroke-width=\"1\" d=\"");
    picture_wave(out, sound, x, 24, WAVE_HEIGHT);
    str_add_text(out, "\"/>\n");
    tsr_status st = picture_mel(sound, sample_rate, &png, err);
    str_add_format(out, "<image x=\"%llu\" y=\"%d\" width=\"%d\" height=\"%d\" preserveAspectRatio=\"none\" "
                   "href=\"data:image/png;base64,", (unsigned long long)x, 32 + WAVE_HEIGHT, PICTURE_WIDTH, MEL_HEIGHT);
    if (st == TSR_OK && !png.failed) str_add_base64(out, png.text, png.length);
    out->failed = out->failed || png.failed;
    str_add_text(out, "\"/>\n");
    str_clear(&png);
    return st;
}

tsr_status speech_picture_write(const char *path, const struct picture_sound *sounds, uint64_t count, uint64_t sample_rate,
                                tsr_error *err) {
    struct str out = {0};
    tsr_status st = TSR_OK;
    uint64_t width = count * (PICTURE_WIDTH + 16) + 16, height = 48 + WAVE_HEIGHT + MEL_HEIGHT;
    str_add_format(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%llu\" height=\"%llu\">\n", (unsigned long long)width,
                   (unsigned long long)height);
    str_add_text(&out, "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) st = add_panel(&out, &sounds[i], 16 + i * (PICTURE_WIDTH + 16), sample_rate, err);
    str_add_text(&out, "</svg>\n");
    if (st == TSR_OK && out.failed) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    if (st == TSR_OK) st = fs_replace(path, out.text, out.length, err);
    str_clear(&out);
    return st;
}
