/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading side of docs/format.md. Order for every structure: its length against the tensor that holds it, its checksum,
 * then its numbers against each other. All failures here are damage (TSR_E_CORRUPT) and name file and tensor, unless
 * the file is of another format version. */
#include "container_read.h"

#include <string.h>
#include <zstd.h>

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/checked.h>
#include <base/str.h>

#include "dtype.h"

#define LENGTH_BYTES 8
#define U64(x) ((unsigned long long)(x))

/* ---- the file ---- */

bool container_is(const struct safetensors *st) {
    if (safetensors_metadata(st, CONTAINER_KEY_FORMAT) || safetensors_metadata(st, CONTAINER_KEY_DIGEST)) return true;
    for (uint64_t i = 0; i < st->count; i++) { /* one flipped bit in the metadata must not hide a container */
        if (text_starts_with(st->entries[i].name, CONTAINER_PREFIX)) return true;
    }
    return false;
}

static tsr_status header_fail(const struct safetensors *st, tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "%s: header: %s", st->file.path, what);
}

/* Of the header with zeros for the checksum's digits, which stand at `place`. */
static tsr_status digest_header(const struct safetensors *st, size_t place, struct digest *digest, tsr_error *err) {
    static const char ZEROS[] = "00000000000000000000000000000000";
    const size_t behind = place + DIGEST_HEX - 1;
    struct digest_state *state = digest_create();
    if (!state) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory for a digest", st->file.path);
    digest_add(state, st->header, place);
    digest_add(state, ZEROS, DIGEST_HEX - 1);
    digest_add(state, st->header + behind, st->header_bytes - behind);
    *digest = digest_end(state);
    digest_destroy(state);
    return TSR_OK;
}

/* What payloads and blobs say in a file of this format, or 0 for one that is not read: 1 and a minor below 256, and the two
 * of development, which are 1.0 with less in it. */
static uint64_t version_of(const char *text) {
    uint64_t minor = 0;
    if (!strcmp(text, "0.1") || !strcmp(text, "0.2")) return (uint64_t)(text[2] - '0');
    if (!text_starts_with(text, "1.")) return 0;
    const char *digits = text + 2;
    const size_t count = strspn(digits, "0123456789");
    if (!count || count > 3 || digits[count] || (count > 1 && digits[0] == '0')) return 0;
    for (size_t i = 0; i < count; i++) minor = 10 * minor + (uint64_t)(digits[i] - '0');
    return minor < 256 ? CONTAINER_VERSION_MAJOR << 8 | minor : 0;
}

tsr_status container_check(const struct safetensors *st, tsr_error *err) {
    const size_t start = strlen(CONTAINER_HEADER_START), digits = DIGEST_HEX - 1;
    char stored[DIGEST_HEX];
    struct digest expected, found;
    if (st->header_bytes < LENGTH_BYTES + start + digits ||
        memcmp(st->header + LENGTH_BYTES, CONTAINER_HEADER_START, start) != 0) {
        return header_fail(st, err, "does not begin with its checksum");
    }
    memcpy(stored, st->header + LENGTH_BYTES + start, digits);
    stored[digits] = '\0';
    if (!digest_from_hex(stored, &expected)) return header_fail(st, err, "its checksum is not 32 hexadecimal digits");
    tsr_status status = digest_header(st, LENGTH_BYTES + start, &found, err);
    if (status != TSR_OK) return status;
    if (!digest_equal(&found, &expected)) return header_fail(st, err, "is damaged (checksum)");
    const char *version = safetensors_metadata(st, CONTAINER_KEY_FORMAT);
    if (!version) return header_fail(st, err, "has no " CONTAINER_KEY_FORMAT);
    if (version_of(version)) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: format %s, this program reads 1.x, 0.2 and 0.1", st->file.path,
                    version);
}

/* The version that payloads and blobs of this file must have; a part file does not say, and is of this one. */
static uint64_t version_within(const struct safetensors *st) {
    const char *version = safetensors_metadata(st, CONTAINER_KEY_FORMAT);
    return version ? version_of(version) : PAYLOAD_VERSION;
}

/* ---- the head of a payload ---- */

/* Lengths from the fixed part, before anything of them is believed. */
struct lengths {
    uint64_t dtype_name, codec_id, params, codec_header, columns, directory_at, prefix;
};

/* A payload being opened. */
struct reading {
    struct payload *payload;
    uint64_t version; /* of the file */
    const struct safetensors_entry *entry;
    struct lengths lengths;
    tsr_error *err;
};

