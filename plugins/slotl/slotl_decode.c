/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads header and tiles in the order of slotl_bitstream.h. Sums run over components in order, element by element, in F32, so
 * vector code gives the same bits. */
#include "slotl.h"

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "slotl: %s", what);
}

/* What is left of the input. */
struct input {
    const uint8_t *bytes;
    uint64_t size;
};

/* NULL when there is not as much. */
static const uint8_t *take(struct input *input, uint64_t size) {
    const uint8_t *taken = input->bytes;
    if (size > input->size) return NULL;
    input->bytes += size;
    input->size -= size;
    return taken;
}

static uint32_t u16_at(const uint8_t *bytes, uint64_t index) {
    return (uint32_t)bytes[2 * index] | (uint32_t)bytes[2 * index + 1] << 8;
}

static uint32_t u32_at(const uint8_t *bytes, uint64_t index) {
    return u16_at(bytes, 2 * index) | u16_at(bytes, 2 * index + 1) << 16;
}

static bool is_finite(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7F800000) != 0x7F800000;
}

/* BF16 to F32; false when one is not finite. */
static bool widen(const uint8_t *from, uint64_t count, float *to) {
    bool finite = true;
    for (uint64_t i = 0; i < count; i++) {
        to[i] = slotl_from_bf16(u16_at(from, i));
        finite = finite && is_finite(to[i]);
    }
    return finite;
}

/* ---- header ---- */

tsr_status slotl_read_dictionary(const void *bytes, uint64_t size, uint64_t columns, const uint8_t **basis,
                                 uint32_t *rank, tsr_error *err) {
    const uint8_t *from = bytes;
    if (size < SLOTL_DICTIONARY_BYTES) return corrupt(err, "dictionary: cut short");
    *rank = u16_at(from, 0);
    *basis = from + SLOTL_DICTIONARY_BYTES;
    bool fits = *rank >= 1 && *rank <= SLOTL_RANK_MAX && u16_at(from, 1) == 0 && u32_at(from, 1) == columns &&
                size == SLOTL_DICTIONARY_BYTES + 2 * *rank * columns;
    return fits ? TSR_OK : corrupt(err, "dictionary: of another shape");
}

static tsr_status read_shape(struct slotl *self, struct input *input, tsr_error *err) {
    struct slotl_shape *shape = &self->shape;
    const uint8_t *head = take(input, SLOTL_HEADER_BYTES);
    if (!head) return corrupt(err, "header: cut short");
    for (uint32_t b = 0; b < SLOTL_BANDS; b++) {
        shape->bands[b] = u16_at(head, b);
        shape->rank += shape->bands[b];
    }
    shape->palette = u16_at(head, 4);
    shape->exponent = (int32_t)(int16_t)u16_at(head, 5);
    shape->shared = head[12] & SLOTL_SHARED;
    shape->has_model = head[12] & SLOTL_MODEL;
    bool fits = shape->rank <= SLOTL_RANK_MAX && shape->palette <= SLOTL_PALETTE_MAX && head[12] <= 3 && head[13] == 0 &&
                shape->exponent >= -SLOTL_EXPONENT_MAX && shape->exponent <= SLOTL_EXPONENT_MAX;
    return fits ? TSR_OK : corrupt(err, "header: numbers out of range");
}

/* scaled = scale * basis. */
static tsr_status read_basis(struct slotl *self, struct input *input, const uint8_t *scales, const uint8_t *basis,
                             tsr_error *err) {
    uint64_t columns = self->tensor->columns;
    (void)input;
    bool finite = widen(basis, self->shape.rank * columns, self->scaled);
    for (uint32_t k = 0; k < self->shape.rank && finite; k++) {
        uint32_t bits = u32_at(scales, k);
        float scale;
        memcpy(&scale, &bits, sizeof scale);
        for (uint64_t c = 0; c < columns; c++) self->scaled[k * columns + c] *= scale;
        for (uint64_t c = 0; c < columns; c++) finite = finite && is_finite(self->scaled[k * columns + c]);
    }
    return finite ? TSR_OK : corrupt(err, "header: a scale or basis is not finite");
}

static tsr_status read_model(struct slotl *self, const struct input *input, tsr_error *err) {
    tsr_entropy_shape shape = {.struct_size = sizeof shape};
    uint64_t consumed = 0;
    if (!self->shape.has_model) return input->size ? corrupt(err, "header: bytes are left over") : TSR_OK;
    tsr_status st =
        self->entropy->model_read(self->host, input->bytes, input->size, &consumed, &self->model, err);
    if (st != TSR_OK) return st;
    self->entropy->model_shape(self->model, &shape);
    bool fits = consumed == input->size && shape.alphabet == 256 && shape.contexts == 1;
    return fits ? TSR_OK : corrupt(err, "header: model of another shape");
}

