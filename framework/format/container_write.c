/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing side of docs/format.md. A payload's prefix (head, codec header, directory, checksum) has a length that is
 * known before the first tile, so its room is written first and filled in at the end. A container's header is built
 * with zeros in place of its digest, hashed, and patched. The same parts give the same bytes. */
#include "container_write.h"

#include <jansson.h>
#include <string.h>
#include <zstd.h>

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/checked.h>
#include <base/str.h>

#include "json.h"
#include "safetensors.h"

#define ZSTD_LEVEL 19
#define HEADER_ALIGNMENT 8 /* data begins at a multiple of this, as the reference implementation does it */
#define LENGTH_BYTES 8
#define U8_MAX 255
#define U64(x) ((unsigned long long)(x))

/* ---- payloads ---- */

static uint64_t text_bytes_of(const char *text) {
    return text ? strlen(text) : 0;
}

static uint64_t dtype_name_bytes(const struct payload_head *head) {
    return head->dtype == TSR_DTYPE_OPAQUE ? text_bytes_of(head->dtype_name) : 0;
}

/* Bytes in front of the directory. */
static uint64_t head_bytes(const struct payload_head *head) {
    return PAYLOAD_FIXED_BYTES + 8 * head->rank + dtype_name_bytes(head) + text_bytes_of(head->codec_id) +
           text_bytes_of(head->params) + head->codec_header_bytes + (head->has_dictionary ? DIGEST_BYTES : 0) +
           (head->column_scale ? head->columns : 0);
}

uint64_t payload_prefix_bytes(const struct payload_head *head) {
    return head_bytes(head) + head->tile_count * PAYLOAD_ENTRY_BYTES + DIGEST_BYTES;
}

/* True when every number fits its field. */
static bool head_fits(const struct payload_head *head) {
    return head->dtype >= 0 && head->dtype < TSR_DTYPE_COUNT && head->rank <= TSR_RANK_MAX &&
           dtype_name_bytes(head) <= U8_MAX && text_bytes_of(head->codec_id) <= U8_MAX &&
           text_bytes_of(head->params) <= UINT32_MAX && head->codec_header_bytes <= PAYLOAD_CODEC_HEADER_MAX &&
           head->bitstream_version <= UINT32_MAX && head->tile_rows <= UINT32_MAX && head->tile_columns <= UINT32_MAX &&
           head->tile_count <= UINT32_MAX;
}

static uint8_t *put(uint8_t *to, const void *bytes, uint64_t size) {
    if (size) memcpy(to, bytes, (size_t)size);
    return to + size;
}

static uint8_t *put_number(uint8_t *to, uint64_t value, unsigned size) {
    store_le(to, value, size);
    return to + size;
}

static uint64_t flags_of(const struct payload_head *head) {
    return (head->transposed ? PAYLOAD_FLAG_TRANSPOSED : 0) | (head->has_dictionary ? PAYLOAD_FLAG_DICTIONARY : 0) |
           (head->column_scale ? PAYLOAD_FLAG_COLUMNS : 0);
}

/* Everything in front of the directory, in the order of docs/format.md. */
static void put_head(uint8_t *to, const struct payload_head *head) {
    to = put(to, PAYLOAD_MAGIC, 4);
    to = put_number(to, PAYLOAD_VERSION, 2);
    to = put_number(to, (uint64_t)head->dtype, 1);
    to = put_number(to, head->rank, 1);
    to = put_number(to, flags_of(head), 1);
    to = put_number(to, dtype_name_bytes(head), 1);
    to = put_number(to, text_bytes_of(head->codec_id), 1);
    to = put_number(to, 0, 1);
    to = put_number(to, text_bytes_of(head->params), 4);
    to = put_number(to, head->codec_header_bytes, 4);
    to = put_number(to, head->bitstream_version, 4);
    to = put_number(to, head->rows, 8);
    to = put_number(to, head->columns, 8);
    to = put_number(to, head->tile_rows, 4);
    to = put_number(to, head->tile_columns, 4);
    to = put_number(to, head->tile_count, 4);
    for (uint64_t i = 0; i < head->rank; i++) to = put_number(to, head->shape[i], 8);
    to = put(to, head->dtype_name, dtype_name_bytes(head));
    to = put(to, head->codec_id, text_bytes_of(head->codec_id));
    to = put(to, head->params, text_bytes_of(head->params));
    to = put(to, head->codec_header, head->codec_header_bytes);
    if (head->has_dictionary) to = put(to, head->dictionary.bytes, DIGEST_BYTES);
    if (head->column_scale) (void)put(to, head->column_scale, head->columns);
}

