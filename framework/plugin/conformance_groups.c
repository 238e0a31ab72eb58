/* SPDX-License-Identifier: Apache-2.0
 *
 * The optional groups of a codec (ext/): each operation against what decode says. */
#include <base/alloc.h>
#include <format/dtype.h>
#include <math.h>
#include <string.h>
#include <tessera/ext/block.h>
#include <tessera/ext/dictionary.h>
#include <tessera/ext/matvec.h>
#include <tessera/ext/residual.h>
#include <tessera/ext/rows.h>

#include "conformance_list.h"
#include "instance.h"

#define ROWS 37
#define COLUMNS 160
#define PRODUCT_TOLERANCE 1e-4

static const void *group_of(const struct rig *rig, const char *id) {
    return rig->codec->get_extension ? rig->codec->get_extension(id) : NULL;
}

/* A subject that was encoded, its one tile, decoders over it. */
struct scene {
    struct rig *rig;
    struct subject subject;
    struct stored stored;
    struct coder_job job;
    struct instance decoder;
    tsr_tile tile;       /* in the form that decode returns */
    const uint8_t *bytes;
    uint64_t size;
    uint8_t *decoded; /* the same form */
};

static struct coder_job scene_job(const struct rig *rig, const struct subject *subject) {
    return (struct coder_job){.env = &rig->env,
                              .host = &rig->host,
                              .codec = rig->codec,
                              .params = rig->params.values,
                              .tensor = &subject->tensor,
                              .dtype_bits = subject->bits};
}

static void scene_close(struct scene *scene) {
    instance_destroy(&scene->decoder);
    stored_clear(&scene->stored);
    subject_clear(&scene->subject);
    mem_free(scene->decoded);
}

static tsr_status open_decoder(struct scene *scene, tsr_error *err) {
    struct instance_stored stored = {scene->stored.header.text, scene->stored.header.length,
                                     scene->rig->codec->bitstream_version};
    scene->job = scene_job(scene->rig, &scene->subject);
    return instance_create(&scene->decoder, &scene->job, &stored, err);
}

/* TSR_E_UNSUPPORTED when there is nothing to compare with: refused, or stored raw. */
static tsr_status scene_open(struct scene *scene, struct rig *rig, tsr_error *err) {
    bool as_f32 = rig->codec->input == TSR_INPUT_F32;
    scene->rig = rig;
    tsr_status st = subject_make(&scene->subject, subject_dtype(rig->codec), ROWS, COLUMNS, FILL_WEIGHTS, rig->seed, err);
    if (st == TSR_OK) st = rig_accepts(rig, &scene->subject, err);
    if (st == TSR_OK) st = rig_encode(rig, &scene->subject, &scene->stored, err);
    if (st != TSR_OK) return st;
    const struct stored_tile *stored = stored_tile_at(&scene->stored, 0);
    if (scene->stored.count != 1 || stored->raw) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "a small tensor is stored raw");
    }
    scene->tile = tile_at(&scene->stored.grid, 0, as_f32 ? 32 : scene->subject.bits);
    scene->bytes = (const uint8_t *)scene->stored.bytes.text + stored->at;
    scene->size = stored->size;
    scene->decoded = mem_alloc_aligned(scene->tile.bytes);
    if (!scene->decoded) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    st = open_decoder(scene, err);
    if (st != TSR_OK) return st;
    return rig->codec->decode(scene->decoder.self, &scene->tile, scene->bytes, scene->size, scene->decoded, err);
}

/* ---- rows ---- */

static tsr_status check_rows(const struct scene *scene, const tsr_rows *group, uint64_t first, uint64_t count,
                             tsr_error *err) {
    uint64_t row_bytes = scene->tile.bytes / scene->tile.rows;
    uint8_t *rows = mem_alloc_aligned(count * row_bytes);
    if (!rows) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    tsr_status st = group->decode(scene->decoder.self, &scene->tile, scene->bytes, scene->size, first, count, rows, err);
    if (st == TSR_OK && memcmp(rows, scene->decoded + first * row_bytes, count * row_bytes) != 0) {
        st = tsr_fail(err, TSR_E_GATE, "rows %llu to %llu differ from those of the whole tile",
                      (unsigned long long)first, (unsigned long long)(first + count - 1));
    }
    mem_free(rows);
    return st;
}

