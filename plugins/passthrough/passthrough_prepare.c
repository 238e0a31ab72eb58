/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks at a tensor before its first tile: cuts elements into fields by dtype, counts symbols, makes the models that
 * all tiles share, leaves raw what does not shrink, and writes the codec header. Levels differ here: `fast` counts a
 * sample, `max` gives each weight a context from the scale of its row and column (passthrough_scales.c). */
#include "passthrough_encoder.h"

#include <string.h>

#define BLOCK_WEIGHTS (UINT64_C(1) << 15)
#define SAMPLE_EVERY 8                  /* level fast reads one block of so many ... */
#define SAMPLE_FROM (BLOCK_WEIGHTS * 8) /* ... of tensors at least this large */
#define SAMPLE_BELOW 40                 /* symbols below the smallest seen one that stay codable */
#define TILE_WEIGHTS_USUAL (UINT64_C(1) << 18)
#define UNEVEN_FROM 4096 /* bytes of a block that tell whether they are worth a look tile by tile */
#define FOLDS 4          /* heads with 0..3 of the low symbol bits moved to the raw bits are compared */

typedef uint32_t field_counts[TSR_ENTROPY_ALPHABET_MAX];

tsr_status passthrough_read_blocks(const struct passthrough_encoder *encoder, const struct passthrough_reader *reader,
                                   tsr_error *err) {
    const tsr_tensor *tensor = encoder->tensor;
    const tsr_host *host = encoder->host;
    uint64_t rows = tensor->rows, columns = tensor->columns, size = tensor->bytes / (rows * columns);
    uint64_t wide = columns < BLOCK_WEIGHTS * 8 ? columns : BLOCK_WEIGHTS;
    uint64_t high = BLOCK_WEIGHTS / wide ? BLOCK_WEIGHTS / wide : 1, pieces = (columns + wide - 1) / wide;
    uint64_t blocks = (rows + high - 1) / high * pieces;
    uint8_t *bytes = host->alloc(host, wide * high * size);
    if (!bytes) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory to read %llu rows", (unsigned long long)high);
    tsr_status status = TSR_OK;
    for (uint64_t b = 0; b < blocks && status == TSR_OK; b += reader->every) {
        struct passthrough_block block = {.bytes = bytes};
        block.first_row = b / pieces * high;
        block.first_column = b % pieces * wide;
        block.rows = rows - block.first_row < high ? rows - block.first_row : high;
        block.columns = columns - block.first_column < wide ? columns - block.first_column : wide;
        block.count = block.rows * block.columns * size / encoder->layout.element_bytes;
        if (host->cancelled(host)) status = tsr_fail(err, TSR_E_CANCELLED, "passthrough: cancelled");
        if (status == TSR_OK) {
            status = reader->source->read(reader->source->ctx, block.first_row, block.rows, block.first_column,
                                          block.columns, bytes, err);
        }
        if (status == TSR_OK) status = reader->visit(reader->ctx, &block, err);
    }
    host->free(host, bytes);
    return status;
}

static void add_field(struct passthrough_layout *layout, uint8_t kind, uint32_t offset, uint8_t low_bits,
                      uint8_t symbol_bits) {
    layout->fields[layout->field_count++] =
        (struct passthrough_field){.kind = kind,
                                   .offset = (uint8_t)offset,
                                   .bytes = kind == FIELD_HEAD ? 2 : 1,
                                   .low_bits = low_bits,
                                   .symbol_bits = symbol_bits};
}

/* Floats: the two bytes with sign, exponent and first mantissa bits are the head, the rest bytes. Others: bytes. */
static void start_layout(struct passthrough_layout *layout, int32_t dtype) {
    uint32_t left = layout->element_bytes;
    layout->field_count = 0;
    switch (dtype) {
    case TSR_DTYPE_BF16: /* exponent 8, mantissa 2 */
    case TSR_DTYPE_F32:
    case TSR_DTYPE_C64:
    case TSR_DTYPE_F16: /* exponent 5, mantissa 5 */
        left -= 2;
        add_field(layout, FIELD_HEAD, left, 5, 10);
        break;
    case TSR_DTYPE_F64: /* exponent 11, mantissa 1 */
        left -= 2;
        add_field(layout, FIELD_HEAD, left, 3, 12);
        break;
    default:
        break;
    }
    while (left-- > 0) add_field(layout, FIELD_BYTES, left, 0, 8);
}