tsr_status payload_begin(struct payload_writer *writer, struct fs_output *output, const struct payload_head *head,
                         tsr_error *err) {
    if (!head_fits(head)) {
        return tsr_fail(err, TSR_E_LIMIT, "payload: dtype %d, rank %llu, %llu tiles: a number exceeds its field",
                        head->dtype, U64(head->rank), U64(head->tile_count));
    }
    uint64_t prefix_bytes = payload_prefix_bytes(head);
    uint8_t *prefix = mem_alloc_zero(prefix_bytes, 1);
    if (!prefix)
        return tsr_fail(err, TSR_E_NOMEM, "payload: out of memory for a directory of %llu tiles",
                        U64(head->tile_count));
    put_head(prefix, head);
    *writer = (struct payload_writer){.output = output,
                                      .start = output->size,
                                      .prefix_bytes = prefix_bytes,
                                      .prefix = prefix,
                                      .directory_at = head_bytes(head),
                                      .tile_count = head->tile_count};
    return fs_write(output, prefix, prefix_bytes, err);
}

tsr_status payload_add_tile(struct payload_writer *writer, const void *bytes, uint64_t size, bool raw, tsr_error *err) {
    if (writer->tile >= writer->tile_count || size >= PAYLOAD_RAW_BIT) {
        return tsr_fail(err, TSR_E_ARGUMENT, "payload: tile %llu of %llu with %llu bytes", U64(writer->tile),
                        U64(writer->tile_count), U64(size));
    }
    uint8_t *entry = writer->prefix + writer->directory_at + writer->tile * PAYLOAD_ENTRY_BYTES;
    struct digest digest = digest_of(bytes, size);
    entry = put_number(entry, size | (raw ? PAYLOAD_RAW_BIT : 0), 4);
    (void)put(entry, digest.bytes, DIGEST_BYTES);
    writer->tile++;
    return fs_write(writer->output, bytes, size, err);
}

tsr_status payload_end(struct payload_writer *writer, tsr_error *err) {
    if (writer->tile != writer->tile_count) {
        return tsr_fail(err, TSR_E_ARGUMENT, "payload: %llu tiles were added, %llu expected", U64(writer->tile),
                        U64(writer->tile_count));
    }
    struct digest digest = digest_of(writer->prefix, writer->prefix_bytes - DIGEST_BYTES);
    (void)put(writer->prefix + writer->prefix_bytes - DIGEST_BYTES, digest.bytes, DIGEST_BYTES);
    return fs_write_at(writer->output, writer->start, writer->prefix, writer->prefix_bytes, err);
}

void payload_abandon(struct payload_writer *writer) {
    mem_free(writer->prefix);
    *writer = (struct payload_writer){0};
}

/* ---- the header of a container file ---- */

static json_t *make_metadata(void) {
    static const char zeros[] = "00000000000000000000000000000000";
    json_t *metadata = json_object();
    if (!metadata || json_object_set_new(metadata, CONTAINER_KEY_DIGEST, json_string(zeros)) ||
        json_object_set_new(metadata, CONTAINER_KEY_FORMAT, json_string(CONTAINER_VERSION_TEXT))) {
        json_decref(metadata);
        return NULL;
    }
    return metadata;
}

static tsr_status add_parts(json_t *root, const struct container_part *parts, uint64_t count, uint64_t *data_bytes,
                            tsr_error *err) {
    uint64_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        const struct container_part *part = &parts[i];
        uint64_t end;
        if (!checked_add(at, part->bytes, &end) || end > INT64_MAX) {
            return tsr_fail(err, TSR_E_LIMIT, "tensor \"%s\": the file would exceed 2^63 bytes", part->name);
        }
        if (json_object_get(root, part->name)) {
            return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": is written twice", part->name);
        }
        json_t *tensor = json_pack("{s:s, s:[I], s:[I, I]}", "dtype", "U8", "shape", (json_int_t)part->bytes,
                                   "data_offsets", (json_int_t)at, (json_int_t)end);
        if (!tensor || json_object_set_new(root, part->name, tensor)) {
            return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory for the header", part->name);
        }
        at = end;
    }
    *data_bytes = at;
    return TSR_OK;
}

