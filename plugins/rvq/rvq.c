/* SPDX-License-Identifier: Apache-2.0
 *
 * rvq: residual vector quantisation of short runs of columns by a ladder of codebooks (Juang and Gray 1982). This file
 * is the plugin's face: parameters, the table. README.md has formulas, bytes and measurements. */
#include "rvq.h"

#include <tessera/plugin.h>

enum {
    PARAM_DIM,
    PARAM_LADDER,
    PARAM_GROUP,
    PARAM_BEAM,
    PARAM_REFIT,
    PARAM_ENTROPY,
    PARAM_GUARD,
    PARAM_HADAMARD,
    PARAM_COUNT
};

enum { GROUP_MAX = 65536, REFIT_MAX = 100 };

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "dim", "columns of a vector: 2, 4, 8 or 16; 0: the whole row", "8", NULL, 0, 16, TSR_PARAM_INT,
     0},
    {sizeof(tsr_param), "ladder", "words of the codebook of each stage: log2 of their product bits a vector",
     "[256, 256]", NULL, 1, VQ_SIZE_MAX, TSR_PARAM_INTS, 0},
    {sizeof(tsr_param), "group", "columns that share a scale, a multiple of 16; 0: the whole row", "0", NULL, 0,
     GROUP_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "beam", "sums of words that the search keeps in mind; 1: stage by stage", "8", NULL, 1,
     RVQ_BEAM_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "refit", "rounds of joint least squares after the stages are trained", "4", NULL, 0, REFIT_MAX,
     TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "entropy", "entropy-code the indices of a stage where that saves bytes", "true", NULL, 0, 0,
     TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "guard", "refuse fewer than 16 vectors a word, and codebooks above a tenth of the source",
     "true", NULL, 0, 0, TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "hadamard", "rotate rows first, so that their weights are nearly Gaussian", "false", NULL, 0, 0,
     TSR_PARAM_BOOL, 0},
};

/* ---- what is particular to rvq ---- */

static uint64_t values(const struct vq_shape *shape) {
    uint64_t words = 0;
    for (uint32_t s = 0; s < shape->streams; s++) words += shape->sizes[s];
    return words * shape->dim;
}

static uint64_t centroids(const struct vq_shape *shape) {
    uint64_t most = 0;
    for (uint32_t s = 0; s < shape->streams; s++) most = shape->sizes[s] > most ? shape->sizes[s] : most;
    return most;
}

static void shrink(struct vq_shape *shape, uint64_t most) {
    for (uint32_t s = 0; s < shape->streams; s++) {
        if (shape->sizes[s] > most) shape->sizes[s] = (uint32_t)most;
    }
}

/* 256 a word suffice; many words get fewer, so that training ends. */
static uint64_t enough(const struct vq_shape *shape) {
    const uint64_t most = centroids(shape), ample = 256 * most, least = 32 * most;
    const uint64_t usual = ample < 1 << 18 ? ample : 1 << 18;
    return usual > least ? usual : least;
}

const struct vq_kind RVQ_KIND = {
    .name = "rvq",
    .values = values,
    .centroids = centroids,
    .shrink = shrink,
    .enough = enough,
    .train = rvq_train,
    .open = rvq_open,
    .close = rvq_close,
    .search_bytes = rvq_search_bytes,
    .search = rvq_search,
    .reconstruct = rvq_reconstruct,
};

static struct vq_settings settings_of(const tsr_param_value *params) {
    struct vq_settings settings = {.group = (uint64_t)params[PARAM_GROUP].integer,
                                   .effort = (uint64_t)params[PARAM_BEAM].integer,
                                   .refits = (uint64_t)params[PARAM_REFIT].integer,
                                   .entropy = params[PARAM_ENTROPY].integer != 0,
                                   .guard = params[PARAM_GUARD].integer != 0,
                                   .hadamard = params[PARAM_HADAMARD].integer != 0};
    settings.shape.dim = (uint64_t)params[PARAM_DIM].integer;
    settings.shape.streams = (uint32_t)params[PARAM_LADDER].count;
    for (uint32_t s = 0; s < settings.shape.streams && s < VQ_STREAMS_MAX; s++) {
        settings.shape.sizes[s] = (uint32_t)params[PARAM_LADDER].list[s];
    }
    return settings;
}

static tsr_status check(const struct vq_settings *settings, tsr_error *err) {
    if (settings->shape.streams >= 1 && settings->shape.streams <= VQ_STREAMS_MAX) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "rvq: ladder has %u stages, expected 1 to %d", settings->shape.streams,
                    VQ_STREAMS_MAX);
}

/* ---- the codec ---- */

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const struct vq_settings settings = settings_of(setup->params);
    tsr_status status = check(&settings, err);
    return status == TSR_OK ? vq_can_encode(&RVQ_KIND, &settings, setup, err) : status;
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const struct vq_settings settings = settings_of(setup->params);
    struct vq *vq = NULL;
    tsr_status status = check(&settings, err);
    if (status == TSR_OK) status = vq_create(&RVQ_KIND, &settings, setup, &vq, err);
    *self = vq;
    return status;
}

static tsr_status can_train(const tsr_dictionary_member *members, uint64_t count, uint64_t *bytes, tsr_error *err) {
    if (count == 0) return tsr_fail(err, TSR_E_ARGUMENT, "%s: a group without tensors", RVQ_KIND.name);
    const struct vq_settings settings = settings_of(members[0].setup->params);
    tsr_status status = check(&settings, err);
    return status == TSR_OK ? vq_dictionary_can_train(&RVQ_KIND, &settings, members, count, bytes, err) : status;
}

static tsr_status train(const tsr_dictionary_member *members, uint64_t count, const tsr_writer *dictionary,
                        tsr_error *err) {
    if (count == 0) return tsr_fail(err, TSR_E_ARGUMENT, "%s: a group without tensors", RVQ_KIND.name);
    const struct vq_settings settings = settings_of(members[0].setup->params);
    tsr_status status = check(&settings, err);
    return status == TSR_OK ? vq_dictionary_train(&RVQ_KIND, &settings, members, count, dictionary, err) : status;
}

static const tsr_dictionary DICTIONARY = {sizeof DICTIONARY, can_train, train};

static const void *get_extension(const char *id) {
    if (!strcmp(id, TSR_ROWS_ID)) return &VQ_ROWS;
    if (!strcmp(id, TSR_DICTIONARY_ID)) return &DICTIONARY;
    if (!strcmp(id, TSR_BLOCK_ID)) return &VQ_BLOCK;
    return !strcmp(id, TSR_MATVEC_ID) ? &RVQ_MATVEC : NULL;
}

static const tsr_codec RVQ = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.rvq",
    .name = "rvq",
    .description = "residual vector quantiser: a ladder of trained codebooks for runs of 2 to 16 columns",
    .bitstream_version = RVQ_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_PROGRESSIVE | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .tile_weights = UINT64_C(1) << 19,
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

static const tsr_codec *const CODECS[] = {&RVQ, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-rvq",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