struct counting {
    struct passthrough_encoder *encoder;
    field_counts *counts; /* one for each field */
    bool uneven[FIELDS_MAX]; /* some block of this byte field could be coded */
    uint16_t *values;
};

/* True when the sum of squares is a quarter above that of equal counts: an entropy of about 7.8 bits. */
static bool is_uneven(const uint32_t *counts, uint64_t total) {
    uint64_t squares = 0;
    for (uint32_t s = 0; s < 256; s++) squares += (uint64_t)counts[s] * counts[s];
    return total >= UNEVEN_FROM && squares * 4 / 5 > total * total / 256;
}

static tsr_status count_block(void *ctx, const struct passthrough_block *block, tsr_error *err) {
    (void)err;
    struct counting *counting = ctx;
    const struct passthrough_layout *layout = &counting->encoder->layout;
    for (uint32_t f = 0; f < layout->field_count; f++) {
        const struct passthrough_field *field = &layout->fields[f];
        const uint16_t *values =
            passthrough_extract(layout->element_bytes, field, block->bytes, block->count, counting->values);
        tsr_entropy_split split = {sizeof split, NULL, NULL, field->low_bits, field->symbol_bits};
        uint32_t own[256] = {0}, *counts = field->bytes == 2 ? counting->counts[f] : own;
        counting->encoder->entropy->split_count(&split, values, block->count, counts);
        if (field->bytes == 2) continue;
        counting->uneven[f] |= is_uneven(own, block->count);
        for (uint32_t s = 0; s < 256; s++) counting->counts[f][s] += own[s];
    }
    return TSR_OK;
}

/* A sample has not seen every symbol: those between and near the seen ones get the least probability. */
static void fill_sample(uint32_t *counts, uint32_t alphabet) {
    uint32_t first = 0, last = alphabet - 1;
    while (first < last && counts[first] == 0) first++;
    if (first == 0 && counts[0] > 0) { /* zeros lie far from the other weights */
        for (first = 1; first < last && counts[first] == 0;) first++;
    }
    while (last > first && counts[last] == 0) last--;
    first = first > SAMPLE_BELOW ? first - SAMPLE_BELOW : 0;
    last = last + 8 < alphabet ? last + 8 : alphabet - 1;
    for (uint32_t s = 0; s < alphabet; s++) {
        if (counts[s] == 0 && (s == 0 || (s >= first && s <= last))) counts[s] = 1;
    }
}

double passthrough_total_cost(const struct passthrough_encoder *encoder, const tsr_entropy_model *model,
                              const uint32_t *counts) {
    uint64_t size = 0;
    (void)encoder->entropy->model_write(model, NULL, 0, &size, NULL);
    return encoder->entropy->model_cost(model, counts) + 8.0 * (double)size;
}

static uint32_t probability_bits(const struct passthrough_encoder *encoder, const struct passthrough_field *field) {
    if (field->bytes == 1) return 12;
    return field->symbol_bits > 10 || encoder->level == LEVEL_MAX ? 14 : 13;
}

/* Makes the field's model, for heads the best of some splits, and leaves `counts` as it needs them. Returns bits. */
static tsr_status best_model(struct passthrough_encoder *encoder, struct passthrough_field *field, uint32_t *counts,
                             double *cost, tsr_error *err) {
    uint32_t folds = field->kind == FIELD_HEAD ? FOLDS : 1;
    field_counts folded, kept;
    struct passthrough_field best = *field;
    memcpy(folded, counts, sizeof folded);
    memcpy(kept, counts, sizeof kept);
    for (uint32_t fold = 0; fold < folds; fold++) {
        struct passthrough_field trial = *field;
        trial.low_bits = (uint8_t)(field->low_bits + fold);
        trial.symbol_bits = (uint8_t)(field->symbol_bits - fold);
        uint32_t alphabet = passthrough_alphabet(&trial);
        for (uint32_t s = 0; fold > 0 && s < alphabet; s++) folded[s] = folded[2 * s] + folded[2 * s + 1];
        tsr_status status = encoder->entropy->model_create(encoder->host, folded, alphabet,
                                                           probability_bits(encoder, &trial), &trial.model, err);
        if (status != TSR_OK) {
            encoder->entropy->model_destroy(encoder->host, best.model);
            return status;
        }
        uint64_t total = 0;
        for (uint32_t s = 0; s < alphabet; s++) total += folded[s];
        double bits = passthrough_total_cost(encoder, trial.model, folded) + (double)total * fold;
        bool better = fold == 0 || bits < *cost;
        encoder->entropy->model_destroy(encoder->host, better ? best.model : trial.model);
        if (!better) break; /* the cost has one minimum */
        best = trial;
        *cost = bits;
        memcpy(kept, folded, sizeof kept);
    }
    *field = best;
    memcpy(counts, kept, sizeof kept);
    return TSR_OK;
}

