/* SPDX-License-Identifier: Apache-2.0
 *
 * The rANS coder itself: framing, checks, and the scalar loops, which are the specification that the vector kernels
 * equal bit for bit. See entropy_rans.h for the stream. Division by freq is a multiplication: with
 * r = floor((2^32 - 1) / freq) and x < 2^32, floor(x * r / 2^32) is floor(x / freq) or one less. */
#include "entropy_rans.h"

#include <base/bytes.h>
#include <string.h>

uint64_t rans_bound(uint64_t count) {
    return 4 * RANS_LANES + 2 * count + RANS_SLACK;
}

static tsr_status split_check(const tsr_entropy_split *split, uint64_t count, tsr_error *err) {
    if (split->symbol_bits > 16 || split->low_bits > 16 - split->symbol_bits || count > UINT64_MAX / 64) {
        return tsr_fail(err, TSR_E_ARGUMENT, "entropy coder: %u low bits and a symbol of %u bits do not fit in 16",
                        (unsigned)split->low_bits, (unsigned)split->symbol_bits);
    }
    uint8_t largest = 0;
    for (uint64_t i = 0; split->contexts && i < count; i++) {
        largest = split->contexts[i] > largest ? split->contexts[i] : largest;
    }
    if (largest >= split->model->contexts) {
        return tsr_fail(err, TSR_E_ARGUMENT, "entropy coder: context %u, the model has %u", (unsigned)largest,
                        (unsigned)split->model->contexts);
    }
    return TSR_OK;
}

/* Encodes values[first..last) of one group, from the last lane down. Without branches that depend on the data: a word
 * is always stored, and counts only if it was due. */
static void encode_lanes(struct rans_encoder *encoder, const uint16_t *values, uint64_t first, uint64_t last) {
    const struct tsr_entropy_model *model = encoder->model;
    uint32_t bits = model->bits, low_bits = encoder->low_bits, symbol_mask = encoder->symbol_mask;
    uint8_t *at = encoder->at;
    bool uncodable = false;
    for (uint64_t i = last; i-- > first;) {
        uint32_t context = encoder->contexts ? encoder->contexts[i] : 0;
        uint32_t symbol = (uint32_t)values[i] >> low_bits & symbol_mask;
        uncodable |= symbol >= model->alphabet;
        symbol = symbol >= model->alphabet ? 0 : symbol;
        struct rans_symbol entry = model->symbols[(context << model->stride_bits) + symbol];
        uncodable |= entry.freq == 0;
        uint32_t x = encoder->states[i % RANS_LANES];
        uint32_t due = x >> (32 - bits) >= entry.freq;
        store_le(at - 2, x & 0xffff, 2);
        at -= 2 * due;
        x >>= 16 * due;
        uint32_t quotient = (uint32_t)((uint64_t)x * entry.reciprocal >> 32);
        uint32_t rest = x - quotient * entry.freq;
        uint32_t more = rest >= entry.freq ? (UINT32_C(1) << bits) - entry.freq : 0;
        encoder->states[i % RANS_LANES] = (quotient << bits) + rest + entry.start + more;
    }
    encoder->at = at;
    encoder->uncodable |= uncodable;
}

static tsr_status encode_all(struct rans_encoder *encoder, enum rans_level level, const uint16_t *values,
                             uint64_t count, tsr_error *err) {
    uint64_t whole = count / RANS_LANES;
    rans_encode_groups groups = rans_kernels_of(level).encode;
    for (unsigned i = 0; i < RANS_LANES; i++) encoder->states[i] = RANS_LOW;
    encode_lanes(encoder, values, whole * RANS_LANES, count);
    if (groups) groups(encoder, values, whole);
    for (uint64_t g = groups ? 0 : whole; g-- > 0;) {
        encode_lanes(encoder, values, g * RANS_LANES, (g + 1) * RANS_LANES);
    }
    if (encoder->uncodable) {
        return tsr_fail(err, TSR_E_ARGUMENT, "entropy coder: a symbol has no probability in the model");
    }
    for (uint64_t i = count < RANS_LANES ? count : RANS_LANES; i-- > 0;) {
        encoder->at -= 4;
        store_le(encoder->at, encoder->states[i], 4);
    }
    return TSR_OK;
}

