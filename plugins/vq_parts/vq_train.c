/* SPDX-License-Identifier: Apache-2.0
 *
 * A codebook from a sample, the decision which streams are worth an entropy model, and where the result is kept: in the
 * header of one tensor, or in the dictionary of a group. */
#include "vq.h"

enum {
    SEARCH_CHUNK = 256,      /* vectors of one task */
    COUNT_VECTORS = 1 << 17, /* whose indices are counted */
    PROBABILITY_BITS = 14,
    TILE_OVERHEAD = 132 /* bytes of a coded stream beyond its symbols: 32 states and a size */
};

/* ---- searching a sample ---- */

struct searching {
    const struct vq *vq;
    const struct vq_sample *sample;
    uint16_t *indices;
};

static tsr_status search_chunk(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct searching *work = ctx;
    const struct vq *vq = work->vq;
    const uint64_t first = index * SEARCH_CHUNK, dim = vq->shape.dim;
    const uint64_t left = work->sample->count - first, count = left < SEARCH_CHUNK ? left : SEARCH_CHUNK;
    if (vq->host->cancelled(vq->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    void *scratch = vq->host->scratch(vq->host, worker, vq->kind->search_bytes(vq, count));
    if (!scratch) return vq_no_memory(vq, err);
    const struct vq_query query = {.vectors = work->sample->vectors + first * dim,
                                   .weights = work->sample->weights ? work->sample->weights + first * dim : NULL,
                                   .weight_stride = dim,
                                   .count = count,
                                   .indices = work->indices + first,
                                   .stride = work->sample->count};
    vq->kind->search(vq, &query, scratch);
    return TSR_OK;
}

tsr_status vq_search_all(const struct vq *vq, const struct vq_sample *sample, uint16_t *indices, tsr_error *err) {
    struct searching work = {vq, sample, indices};
    const uint64_t chunks = (sample->count + SEARCH_CHUNK - 1) / SEARCH_CHUNK;
    return vq->host->parallel_for(vq->host, chunks, search_chunk, &work, err);
}

/* ---- entropy models ---- */

/* Keeps the model if it saves more than it costs: its table, and the states of each tile's stream. */
static tsr_status model_stream(struct vq *vq, struct vq_stream *stream, uint32_t *counts, uint64_t counted,
                               const struct vq_sums *sums, tsr_error *err) {
    const uint32_t alphabet = ((stream->size - 1) >> vq_low_bits(stream->width)) + 1;
    const uint64_t bound = vq->entropy->model_bound(alphabet);
    const double tiles = (double)(sums->vectors * vq->shape.dim >> 18) + 1;
    uint64_t written = 0;
    double bits = 0;
    uint8_t *bytes = vq->host->alloc(vq->host, bound);
    if (!bytes) return vq_no_memory(vq, err);
    /* Every index can occur in what was not counted. */
    for (uint32_t i = 0; i < alphabet; i++) counts[i] = 16 * counts[i] + 1;
    tsr_status status = vq->entropy->model_create(vq->host, counts, alphabet, PROBABILITY_BITS, &stream->model, err);
    if (status == TSR_OK) status = vq->entropy->model_write(stream->model, bytes, bound, &written, err);
    vq->host->free(vq->host, bytes);
    if (status != TSR_OK) return status;
    for (uint32_t i = 0; i < alphabet; i++) counts[i] /= 16;
    bits = vq->entropy->model_cost(stream->model, counts);
    double saved = (double)counted * (stream->width - vq_low_bits(stream->width)) - bits;
    saved = saved / (double)counted * (double)sums->vectors / 8;
    stream->model_bytes = written;
    if (saved > (double)written + TILE_OVERHEAD * tiles) return TSR_OK;
    vq->entropy->model_destroy(vq->host, stream->model);
    stream->model = NULL;
    return TSR_OK;
}

static tsr_status make_models(struct vq *vq, const struct vq_sample *sample, const struct vq_sums *sums,
                              tsr_error *err) {
    struct vq_sample counted = *sample;
    if (counted.count > COUNT_VECTORS) counted.count = COUNT_VECTORS;
    if (!vq->settings.entropy || counted.count == 0) return TSR_OK;
    uint32_t *counts = vq->host->alloc(vq->host, sizeof *counts << VQ_SYMBOL_BITS_MAX);
    uint16_t *indices = vq->host->alloc(vq->host, vq->shape.streams * counted.count * sizeof *indices);
    tsr_status status = counts && indices ? TSR_OK : vq_no_memory(vq, err);
    if (status == TSR_OK) status = vq_search_all(vq, &counted, indices, err);
    for (uint32_t s = 0; s < vq->shape.streams && status == TSR_OK; s++) {
        const uint32_t low = vq_low_bits(vq->streams[s].width);
        memset(counts, 0, sizeof *counts << VQ_SYMBOL_BITS_MAX);
        for (uint64_t i = 0; i < counted.count; i++) counts[indices[s * counted.count + i] >> low]++;
        if (vq->streams[s].size > 1) status = model_stream(vq, &vq->streams[s], counts, counted.count, sums, err);
    }
    vq->host->free(vq->host, counts);
    vq->host->free(vq->host, indices);
    return status;
}

/* ---- codebooks ---- */

/* The sizes asked for, lowered to what so many vectors can fill: a tensor that the guard refuses never gets here, but a
 * planner's sample of a larger tensor does. */
static struct vq_shape shape_for(const struct vq_kind *kind, const struct vq_settings *settings, uint64_t dim,
                                 uint64_t vectors) {
    struct vq_shape shape = settings->shape;
    const uint64_t most = settings->guard ? vectors / 16 : vectors;
    shape.dim = dim;
    kind->shrink(&shape, most ? most : 1);
    return shape;
}

tsr_status vq_train(struct vq *vq, const tsr_dictionary_member *members, uint64_t count, tsr_error *err) {
    struct vq_sample sample = {0};
    struct vq_sums sums = {0, 0};
    for (uint64_t m = 0; m < count; m++) {
        const struct vq_sums own = vq_sum(&vq->settings, members[m].setup->tensor);
        sums.vectors += own.vectors;
        sums.bytes += own.bytes;
    }
    const struct vq_shape shape = shape_for(vq->kind, &vq->settings, vq_dim(&vq->settings, vq->tensor), sums.vectors);
    tsr_status status = vq_set_shape(vq, &shape, err);
    if (status == TSR_OK) status = vq_sample_take(vq, members, count, vq->kind->enough(&shape), &sample, err);
    if (status == TSR_OK) status = vq->kind->train(vq, &sample, err);
    if (status == TSR_OK) status = vq->kind->open(vq, err);
    if (status == TSR_OK) status = make_models(vq, &sample, &sums, err);
    vq_sample_clear(vq, &sample);
    return status;
}

tsr_status vq_prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct vq *vq = self;
    uint8_t head[1 + VQ_SEED_BYTES] = {vq->shared ? VQ_HEADER_SHARED : VQ_HEADER_OWN};
    const tsr_encode_hints hints = {sizeof hints, vq->row_weight, vq->raw_column_weight};
    const tsr_codec_setup setup = {
        .struct_size = sizeof setup, .host = vq->host, .tensor = vq->tensor, .hints = &hints};
    const tsr_dictionary_member member = {sizeof member, &setup, source};
    tsr_status status = vq->shared ? TSR_OK : vq_train(vq, &member, 1, err);
    for (int i = 0; i < VQ_SEED_BYTES; i++) head[1 + i] = (uint8_t)(vq->seed >> (8 * i));
    if (status == TSR_OK) status = header->write(header->ctx, head, 1 + (vq->hadamard ? VQ_SEED_BYTES : 0), err);
    return status == TSR_OK && !vq->shared ? vq_codebook_write(vq, header, err) : status;
}

/* ---- dictionaries ---- */

static tsr_status check_members(const struct vq_kind *kind, const struct vq_settings *settings,
                                const tsr_dictionary_member *members, uint64_t count, struct vq_sums *sums,
                                tsr_error *err) {
    *sums = (struct vq_sums){0, 0};
    const uint64_t dim = vq_dim(settings, members[0].setup->tensor);
    for (uint64_t m = 0; m < count; m++) {
        const tsr_tensor *tensor = members[m].setup->tensor;
        const struct vq_sums own = vq_sum(settings, tensor);
        if (vq_dim(settings, tensor) != dim) {
            return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: rows of %llu and of %llu in one group of whole rows",
                            kind->name, (unsigned long long)dim, (unsigned long long)tensor->columns);
        }
        sums->vectors += own.vectors;
        sums->bytes += own.bytes;
    }
    return TSR_OK;
}