static tsr_status rows_of_a_tile(struct rig *rig, tsr_error *err) {
    static const uint64_t RANGES[][2] = {{0, 1}, {ROWS - 1, 1}, {0, ROWS}, {5, 9}};
    const tsr_rows *group = group_of(rig, TSR_ROWS_ID);
    struct scene scene = {0};
    if (!group) return tsr_fail(err, TSR_E_UNSUPPORTED, "the codec does not decode rows");
    tsr_status st = scene_open(&scene, rig, err);
    for (size_t i = 0; i < sizeof RANGES / sizeof *RANGES && st == TSR_OK; i++) {
        st = check_rows(&scene, group, RANGES[i][0], RANGES[i][1], err);
    }
    scene_close(&scene);
    return st;
}

/* ---- products ---- */

/* A product may use values as decode returns them or as the host rounds them to the source dtype, half a unit away. */
static double product_tolerance(int32_t dtype) {
    if (dtype == TSR_DTYPE_BF16) return PRODUCT_TOLERANCE + 0x1p-9;
    return dtype == TSR_DTYPE_F16 ? PRODUCT_TOLERANCE + 0x1p-12 : PRODUCT_TOLERANCE;
}

/* y against the decoded rows times x, relative to what a row can sum up to. */
static tsr_status compare_product(const struct scene *scene, const float *x, const float *y, tsr_error *err) {
    const float *w = (const float *)(const void *)scene->decoded;
    const double tolerance = product_tolerance(scene->subject.tensor.dtype);
    for (uint64_t r = 0; r < scene->tile.rows; r++) {
        double sum = 0, size = 0;
        for (uint64_t c = 0; c < scene->tile.columns; c++) {
            double term = (double)w[r * scene->tile.columns + c] * (double)x[c];
            sum += term;
            size += fabs(term);
        }
        if (fabs(sum - (double)y[r]) <= tolerance * size + 1e-30) continue;
        return tsr_fail(err, TSR_E_GATE, "row %llu times x gives %g, the decoded row %g", (unsigned long long)r,
                        (double)y[r], sum);
    }
    return TSR_OK;
}

static tsr_status multiply(const struct scene *scene, const tsr_matvec *group, void *packed, void *query,
                           tsr_error *err) {
    float x[COLUMNS], y[ROWS];
    struct rng rng = {scene->rig->seed + 1};
    void *self = scene->decoder.self;
    for (int i = 0; i < COLUMNS; i++) x[i] = (float)(rng_real(&rng) - 0.5);
    tsr_status st = group->pack(self, &scene->tile, scene->bytes, scene->size, packed, err);
    if (st == TSR_OK && query) st = group->query(self, x, query, err);
    if (st == TSR_OK) st = group->apply(self, &scene->tile, packed, x, query, y, err);
    return st == TSR_OK ? compare_product(scene, x, y, err) : st;
}

static tsr_status products_agree(struct rig *rig, tsr_error *err) {
    const tsr_matvec *group = group_of(rig, TSR_MATVEC_ID);
    struct scene scene = {0};
    if (!group) return tsr_fail(err, TSR_E_UNSUPPORTED, "the codec has no products");
    tsr_status st = scene_open(&scene, rig, err);
    uint64_t size = st == TSR_OK ? group->packed_bytes(scene.decoder.self, &scene.tile) : 0;
    uint64_t query_size = st == TSR_OK && group->query ? group->query_bytes(scene.decoder.self) : 0;
    void *packed = size ? mem_alloc_aligned(size) : NULL, *query = query_size ? mem_alloc_aligned(query_size) : NULL;
    if (st == TSR_OK && !size) {
        st = tsr_fail(err, TSR_E_UNSUPPORTED, "no product for this tile");
    } else if (st == TSR_OK) {
        st = multiply(&scene, group, packed, query, err);
    }
    mem_free(packed);
    mem_free(query);
    scene_close(&scene);
    return st;
}

/* ---- blocks ---- */

struct blocks {
    struct scene scene;
    const tsr_block *group;
    struct instance encoder;
    float *source, *told; /* [ROWS][COLUMNS]: the tile, and what quantise said it will be */
    bool seen[COLUMNS];
};