static tsr_status damage(const struct reading *reading, const char *what) {
    return tsr_fail(reading->err, TSR_E_CORRUPT, "%s: tensor \"%s\": payload: %s", reading->payload->file->path,
                    reading->payload->name, what);
}

/* A later minor may have flags that change how a payload is read; in a file of ours they are damage. */
static tsr_status unknown_flag(const struct reading *reading) {
    if (reading->version <= PAYLOAD_VERSION) return damage(reading, "has an unknown flag");
    return tsr_fail(reading->err, TSR_E_UNSUPPORTED, "%s: tensor \"%s\": payload has a flag that this program, for format %s, "
                    "does not know", reading->payload->file->path, reading->payload->name, CONTAINER_VERSION_TEXT);
}

static tsr_status no_memory(const struct reading *reading) {
    return tsr_fail(reading->err, TSR_E_NOMEM, "%s: tensor \"%s\": out of memory", reading->payload->file->path,
                    reading->payload->name);
}

/* Reads the numbers of the fixed part and what they say about the length of the prefix. */
static tsr_status read_fixed(struct reading *reading) {
    struct payload_head *head = &reading->payload->head;
    struct lengths *lengths = &reading->lengths;
    uint8_t bytes[PAYLOAD_FIXED_BYTES];
    if (reading->entry->dtype != TSR_DTYPE_U8) return damage(reading, "is not a U8 tensor");
    if (reading->entry->bytes < PAYLOAD_FIXED_BYTES + DIGEST_BYTES) return damage(reading, "is too short");
    tsr_status st = fs_read_at(reading->payload->file, reading->entry->offset, bytes, sizeof bytes, reading->err);
    if (st != TSR_OK) return st;
    struct cursor cursor = cursor_over(bytes, sizeof bytes);
    if (memcmp(cursor_take(&cursor, 4), PAYLOAD_MAGIC, 4) != 0) return damage(reading, "does not begin with TSRP");
    if (cursor_u(&cursor, 2) != reading->version) return damage(reading, "has another version than its file");
    head->dtype = (int32_t)cursor_u(&cursor, 1);
    head->rank = cursor_u(&cursor, 1);
    uint64_t flags = cursor_u(&cursor, 1);
    lengths->dtype_name = cursor_u(&cursor, 1);
    lengths->codec_id = cursor_u(&cursor, 1);
    uint64_t reserved = cursor_u(&cursor, 1);
    lengths->params = cursor_u(&cursor, 4);
    lengths->codec_header = cursor_u(&cursor, 4);
    head->bitstream_version = cursor_u(&cursor, 4);
    head->rows = cursor_u(&cursor, 8);
    head->columns = cursor_u(&cursor, 8);
    head->tile_rows = cursor_u(&cursor, 4);
    head->tile_columns = cursor_u(&cursor, 4);
    head->tile_count = cursor_u(&cursor, 4);
    head->transposed = flags & PAYLOAD_FLAG_TRANSPOSED;
    head->has_dictionary = flags & PAYLOAD_FLAG_DICTIONARY;
    lengths->columns = flags & PAYLOAD_FLAG_COLUMNS ? head->columns : 0;
    if ((flags & ~PAYLOAD_FLAGS_KNOWN) || reserved) return unknown_flag(reading);
    if ((flags & PAYLOAD_FLAG_COLUMNS) && (!head->columns || head->columns > PAYLOAD_TILE_WEIGHTS_MAX)) {
        return damage(reading, "has scales of too many columns");
    }
    lengths->directory_at = PAYLOAD_FIXED_BYTES + 8 * head->rank + lengths->dtype_name + lengths->codec_id +
                            lengths->params + lengths->codec_header + (head->has_dictionary ? DIGEST_BYTES : 0) +
                            lengths->columns;
    lengths->prefix = lengths->directory_at + head->tile_count * PAYLOAD_ENTRY_BYTES + DIGEST_BYTES;
    if (lengths->prefix > reading->entry->bytes) return damage(reading, "its directory does not fit in it");
    return TSR_OK;
}

/* Copies a string of the prefix to where it gets a NUL, and moves on. */
static const char *take_text(struct cursor *cursor, uint64_t length, char **room) {
    const char *text = *room;
    const uint8_t *from = cursor_take(cursor, length);
    if (!from || memchr(from, '\0', (size_t)length) || !text_is_utf8((const char *)from, (size_t)length)) return NULL;
    memcpy(*room, from, (size_t)length);
    (*room)[length] = '\0';
    *room += length + 1;
    return text;
}

