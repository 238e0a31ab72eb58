/* SPDX-License-Identifier: Apache-2.0
 *
 * Palette, basis, coefficients, in this order; each is fitted against what the ones before were rounded to, so rounding of
 * the basis costs nothing but its own small part. Everything is decided in prepare; tiles only write down their rows. */
#include "slotl.h"

#include <math.h>
#include <stdio.h>

#define READ_ROWS 256
#define PALETTE_SAMPLE 16 /* rows a centroid is trained on */
#define PALETTE_ITERATIONS 20
#define SHARED_LEAST 0.9  /* of the energy that a basis of its own would hold */
#define WEIGHT_RANGE 1e3
#define SCALE_STEPS 8
#define PROBABILITY_BITS 12

/* Everything that is at work while a tensor is prepared. */
struct fitting {
    struct slotl *self;
    const tsr_row_source *source;
    double scale;       /* 2^-exponent */
    double *weight;     /* [columns], or NULL: square roots of the column weights, mean square 1 */
    uint16_t *centroids; /* [palette][columns] BF16 */
    uint16_t *own, *basis; /* [rank][columns] BF16; basis is own or the lent one */
    double *wide;       /* the basis as numbers */
    double *normal;     /* [rank][rank]: Cholesky factor of B W^2 B^T */
    double *fitted;     /* [rows][rank] */
    double energy, held; /* of what the basis should hold, and what it does */
    float *scales;      /* [rank] */
    float *rows;        /* [READ_ROWS][columns] */
};

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "slotl: out of memory");
}

/* ---- numbers that all rows share ---- */

static tsr_status find_exponent(struct fitting *fit, tsr_error *err) {
    const tsr_tensor *tensor = fit->self->tensor;
    float largest = 0;
    tsr_status st = TSR_OK;
    for (uint64_t r = 0; r < tensor->rows && st == TSR_OK; r += READ_ROWS) {
        uint64_t count = tensor->rows - r < READ_ROWS ? tensor->rows - r : READ_ROWS;
        st = fit->source->read(fit->source->ctx, r, count, 0, tensor->columns, fit->rows, err);
        for (uint64_t i = 0; st == TSR_OK && i < count * tensor->columns; i++) {
            largest = fmaxf(largest, fabsf(fit->rows[i]));
        }
    }
    int exponent = 0;
    if (largest > 0) (void)frexp((double)largest, &exponent);
    fit->self->shape.exponent = exponent;
    fit->scale = ldexp(1, -exponent);
    return st;
}

static tsr_status find_weights(struct fitting *fit, tsr_error *err) {
    const float *given = fit->self->column_weight;
    uint64_t columns = fit->self->tensor->columns;
    double mean = 0;
    if (!given) return TSR_OK;
    fit->weight = fit->self->host->alloc(fit->self->host, columns * sizeof *fit->weight);
    if (!fit->weight) return no_memory(err);
    for (uint64_t c = 0; c < columns; c++) mean += isfinite(given[c]) && given[c] > 0 ? (double)given[c] : 0;
    mean = mean > 0 && isfinite(mean) ? mean / (double)columns : 1;
    for (uint64_t c = 0; c < columns; c++) {
        double relative = isfinite(given[c]) ? (double)given[c] / mean : 1;
        fit->weight[c] = sqrt(fmin(fmax(relative, 1 / WEIGHT_RANGE), WEIGHT_RANGE));
    }
    return TSR_OK;
}

/* ---- the palette ---- */

/* Rows spread evenly over the tensor, scaled. */
static tsr_status sample_rows(const struct fitting *fit, uint64_t count, float *sample, tsr_error *err) {
    const tsr_tensor *tensor = fit->self->tensor;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        uint64_t row = (uint64_t)((double)i * (double)tensor->rows / (double)count);
        float *to = sample + i * tensor->columns;
        st = fit->source->read(fit->source->ctx, row, 1, 0, tensor->columns, to, err);
        for (uint64_t c = 0; c < tensor->columns; c++) to[c] *= (float)fit->scale;
    }
    return st;
}