/* The size of a dictionary is promised before it is trained: as much room as models take as a rule, so that what is
 * left is filled with zeros, and models that do not fit are given up. */
static uint64_t model_room(const struct vq_settings *settings, const struct vq_shape *shape) {
    uint64_t room = 0;
    for (uint32_t s = 0; settings->entropy && s < shape->streams; s++) {
        room += ((shape->sizes[s] - 1) >> vq_low_bits(vq_width(shape->sizes[s]))) + 32;
    }
    return room;
}

static void fit_models(struct vq *vq) {
    uint64_t room = model_room(&vq->settings, &vq->shape);
    for (uint32_t s = 0; s < vq->shape.streams; s++) {
        struct vq_stream *stream = &vq->streams[s];
        if (!stream->model) continue;
        if (stream->model_bytes <= room) {
            room -= stream->model_bytes;
            continue;
        }
        vq->entropy->model_destroy(vq->host, stream->model);
        stream->model = NULL;
    }
}

static tsr_status fill_up(const struct vq *vq, const tsr_writer *dictionary, tsr_error *err) {
    static const uint8_t ZEROS[256];
    uint64_t left = model_room(&vq->settings, &vq->shape);
    for (uint32_t s = 0; s < vq->shape.streams; s++) left -= vq->streams[s].model ? vq->streams[s].model_bytes : 0;
    tsr_status status = TSR_OK;
    while (left > 0 && status == TSR_OK) {
        const uint64_t some = left < sizeof ZEROS ? left : sizeof ZEROS;
        status = dictionary->write(dictionary->ctx, ZEROS, some, err);
        left -= some;
    }
    return status;
}