/* Reads the whole prefix into payload->memory, with room for the three strings behind it, and checks its digest. */
static tsr_status read_prefix(struct reading *reading) {
    struct payload *payload = reading->payload;
    const struct lengths *lengths = &reading->lengths;
    uint64_t strings = lengths->dtype_name + lengths->codec_id + lengths->params + 3;
    uint8_t *prefix = mem_alloc((size_t)(lengths->prefix + strings));
    payload->memory = prefix;
    if (!prefix) return no_memory(reading);
    tsr_status st = fs_read_at(payload->file, reading->entry->offset, prefix, lengths->prefix, reading->err);
    if (st != TSR_OK) return st;
    struct digest digest = digest_of(prefix, lengths->prefix - DIGEST_BYTES);
    if (memcmp(digest.bytes, prefix + lengths->prefix - DIGEST_BYTES, DIGEST_BYTES) != 0) {
        return damage(reading, "its head or directory is damaged (checksum)");
    }
    return TSR_OK;
}

static tsr_status read_head(struct reading *reading) {
    struct payload *payload = reading->payload;
    struct payload_head *head = &payload->head;
    const struct lengths *lengths = &reading->lengths;
    char *room = (char *)payload->memory + lengths->prefix;
    struct cursor cursor = cursor_over(payload->memory, lengths->directory_at);
    if (head->dtype >= TSR_DTYPE_COUNT || head->rank > TSR_RANK_MAX) return damage(reading, "unknown dtype or rank");
    if ((head->dtype == TSR_DTYPE_OPAQUE) != (lengths->dtype_name != 0)) return damage(reading, "bad dtype name");
    if (lengths->codec_header > PAYLOAD_CODEC_HEADER_MAX) return damage(reading, "its codec header is too long");
    (void)cursor_take(&cursor, PAYLOAD_FIXED_BYTES);
    for (uint64_t i = 0; i < head->rank; i++) head->shape[i] = cursor_u(&cursor, 8);
    head->dtype_name = take_text(&cursor, lengths->dtype_name, &room);
    head->codec_id = take_text(&cursor, lengths->codec_id, &room);
    head->params = take_text(&cursor, lengths->params, &room);
    head->codec_header = cursor_take(&cursor, lengths->codec_header);
    head->codec_header_bytes = lengths->codec_header;
    if (head->has_dictionary) memcpy(head->dictionary.bytes, cursor_take(&cursor, DIGEST_BYTES), DIGEST_BYTES);
    if (lengths->columns) head->column_scale = (const int8_t *)cursor_take(&cursor, lengths->columns);
    if (!head->dtype_name || !head->codec_id || !head->params) return damage(reading, "a name in it is not UTF-8 text");
    if (head->dtype != TSR_DTYPE_OPAQUE) head->dtype_name = dtype_name(head->dtype);
    return TSR_OK;
}

/* ---- numbers against each other ---- */

/* Bytes an element of the matrix view; F4 and OPAQUE are viewed as bytes. */
static uint64_t view_bytes(int32_t dtype) {
    uint32_t bits = dtype_bits(dtype);
    return bits < 8 ? 1 : bits / 8;
}

/* The matrix view must have as many elements as the shape, and the tensor a size below 2^63. */
static tsr_status check_shape(struct reading *reading) {
    struct payload_head *head = &reading->payload->head;
    uint64_t elements = 1, viewed, bits = dtype_bits(head->dtype);
    bool empty = false;
    for (uint64_t i = 0; i < head->rank; i++) {
        empty |= head->shape[i] == 0;
        if (head->shape[i] && !checked_mul(elements, head->shape[i], &elements)) {
            return damage(reading, "the product of its shape exceeds 64 bits");
        }
    }
    if (empty) elements = 0;
    if (!checked_mul(head->rows, head->columns, &viewed) ||
        !checked_mul(viewed, view_bytes(head->dtype), &head->bytes) || head->bytes > INT64_MAX) {
        return damage(reading, "its matrix view exceeds 64 bits");
    }
    bool bytewise = head->dtype == TSR_DTYPE_OPAQUE || head->dtype == TSR_DTYPE_F4;
    if (bytewise && (head->rows != 1 || head->transposed)) return damage(reading, "its matrix view is not one row");
    bool agrees = head->dtype == TSR_DTYPE_OPAQUE ||
                  (bytewise ? elements % 2 == 0 && elements / (8 / bits) == viewed : elements == viewed);
    return agrees ? TSR_OK : damage(reading, "matrix view and shape differ in size");
}