static tsr_status train_palette(struct fitting *fit, const tsr_kmeans *kmeans, float *words, tsr_error *err) {
    const tsr_host *host = fit->self->host;
    uint64_t columns = fit->self->tensor->columns, k = fit->self->shape.palette, count = k * PALETTE_SAMPLE;
    float *sample = host->alloc(host, count * columns * sizeof *sample);
    tsr_status st = sample ? sample_rows(fit, count, sample, err) : no_memory(err);
    tsr_kmeans_job job = {.struct_size = sizeof job,
                          .vectors = sample,
                          .count = count,
                          .dim = columns,
                          .k = k,
                          .iterations = PALETTE_ITERATIONS,
                          .least = 2,
                          .seed = 1};
    if (st == TSR_OK) st = kmeans->train(host, &job, words, err);
    host->free(host, sample);
    for (uint64_t i = 0; i < k * columns && st == TSR_OK; i++) {
        fit->centroids[i] = slotl_to_bf16(words[i]);
        words[i] = slotl_from_bf16(fit->centroids[i]);
    }
    return st;
}

static tsr_status assign_rows(struct fitting *fit, const tsr_kmeans *kmeans, const float *words, tsr_error *err) {
    const tsr_host *host = fit->self->host;
    const tsr_tensor *tensor = fit->self->tensor;
    tsr_codebook *codebook = NULL;
    uint32_t index[READ_ROWS];
    tsr_status st = kmeans->codebook_create(host, words, fit->self->shape.palette, tensor->columns, &codebook, err);
    for (uint64_t r = 0; r < tensor->rows && st == TSR_OK; r += READ_ROWS) {
        uint64_t count = tensor->rows - r < READ_ROWS ? tensor->rows - r : READ_ROWS;
        st = fit->source->read(fit->source->ctx, r, count, 0, tensor->columns, fit->rows, err);
        for (uint64_t i = 0; st == TSR_OK && i < count * tensor->columns; i++) fit->rows[i] *= (float)fit->scale;
        if (st == TSR_OK) kmeans->nearest(codebook, fit->rows, NULL, count, index);
        for (uint64_t i = 0; st == TSR_OK && i < count; i++) fit->self->twigs[r + i] = (uint8_t)index[i];
    }
    if (codebook) kmeans->codebook_destroy(host, codebook);
    return st;
}

static tsr_status make_palette(struct fitting *fit, tsr_error *err) {
    const tsr_host *host = fit->self->host;
    uint64_t size = fit->self->shape.palette * fit->self->tensor->columns;
    if (!size) return TSR_OK;
    const tsr_kmeans *kmeans = host->get_extension(host, TSR_KMEANS_ID);
    if (!kmeans) return tsr_fail(err, TSR_E_UNSUPPORTED, "slotl: this host lends no k-means");
    float *words = host->alloc(host, size * sizeof *words);
    fit->centroids = host->alloc(host, size * sizeof *fit->centroids);
    fit->self->twigs = host->alloc(host, fit->self->tensor->rows);
    tsr_status st = words && fit->centroids && fit->self->twigs ? TSR_OK : no_memory(err);
    if (st == TSR_OK) st = train_palette(fit, kmeans, words, err);
    if (st == TSR_OK) st = assign_rows(fit, kmeans, words, err);
    host->free(host, words);
    return st;
}

/* ---- the basis ---- */

/* Rows without their centroids, in the tensor's own scale. */
static tsr_status read_rows(void *ctx, uint64_t first, uint64_t rows, float *dst, tsr_error *err) {
    const struct fitting *fit = ctx;
    uint64_t columns = fit->self->tensor->columns;
    tsr_status st = fit->source->read(fit->source->ctx, first, rows, 0, columns, dst, err);
    if (!fit->centroids) return st;
    for (uint64_t r = 0; r < rows && st == TSR_OK; r++) {
        const uint16_t *centroid = fit->centroids + fit->self->twigs[first + r] * columns;
        for (uint64_t c = 0; c < columns; c++) {
            double left = (double)dst[r * columns + c] * fit->scale - (double)slotl_from_bf16(centroid[c]);
            dst[r * columns + c] = (float)left;
        }
    }
    return st;
}

/* Rows come scaled already when centroids were taken off. */
static double rest_scale(const struct fitting *fit) {
    return fit->centroids ? 1 : fit->scale;
}