tsr_status slotl_read_header(struct slotl *self, const void *header, uint64_t size, tsr_error *err) {
    struct input input = {header, size};
    uint64_t columns = self->tensor->columns;
    tsr_status st = read_shape(self, &input, err);
    if (st != TSR_OK) return st;
    const uint8_t *scales = take(&input, 4 * self->shape.rank);
    const uint8_t *basis = (const uint8_t *)self->lent_basis;
    if (!self->shape.shared) basis = take(&input, 2 * self->shape.rank * columns);
    const uint8_t *palette = take(&input, 2 * self->shape.palette * columns);
    if (!scales || !palette || (self->shape.rank && !basis)) return corrupt(err, "header: cut short");
    if (self->shape.shared && self->shape.rank > self->lent_rank) return corrupt(err, "header: more than its dictionary has");
    if (self->shape.rank) self->scaled = self->host->alloc(self->host, self->shape.rank * columns * sizeof(float));
    if (self->shape.palette) self->palette = self->host->alloc(self->host, self->shape.palette * columns * sizeof(float));
    if ((self->shape.rank && !self->scaled) || (self->shape.palette && !self->palette)) {
        return tsr_fail(err, TSR_E_NOMEM, "slotl: out of memory");
    }
    if (self->shape.rank) st = read_basis(self, &input, scales, basis, err);
    if (st == TSR_OK && !widen(palette, self->shape.palette * columns, self->palette)) {
        st = corrupt(err, "header: a palette row is not finite");
    }
    return st == TSR_OK ? read_model(self, &input, err) : st;
}

/* ---- tiles ---- */

/* Where the parts of a tile stand. */
struct parts {
    const uint8_t *twigs, *wide, *bytes, *nibbles, *pairs;
    uint16_t *symbols; /* of the 8-bit band when it is a stream, owned */
};

static tsr_status read_stream(const struct slotl *self, const uint8_t *stream, uint64_t size, uint64_t count,
                              struct parts *parts, tsr_error *err) {
    parts->symbols = self->host->alloc(self->host, count * sizeof *parts->symbols);
    if (!parts->symbols) return tsr_fail(err, TSR_E_NOMEM, "slotl: out of memory");
    return self->entropy->decode(self->model, stream, size, parts->symbols, count, err);
}

static tsr_status find_parts(const struct slotl *self, uint64_t rows, struct input *input, struct parts *parts,
                             tsr_error *err) {
    const uint32_t *bands = self->shape.bands;
    uint64_t count = rows * bands[1], stream = 0;
    if (self->shape.palette) parts->twigs = take(input, rows);
    parts->wide = take(input, 2 * rows * bands[0]);
    if ((self->shape.palette && !parts->twigs) || !parts->wide) return corrupt(err, "tile: cut short");
    if (self->shape.has_model && count) {
        const uint8_t *length = take(input, 4);
        if (!length) return corrupt(err, "tile: cut short");
        stream = u32_at(length, 0);
    }
    parts->bytes = take(input, stream ? stream : count);
    if (!parts->bytes) return corrupt(err, "tile: cut short");
    tsr_status st = stream ? read_stream(self, parts->bytes, stream, count, parts, err) : TSR_OK;
    if (st != TSR_OK) return st;
    parts->nibbles = take(input, rows * ((bands[2] + 1) / 2));
    parts->pairs = take(input, rows * ((bands[3] + 3) / 4));
    return parts->nibbles && parts->pairs && !input->size ? TSR_OK : corrupt(err, "tile: bytes are missing or left over");
}

/* Coefficients of one row. */
static void read_row(const struct slotl *self, const struct parts *parts, uint64_t row, float *q) {
    const uint32_t *bands = self->shape.bands;
    for (uint32_t k = 0; k < bands[0]; k++) *q++ = (float)(int16_t)u16_at(parts->wide, row * bands[0] + k);
    for (uint32_t k = 0; k < bands[1]; k++) {
        uint64_t at = row * bands[1] + k;
        *q++ = (float)((parts->symbols ? parts->symbols[at] : parts->bytes[at]) - 128);
    }
    const uint8_t *nibbles = parts->nibbles + row * ((bands[2] + 1) / 2), *pairs = parts->pairs + row * ((bands[3] + 3) / 4);
    for (uint32_t k = 0; k < bands[2]; k++) *q++ = (float)((nibbles[k / 2] >> (k % 2 * 4) & 15) - 8);
    for (uint32_t k = 0; k < bands[3]; k++) *q++ = (float)((pairs[k / 4] >> (k % 4 * 2) & 3) - 1);
}

static void rebuild_row(const struct slotl *self, const tsr_tile *tile, const float *q, const float *centroid,
                        float *dst) {
    uint64_t columns = self->tensor->columns, width = tile->columns;
    if (centroid) {
        memcpy(dst, centroid + tile->first_column, width * sizeof *dst);
    } else {
        memset(dst, 0, width * sizeof *dst);
    }
    for (uint32_t k = 0; k < self->shape.rank; k++) {
        const float *vector = self->scaled + k * columns + tile->first_column;
        const float factor = q[k];
        for (uint64_t c = 0; c < width; c++) dst[c] += factor * vector[c];
    }
    for (uint64_t c = 0; c < width; c++) dst[c] = is_finite(dst[c]) ? slotl_scale(dst[c], self->shape.exponent) : 0;
}

tsr_status slotl_decode(const struct slotl *self, const tsr_tile *tile, const void *src, uint64_t size,
                        uint64_t first_row, uint64_t rows, float *dst, tsr_error *err) {
    struct input input = {src, size};
    struct parts parts = {0};
    float q[SLOTL_RANK_MAX];
    tsr_status st = find_parts(self, tile->rows, &input, &parts, err);
    for (uint64_t r = first_row; r < first_row + rows && st == TSR_OK; r++) {
        const float *centroid = NULL;
        if (parts.twigs && parts.twigs[r] >= self->shape.palette) {
            st = corrupt(err, "tile: a twig outside the palette");
            break;
        }
        if (parts.twigs) centroid = self->palette + parts.twigs[r] * self->tensor->columns;
        read_row(self, &parts, r, q);
        rebuild_row(self, tile, q, centroid, dst + (r - first_row) * tile->columns);
    }
    self->host->free(self->host, parts.symbols);
    return st;
}