/* Scales of columns are for whole rows of numbers. */
static tsr_status check_scales(const struct reading *reading) {
    const struct payload_head *head = &reading->payload->head;
    if (!head->column_scale) return TSR_OK;
    bool numbers = head->dtype == TSR_DTYPE_F32 || head->dtype == TSR_DTYPE_F16 || head->dtype == TSR_DTYPE_BF16;
    if (!numbers || head->tile_columns != head->columns) return damage(reading, "has scales of columns that it cannot have");
    for (uint64_t c = 0; c < head->columns; c++) {
        const int8_t code = head->column_scale[c];
        if (code < -PAYLOAD_SCALE_MOST || code > PAYLOAD_SCALE_MOST) return damage(reading, "has a scale out of range");
    }
    return TSR_OK;
}

static tsr_status check_grid(const struct reading *reading) {
    const struct payload_head *head = &reading->payload->head;
    if (head->bytes == 0) {
        bool none = head->tile_rows == 0 && head->tile_columns == 0 && head->tile_count == 0;
        return none ? TSR_OK : damage(reading, "an empty tensor has tiles");
    }
    bool inside = head->tile_rows >= 1 && head->tile_rows <= head->rows && head->tile_columns >= 1 &&
                  head->tile_columns <= head->columns;
    bool whole = head->tile_columns == head->columns || head->tile_rows == 1;
    if (!inside || !whole || head->tile_rows * head->tile_columns > PAYLOAD_TILE_WEIGHTS_MAX) {
        return damage(reading, "its tiles have an impossible shape");
    }
    uint64_t count;
    if (!checked_mul(ceil_div(head->rows, head->tile_rows), ceil_div(head->columns, head->tile_columns), &count) ||
        count != head->tile_count) {
        return damage(reading, "its number of tiles does not follow from its shape");
    }
    return TSR_OK;
}

/* Bytes in the source dtype of one tile. */
static uint64_t tile_source_bytes(const struct payload_head *head, uint64_t index) {
    uint64_t pieces = ceil_div(head->columns, head->tile_columns);
    uint64_t row = index / pieces * head->tile_rows, column = index % pieces * head->tile_columns;
    return min_u64(head->tile_rows, head->rows - row) * min_u64(head->tile_columns, head->columns - column) *
           view_bytes(head->dtype);
}

static tsr_status read_directory(struct reading *reading) {
    struct payload *payload = reading->payload;
    const struct payload_head *head = &payload->head;
    uint64_t at = reading->lengths.prefix;
    struct cursor cursor = cursor_over((const uint8_t *)payload->memory + reading->lengths.directory_at,
                                       head->tile_count * PAYLOAD_ENTRY_BYTES);
    payload->tiles = mem_alloc_array(head->tile_count, sizeof *payload->tiles);
    if (!payload->tiles) return no_memory(reading);
    for (uint64_t i = 0; i < head->tile_count; i++) {
        struct payload_tile *tile = &payload->tiles[i];
        uint64_t length = cursor_u(&cursor, 4);
        tile->raw = length & PAYLOAD_RAW_BIT;
        tile->bytes = length & ~(uint64_t)PAYLOAD_RAW_BIT;
        tile->offset = reading->entry->offset + at;
        memcpy(tile->digest.bytes, cursor_take(&cursor, DIGEST_BYTES), DIGEST_BYTES);
        if (tile->bytes > reading->entry->bytes - at) return damage(reading, "its tiles reach beyond its end");
        if (tile->raw && tile->bytes != tile_source_bytes(head, i))
            return damage(reading, "a raw tile has a wrong size");
        at += tile->bytes;
    }
    return at == reading->entry->bytes ? TSR_OK : damage(reading, "bytes stand behind its last tile");
}

tsr_status payload_open(const struct safetensors *st, const struct safetensors_entry *entry, struct payload *payload,
                        tsr_error *err) {
    struct reading reading = {.payload = payload, .version = version_within(st), .entry = entry, .err = err};
    payload->file = &st->file;
    payload->name = entry->name;
    tsr_status status = read_fixed(&reading);
    if (status == TSR_OK) status = read_prefix(&reading);
    if (status == TSR_OK) status = read_head(&reading);
    if (status == TSR_OK) status = check_shape(&reading);
    if (status == TSR_OK) status = check_grid(&reading);
    if (status == TSR_OK) status = check_scales(&reading);
    if (status == TSR_OK) status = read_directory(&reading);
    return status;
}

void payload_close(struct payload *payload) {
    mem_free(payload->tiles);
    mem_free(payload->memory);
    *payload = (struct payload){0};
}