/* Lower triangle of the Cholesky factor of B W^2 B^T; components without length get a 1, so they come out as 0. */
static void factor_basis(struct fitting *fit) {
    uint32_t n = fit->self->shape.rank;
    uint64_t columns = fit->self->tensor->columns;
    double *a = fit->normal;
    for (uint64_t i = 0; i < n * columns; i++) fit->wide[i] = (double)slotl_from_bf16(fit->basis[i]);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            double sum = 0;
            for (uint64_t c = 0; c < columns; c++) {
                double w = fit->weight ? fit->weight[c] * fit->weight[c] : 1;
                sum += fit->wide[i * columns + c] * fit->wide[j * columns + c] * w;
            }
            for (uint32_t k = 0; k < j; k++) sum -= a[i * n + k] * a[j * n + k];
            if (i == j) {
                a[i * n + i] = sum > 1e-12 ? sqrt(sum) : 1;
            } else {
                a[i * n + j] = sum / a[j * n + j];
            }
        }
    }
}

/* Coefficients of one row by weighted least squares; what the basis holds of its energy. */
static double fit_row(const struct fitting *fit, const float *row, double *fitted) {
    uint32_t n = fit->self->shape.rank;
    uint64_t columns = fit->self->tensor->columns;
    const double *a = fit->normal;
    double held = 0, scale = rest_scale(fit);
    for (uint32_t k = 0; k < n; k++) {
        double sum = 0;
        for (uint64_t c = 0; c < columns; c++) {
            double w = fit->weight ? fit->weight[c] * fit->weight[c] : 1;
            sum += fit->wide[k * columns + c] * (double)row[c] * scale * w;
        }
        for (uint32_t j = 0; j < k; j++) sum -= a[k * n + j] * fitted[j];
        fitted[k] = sum / a[k * n + k];
        held += fitted[k] * fitted[k];
    }
    for (uint32_t k = n; k-- > 0;) {
        for (uint32_t j = k + 1; j < n; j++) fitted[k] -= a[j * n + k] * fitted[j];
        fitted[k] /= a[k * n + k];
    }
    return held;
}

static double energy_of(const struct fitting *fit, const float *row) {
    double sum = 0, scale = rest_scale(fit);
    for (uint64_t c = 0; c < fit->self->tensor->columns; c++) {
        double value = (double)row[c] * scale * (fit->weight ? fit->weight[c] : 1);
        sum += value * value;
    }
    return sum;
}

/* Rows of one chunk, on any worker. */
struct chunk {
    struct fitting *fit;
    uint64_t first, count;
    double held[READ_ROWS], energy[READ_ROWS];
};

static tsr_status fit_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct chunk *chunk = ctx;
    const struct fitting *fit = chunk->fit;
    const float *row = fit->rows + index * fit->self->tensor->columns;
    (void)worker, (void)err;
    chunk->held[index] = fit_row(fit, row, fit->fitted + (chunk->first + index) * fit->self->shape.rank);
    chunk->energy[index] = energy_of(fit, row);
    return TSR_OK;
}

static tsr_status fit_rows(struct fitting *fit, tsr_error *err) {
    const tsr_host *host = fit->self->host;
    const tsr_tensor *tensor = fit->self->tensor;
    struct chunk *chunk = host->alloc(host, sizeof *chunk);
    tsr_status st = chunk ? TSR_OK : no_memory(err);
    fit->energy = fit->held = 0;
    if (st == TSR_OK) factor_basis(fit);
    for (uint64_t r = 0; r < tensor->rows && st == TSR_OK; r += READ_ROWS) {
        chunk->fit = fit;
        chunk->first = r;
        chunk->count = tensor->rows - r < READ_ROWS ? tensor->rows - r : READ_ROWS;
        st = read_rows(fit, r, chunk->count, fit->rows, err);
        if (st == TSR_OK) st = host->parallel_for(host, chunk->count, fit_one, chunk, err);
        for (uint64_t i = 0; st == TSR_OK && i < chunk->count; i++) {
            fit->held += chunk->held[i];
            fit->energy += chunk->energy[i];
        }
    }
    host->free(host, chunk);
    return st;
}