tsr_status rans_encode(const tsr_entropy_split *split, enum rans_level level, const uint16_t *values, uint64_t count,
                       void *dst, uint64_t capacity, uint64_t *written, tsr_error *err) {
    uint8_t *bytes = dst;
    tsr_status status = split_check(split, count, err);
    if (status != TSR_OK) return status;
    uint64_t raw_bytes = entropy_bits_bytes(count, 16 - split->symbol_bits);
    if (capacity < raw_bytes + rans_bound(count)) {
        return tsr_fail(err, TSR_E_SPACE, "entropy coder: %llu bytes given for %llu symbols",
                        (unsigned long long)capacity, (unsigned long long)count);
    }
    uint8_t *end = bytes + raw_bytes + rans_bound(count);
    struct rans_encoder encoder = {.model = split->model,
                                   .begin = bytes + raw_bytes,
                                   .at = end,
                                   .contexts = split->contexts,
                                   .low_bits = split->low_bits,
                                   .symbol_mask = (UINT32_C(1) << split->symbol_bits) - 1};
    entropy_split_pack(split, values, count, bytes);
    status = encode_all(&encoder, level, values, count, err);
    if (status != TSR_OK) return status;
    memmove(bytes + raw_bytes, encoder.at, (size_t)(end - encoder.at));
    *written = raw_bytes + (uint64_t)(end - encoder.at);
    return TSR_OK;
}

/* One symbol of a lane; the state may be left below RANS_LOW. */
static inline uint16_t decode_symbol(const struct tsr_entropy_model *model, uint32_t context, uint32_t *state) {
    uint32_t bits = model->bits, x = *state, slot = x & ((UINT32_C(1) << bits) - 1);
    uint32_t symbol = model->slot_symbol[(context << bits) + slot];
    struct rans_symbol entry = model->symbols[(context << model->stride_bits) + symbol];
    *state = entry.freq * (x >> bits) + slot - entry.start;
    return (uint16_t)symbol;
}

/* Decodes the symbols of values[first..last), value 0 belonging to `lane`; false when the words end too early. */
static bool decode_lanes(struct rans_decoder *decoder, uint16_t *values, uint64_t first, uint64_t last, uint64_t lane) {
    for (uint64_t i = first; i < last; i++) {
        uint32_t *state = decoder->states + (lane + i) % RANS_LANES;
        values[i] = decode_symbol(decoder->model, decoder->contexts ? decoder->contexts[i] : 0, state);
        if (*state >= RANS_LOW) continue;
        if (decoder->end - decoder->at < 2) return false;
        *state = *state << 16 | (uint32_t)load_le(decoder->at, 2);
        decoder->at += 2;
    }
    return true;
}

/* The same for whole groups while the words surely suffice, without branches that depend on the data. */
static uint64_t decode_groups(struct rans_decoder *decoder, uint16_t *values, uint64_t group, uint64_t last) {
    const uint8_t *at = decoder->at;
    for (; group < last && decoder->end - at >= 2 * RANS_LANES; group++) {
        for (uint32_t lane = 0; lane < RANS_LANES; lane++) {
            uint64_t i = group * RANS_LANES + lane;
            uint32_t x = decoder->states[lane];
            values[i] = decode_symbol(decoder->model, decoder->contexts ? decoder->contexts[i] : 0, &x);
            uint32_t word = (uint32_t)load_le(at, 2), due = x < RANS_LOW;
            decoder->states[lane] = due ? x << 16 | word : x;
            at += 2 * due;
        }
    }
    decoder->at = at;
    return group;
}

static bool decode_all(struct rans_decoder *decoder, enum rans_level level, uint16_t *values, uint64_t count) {
    uint64_t lanes = count < RANS_LANES ? count : RANS_LANES, done = 0;
    rans_decode_groups groups = rans_kernels_of(level).decode;
    if ((uint64_t)(decoder->end - decoder->at) < 4 * lanes) return false;
    for (uint64_t i = 0; i < lanes; i++, decoder->at += 4) decoder->states[i] = (uint32_t)load_le(decoder->at, 4);
    if (groups) done = groups(decoder, values, 0, count / RANS_LANES) * RANS_LANES;
    uint64_t at = decode_groups(decoder, values, done / RANS_LANES, count / RANS_LANES) * RANS_LANES;
    for (; at < count; at += RANS_LANES) {
        if (!decode_lanes(decoder, values, at, count - at < RANS_LANES ? count : at + RANS_LANES, 0)) return false;
    }
    entropy_split_join(decoder, values, done, count - done);
    uint32_t wrong = 0;
    for (uint64_t i = 0; i < lanes; i++) wrong |= decoder->states[i] ^ RANS_LOW;
    return wrong == 0 && decoder->at == decoder->end;
}