/* One block as it stands; its columns must be new. */
static tsr_status run_block(struct blocks *run, void *state, uint64_t index, uint64_t *visited, tsr_error *err) {
    uint64_t columns[TSR_BLOCK_WIDTH_MAX];
    float values[ROWS * TSR_BLOCK_WIDTH_MAX], found[ROWS * TSR_BLOCK_WIDTH_MAX];
    uint64_t width = run->group->columns(run->encoder.self, &run->scene.tile, index, columns);
    if (width == 0 || width > TSR_BLOCK_WIDTH_MAX) return tsr_fail(err, TSR_E_GATE, "a block of %llu columns", (unsigned long long)width);
    for (uint64_t k = 0; k < width; k++) {
        if (columns[k] >= COLUMNS || run->seen[columns[k]]) {
            return tsr_fail(err, TSR_E_GATE, "block %llu visits column %llu again", (unsigned long long)index,
                            (unsigned long long)columns[k]);
        }
        run->seen[columns[k]] = true;
        for (uint64_t r = 0; r < ROWS; r++) values[r * width + k] = run->source[r * COLUMNS + columns[k]];
    }
    tsr_status st = run->group->quantise(run->encoder.self, state, index, values, found, err);
    for (uint64_t k = 0; k < width; k++) {
        for (uint64_t r = 0; r < ROWS; r++) run->told[r * COLUMNS + columns[k]] = found[r * width + k];
    }
    *visited += width;
    return st;
}

/* All blocks, the second half of them first, then the tile's bytes into dst. */
static tsr_status run_blocks(struct blocks *run, uint8_t *dst, uint64_t capacity, uint64_t *written, tsr_error *err) {
    void *state = NULL;
    uint64_t visited = 0;
    tsr_status st = run->group->begin(run->encoder.self, &run->scene.tile, run->source, &state, err);
    if (st != TSR_OK) return st;
    const uint64_t width = max_u64(run->group->width(run->encoder.self), 1), count = ceil_div(COLUMNS, width);
    for (uint64_t b = 0; b < count && visited < COLUMNS && st == TSR_OK; b++) {
        st = run_block(run, state, (b + count / 2) % count, &visited, err);
    }
    if (st == TSR_OK) return run->group->end(run->encoder.self, state, dst, capacity, written, err);
    run->group->abandon(run->encoder.self, state);
    return st;
}

static tsr_status header_sink(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    (void)ctx, (void)bytes, (void)size, (void)err;
    return TSR_OK;
}

static tsr_status source_rows(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                              void *dst, tsr_error *err) {
    const struct blocks *run = ctx;
    (void)err;
    for (uint64_t r = 0; r < rows; r++) {
        memcpy((float *)dst + r * columns, run->source + (first_row + r) * COLUMNS + first_column,
               columns * sizeof(float));
    }
    return TSR_OK;
}

static tsr_status prepare_encoder(struct blocks *run, tsr_error *err) {
    const tsr_codec *codec = run->scene.rig->codec;
    tsr_writer writer = {sizeof writer, NULL, header_sink};
    tsr_row_source rows = {sizeof rows, run, source_rows};
    tsr_status st = instance_create(&run->encoder, &run->scene.job, NULL, err);
    return st == TSR_OK && codec->prepare ? codec->prepare(run->encoder.self, &rows, &writer, err) : st;
}

static tsr_status compare_blocks(struct blocks *run, const uint8_t *bytes, uint64_t size, tsr_error *err) {
    struct scene *scene = &run->scene;
    tsr_status st =
        scene->rig->codec->decode(scene->decoder.self, &scene->tile, bytes, size, scene->decoded, err);
    if (st != TSR_OK) return st;
    for (uint64_t i = 0; i < (uint64_t)ROWS * COLUMNS; i++) {
        float decoded;
        memcpy(&decoded, scene->decoded + i * sizeof decoded, sizeof decoded);
        if (decoded == run->told[i]) continue;
        return tsr_fail(err, TSR_E_GATE, "weight %llu decodes to %g, quantise said %g", (unsigned long long)i,
                        (double)decoded, (double)run->told[i]);
    }
    return TSR_OK;
}