tsr_status vq_dictionary_can_train(const struct vq_kind *kind, const struct vq_settings *settings,
                                   const tsr_dictionary_member *members, uint64_t count, uint64_t *bytes,
                                   tsr_error *err) {
    struct vq_sums sums;
    tsr_status status = check_members(kind, settings, members, count, &sums, err);
    if (status != TSR_OK) return status;
    const uint64_t dim = vq_dim(settings, members[0].setup->tensor);
    const struct vq_shape shape = shape_for(kind, settings, dim, sums.vectors);
    *bytes = vq_codebook_bytes(kind, &shape) + model_room(settings, &shape);
    return vq_guard(kind, settings, shape.dim, &sums, err);
}

tsr_status vq_dictionary_train(const struct vq_kind *kind, const struct vq_settings *settings,
                               const tsr_dictionary_member *members, uint64_t count, const tsr_writer *dictionary,
                               tsr_error *err) {
    struct vq_sums sums;
    struct vq *vq = NULL;
    tsr_status status = check_members(kind, settings, members, count, &sums, err);
    if (status != TSR_OK) return status;
    tsr_codec_setup setup = *members[0].setup;
    setup.hints = NULL;
    status = vq_create(kind, settings, &setup, &vq, err);
    if (status == TSR_OK) status = vq_train(vq, members, count, err);
    if (status == TSR_OK) {
        fit_models(vq);
        status = vq_codebook_write(vq, dictionary, err);
    }
    if (status == TSR_OK) status = fill_up(vq, dictionary, err);
    vq_destroy(vq);
    return status;
}