/* The basis of the group where it holds nearly as much as one of the tensor's own, else the own. */
static tsr_status choose_basis(struct fitting *fit, tsr_error *err) {
    struct slotl *self = fit->self;
    struct slotl_rows rows = {fit, self->tensor->rows, self->tensor->columns, read_rows};
    tsr_status st = slotl_train_basis(self->host, &rows, fit->weight, rest_scale(fit), self->shape.rank, 1, fit->own, err);
    fit->basis = fit->own;
    if (st == TSR_OK) st = fit_rows(fit, err);
    if (st != TSR_OK || !self->lent_basis || self->lent_rank < self->shape.rank) return st;
    double own = fit->held;
    fit->basis = (uint16_t *)(uintptr_t)self->lent_basis;
    st = fit_rows(fit, err);
    self->shape.shared = st == TSR_OK && fit->held >= SHARED_LEAST * own;
    if (st != TSR_OK || self->shape.shared) return st;
    fit->basis = fit->own;
    return fit_rows(fit, err);
}

static void tell_energy(const struct fitting *fit) {
    char text[200];
    double share = fit->energy > 0 ? 100 * fit->held / fit->energy : 100;
    (void)snprintf(text, sizeof text, "slotl: %.80s: %u components hold %.2f %% of the energy%s", fit->self->tensor->name,
                   fit->self->shape.rank, share, fit->self->shape.shared ? ", basis of the group" : "");
    fit->self->host->log(fit->self->host, TSR_LOG_DEBUG, text);
}

/* ---- coefficients ---- */

static int32_t round_to(double value, int32_t limit) {
    double rounded = nearbyint(value);
    return rounded > limit ? limit : rounded < -limit ? -limit : (int32_t)rounded;
}

static double error_at(const struct fitting *fit, uint32_t component, int32_t limit, double step) {
    double sum = 0;
    uint32_t rank = fit->self->shape.rank;
    for (uint64_t r = 0; r < fit->self->tensor->rows; r++) {
        double value = fit->fitted[r * rank + component];
        double lost = value - step * round_to(value / step, limit);
        sum += lost * lost;
    }
    return sum;
}

/* The step, between that of the largest coefficient and half of it, that loses least. */
static double find_step(const struct fitting *fit, uint32_t component, int32_t limit) {
    uint32_t rank = fit->self->shape.rank;
    double largest = 0, best = 0, least = INFINITY;
    for (uint64_t r = 0; r < fit->self->tensor->rows; r++) {
        largest = fmax(largest, fabs(fit->fitted[r * rank + component]));
    }
    if (largest <= 0) return 0;
    for (int i = 0; i < SCALE_STEPS; i++) {
        double step = (double)(float)(largest / limit * (1 - 0.07 * i)), error = error_at(fit, component, limit, step);
        if (step <= 0 || error >= least) continue;
        least = error;
        best = step;
    }
    return best;
}

static void quantise(struct fitting *fit) {
    struct slotl *self = fit->self;
    uint32_t rank = self->shape.rank;
    for (uint32_t k = 0; k < rank; k++) {
        int32_t limit = SLOTL_LIMITS[slotl_band_of(&self->shape, k)];
        double step = find_step(fit, k, limit);
        fit->scales[k] = (float)step;
        for (uint64_t r = 0; r < self->tensor->rows; r++) {
            double value = fit->fitted[r * rank + k];
            self->coefficients[r * rank + k] = step > 0 ? round_to(value / step, limit) : 0;
        }
    }
}

/* A model of the 8-bit band where it saves bytes. */
static tsr_status make_model(struct slotl *self, tsr_error *err) {
    uint32_t counts[256] = {0}, first = self->shape.bands[0], end = first + self->shape.bands[1];
    uint64_t total = self->tensor->rows * self->shape.bands[1], written = 0;
    if (!total) return TSR_OK;
    for (uint64_t r = 0; r < self->tensor->rows; r++) {
        for (uint32_t k = first; k < end; k++) counts[self->coefficients[r * self->shape.rank + k] + 128]++;
    }
    uint8_t scratch[1024];
    tsr_status st = self->entropy->model_create(self->host, counts, 256, PROBABILITY_BITS, &self->model, err);
    if (st == TSR_OK) st = self->entropy->model_write(self->model, scratch, sizeof scratch, &written, err);
    if (st != TSR_OK) return st;
    double bits = self->entropy->model_cost(self->model, counts) + 8.0 * (double)written + 1024 * 8;
    self->shape.has_model = bits < 8.0 * (double)total;
    if (self->shape.has_model) return TSR_OK;
    self->entropy->model_destroy(self->host, self->model);
    self->model = NULL;
    return TSR_OK;
}