/* Pads the JSON text, puts the length in front and the digest into its place. */
static tsr_status finish_header(const char *text, struct str *header, struct digest *digest, tsr_error *err) {
    uint64_t length = strlen(text);
    uint64_t padded = ceil_div(length, HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
    if (padded > SAFETENSORS_HEADER_MAX) {
        return tsr_fail(err, TSR_E_LIMIT, "header: would have %llu bytes, at most %d are allowed", U64(padded),
                        SAFETENSORS_HEADER_MAX);
    }
    str_add_le(header, padded, LENGTH_BYTES);
    str_add(header, text, (size_t)length);
    for (uint64_t i = length; i < padded; i++) str_add_text(header, " ");
    if (header->failed) return tsr_fail(err, TSR_E_NOMEM, "header: out of memory");
    char hex[DIGEST_HEX];
    *digest = digest_of(header->text, header->length);
    memcpy(header->text + LENGTH_BYTES + strlen(CONTAINER_HEADER_START), digest_to_hex(digest, hex), DIGEST_HEX - 1);
    return TSR_OK;
}

static tsr_status make_header(const struct container_part *parts, uint64_t count, struct str *header,
                              uint64_t *file_bytes, struct digest *digest, tsr_error *err) {
    uint64_t data_bytes = 0;
    char *text = NULL;
    json_t *root = json_object();
    tsr_status st = TSR_OK;
    if (!root || json_object_set_new(root, "__metadata__", make_metadata())) {
        st = tsr_fail(err, TSR_E_NOMEM, "header: out of memory");
        goto done;
    }
    st = add_parts(root, parts, count, &data_bytes, err);
    if (st != TSR_OK) goto done;
    text = json_to_text(root, 0);
    if (!text) {
        st = tsr_fail(err, TSR_E_NOMEM, "header: out of memory");
        goto done;
    }
    st = finish_header(text, header, digest, err);
    if (st == TSR_OK) *file_bytes = header->length + data_bytes;
done:
    mem_free(text);
    json_decref(root);
    return st;
}

tsr_status container_size(const struct container_part *parts, uint64_t count, uint64_t *header_bytes,
                          uint64_t *file_bytes, tsr_error *err) {
    struct str header = {0};
    struct digest digest;
    tsr_status st = make_header(parts, count, &header, file_bytes, &digest, err);
    *header_bytes = header.length;
    str_clear(&header);
    return st;
}

/* ---- container files ---- */

static tsr_status append_part(struct fs_output *output, const struct container_part *part, tsr_error *err) {
    if (part->memory) return fs_write(output, part->memory, part->bytes, err);
    if (!part->part_path) {
        return part->bytes ? tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": has no source", part->name) : TSR_OK;
    }
    uint64_t whole = part->part_bytes ? part->part_bytes : part->bytes;
    struct fs_file file = {0};
    tsr_status st = fs_open(part->part_path, &file, err);
    if (st == TSR_OK && file.size != whole) {
        st = tsr_fail(err, TSR_E_CORRUPT, "%s: has %llu bytes, %llu were written for tensor \"%s\"", part->part_path,
                      U64(file.size), U64(whole), part->name);
    }
    if (st == TSR_OK) st = fs_append_range(output, &file, part->part_offset, part->bytes, err);
    fs_close(&file);
    return st;
}

tsr_status container_write(const char *path, const struct container_part *parts, uint64_t count,
                           struct digest *header_digest, tsr_error *err) {
    struct str header = {0};
    struct fs_output output = {0};
    uint64_t file_bytes = 0;
    tsr_status st = make_header(parts, count, &header, &file_bytes, header_digest, err);
    if (st != TSR_OK) goto done;
    st = fs_create(path, &output, err);
    if (st != TSR_OK) goto done;
    st = fs_write(&output, header.text, header.length, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) st = append_part(&output, &parts[i], err);
    if (st == TSR_OK) st = fs_sync(&output, err);
    if (st == TSR_OK) st = fs_finish(&output, err);
    if (st != TSR_OK) {
        fs_abandon(&output);
        (void)fs_remove(path, NULL);
    }
done:
    str_clear(&header);
    return st;
}

/* ---- blobs ---- */

tsr_status blob_make(const void *bytes, uint64_t size, void **blob, uint64_t *blob_bytes, tsr_error *err) {
    size_t bound = ZSTD_compressBound((size_t)size);
    if (ZSTD_isError(bound)) return tsr_fail(err, TSR_E_LIMIT, "blob: %llu bytes are too many", U64(size));
    uint8_t *made = mem_alloc(BLOB_HEAD_BYTES + bound + DIGEST_BYTES);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "blob: out of memory for %llu bytes", U64(size));
    size_t frame = ZSTD_compress(made + BLOB_HEAD_BYTES, bound, bytes, (size_t)size, ZSTD_LEVEL);
    if (ZSTD_isError(frame)) {
        mem_free(made);
        return tsr_fail(err, TSR_E_NOMEM, "blob: zstd: %s", ZSTD_getErrorName(frame));
    }
    uint8_t *head = put(made, BLOB_MAGIC, 4);
    head = put_number(head, PAYLOAD_VERSION, 2);
    head = put_number(head, 0, 2);
    (void)put_number(head, size, 8);
    struct digest digest = digest_of(made, BLOB_HEAD_BYTES + frame);
    (void)put(made + BLOB_HEAD_BYTES + frame, digest.bytes, DIGEST_BYTES);
    *blob = made;
    *blob_bytes = BLOB_HEAD_BYTES + frame + DIGEST_BYTES;
    return TSR_OK;
}