static tsr_status try_blocks(struct blocks *run, tsr_error *err) {
    struct scene *scene = &run->scene;
    uint64_t written = 0;
    dtype_to_f32(scene->subject.tensor.dtype, scene->subject.bytes, (uint64_t)ROWS * COLUMNS, run->source);
    tsr_status st = prepare_encoder(run, err);
    if (st != TSR_OK) return st;
    uint64_t capacity = scene->rig->codec->encode_bound(run->encoder.self, &scene->tile);
    uint8_t *dst = mem_alloc_aligned(capacity);
    if (!dst) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    st = run_blocks(run, dst, capacity, &written, err);
    if (st == TSR_OK) st = compare_blocks(run, dst, written, err);
    mem_free(dst);
    return st;
}

static tsr_status blocks_decode(struct rig *rig, tsr_error *err) {
    struct blocks *run = mem_alloc_zero(1, sizeof *run);
    if (!run) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    run->group = group_of(rig, TSR_BLOCK_ID);
    run->source = mem_alloc_array((uint64_t)ROWS * COLUMNS, sizeof *run->source);
    run->told = mem_alloc_array((uint64_t)ROWS * COLUMNS, sizeof *run->told);
    tsr_status st = run->source && run->told ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    if (st == TSR_OK && !run->group) st = tsr_fail(err, TSR_E_UNSUPPORTED, "the codec does not quantise in blocks");
    if (st == TSR_OK) st = scene_open(&run->scene, rig, err);
    if (st == TSR_OK) st = try_blocks(run, err);
    instance_destroy(&run->encoder);
    scene_close(&run->scene);
    mem_free(run->source);
    mem_free(run->told);
    mem_free(run);
    return st;
}

/* ---- corrections ---- */

/* A prediction as a lossy codec would leave it: most bits of the source, some of them cut, some zeros. */
static void predict(const struct subject *subject, uint8_t *prediction, struct rng *rng) {
    uint64_t width = subject->bits / 8, count = subject->tensor.rows * subject->tensor.columns;
    memcpy(prediction, subject->bytes, subject->tensor.bytes);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *element = prediction + i * width;
        element[width - 2] &= (uint8_t)(rng_below(rng, 4) ? 0xF0 : 0x00);
        if (rng_below(rng, 5) == 0) memset(element, 0, width);
    }
}

struct pair {
    const struct subject *subject;
    uint8_t *prediction;
};

static tsr_status read_source(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct pair *pair = ctx;
    (void)err;
    memcpy(dst, pair->subject->bytes + offset, size);
    return TSR_OK;
}

static tsr_status read_prediction(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct pair *pair = ctx;
    (void)err;
    memcpy(dst, pair->prediction + offset, size);
    return TSR_OK;
}

static tsr_status correct(struct rig *rig, const struct pair *pair, const struct coder_job *job,
                          const struct stored *stored, tsr_error *err) {
    struct coder *coder = NULL;
    uint64_t at = 0;
    tsr_status st = coder_open(job, &stored->grid, stored->header.text, stored->header.length,
                               rig->codec->bitstream_version, &coder, err);
    for (uint64_t i = 0; i < stored->count && st == TSR_OK; i++) {
        const struct stored_tile *tile = stored_tile_at(stored, i);
        st = coder_correct_tile(coder, i, stored->bytes.text + tile->at, tile->size, tile->raw, pair->prediction + at, 0,
                                err);
        at += tile_at(&stored->grid, i, pair->subject->bits).bytes;
    }
    coder_close(coder);
    if (st != TSR_OK || !memcmp(pair->prediction, pair->subject->bytes, pair->subject->tensor.bytes)) return st;
    return tsr_fail(err, TSR_E_GATE, "the corrected tensor is not the source");
}

static tsr_status correct_fill(struct rig *rig, int32_t dtype, enum fill fill, tsr_error *err) {
    struct subject subject;
    struct stored stored = {0};
    struct rng rng = {rig->seed + (uint64_t)fill};
    tsr_status st = subject_make(&subject, dtype, ROWS, COLUMNS, fill, rig->seed, err);
    if (st != TSR_OK) return st;
    struct pair pair = {&subject, mem_alloc_aligned(subject.tensor.bytes)};
    struct coder_source prediction = {&pair, read_prediction}, source = {&pair, read_source};
    struct coder_job job = scene_job(rig, &subject);
    job.stacked = true;
    job.base_dtype = dtype;
    job.prediction = &prediction;
    if (!pair.prediction) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    if (st == TSR_OK) {
        struct coder_sink sink = rig_sink(&stored);
        predict(&subject, pair.prediction, &rng);
        st = coder_encode(&job, &source, &sink, NULL, err);
    }
    if (st == TSR_OK) st = correct(rig, &pair, &job, &stored, err);
    mem_free(pair.prediction);
    stored_clear(&stored);
    subject_clear(&subject);
    return st;
}