/* Makes models; a field that does not shrink becomes raw. */
static tsr_status choose_models(struct passthrough_encoder *encoder, const struct counting *counting, bool sampled,
                                tsr_error *err) {
    field_counts *counts = counting->counts;
    struct passthrough_layout *layout = &encoder->layout;
    uint64_t elements = encoder->tensor->bytes / layout->element_bytes;
    uint64_t tiles = (elements + TILE_WEIGHTS_USUAL - 1) / TILE_WEIGHTS_USUAL;
    for (uint32_t f = 0; f < layout->field_count; f++) {
        struct passthrough_field *field = &layout->fields[f];
        double cost = 0;
        if (sampled) fill_sample(counts[f], passthrough_alphabet(field));
        uint32_t symbol_bits = field->symbol_bits;
        tsr_status status = best_model(encoder, field, counts[f], &cost, err);
        if (status != TSR_OK) return status;
        uint64_t counted = 0;
        for (uint32_t s = 0; s < passthrough_alphabet(field); s++) counted += counts[f][s];
        double coded = cost * (double)elements / (double)counted + (double)(tiles * PASSTHROUGH_STREAM_BITS);
        coded += (double)elements * (8.0 * field->bytes - symbol_bits); /* the raw bits of a head */
        if (coded <= PASSTHROUGH_WORTHWHILE * 8.0 * (double)field->bytes * (double)elements) continue;
        encoder->entropy->model_destroy(encoder->host, field->model);
        field->model = NULL;
        if (counting->uneven[f]) field->kind = FIELD_LOCAL;
        else *field = (struct passthrough_field){FIELD_RAW, field->offset, field->bytes, 0, 0, NULL};
    }
    return TSR_OK;
}

/* Two raw bytes side by side become one raw field, and an element of raw fields alone no field at all. Fields stand
 * from the highest offset to the lowest. */
static void merge_raw(struct passthrough_layout *layout) {
    uint32_t kept = 0, coded = 0;
    for (uint32_t f = 0; f < layout->field_count; f++) {
        struct passthrough_field field = layout->fields[f];
        struct passthrough_field *before = kept ? &layout->fields[kept - 1] : NULL;
        coded += field.kind != FIELD_RAW;
        if (before && field.kind == FIELD_RAW && before->kind == FIELD_RAW && field.bytes + before->bytes == 2) {
            before->offset = field.offset;
            before->bytes = 2;
        } else {
            layout->fields[kept++] = field;
        }
    }
    layout->field_count = coded ? kept : 0;
}

static tsr_status put_bytes(const tsr_writer *writer, const uint8_t *bytes, uint64_t size, tsr_error *err) {
    return size ? writer->write(writer->ctx, bytes, size, err) : TSR_OK;
}

static tsr_status put_model(const struct passthrough_encoder *encoder, const tsr_entropy_model *model,
                            const tsr_writer *writer, tsr_error *err) {
    const tsr_host *host = encoder->host;
    tsr_entropy_shape shape;
    encoder->entropy->model_shape(model, &shape);
    uint64_t bound = shape.contexts * encoder->entropy->model_bound(shape.alphabet), size = 0;
    uint8_t *bytes = host->alloc(host, bound);
    if (!bytes) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory to store a model");
    tsr_status status = encoder->entropy->model_write(model, bytes, bound, &size, err);
    if (status == TSR_OK) status = put_bytes(writer, bytes, size, err);
    host->free(host, bytes);
    return status;
}

