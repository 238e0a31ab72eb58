/* SPDX-License-Identifier: Apache-2.0
 *
 * The stored form of a model. Four bytes: probability bits, alphabet (two bytes, little-endian), contexts; then a
 * string of bits, least significant first, the last byte filled with zeros. For each context, for each symbol in
 * order: its class k (0 for freq 0, else floor(log2 freq) + 1) as gamma(zigzag(k - class before) + 1), the class
 * before the first symbol being 0; for k > 0 the k - 1 bits of freq below its highest; for k = 0 gamma(run), the
 * number of zero symbols that begins here. gamma(v) is floor(log2 v) zeros, a one, and the bits of v below its
 * highest (Elias 1975). Neighbouring frequencies are alike, so the class costs one or three bits. */
#include "entropy_rans.h"

#include <base/bytes.h>

#define HEAD_BYTES 4

struct bit_writer {
    uint8_t *bytes;
    uint64_t capacity, bits; /* bits written, also those that did not fit */
};

static void put_bits(struct bit_writer *writer, uint32_t value, uint32_t count) {
    for (uint32_t i = 0; i < count; i++, writer->bits++) {
        uint64_t at = writer->bits / 8;
        if (at >= writer->capacity) continue;
        if (writer->bits % 8 == 0) writer->bytes[at] = 0;
        writer->bytes[at] = (uint8_t)(writer->bytes[at] | ((value >> i) & 1u) << (writer->bits % 8));
    }
}

static uint32_t highest_bit(uint32_t value) {
    return 31 - (uint32_t)__builtin_clz(value);
}

static void put_gamma(struct bit_writer *writer, uint32_t value) {
    uint32_t low = highest_bit(value);
    put_bits(writer, 0, low);
    put_bits(writer, 1, 1);
    put_bits(writer, value, low);
}

static uint32_t class_of(uint32_t freq) {
    return freq ? highest_bit(freq) + 1 : 0;
}

static uint32_t zigzag(uint32_t now, uint32_t before) {
    return now >= before ? 2 * (now - before) : 2 * (before - now) - 1;
}

static void put_context(struct bit_writer *writer, const struct rans_symbol *symbols, uint32_t alphabet) {
    uint32_t before = 0;
    for (uint32_t s = 0; s < alphabet;) {
        uint32_t now = class_of(symbols[s].freq);
        put_gamma(writer, zigzag(now, before) + 1);
        before = now;
        if (now > 0) {
            put_bits(writer, symbols[s++].freq, now - 1);
            continue;
        }
        uint32_t run = 1;
        while (s + run < alphabet && symbols[s + run].freq == 0) run++;
        put_gamma(writer, run);
        s += run;
    }
}

/* A class costs at most gamma(31) = 9 bits, with at most 14 bits of freq or 25 of a run that ends a context. */
uint64_t entropy_model_bound(uint32_t alphabet) {
    return HEAD_BYTES + (uint64_t)alphabet * 3 + 8;
}

tsr_status entropy_model_write(const tsr_entropy_model *model, void *dst, uint64_t capacity, uint64_t *written,
                               tsr_error *err) {
    uint8_t *bytes = dst;
    struct bit_writer writer = {bytes + HEAD_BYTES, capacity < HEAD_BYTES ? 0 : capacity - HEAD_BYTES, 0};
    if (capacity >= HEAD_BYTES) {
        bytes[0] = (uint8_t)model->bits;
        store_le(bytes + 1, model->alphabet, 2);
        bytes[3] = (uint8_t)model->contexts;
    }
    for (uint32_t c = 0; c < model->contexts; c++) {
        put_context(&writer, model->symbols + ((uint64_t)c << model->stride_bits), model->alphabet);
    }
    *written = HEAD_BYTES + (writer.bits + 7) / 8;
    if (*written > capacity) {
        return tsr_fail(err, TSR_E_SPACE, "entropy model: needs %llu bytes, %llu given", (unsigned long long)*written,
                        (unsigned long long)capacity);
    }
    return TSR_OK;
}