static tsr_status corrections_are_exact(struct rig *rig, tsr_error *err) {
    static const enum fill FILLS[] = {FILL_WEIGHTS, FILL_ZERO, FILL_NOISE, FILL_TINY, FILL_HUGE, FILL_SPIKED};
    if (!group_of(rig, TSR_RESIDUAL_ID)) return tsr_fail(err, TSR_E_UNSUPPORTED, "the codec takes no prediction");
    if (!(rig->codec->flags & TSR_CODEC_EXACT)) return tsr_fail(err, TSR_E_UNSUPPORTED, "the codec is lossy");
    tsr_status st = TSR_OK;
    for (int32_t dtype = 0; dtype < TSR_DTYPE_COUNT; dtype++) {
        if (!(rig->codec->dtypes & TSR_DTYPES_FLOAT & TSR_DTYPE_BIT(dtype))) continue;
        for (size_t i = 0; i < sizeof FILLS / sizeof *FILLS && st == TSR_OK; i++) {
            st = correct_fill(rig, dtype, FILLS[i], err);
        }
    }
    return st;
}

/* ---- dictionaries ---- */

static tsr_status read_rows(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                            void *dst, tsr_error *err) {
    const struct subject *subject = ctx;
    uint64_t width = subject->bits / 8;
    (void)err;
    for (uint64_t r = 0; r < rows; r++) {
        const uint8_t *from =
            subject->bytes + ((first_row + r) * subject->tensor.columns + first_column) * width;
        dtype_to_f32(subject->tensor.dtype, from, columns, (float *)dst + r * columns);
    }
    return TSR_OK;
}

#define MEMBERS 3

struct training {
    struct subject subjects[MEMBERS];
    tsr_codec_setup setups[MEMBERS];
    tsr_row_source rows[MEMBERS];
    tsr_dictionary_member members[MEMBERS];
    struct str first, second; /* trained twice */
};

static tsr_status keep_bytes(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    str_add(ctx, bytes, (size_t)size);
    return ((struct str *)ctx)->failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench") : TSR_OK;
}

static tsr_status make_members(struct rig *rig, struct training *training, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < MEMBERS && st == TSR_OK; i++) {
        struct subject *subject = &training->subjects[i];
        st = subject_make(subject, subject_dtype(rig->codec), 700 + 64 * i, 512, FILL_WEIGHTS, rig->seed + i, err);
        training->setups[i] = (tsr_codec_setup){.struct_size = sizeof(tsr_codec_setup),
                                                .host = &rig->host,
                                                .tensor = &subject->tensor,
                                                .params = rig->params.values,
                                                .stride = 1,
                                                .role = "unknown"};
        training->rows[i] = (tsr_row_source){sizeof(tsr_row_source), subject, read_rows};
        training->members[i] = (tsr_dictionary_member){sizeof(tsr_dictionary_member), &training->setups[i], NULL};
    }
    return st;
}

static tsr_status train_twice(struct rig *rig, const tsr_dictionary *group, struct training *training,
                              tsr_error *err) {
    tsr_writer first = {sizeof first, &training->first, keep_bytes}, second = {sizeof second, &training->second, keep_bytes};
    uint64_t promised = 0;
    tsr_status st = group->can_train(training->members, MEMBERS, &promised, err);
    for (uint64_t i = 0; i < MEMBERS; i++) training->members[i].rows = &training->rows[i];
    if (st == TSR_OK) st = group->train(training->members, MEMBERS, &first, err);
    if (st == TSR_OK) st = rig_set_workers(rig, 5, err);
    if (st == TSR_OK) st = group->train(training->members, MEMBERS, &second, err);
    if (st != TSR_OK) return st;
    if (training->first.length != promised) {
        return tsr_fail(err, TSR_E_GATE, "can_train promised %llu bytes, train wrote %llu", (unsigned long long)promised,
                        (unsigned long long)training->first.length);
    }
    bool same = training->first.length == training->second.length &&
                !memcmp(training->first.text, training->second.text, training->first.length);
    return same ? TSR_OK : tsr_fail(err, TSR_E_GATE, "training again, on 5 workers, gives other bytes");
}

