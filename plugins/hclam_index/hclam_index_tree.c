/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads headers and entries of the index: every count is compared with the bytes that are there before it sizes anything. */
#include "hclam_index.h"

#include <math.h>

/* Norms are inflated by more than the rounding of their computation. */
#define NORM_SLACK (1 + 0x1p-30)

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "hclam-index: header: %s", what);
}

static tsr_status read_shape(const uint8_t *bytes, uint64_t size, uint64_t columns, struct hclam_tree *tree,
                             tsr_error *err) {
    if (size < HCLAM_INDEX_HEADER_FIXED) return corrupt(err, "cut short");
    tree->nodes = hclam_index_get16(bytes);
    tree->columns = columns;
    if (tree->nodes < 1 || tree->nodes > HCLAM_INDEX_FAN_MAX || hclam_index_get16(bytes + 2)) {
        return corrupt(err, "numbers out of range");
    }
    if (hclam_index_get32(bytes + 4) != columns) {
        return tsr_fail(err, TSR_E_CORRUPT, "hclam-index: header: rows of %u columns, expected %llu",
                        (unsigned)hclam_index_get32(bytes + 4), (unsigned long long)columns);
    }
    if (size < HCLAM_INDEX_HEADER_FIXED + 2 * (uint64_t)tree->nodes) return corrupt(err, "cut short");
    for (uint32_t i = 0; i < tree->nodes; i++) {
        uint32_t leaves = hclam_index_get16(bytes + HCLAM_INDEX_HEADER_FIXED + 2 * i);
        if (leaves < 1 || leaves > HCLAM_INDEX_FAN_MAX) return corrupt(err, "leaves of a node out of range");
        tree->first[i] = tree->leaves;
        tree->leaves += leaves;
    }
    tree->first[tree->nodes] = tree->leaves;
    uint64_t expected = hclam_index_header_bytes(columns, tree->nodes, tree->leaves);
    if (size == expected) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "hclam-index: header has %llu bytes, expected %llu", (unsigned long long)size,
                    (unsigned long long)expected);
}

tsr_status hclam_tree_read(const tsr_host *host, const uint8_t *bytes, uint64_t size, uint64_t columns,
                           struct hclam_tree *tree, tsr_error *err) {
    tsr_status st = read_shape(bytes, size, columns, tree, err);
    if (st != TSR_OK) return st;
    const uint64_t count = tree->nodes + tree->leaves;
    const uint8_t *at = bytes + HCLAM_INDEX_HEADER_FIXED + 2 * (uint64_t)tree->nodes;
    tree->codes = (const int8_t *)(at + HCLAM_INDEX_NODE_BYTES * count);
    tree->memory = host->alloc(host, count * 16);
    if (!tree->memory) return tsr_fail(err, TSR_E_NOMEM, "hclam-index: no memory for a tree");
    tree->norm = tree->memory;
    tree->scale = (float *)(void *)(tree->norm + count);
    tree->radius = tree->scale + count;
    for (uint64_t i = 0; i < count; i++, at += HCLAM_INDEX_NODE_BYTES) {
        const int8_t *codes = tree->codes + i * columns;
        int64_t energy = 0;
        tree->scale[i] = hclam_index_get_f32(at);
        tree->radius[i] = hclam_index_get_f32(at + 4);
        if (!(tree->scale[i] >= 0 && tree->scale[i] <= HCLAM_INDEX_SCALE_MAX) || !(tree->radius[i] >= 0)) {
            return corrupt(err, "a node out of range");
        }
        for (uint64_t c = 0; c < columns; c++) energy += (int64_t)codes[c] * codes[c];
        tree->norm[i] = sqrt((double)energy) * (double)tree->scale[i] * NORM_SLACK;
    }
    return TSR_OK;
}

void hclam_tree_clear(const tsr_host *host, struct hclam_tree *tree) {
    host->free(host, tree->memory);
    *tree = (struct hclam_tree){0};
}

tsr_status hclam_index_leaf(const struct hclam_tree *tree, const uint8_t *entry, uint32_t *leaf, tsr_error *err) {
    if (entry[0] < tree->nodes) {
        *leaf = tree->first[entry[0]] + entry[1];
        if (*leaf < tree->first[entry[0] + 1]) return TSR_OK;
    }
    return tsr_fail(err, TSR_E_CORRUPT, "hclam-index: entry: an address outside the tree");
}

tsr_status hclam_index_check_tile(const struct hclam_tree *tree, const tsr_tile *tile, uint64_t size, tsr_error *err) {
    if (tile->columns == tree->columns && size % HCLAM_INDEX_ENTRY_BYTES == 0 &&
        size / HCLAM_INDEX_ENTRY_BYTES == tile->rows)
        return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "hclam-index: a tile of %llu x %llu has %llu bytes, expected rows of %llu, 2 bytes each",
                    (unsigned long long)tile->rows, (unsigned long long)tile->columns, (unsigned long long)size,
                    (unsigned long long)tree->columns);
}
