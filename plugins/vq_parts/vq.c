/* SPDX-License-Identifier: Apache-2.0
 *
 * Instances: what can be encoded, creation, and the check against memorising. */
#include "vq.h"

enum {
    GROUP_UNIT = 16, /* every dim divides it, so no vector lies in two segments */
    VECTORS_A_CENTROID = 16,
    BOOK_SHARE = 10, /* a codebook takes at most 1 / this of its source */
    ROW_MOST = 65536 /* columns of a vector that is a whole row */
};

/* ---- guard ---- */

struct vq_sums vq_sum(const struct vq_settings *settings, const tsr_tensor *tensor) {
    uint64_t dim = vq_dim(settings, tensor);
    return (struct vq_sums){tensor->rows * ((tensor->columns - 1) / dim + 1), tensor->bytes};
}

static uint64_t book_bytes(const struct vq_kind *kind, const struct vq_settings *settings, uint64_t dim) {
    struct vq_shape shape = settings->shape;
    shape.dim = dim;
    return 2 * kind->values(&shape);
}

tsr_status vq_guard(const struct vq_kind *kind, const struct vq_settings *settings, uint64_t dim,
                    const struct vq_sums *sums, tsr_error *err) {
    const uint64_t centroids = kind->centroids(&settings->shape), book = book_bytes(kind, settings, dim);
    if (!settings->guard) return TSR_OK;
    if (sums->vectors < VECTORS_A_CENTROID * centroids) {
        return tsr_fail(err, TSR_E_UNSUPPORTED,
                        "%s: %llu vectors of %llu for %llu centroids, expected at least %llu: it would memorise them",
                        kind->name, (unsigned long long)sums->vectors, (unsigned long long)dim,
                        (unsigned long long)centroids, (unsigned long long)(VECTORS_A_CENTROID * centroids));
    }
    if (book > sums->bytes / BOOK_SHARE) {
        return tsr_fail(err, TSR_E_UNSUPPORTED,
                        "%s: a codebook of %llu bytes for %llu bytes of weights, expected at most a tenth", kind->name,
                        (unsigned long long)book, (unsigned long long)sums->bytes);
    }
    return TSR_OK;
}

/* ---- settings ---- */

static bool is_dim(uint64_t dim) {
    return dim == 0 || dim == 2 || dim == 4 || dim == 8 || dim == 16;
}

static tsr_status check_settings(const struct vq_kind *kind, const struct vq_settings *settings, tsr_error *err) {
    if (!is_dim(settings->shape.dim)) {
        return tsr_fail(err, TSR_E_CONFIG, "%s: dim is %llu, expected 2, 4, 8, 16, or 0 for whole rows", kind->name,
                        (unsigned long long)settings->shape.dim);
    }
    if (settings->group % GROUP_UNIT != 0) {
        return tsr_fail(err, TSR_E_CONFIG, "%s: group is %llu, expected a multiple of %d", kind->name,
                        (unsigned long long)settings->group, GROUP_UNIT);
    }
    if (settings->hadamard && !settings->shape.dim) {
        return tsr_fail(err, TSR_E_CONFIG, "%s: hadamard with dim 0: whole rows are not rotated", kind->name);
    }
    if (settings->group && !settings->shape.dim) {
        return tsr_fail(err, TSR_E_CONFIG, "%s: group is %llu, expected 0 with dim 0", kind->name,
                        (unsigned long long)settings->group);
    }
    return TSR_OK;
}

static tsr_status check_tensor(const struct vq_kind *kind, const struct vq_settings *settings, const tsr_tensor *tensor,
                               tsr_error *err) {
    const uint64_t dim = vq_dim(settings, tensor), book = book_bytes(kind, settings, dim);
    if (settings->shape.dim == 0 && tensor->columns > ROW_MOST) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: rows of %llu as one vector, expected at most %d columns",
                        kind->name, (unsigned long long)tensor->columns, ROW_MOST);
    }
    if (book > TSR_CODEC_HEADER_MAX / 2) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: a codebook of %llu bytes, expected at most %llu", kind->name,
                        (unsigned long long)book, (unsigned long long)(TSR_CODEC_HEADER_MAX / 2));
    }
    return TSR_OK;
}

tsr_status vq_can_encode(const struct vq_kind *kind, const struct vq_settings *settings, const tsr_codec_setup *setup,
                         tsr_error *err) {
    const struct vq_sums sums = vq_sum(settings, setup->tensor);
    tsr_status status = check_settings(kind, settings, err);
    if (status == TSR_OK) status = check_tensor(kind, settings, setup->tensor, err);
    if (status != TSR_OK || setup->dictionary) return status;
    return vq_guard(kind, settings, vq_dim(settings, setup->tensor), &sums, err);
}

/* ---- instances ---- */

static tsr_status find_services(struct vq *vq, tsr_error *err) {
    vq->entropy = vq->host->get_extension(vq->host, TSR_ENTROPY_ID);
    vq->kmeans = vq->host->get_extension(vq->host, TSR_KMEANS_ID);
    if (!vq->entropy || !TSR_HAS(vq->entropy, tsr_entropy, split_decode)) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: the host does not lend %s", vq->kind->name, TSR_ENTROPY_ID);
    }
    if (!vq->kmeans || !TSR_HAS(vq->kmeans, tsr_kmeans, best)) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: the host does not lend %s", vq->kind->name, TSR_KMEANS_ID);
    }
    if (!vq->settings.hadamard) return TSR_OK;
    vq->hadamard = vq->host->get_extension(vq->host, TSR_HADAMARD_ID);
    if (vq->hadamard && TSR_HAS(vq->hadamard, tsr_hadamard, inverse)) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: the host does not lend %s", vq->kind->name, TSR_HADAMARD_ID);
}