/* ---- the header ---- */

static tsr_status put_words(const tsr_writer *header, const uint16_t *words, uint64_t count, tsr_error *err) {
    tsr_status st = TSR_OK;
    uint8_t bytes[512];
    for (uint64_t at = 0; at < count && st == TSR_OK; at += 256) {
        uint64_t run = count - at < 256 ? count - at : 256;
        for (uint64_t i = 0; i < run; i++) {
            bytes[2 * i] = (uint8_t)words[at + i];
            bytes[2 * i + 1] = (uint8_t)(words[at + i] >> 8);
        }
        st = header->write(header->ctx, bytes, 2 * run, err);
    }
    return st;
}

static tsr_status write_header(const struct fitting *fit, const tsr_writer *header, tsr_error *err) {
    const struct slotl *self = fit->self;
    const struct slotl_shape *shape = &self->shape;
    const uint16_t head[] = {(uint16_t)shape->bands[0], (uint16_t)shape->bands[1], (uint16_t)shape->bands[2],
                             (uint16_t)shape->bands[3], (uint16_t)shape->palette, (uint16_t)(int16_t)shape->exponent,
                             (uint16_t)((shape->shared ? SLOTL_SHARED : 0) | (shape->has_model ? SLOTL_MODEL : 0))};
    uint16_t scales[2 * SLOTL_RANK_MAX];
    uint8_t scratch[1024];
    uint64_t written = 0;
    for (uint32_t k = 0; k < shape->rank; k++) {
        uint32_t bits;
        memcpy(&bits, &fit->scales[k], sizeof bits);
        scales[2 * k] = (uint16_t)bits;
        scales[2 * k + 1] = (uint16_t)(bits >> 16);
    }
    tsr_status st = put_words(header, head, SLOTL_HEADER_BYTES / 2, err);
    if (st == TSR_OK) st = put_words(header, scales, 2 * shape->rank, err);
    if (st == TSR_OK && !shape->shared) st = put_words(header, fit->basis, shape->rank * self->tensor->columns, err);
    if (st == TSR_OK) st = put_words(header, fit->centroids, shape->palette * self->tensor->columns, err);
    if (st != TSR_OK || !shape->has_model) return st;
    st = self->entropy->model_write(self->model, scratch, sizeof scratch, &written, err);
    return st == TSR_OK ? header->write(header->ctx, scratch, written, err) : st;
}

static tsr_status allocate(struct fitting *fit, tsr_error *err) {
    struct slotl *self = fit->self;
    const tsr_host *host = self->host;
    uint64_t rank = self->shape.rank ? self->shape.rank : 1, columns = self->tensor->columns, rows = self->tensor->rows;
    fit->rows = host->alloc(host, READ_ROWS * columns * sizeof *fit->rows);
    fit->own = host->alloc(host, rank * columns * sizeof *fit->own);
    fit->wide = host->alloc(host, rank * columns * sizeof *fit->wide);
    fit->normal = host->alloc(host, rank * rank * sizeof *fit->normal);
    fit->fitted = host->alloc(host, rows * rank * sizeof *fit->fitted);
    fit->scales = host->alloc(host, rank * sizeof *fit->scales);
    self->coefficients = host->alloc(host, rows * rank * sizeof *self->coefficients);
    bool enough = fit->rows && fit->own && fit->wide && fit->normal && fit->fitted && fit->scales && self->coefficients;
    return enough ? TSR_OK : no_memory(err);
}

static void release(struct fitting *fit) {
    const tsr_host *host = fit->self->host;
    host->free(host, fit->rows);
    host->free(host, fit->own);
    host->free(host, fit->wide);
    host->free(host, fit->normal);
    host->free(host, fit->fitted);
    host->free(host, fit->scales);
    host->free(host, fit->weight);
    host->free(host, fit->centroids);
}

tsr_status slotl_prepare(struct slotl *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct fitting fit = {.self = self, .source = source};
    tsr_status st = allocate(&fit, err);
    if (st == TSR_OK) st = find_exponent(&fit, err);
    if (st == TSR_OK) st = find_weights(&fit, err);
    if (st == TSR_OK) st = make_palette(&fit, err);
    if (st == TSR_OK && self->shape.rank) st = choose_basis(&fit, err);
    if (st == TSR_OK) {
        tell_energy(&fit);
        quantise(&fit);
        st = make_model(self, err);
    }
    if (st == TSR_OK) st = write_header(&fit, header, err);
    release(&fit);
    return st;
}