tsr_status payload_read_tile(const struct payload *payload, uint64_t index, void *dst, tsr_error *err) {
    const struct payload_tile *tile = &payload->tiles[index];
    tsr_status st = fs_read_at(payload->file, tile->offset, dst, tile->bytes, err);
    if (st != TSR_OK) return st;
    struct digest digest = digest_of(dst, tile->bytes);
    if (digest_equal(&digest, &tile->digest)) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "%s: tensor \"%s\": tile %llu of %llu is damaged (checksum)",
                    payload->file->path, payload->name, U64(index), U64(payload->head.tile_count));
}

/* ---- blobs ---- */

/* A blob being read: its tensor, and the most bytes the caller wants out of it. */
struct blob {
    const struct fs_file *file;
    uint64_t version; /* of the file */
    const struct safetensors_entry *entry;
    uint64_t limit;
    uint64_t frame_bytes;
    uint64_t raw_bytes;
    tsr_error *err;
};

static tsr_status blob_fail(const struct blob *blob, tsr_status status, const char *what) {
    return tsr_fail(blob->err, status, "%s: tensor \"%s\": blob %s", blob->file->path, blob->entry->name, what);
}

/* Checks a blob that was read whole. */
static tsr_status blob_check(struct blob *blob, const uint8_t *stored) {
    struct digest digest = digest_of(stored, BLOB_HEAD_BYTES + blob->frame_bytes);
    if (memcmp(digest.bytes, stored + BLOB_HEAD_BYTES + blob->frame_bytes, DIGEST_BYTES) != 0) {
        return blob_fail(blob, TSR_E_CORRUPT, "is damaged (checksum)");
    }
    if (memcmp(stored, BLOB_MAGIC, 4) != 0 || load_le(stored + 4, 4) != blob->version) {
        return blob_fail(blob, TSR_E_CORRUPT, "does not begin with TSRB and the version of its file");
    }
    blob->raw_bytes = load_le(stored + 8, 8);
    if (blob->raw_bytes / BLOB_RATIO_MAX > blob->frame_bytes) {
        return blob_fail(blob, TSR_E_CORRUPT, "claims more bytes than it can hold");
    }
    if (blob->raw_bytes > blob->limit) return blob_fail(blob, TSR_E_LIMIT, "holds more bytes than are accepted");
    return TSR_OK;
}

static tsr_status blob_unpack(const struct blob *blob, const uint8_t *stored, char **bytes) {
    char *raw = mem_alloc((size_t)blob->raw_bytes + 1);
    if (!raw) return blob_fail(blob, TSR_E_NOMEM, "is too large for memory");
    size_t got = ZSTD_decompress(raw, (size_t)blob->raw_bytes, stored + BLOB_HEAD_BYTES, (size_t)blob->frame_bytes);
    if (ZSTD_isError(got) || got != blob->raw_bytes) {
        mem_free(raw);
        return blob_fail(blob, TSR_E_CORRUPT, "does not decompress to its size");
    }
    raw[got] = '\0';
    *bytes = raw;
    return TSR_OK;
}

tsr_status blob_read(const struct safetensors *st, const struct safetensors_entry *entry, uint64_t limit, char **bytes,
                     uint64_t *size, tsr_error *err) {
    struct blob blob = {.file = &st->file, .version = version_within(st), .entry = entry, .limit = limit, .err = err};
    *bytes = NULL;
    if (entry->dtype != TSR_DTYPE_U8 || entry->bytes < BLOB_HEAD_BYTES + DIGEST_BYTES) {
        return blob_fail(&blob, TSR_E_CORRUPT, "is too short or not a U8 tensor");
    }
    blob.frame_bytes = entry->bytes - BLOB_HEAD_BYTES - DIGEST_BYTES;
    if (blob.frame_bytes > ZSTD_compressBound((size_t)limit)) {
        return blob_fail(&blob, TSR_E_LIMIT, "holds more bytes than are accepted");
    }
    uint8_t *stored = mem_alloc((size_t)entry->bytes);
    if (!stored) return blob_fail(&blob, TSR_E_NOMEM, "is too large for memory");
    tsr_status status = fs_read_at(blob.file, entry->offset, stored, entry->bytes, err);
    if (status == TSR_OK) status = blob_check(&blob, stored);
    if (status == TSR_OK) status = blob_unpack(&blob, stored, bytes);
    if (status == TSR_OK) *size = blob.raw_bytes;
    mem_free(stored);
    return status;
}
