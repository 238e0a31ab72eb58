/* SPDX-License-Identifier: Apache-2.0
 *
 * hclam: vector quantisation of short runs of columns by a tree of means, two levels deep (tree-structured vector
 * quantisation: Buzo, Gray, Gray and Markel 1980). This file is the plugin's face: parameters, the table. README.md has
 * formulas, bytes and measurements. */
#include "hclam.h"

#include <tessera/plugin.h>

enum {
    PARAM_DIM,
    PARAM_TREE,
    PARAM_GROUP,
    PARAM_BRANCHES,
    PARAM_REFIT,
    PARAM_ENTROPY,
    PARAM_GUARD,
    PARAM_HADAMARD,
    PARAM_COUNT
};

enum { GROUP_MAX = 65536, REFIT_MAX = 100 };

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "dim", "columns of a vector: 2, 4, 8 or 16", "8", NULL, 2, 16, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "tree", "cells, and leaves of each: log2 of their product bits a vector", "[256, 256]", NULL, 1,
     HCLAM_SIZE_MAX, TSR_PARAM_INTS, 0},
    {sizeof(tsr_param), "group", "columns that share a scale, a multiple of 16; 0: the whole row", "0", NULL, 0,
     GROUP_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "branches", "cells whose leaves are searched", "4", NULL, 1, HCLAM_BRANCHES_MAX, TSR_PARAM_INT,
     0},
    {sizeof(tsr_param), "refit", "rounds in which all leaves move, after the cells are trained one by one", "4", NULL,
     0, REFIT_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "entropy", "entropy-code the indices where that saves bytes", "true", NULL, 0, 0,
     TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "guard", "refuse fewer than 16 vectors a leaf, and codebooks above a tenth of the source",
     "true", NULL, 0, 0, TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "hadamard", "rotate rows first, so that their weights are nearly Gaussian", "false", NULL, 0, 0,
     TSR_PARAM_BOOL, 0},
};

/* ---- what is particular to hclam ---- */

static uint64_t centroids(const struct vq_shape *shape) {
    return (uint64_t)shape->sizes[0] * shape->sizes[1];
}

static uint64_t values(const struct vq_shape *shape) {
    return centroids(shape) * shape->dim;
}

static void shrink(struct vq_shape *shape, uint64_t most) {
    while (centroids(shape) > most) {
        uint32_t *larger = &shape->sizes[shape->sizes[0] < shape->sizes[1]];
        *larger = (*larger + 1) / 2;
    }
}

/* 64 a leaf: what is trained on fewer serves other vectors worse by the share that it fits these too well. */
static uint64_t enough(const struct vq_shape *shape) {
    return 64 * centroids(shape);
}

static const struct vq_kind KIND = {
    .name = "hclam",
    .values = values,
    .centroids = centroids,
    .shrink = shrink,
    .enough = enough,
    .train = hclam_train,
    .open = hclam_open,
    .close = hclam_close,
    .search_bytes = hclam_search_bytes,
    .search = hclam_search,
    .reconstruct = hclam_reconstruct,
};

static struct vq_settings settings_of(const tsr_param_value *params) {
    struct vq_settings settings = {.group = (uint64_t)params[PARAM_GROUP].integer,
                                   .effort = (uint64_t)params[PARAM_BRANCHES].integer,
                                   .refits = (uint64_t)params[PARAM_REFIT].integer,
                                   .entropy = params[PARAM_ENTROPY].integer != 0,
                                   .guard = params[PARAM_GUARD].integer != 0,
                                   .hadamard = params[PARAM_HADAMARD].integer != 0};
    settings.shape.dim = (uint64_t)params[PARAM_DIM].integer;
    settings.shape.streams = (uint32_t)params[PARAM_TREE].count;
    for (uint32_t s = 0; s < settings.shape.streams && s < HCLAM_STREAMS; s++) {
        settings.shape.sizes[s] = (uint32_t)params[PARAM_TREE].list[s];
    }
    return settings;
}

static tsr_status check(const struct vq_settings *settings, tsr_error *err) {
    if (settings->shape.streams == HCLAM_STREAMS) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "hclam: tree has %u levels, expected %d", settings->shape.streams,
                    HCLAM_STREAMS);
}

/* ---- the codec ---- */

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const struct vq_settings settings = settings_of(setup->params);
    tsr_status status = check(&settings, err);
    return status == TSR_OK ? vq_can_encode(&KIND, &settings, setup, err) : status;
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const struct vq_settings settings = settings_of(setup->params);
    struct vq *vq = NULL;
    tsr_status status = check(&settings, err);
    if (status == TSR_OK) status = vq_create(&KIND, &settings, setup, &vq, err);
    *self = vq;
    return status;
}

static tsr_status can_train(const tsr_dictionary_member *members, uint64_t count, uint64_t *bytes, tsr_error *err) {
    if (count == 0) return tsr_fail(err, TSR_E_ARGUMENT, "%s: a group without tensors", KIND.name);
    const struct vq_settings settings = settings_of(members[0].setup->params);
    tsr_status status = check(&settings, err);
    return status == TSR_OK ? vq_dictionary_can_train(&KIND, &settings, members, count, bytes, err) : status;
}

static tsr_status train(const tsr_dictionary_member *members, uint64_t count, const tsr_writer *dictionary,
                        tsr_error *err) {
    if (count == 0) return tsr_fail(err, TSR_E_ARGUMENT, "%s: a group without tensors", KIND.name);
    const struct vq_settings settings = settings_of(members[0].setup->params);
    tsr_status status = check(&settings, err);
    return status == TSR_OK ? vq_dictionary_train(&KIND, &settings, members, count, dictionary, err) : status;
}

static const tsr_dictionary DICTIONARY = {sizeof DICTIONARY, can_train, train};

static const void *get_extension(const char *id) {
    if (!strcmp(id, TSR_ROWS_ID)) return &VQ_ROWS;
    if (!strcmp(id, TSR_BLOCK_ID)) return &VQ_BLOCK;
    return !strcmp(id, TSR_DICTIONARY_ID) ? &DICTIONARY : NULL;
}

static const tsr_codec HCLAM = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.hclam",
    .name = "hclam",
    .description = "vector quantiser with a tree of 256 x 256 trained means for runs of 2 to 16 columns",
    .bitstream_version = HCLAM_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .tile_weights = UINT64_C(1) << 18,
    .input = TSR_INPUT_F32,
    .can_encode = can_encode,
    .create = create,
    .destroy = vq_destroy,
    .prepare = vq_prepare,
    .encode_bound = vq_encode_bound,
    .encode = vq_encode,
    .decode = vq_decode,
    .get_extension = get_extension,
};

static const tsr_codec *const CODECS[] = {&HCLAM, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-hclam",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