struct bit_reader {
    const uint8_t *bytes;
    uint64_t bits, at; /* at > bits after an overrun, which reads as ones so that every gamma ends */
};

static uint32_t get_bits(struct bit_reader *reader, uint32_t count) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < count; i++, reader->at++) {
        uint32_t bit = 1;
        if (reader->at < reader->bits) bit = (uint32_t)reader->bytes[reader->at / 8] >> (reader->at % 8) & 1u;
        value |= bit << i;
    }
    return value;
}

/* 0 when there is no value below 2^16. */
static uint32_t get_gamma(struct bit_reader *reader) {
    uint32_t low = 0;
    while (low < 16 && !get_bits(reader, 1)) low++;
    return low == 16 ? 0 : (UINT32_C(1) << low) | get_bits(reader, low);
}

static bool get_context(struct bit_reader *reader, struct rans_symbol *symbols, uint32_t alphabet, uint32_t bits) {
    uint32_t before = 0;
    for (uint32_t s = 0; s < alphabet;) {
        uint32_t code = get_gamma(reader);
        uint32_t step = code / 2; /* of zigzag = code - 1 */
        if (code == 0 || (code % 2 == 0 && step > before)) return false;
        uint32_t now = code % 2 ? before + step : before - step;
        if (now > bits + 1) return false;
        before = now;
        if (now > 0) {
            symbols[s++].freq = (uint16_t)((UINT32_C(1) << (now - 1)) | get_bits(reader, now - 1));
            continue;
        }
        uint32_t run = get_gamma(reader);
        if (run == 0 || run > alphabet - s) return false;
        s += run;
    }
    return reader->at <= reader->bits;
}

tsr_status entropy_model_read(const tsr_host *host, const void *src, uint64_t size, uint64_t *consumed,
                              tsr_entropy_model **model, tsr_error *err) {
    const uint8_t *bytes = src;
    *model = NULL;
    if (size < HEAD_BYTES) return tsr_fail(err, TSR_E_CORRUPT, "entropy model: %llu bytes", (unsigned long long)size);
    tsr_entropy_shape shape = {sizeof shape, (uint32_t)load_le(bytes + 1, 2), bytes[3], bytes[0], 0};
    struct bit_reader reader = {bytes + HEAD_BYTES, 0, 0};
    uint64_t left = size - HEAD_BYTES;
    /* Each context takes two bits at least, and no sound model is longer than its bound. */
    if (left < (shape.contexts + 3) / 4) return tsr_fail(err, TSR_E_CORRUPT, "entropy model: cut short");
    if (left > shape.contexts * entropy_model_bound(shape.alphabet)) {
        left = shape.contexts * entropy_model_bound(shape.alphabet);
    }
    reader.bits = left * 8;
    tsr_status status = entropy_model_alloc(host, &shape, model, err);
    if (status == TSR_E_ARGUMENT) return tsr_fail(err, TSR_E_CORRUPT, "entropy model: impossible shape");
    if (status != TSR_OK) return status;
    bool sound = true;
    for (uint32_t c = 0; sound && c < shape.contexts; c++) {
        struct rans_symbol *symbols = (*model)->symbols + ((uint64_t)c << (*model)->stride_bits);
        sound = get_context(&reader, symbols, shape.alphabet, shape.probability_bits);
    }
    sound = sound && (reader.at % 8 == 0 || get_bits(&reader, (uint32_t)(8 - reader.at % 8)) == 0);
    if (!sound || !entropy_model_finish(*model)) {
        entropy_model_destroy(host, *model);
        *model = NULL;
        return tsr_fail(err, TSR_E_CORRUPT, "entropy model: damaged probabilities");
    }
    *consumed = HEAD_BYTES + (reader.at + 7) / 8;
    return TSR_OK;
}