tsr_status rans_decode(const tsr_entropy_split *split, enum rans_level level, const void *src, uint64_t size,
                       uint16_t *values, uint64_t count, tsr_error *err) {
    tsr_status status = split_check(split, count, err);
    if (status != TSR_OK) return status;
    uint64_t raw_bytes = entropy_bits_bytes(count, 16 - split->symbol_bits);
    if (size < raw_bytes) {
        return tsr_fail(err, TSR_E_CORRUPT, "entropy coder: %llu bytes, the raw bits alone take %llu",
                        (unsigned long long)size, (unsigned long long)raw_bytes);
    }
    if (split->symbol_bits < 16 && split->model->alphabet > UINT32_C(1) << split->symbol_bits) {
        return tsr_fail(err, TSR_E_ARGUMENT, "entropy coder: alphabet of %u symbols, values have %u bits for one",
                        (unsigned)split->model->alphabet, (unsigned)split->symbol_bits);
    }
    const uint8_t *bytes = src;
    /* What fills up the last byte of the raw bits would be a place for two texts of one value. */
    uint64_t used = count % 8 * (16 - split->symbol_bits) % 8;
    if (used && bytes[raw_bytes - 1] >> used) {
        return tsr_fail(err, TSR_E_CORRUPT, "entropy coder: bits behind the raw bits are not zero");
    }
    struct rans_decoder decoder = {.model = split->model,
                                   .at = bytes + raw_bytes,
                                   .end = bytes + size,
                                   .raw = bytes,
                                   .raw_bytes = raw_bytes,
                                   .contexts = split->contexts,
                                   .low_bits = split->low_bits,
                                   .symbol_bits = split->symbol_bits};
    if (!decode_all(&decoder, level, values, count)) {
        return tsr_fail(err, TSR_E_CORRUPT, "entropy coder: damaged stream of %llu bytes", (unsigned long long)size);
    }
    return TSR_OK;
}

static tsr_status stream_fail(tsr_error *err) {
    return tsr_fail(err, TSR_E_CORRUPT, "entropy coder: damaged stream");
}

tsr_status rans_stream_begin(tsr_entropy_stream *stream, const tsr_entropy_model *model, const void *src, uint64_t size,
                             uint64_t count, tsr_error *err) {
    const uint64_t lanes = count < RANS_LANES ? count : RANS_LANES;
    *stream = (tsr_entropy_stream){.struct_size = sizeof *stream, .model = model, .at = src, .count = count};
    if (size < 4 * lanes) return stream_fail(err);
    stream->end = stream->at + size;
    for (uint64_t i = 0; i < RANS_LANES; i++) {
        stream->states[i] = i < lanes ? (uint32_t)load_le(stream->at + 4 * i, 4) : RANS_LOW;
    }
    stream->at += 4 * lanes;
    return TSR_OK;
}

tsr_status rans_stream_decode(tsr_entropy_stream *stream, enum rans_level level, const uint8_t *contexts,
                              uint16_t *symbols, uint64_t count, tsr_error *err) {
    struct rans_decoder decoder = {
        .model = stream->model, .at = stream->at, .end = stream->end, .contexts = contexts, .symbol_bits = 16};
    const uint64_t lane = stream->position % RANS_LANES;
    rans_decode_groups groups = rans_kernels_of(level).decode;
    uint64_t done = 0;
    if (count > stream->count - stream->position) {
        return tsr_fail(err, TSR_E_ARGUMENT, "entropy coder: %llu symbols wanted, the stream has %llu more",
                        (unsigned long long)count, (unsigned long long)(stream->count - stream->position));
    }
    memcpy(decoder.states, stream->states, sizeof decoder.states);
    if (lane == 0 && groups) done = groups(&decoder, symbols, 0, count / RANS_LANES) * RANS_LANES;
    if (lane == 0) done = decode_groups(&decoder, symbols, done / RANS_LANES, count / RANS_LANES) * RANS_LANES;
    if (!decode_lanes(&decoder, symbols, done, count, lane)) return stream_fail(err);
    memcpy(stream->states, decoder.states, sizeof decoder.states);
    stream->at = decoder.at;
    stream->position += count;
    return TSR_OK;
}

tsr_status rans_stream_end(const tsr_entropy_stream *stream, tsr_error *err) {
    uint32_t wrong = 0;
    for (unsigned i = 0; i < RANS_LANES; i++) wrong |= stream->states[i] ^ RANS_LOW;
    return wrong || stream->at != stream->end || stream->position != stream->count ? stream_fail(err) : TSR_OK;
}
