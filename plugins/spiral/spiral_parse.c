/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads headers and tiles in the order of spiral_bitstream.h, as far as tickets. Every number is checked before it is
 * used; whatever is not what an encoder writes is TSR_E_CORRUPT. */
#include "spiral_decode.h"

#include "input.h"
#include "whole_model.h"

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "spiral: %s", what);
}

/* The points of each class; for a companded curve there is one class, and nothing moves. */
static tsr_status read_points(struct spiral_decoder *decoder, uint32_t delta, struct input *input, tsr_error *err) {
    const struct spiral_curve curve = {decoder->companded, delta, decoder->count};
    decoder->points =
        decoder->host->alloc(decoder->host, (uint64_t)decoder->class_count * decoder->count * sizeof *decoder->points);
    if (!decoder->points) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for %u points", decoder->count);
    spiral_curve_points(&curve, decoder->points);
    for (uint32_t c = 1; c < decoder->class_count; c++) {
        memcpy(decoder->points + (uint64_t)c * decoder->count, decoder->points,
               decoder->count * sizeof *decoder->points);
    }
    for (uint32_t c = 0; c < decoder->class_count && !decoder->companded; c++) {
        uint32_t moved = input_byte(input);
        const uint8_t *bytes = input_take(input, 2 * (uint64_t)moved);
        uint32_t shrink = input_byte(input);
        int8_t offsets[2 * SPIRAL_OFFSETS_MAX];
        if (input->short_of || moved > SPIRAL_OFFSETS_MAX) return corrupt(err, "header: damaged offsets");
        memcpy(offsets, bytes, 2 * moved);
        spiral_curve_move(decoder->points + (uint64_t)c * decoder->count, decoder->count, offsets, moved, shrink);
    }
    return TSR_OK;
}

static tsr_status read_model(struct spiral_decoder *decoder, const struct input *input, tsr_error *err) {
    bool fits = false;
    if (decoder->packed) return input->size == 0 ? TSR_OK : corrupt(err, "header: bytes left over");
    tsr_status status = whole_model_read(decoder->entropy, decoder->host, input, decoder->alphabet, decoder->class_count,
                                         &decoder->model, &fits, err);
    return status == TSR_OK && !fits ? corrupt(err, "header: model of another shape") : status;
}

static bool numbers_are_sound(const struct spiral_decoder *decoder, uint64_t curve, uint64_t flags) {
    if (curve > SPIRAL_COMPANDED || flags > (SPIRAL_ROTATED | SPIRAL_PACKED)) return false;
    if (decoder->mantissa_bits < 1 || decoder->mantissa_bits > 7 || decoder->stride < 1) return false;
    if (decoder->alphabet < 2 || decoder->alphabet > SPIRAL_SYMBOLS_MAX) return false;
    if (decoder->companded) return decoder->alphabet >= SPIRAL_POINTS_LEAST;
    return !decoder->packed && decoder->low_bits <= SPIRAL_LOW_BITS_MAX && decoder->class_count >= 1 &&
           decoder->class_count <= SPIRAL_CLASSES_MAX &&
           (decoder->alphabet - 1) << decoder->low_bits <= SPIRAL_TICKETS_MAX;
}

tsr_status spiral_decoder_init(struct spiral_decoder *decoder, const void *header, uint64_t size, tsr_error *err) {
    struct input input = {header, size, false};
    uint64_t curve = input_byte(&input), flags = input_byte(&input), delta = 0;
    decoder->companded = curve == SPIRAL_COMPANDED;
    decoder->rotated = flags & SPIRAL_ROTATED;
    decoder->packed = flags & SPIRAL_PACKED;
    if (decoder->rotated) decoder->seed = input_number(&input, 8);
    decoder->mantissa_bits = input_byte(&input);
    decoder->stride = input_varint(&input);
    decoder->alphabet = input_varint(&input);
    decoder->class_count = 1;
    if (!decoder->companded) {
        delta = input_byte(&input);
        decoder->low_bits = input_byte(&input);
        decoder->class_count = input_byte(&input);
    }
    if (input.short_of) return corrupt(err, "header: cut short");
    if (!numbers_are_sound(decoder, curve, flags)) return corrupt(err, "header: numbers out of range");
    decoder->count = decoder->companded ? decoder->alphabet : (decoder->alphabet - 1) << decoder->low_bits;
    tsr_status status = read_points(decoder, (uint32_t)delta, &input, err);
    return status == TSR_OK ? read_model(decoder, &input, err) : status;
}

void spiral_decoder_clear(struct spiral_decoder *decoder) {
    decoder->host->free(decoder->host, decoder->points);
    if (decoder->model) decoder->entropy->model_destroy(decoder->host, decoder->model);
}

/* Working memory for one tile, all of it the worker's scratch. */
struct tile_work {
    const struct spiral_decoder *decoder;
    const tsr_tile *tile;
    float *row;        /* [columns] and one more */
    uint16_t *codes;   /* [rows] */
    uint16_t *tickets; /* [rows * pairs] at most */
    uint8_t *classes;  /* [rows] */
    uint8_t *contexts; /* [rows * pairs]; only with several classes */
    uint64_t ticket_count;
};