/* Weights of columns with mean 1 and a floor; NULL when they say nothing. */
tsr_status vq_take_hints(struct vq *vq, const tsr_encode_hints *hints, tsr_error *err) {
    const uint64_t columns = vq->tensor->columns, dim = vq_dim(&vq->settings, vq->tensor);
    const uint64_t padded = ((columns - 1) / dim + 1) * dim;
    double sum = 0;
    if (!hints) return TSR_OK;
    vq->row_weight = hints->row_weight;
    vq->raw_column_weight = hints->column_weight;
    /* Rotation makes all columns of a block equal. */
    for (uint64_t c = 0; hints->column_weight && !vq->settings.hadamard && c < columns; c++) {
        if (hints->column_weight[c] > 0) sum += (double)hints->column_weight[c];
    }
    if (!(sum > 0 && sum < 1e300)) return TSR_OK;
    vq->column_weight = vq->host->alloc(vq->host, padded * sizeof(float));
    if (!vq->column_weight) return vq_no_memory(vq, err);
    for (uint64_t c = 0; c < padded; c++) {
        double weight = c < columns && hints->column_weight[c] > 0 ? (double)hints->column_weight[c] : 0;
        weight *= (double)columns / sum;
        vq->column_weight[c] = c < columns ? (float)(weight > 1e-4 ? weight : 1e-4) : 0;
    }
    return TSR_OK;
}

static tsr_status init_encoder(struct vq *vq, const tsr_codec_setup *setup, const uint8_t *dictionary, uint64_t bytes,
                               tsr_error *err) {
    tsr_status status = check_settings(vq->kind, &vq->settings, err);
    if (status == TSR_OK) status = check_tensor(vq->kind, &vq->settings, vq->tensor, err);
    if (status == TSR_OK) status = vq_take_hints(vq, setup->hints, err);
    if (vq->hadamard) vq->seed = vq->hadamard->seed(vq->tensor->name);
    if (status != TSR_OK || !dictionary) return status;
    vq->shared = 1;
    status = vq_codebook_read(vq, dictionary, bytes, err);
    return status == TSR_OK ? vq->kind->open(vq, err) : status;
}

static tsr_status init_decoder(struct vq *vq, const tsr_codec_setup *setup, const uint8_t *dictionary, uint64_t bytes,
                               tsr_error *err) {
    const uint8_t *header = setup->header;
    const uint64_t head = 1 + (vq->hadamard ? VQ_SEED_BYTES : 0);
    if (setup->header_bytes < head) return vq_corrupt(vq, err, "header: cut short");
    for (uint64_t i = 1; i < head; i++) vq->seed |= (uint64_t)header[i] << (8 * (i - 1));
    if (header[0] == VQ_HEADER_OWN) return vq_codebook_read(vq, header + head, setup->header_bytes - head, err);
    if (header[0] != VQ_HEADER_SHARED || setup->header_bytes != head) {
        return vq_corrupt(vq, err, "header: unknown form");
    }
    if (!dictionary) return vq_corrupt(vq, err, "header: names a dictionary, but there is none");
    vq->shared = 1;
    return vq_codebook_read(vq, dictionary, bytes, err);
}

static tsr_status init(struct vq *vq, const struct vq_kind *kind, const struct vq_settings *settings,
                       const tsr_codec_setup *setup, tsr_error *err) {
    const uint8_t *dictionary = setup->dictionary;
    const uint64_t bytes = setup->dictionary_bytes;
    vq->kind = kind;
    vq->host = setup->host;
    vq->tensor = setup->tensor;
    vq->settings = *settings;
    vq->decoding = setup->decoding;
    tsr_status status = find_services(vq, err);
    if (status != TSR_OK) return status;
    if (!setup->decoding) return init_encoder(vq, setup, dictionary, bytes, err);
    if (setup->struct_size >= offsetof(tsr_codec_setup, stride)) vq->level = setup->level;
    return init_decoder(vq, setup, dictionary, bytes, err);
}

static void clear_streams(struct vq *vq) {
    for (uint32_t s = 0; s < vq->shape.streams; s++) {
        if (vq->streams[s].model) vq->entropy->model_destroy(vq->host, vq->streams[s].model);
        vq->streams[s].model = NULL;
    }
}

tsr_status vq_set_shape(struct vq *vq, const struct vq_shape *shape, tsr_error *err) {
    clear_streams(vq);
    vq->host->free(vq->host, vq->words);
    vq->shape = *shape;
    for (uint32_t s = 0; s < shape->streams; s++) {
        vq->streams[s] = (struct vq_stream){shape->sizes[s], vq_width(shape->sizes[s]), NULL, 0};
    }
    vq->words = vq->host->alloc(vq->host, vq->kind->values(shape) * sizeof(float));
    return vq->words ? TSR_OK : vq_no_memory(vq, err);
}

void vq_destroy(void *self) {
    struct vq *vq = self;
    if (!vq) return;
    if (vq->search) vq->kind->close(vq);
    clear_streams(vq);
    vq->host->free(vq->host, vq->words);
    vq->host->free(vq->host, vq->column_weight);
    vq->host->free(vq->host, vq);
}

tsr_status vq_create(const struct vq_kind *kind, const struct vq_settings *settings, const tsr_codec_setup *setup,
                     struct vq **created, tsr_error *err) {
    struct vq *vq = setup->host->alloc(setup->host, sizeof *vq);
    *created = NULL;
    if (!vq) return tsr_fail(err, TSR_E_NOMEM, "%s: no memory for an instance", kind->name);
    memset(vq, 0, sizeof *vq);
    tsr_status status = init(vq, kind, settings, setup, err);
    if (status == TSR_OK)
        *created = vq;
    else
        vq_destroy(vq);
    return status;
}