/* A member encoded with the dictionary comes back with it. */
static tsr_status use_dictionary(struct rig *rig, const struct training *training, tsr_error *err) {
    const struct subject *subject = &training->subjects[0];
    struct stored stored = {0};
    struct pair pair = {subject, NULL};
    struct coder_source source = {&pair, read_source};
    struct coder_sink sink = rig_sink(&stored);
    struct coder_job job = scene_job(rig, subject);
    struct coder *coder = NULL;
    job.dictionary = training->first.text;
    job.dictionary_bytes = training->first.length;
    uint8_t *decoded = mem_alloc_aligned(subject->tensor.bytes), *to = decoded;
    tsr_status st = decoded ? coder_encode(&job, &source, &sink, NULL, err)
                            : tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    if (st == TSR_OK) {
        st = coder_open(&job, &stored.grid, stored.header.text, stored.header.length, rig->codec->bitstream_version,
                        &coder, err);
    }
    for (uint64_t i = 0; i < stored.count && st == TSR_OK; i++) {
        const struct stored_tile *tile = stored_tile_at(&stored, i);
        st = coder_decode_tile(coder, i, stored.bytes.text + tile->at, tile->size, tile->raw, to, 0, err);
        to += tile_at(&stored.grid, i, subject->bits).bytes;
    }
    if (st == TSR_OK) st = rig_compare(rig, subject, &stored, decoded, NULL, err);
    coder_close(coder);
    stored_clear(&stored);
    mem_free(decoded);
    return st;
}

/* Cut or flipped dictionaries end in a status: crashes are seen by whoever runs this process. */
static void damage_dictionary(struct rig *rig, const struct training *training) {
    struct rng rng = {rig->seed};
    struct coder_job job = scene_job(rig, &training->subjects[0]);
    uint64_t size = training->first.length;
    uint8_t *bytes = mem_alloc(size);
    for (int i = 0; bytes && i < 200; i++) {
        struct instance instance = {0};
        struct instance_stored stored = {NULL, 0, rig->codec->bitstream_version};
        tsr_error ignored = {0};
        memcpy(bytes, training->first.text, size);
        bytes[rng_below(&rng, size)] ^= (uint8_t)(1u << rng_below(&rng, 8));
        job.dictionary = bytes;
        job.dictionary_bytes = i % 2 ? rng_below(&rng, size) + 1 : size;
        (void)instance_create(&instance, &job, &stored, &ignored);
        instance_destroy(&instance);
    }
    mem_free(bytes);
}

static tsr_status dictionary_serves(struct rig *rig, tsr_error *err) {
    const tsr_dictionary *group = group_of(rig, TSR_DICTIONARY_ID);
    struct training training = {0};
    if (!group) return tsr_fail(err, TSR_E_UNSUPPORTED, "the codec shares nothing between tensors");
    tsr_status st = rig->codec->input == TSR_INPUT_F32 ? make_members(rig, &training, err)
                                                       : tsr_fail(err, TSR_E_UNSUPPORTED, "input is not F32");
    if (st == TSR_OK) st = train_twice(rig, group, &training, err);
    if (st == TSR_OK && !(rig->codec->flags & TSR_CODEC_SIGNATURE)) st = use_dictionary(rig, &training, err);
    if (st == TSR_OK) damage_dictionary(rig, &training);
    for (uint64_t i = 0; i < MEMBERS; i++) subject_clear(&training.subjects[i]);
    str_clear(&training.first);
    str_clear(&training.second);
    return st;
}

const struct conformance_property CONFORMANCE_GROUPS[] = {
    {"rows_of_a_tile", "rows decoded alone are those of the whole tile", rows_of_a_tile},
    {"products_agree", "products from the payload are those of the decoded weights", products_agree},
    {"blocks_decode", "what quantise returns is what decode will return", blocks_decode},
    {"corrections_are_exact", "an exact codec in a stack gives the source, whatever the prediction", corrections_are_exact},
    {"dictionary_serves", "a dictionary is the same in every run, serves its tensors, and can be damaged", dictionary_serves},
    {NULL, NULL, NULL},
};