static tsr_status work_init(struct tile_work *work, tsr_error *err) {
    const struct spiral_decoder *decoder = work->decoder;
    const tsr_tile *tile = work->tile;
    const uint64_t tickets = tile->rows * spiral_pairs(tile->columns);
    uint64_t total = 4 * (tile->columns + 1) + 3 * tile->rows + 2 * tickets + 64;
    if (decoder->class_count > 1) total += tickets;
    uint8_t *memory = decoder->host->scratch(decoder->host, tile->worker, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for a tile of %llu weights",
                        (unsigned long long)(tile->rows * tile->columns));
    }
    work->row = (float *)(void *)memory;
    work->tickets = (uint16_t *)(void *)(work->row + tile->columns + 1);
    work->codes = work->tickets + tickets;
    work->classes = (uint8_t *)(work->codes + tile->rows);
    if (decoder->class_count > 1) work->contexts = work->classes + tile->rows;
    return TSR_OK;
}

/* Steps and classes of all rows, and from them the number of tickets and their contexts. */
static bool read_rows(struct tile_work *work, struct bits *bits, uint64_t centre, const uint8_t rice[2]) {
    const struct spiral_decoder *decoder = work->decoder;
    const uint64_t pairs = spiral_pairs(work->tile->columns);
    for (uint64_t r = 0; r < work->tile->rows; r++) {
        int64_t code = (int64_t)centre + unzigzag(bits_get_rice(bits, rice[0]));
        bool coded = code > STEP_CODE_RAW;
        if (code < 0 || (coded && (code > UINT16_MAX || !step_code_is_step((uint32_t)code, decoder->mantissa_bits)))) {
            return false;
        }
        uint32_t class = coded && decoder->class_count > 1 ? bits_get_rice(bits, rice[1]) : 0;
        if (class >= decoder->class_count) return false;
        work->codes[r] = (uint16_t)code;
        work->classes[r] = (uint8_t) class;
        if (!coded) continue;
        if (work->contexts) memset(work->contexts + work->ticket_count, (int)class, (size_t)pairs);
        work->ticket_count += pairs;
    }
    return bits_end(bits);
}

static tsr_status read_packed(const struct tile_work *work, const uint8_t *stream, uint64_t size, tsr_error *err) {
    const struct spiral_decoder *decoder = work->decoder;
    const uint32_t width = spiral_ticket_bits(decoder->alphabet);
    uint32_t highest = 0;
    if (size != (work->ticket_count * width + 7) / 8) return corrupt(err, "tile: tickets of another number");
    decoder->entropy->bits_unpack(stream, work->ticket_count, width, work->tickets);
    for (uint64_t i = 0; i < work->ticket_count; i++) highest = work->tickets[i] > highest ? work->tickets[i] : highest;
    return highest < decoder->alphabet ? TSR_OK : corrupt(err, "tile: ticket without a point");
}

static tsr_status read_tickets(const struct tile_work *work, const uint8_t *stream, uint64_t size, tsr_error *err) {
    const struct spiral_decoder *decoder = work->decoder;
    const tsr_entropy_split split = {sizeof split, decoder->model, work->contexts, decoder->low_bits,
                                     16 - decoder->low_bits};
    if (work->ticket_count == 0) return size == 0 ? TSR_OK : corrupt(err, "tile: tickets for no row");
    if (decoder->packed) return read_packed(work, stream, size, err);
    return decoder->entropy->split_decode(&split, stream, size, work->tickets, work->ticket_count, err);
}

tsr_status spiral_parse(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src, uint64_t size,
                        struct spiral_parsed *parsed, tsr_error *err) {
    struct tile_work work = {.decoder = decoder, .tile = tile};
    struct input input = {src, size, false};
    uint8_t rice[2] = {0, 0};
    uint64_t centre = input_number(&input, 2);
    rice[0] = (uint8_t)input_byte(&input);
    if (decoder->class_count > 1) rice[1] = (uint8_t)input_byte(&input);
    uint64_t side_bytes = input_varint(&input);
    uint64_t stream_bytes = input_varint(&input);
    const uint8_t *side = input_take(&input, side_bytes);
    const uint8_t *stream = input_take(&input, stream_bytes);
    if (input.short_of) return corrupt(err, "tile: cut short");
    if (rice[0] > RICE_MAX || rice[1] > RICE_MAX) return corrupt(err, "tile: Rice parameter above 15");
    tsr_status status = work_init(&work, err);
    if (status != TSR_OK) return status;
    struct bits bits = {side, 0, side_bytes * 8, false};
    if (!read_rows(&work, &bits, centre, rice)) return corrupt(err, "tile: damaged steps");
    status = read_tickets(&work, stream, stream_bytes, err);
    *parsed = (struct spiral_parsed){work.codes, work.classes, work.tickets, input.bytes, input.size, work.row};
    return status;
}