/* ---- tiles ---- */

uint64_t slotl_encode_bound(const struct slotl *self, uint64_t rows) {
    uint64_t coded = self->shape.has_model ? self->entropy->encode_bound(rows * self->shape.bands[1]) : 0;
    return slotl_raw_bytes(&self->shape, rows) + coded;
}

static const int32_t *row_of(const struct slotl *self, const tsr_tile *tile, uint64_t row) {
    return self->coefficients + (tile->first_row + row) * self->shape.rank;
}

/* The 8-bit band: a stream if that is shorter, else bytes. */
static tsr_status put_bytes(const struct slotl *self, const tsr_tile *tile, uint8_t **to, uint64_t room, tsr_error *err) {
    const uint32_t width = self->shape.bands[1];
    uint64_t count = tile->rows * width, written = 0;
    tsr_status st = TSR_OK;
    if (count == 0) return TSR_OK;
    uint16_t *symbols = self->host->alloc(self->host, count * sizeof *symbols);
    if (!symbols) return no_memory(err);
    for (uint64_t i = 0; i < count; i++) {
        symbols[i] = (uint16_t)(row_of(self, tile, i / width)[self->shape.bands[0] + i % width] + 128);
    }
    if (self->shape.has_model) {
        st = self->entropy->encode(self->model, symbols, count, *to + 4, room - 4, &written, err);
        if (st == TSR_OK && written >= count) written = 0;
        for (int i = 0; i < 4; i++) (*to)[i] = (uint8_t)(written >> (8 * i));
        *to += 4 + written;
    }
    for (uint64_t i = 0; st == TSR_OK && written == 0 && i < count; i++) *(*to)++ = (uint8_t)symbols[i];
    self->host->free(self->host, symbols);
    return st;
}

/* `per` coefficients a byte, lowest bits first, shifted by `offset` to be positive. */
static void put_packed(const struct slotl *self, const tsr_tile *tile, uint32_t band, uint32_t per, int32_t offset,
                       uint8_t **to) {
    uint32_t first = 0, count = self->shape.bands[band], bits = 8 / per;
    for (uint32_t b = 0; b < band; b++) first += self->shape.bands[b];
    for (uint64_t r = 0; r < tile->rows; r++) {
        const int32_t *row = row_of(self, tile, r) + first;
        for (uint32_t k = 0; k < count; k++) {
            if (k % per == 0) *(*to)++ = 0;
            (*to)[-1] |= (uint8_t)((uint32_t)(row[k] + offset) << (k % per * bits));
        }
    }
}

tsr_status slotl_encode(const struct slotl *self, const tsr_tile *tile, void *dst, uint64_t capacity, uint64_t *written,
                        tsr_error *err) {
    uint64_t bound = slotl_encode_bound(self, tile->rows);
    uint8_t *scratch = self->host->alloc(self->host, bound ? bound : 1), *to = scratch;
    if (!scratch) return no_memory(err);
    for (uint64_t r = 0; self->shape.palette && r < tile->rows; r++) *to++ = self->twigs[tile->first_row + r];
    for (uint64_t r = 0; r < tile->rows; r++) {
        for (uint32_t k = 0; k < self->shape.bands[0]; k++) {
            uint16_t value = (uint16_t)(int16_t)row_of(self, tile, r)[k];
            *to++ = (uint8_t)value;
            *to++ = (uint8_t)(value >> 8);
        }
    }
    tsr_status st = put_bytes(self, tile, &to, bound - (uint64_t)(to - scratch), err);
    if (st == TSR_OK) {
        put_packed(self, tile, 2, 2, 8, &to);
        put_packed(self, tile, 3, 4, 1, &to);
        *written = (uint64_t)(to - scratch);
        if (*written > capacity) {
            st = tsr_fail(err, TSR_E_SPACE, "slotl: a tile of %llu bytes does not fit", (unsigned long long)*written);
        } else {
            memcpy(dst, scratch, *written);
        }
    }
    self->host->free(self->host, scratch);
    return st;
}