/* Classes of rows or columns in as many bits as the largest needs. */
static tsr_status put_classes(const struct passthrough_encoder *encoder, const uint8_t *classes, uint64_t count,
                              const tsr_writer *writer, tsr_error *err) {
    uint16_t wide[512];
    uint8_t packed[sizeof wide], width = 0;
    for (uint64_t i = 0; i < count; i++) {
        while (classes[i] >> width) width++;
    }
    tsr_status status = put_bytes(writer, &width, 1, err);
    for (uint64_t at = 0; at < count && status == TSR_OK; at += 512) {
        uint64_t n = count - at < 512 ? count - at : 512;
        for (uint64_t i = 0; i < n; i++) wide[i] = classes[at + i];
        encoder->entropy->bits_pack(wide, n, width, packed);
        status = put_bytes(writer, packed, (n * width + 7) / 8, err);
    }
    return status;
}

static tsr_status put_scales(const struct passthrough_encoder *encoder, const tsr_writer *writer, tsr_error *err) {
    const struct passthrough_scales *scales = &encoder->layout.scales;
    tsr_status status = put_bytes(writer, scales->context_of, SUMS, err);
    if (status == TSR_OK) status = put_classes(encoder, scales->rows, encoder->tensor->rows, writer, err);
    if (status == TSR_OK) status = put_classes(encoder, scales->columns, encoder->tensor->columns, writer, err);
    return status;
}

static tsr_status write_header(const struct passthrough_encoder *encoder, const tsr_writer *writer, tsr_error *err) {
    const struct passthrough_layout *layout = &encoder->layout;
    uint8_t count = (uint8_t)layout->field_count;
    if (count == 0) return TSR_OK;
    tsr_status status = put_bytes(writer, &count, 1, err);
    for (uint32_t f = 0; f < layout->field_count && status == TSR_OK; f++) {
        const struct passthrough_field *field = &layout->fields[f];
        uint8_t head[5] = {field->kind, field->offset, field->bytes, field->low_bits, field->symbol_bits};
        status = put_bytes(writer, head, sizeof head, err);
        if (status == TSR_OK && field->model) status = put_model(encoder, field->model, writer, err);
        if (status == TSR_OK && field->kind == FIELD_SCALED) status = put_scales(encoder, writer, err);
    }
    return status;
}

tsr_status passthrough_prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct passthrough_encoder *encoder = self;
    const tsr_host *host = encoder->host;
    struct passthrough_layout *layout = &encoder->layout;
    uint64_t elements = encoder->tensor->bytes / layout->element_bytes;
    if (encoder->mode == MODE_RAW || elements == 0) return TSR_OK;
    bool sampled = encoder->level == LEVEL_FAST && elements >= SAMPLE_FROM;
    struct counting counting = {.encoder = encoder};
    /* Counts have 32 bits: a larger tensor is sampled, and its tiles may bring their own models. */
    uint64_t every = (elements >> 31) + (sampled ? SAMPLE_EVERY : 1);
    struct passthrough_reader reader = {source, every, count_block, &counting};
    tsr_status status = TSR_OK;

    counting.counts = host->alloc(host, sizeof(field_counts) * FIELDS_MAX);
    counting.values = host->alloc(host, BLOCK_WEIGHTS * 16 * sizeof *counting.values);
    if (!counting.counts || !counting.values) {
        status = tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for counts");
        goto done;
    }
    memset(counting.counts, 0, sizeof(field_counts) * FIELDS_MAX);
    start_layout(layout, encoder->tensor->dtype);
    status = passthrough_read_blocks(encoder, &reader, err);
    if (status == TSR_OK) status = choose_models(encoder, &counting, sampled, err);
    for (uint32_t f = 0; f < layout->field_count && status == TSR_OK && encoder->level == LEVEL_MAX; f++) {
        if (layout->fields[f].kind == FIELD_HEAD) {
            status = passthrough_choose_scales(encoder, source, f, counting.counts[f], err);
        }
    }
    if (status != TSR_OK) goto done;
    merge_raw(layout);
    status = write_header(encoder, header, err);
done:
    host->free(host, counting.counts);
    host->free(host, counting.values);
    return status;
}
