/* SPDX-License-Identifier: Apache-2.0
 *
 * The codec under test runs in the real coder. Between them stands a table of the same shape whose encode and decode
 * copy to guarded buffers and back, and a host that counts. The table finds the rig through the host's ctx, so there is
 * no global. */
#include "rig.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <numeric/lent.h>
#include <string.h>

#include "guard.h"

/* ---- the counting host ---- */

static struct rig *rig_of(const tsr_host *host) {
    return host->ctx;
}

/* True when this request is to fail. */
static bool refused(struct rig *rig) {
    return atomic_fetch_add(&rig->requests, 1) + 1 == rig->refuse;
}

static void *count_alloc(const tsr_host *host, uint64_t size) {
    struct rig *rig = rig_of(host);
    if (refused(rig) || size == 0) return NULL;
    void *memory = mem_alloc_aligned(size);
    if (!memory) return NULL;
    memset(memory, atomic_fetch_add(&rig->garbage, 37), size);
    atomic_fetch_add(&rig->live, 1);
    return memory;
}

static void count_free(const tsr_host *host, void *memory) {
    if (memory) atomic_fetch_sub(&rig_of(host)->live, 1);
    mem_free(memory);
}

static void drop_log(const tsr_host *host, int32_t level, const char *text) {
    (void)host, (void)level, (void)text;
}

static int32_t never_cancelled(const tsr_host *host) {
    (void)host;
    return 0;
}

/* The number under which the codec knows a worker: one number a thread, as in the pool, but another one. */
static uint64_t shifted(const struct rig *rig, uint64_t worker) {
    return (worker + rig->worker_shift) % pool_workers(rig->pool);
}

struct shifted_loop {
    const struct rig *rig;
    tsr_task task;
    void *ctx;
};

static tsr_status run_shifted(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct shifted_loop *loop = ctx;
    return loop->task(loop->ctx, index, shifted(loop->rig, worker), err);
}

static tsr_status run_loop(const tsr_host *host, uint64_t count, tsr_task task, void *ctx, tsr_error *err) {
    struct shifted_loop loop = {rig_of(host), task, ctx};
    return pool_for(loop.rig->pool, count, run_shifted, &loop, err);
}

static void *count_scratch(const tsr_host *host, uint64_t worker, uint64_t size) {
    struct rig *rig = rig_of(host);
    if (refused(rig) || worker >= pool_workers(rig->pool)) return NULL;
    void *memory = pool_scratch(rig->pool, worker, size);
    if (memory) memset(memory, atomic_fetch_add(&rig->garbage, 37), size);
    return memory;
}

static const void *lend_extension(const tsr_host *host, const char *id) {
    (void)host;
    return numeric_lent(id);
}

/* ---- the guarded table ---- */

struct guarded {
    struct rig *rig;
    const tsr_codec *codec;
    void *self;
};

static tsr_status guarded_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    struct rig *rig = rig_of(setup->host);
    struct guarded *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    made->rig = rig;
    made->codec = rig->codec;
    tsr_status st = rig->codec->create(setup, &made->self, err);
    if (st != TSR_OK && made->self) st = tsr_fail(err, TSR_E_GATE, "create failed and left something behind");
    if (st != TSR_OK) {
        mem_free(made);
        return st;
    }
    *self = made;
    return TSR_OK;
}

static void guarded_destroy(void *self) {
    struct guarded *guarded = self;
    guarded->codec->destroy(guarded->self);
    mem_free(guarded);
}

static tsr_status guarded_prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct guarded *guarded = self;
    return guarded->codec->prepare(guarded->self, source, header, err);
}

static uint64_t guarded_bound(void *self, const tsr_tile *tile) {
    struct guarded *guarded = self;
    return guarded->codec->encode_bound(guarded->self, tile);
}

/* Encodes into a buffer of exactly `capacity` bytes; *written bytes of it go to dst. */
static tsr_status encode_between(struct guarded *guarded, const tsr_tile *tile, const struct guard *input,
                                 uint64_t capacity, void *dst, uint64_t *written, tsr_error *err) {
    struct guard output;
    if (!guard_open(&output, capacity, atomic_fetch_add(&guarded->rig->garbage, 37))) {
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    }
    tsr_status st = guarded->codec->encode(guarded->self, tile, input->bytes, output.bytes, capacity, written, err);
    if (!guard_is_whole(&output)) st = tsr_fail(err, TSR_E_GATE, "encode wrote in front of its buffer");
    if (st == TSR_OK && *written > capacity) {
        st = tsr_fail(err, TSR_E_GATE, "encode says %llu bytes, the buffer holds %llu", (unsigned long long)*written,
                      (unsigned long long)capacity);
    }
    if (st == TSR_OK && dst) memcpy(dst, output.bytes, *written);
    guard_close(&output);
    return st;
}

/* One byte less than it took: TSR_E_SPACE, or another encoding that fits. */
static tsr_status encode_short(struct guarded *guarded, const tsr_tile *tile, const struct guard *input, uint64_t took,
                               tsr_error *err) {
    uint64_t written = 0;
    tsr_error own = {0};
    if (took == 0) return TSR_OK;
    tsr_status st = encode_between(guarded, tile, input, took - 1, NULL, &written, &own);
    if (st == TSR_OK || st == TSR_E_SPACE) return TSR_OK;
    return tsr_fail(err, TSR_E_GATE, "encode with a buffer one byte short: status %d (%.120s), expected TSR_E_SPACE",
                    (int)st, own.message);
}

static tsr_status guarded_encode(void *self, const tsr_tile *given, const void *src, void *dst, uint64_t capacity,
                                 uint64_t *written, tsr_error *err) {
    struct guarded *guarded = self;
    struct guard input;
    tsr_tile copy = *given, *tile = &copy;
    tile->worker = shifted(guarded->rig, given->worker);
    if (!guard_open(&input, tile->bytes, 0)) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    memcpy(input.bytes, src, tile->bytes);
    guard_make_read_only(&input);
    tsr_status st = encode_between(guarded, tile, &input, capacity, dst, written, err);
    if (st == TSR_OK && guarded->rig->try_short) st = encode_short(guarded, tile, &input, *written, err);
    guard_close(&input);
    return st;
}

static tsr_status guarded_decode(void *self, const tsr_tile *given, const void *src, uint64_t size, void *dst,
                                 tsr_error *err) {
    struct guarded *guarded = self;
    struct guard input, output;
    tsr_tile copy = *given, *tile = &copy;
    tile->worker = shifted(guarded->rig, given->worker);
    if (!guard_open(&input, size, 0)) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    if (!guard_open(&output, tile->bytes, atomic_fetch_add(&guarded->rig->garbage, 37))) {
        guard_close(&input);
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    }
    memcpy(input.bytes, src, size);
    guard_make_read_only(&input);
    tsr_status st = guarded->codec->decode(guarded->self, tile, input.bytes, size, output.bytes, err);
    if (!guard_is_whole(&output)) st = tsr_fail(err, TSR_E_GATE, "decode wrote in front of its buffer");
    if (st == TSR_OK) memcpy(dst, output.bytes, tile->bytes);
    guard_close(&input);
    guard_close(&output);
    return st;
}

/* ---- life ---- */

static void make_tables(struct rig *rig) {
    rig->host = (tsr_host){.struct_size = sizeof rig->host,
                           .ctx = rig,
                           .alloc = count_alloc,
                           .free = count_free,
                           .log = drop_log,
                           .cancelled = never_cancelled,
                           .parallel_for = run_loop,
                           .scratch = count_scratch,
                           .get_extension = lend_extension};
    /* Member by member: the table may be one of an older minor, shorter than ours. */
    memcpy(&rig->guarded, rig->codec, offsetof(tsr_codec, get_extension));
    rig->guarded.struct_size = offsetof(tsr_codec, get_extension);
    rig->guarded.create = guarded_create;
    rig->guarded.destroy = guarded_destroy;
    rig->guarded.prepare = rig->codec->prepare ? guarded_prepare : NULL;
    rig->guarded.encode_bound = guarded_bound;
    rig->guarded.encode = guarded_encode;
    rig->guarded.decode = guarded_decode;
}

tsr_status rig_set_workers(struct rig *rig, uint64_t workers, tsr_error *err) {
    pool_destroy(rig->pool);
    rig->pool = pool_create(workers);
    rig->env = (struct env){.pool = rig->pool};
    return rig->pool ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "no pool of %llu workers", (unsigned long long)workers);
}

/* A parameter `guard` keeps a codec from small tensors, which is what the suite has. */
static bool has_guard(const tsr_codec *codec) {
    for (uint64_t i = 0; i < codec->param_count; i++) {
        const tsr_param *param = param_at(codec, i);
        if (param->type == TSR_PARAM_BOOL && !strcmp(param->name, "guard")) return true;
    }
    return false;
}

tsr_status rig_bind(struct rig *rig, const char *name, const char *text, tsr_error *err) {
    struct param_given given[2] = {{name, text}, {"guard", "false"}};
    const bool named = name != NULL, guarded = has_guard(rig->codec) && !(named && !strcmp(name, "guard"));
    const struct param_given *first = named ? given : given + 1;
    return param_bind(rig->codec, first, (uint64_t)named + guarded, &rig->arena, &rig->params, err);
}

tsr_status rig_open(struct rig *rig, const tsr_codec *codec, uint64_t seed, uint64_t workers, tsr_error *err) {
    rig->codec = codec;
    rig->seed = seed;
    make_tables(rig);
    tsr_status st = rig_set_workers(rig, workers, err);
    return st == TSR_OK ? rig_bind(rig, NULL, NULL, err) : st;
}

void rig_close(struct rig *rig) {
    pool_destroy(rig->pool);
    arena_clear(&rig->arena);
    *rig = (struct rig){0};
}

/* ---- trials ---- */

void stored_clear(struct stored *stored) {
    str_clear(&stored->header);
    str_clear(&stored->bytes);
    str_clear(&stored->tiles);
    *stored = (struct stored){0};
}

const struct stored_tile *stored_tile_at(const struct stored *stored, uint64_t index) {
    return (const struct stored_tile *)(const void *)stored->tiles.text + index;
}

static bool str_equal(const struct str *a, const struct str *b) {
    return a->length == b->length && (a->length == 0 || !memcmp(a->text, b->text, a->length));
}

bool stored_equal(const struct stored *a, const struct stored *b) {
    if (a->count != b->count || !str_equal(&a->header, &b->header) || !str_equal(&a->bytes, &b->bytes)) return false;
    for (uint64_t i = 0; i < a->count; i++) {
        const struct stored_tile *x = stored_tile_at(a, i), *y = stored_tile_at(b, i);
        if (x->at != y->at || x->size != y->size || x->raw != y->raw) return false;
    }
    return true;
}

static tsr_status store_begin(void *ctx, const struct tile_grid *grid, const void *header, uint64_t bytes,
                              tsr_error *err) {
    struct stored *stored = ctx;
    stored->grid = *grid;
    if (bytes) str_add(&stored->header, header, bytes);
    return stored->header.failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench") : TSR_OK;
}

static tsr_status store_tile(void *ctx, const void *bytes, uint64_t size, bool raw, tsr_error *err) {
    struct stored *stored = ctx;
    struct stored_tile tile = {stored->bytes.length, size, raw};
    str_add(&stored->tiles, &tile, sizeof tile);
    if (size) str_add(&stored->bytes, bytes, size);
    stored->count++;
    bool failed = stored->bytes.failed || stored->tiles.failed;
    return failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench") : TSR_OK;
}

static tsr_status read_subject(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct subject *subject = ctx;
    (void)err;
    memcpy(dst, subject->bytes + offset, size);
    return TSR_OK;
}

static struct coder_job job_of(struct rig *rig, const struct subject *subject) {
    return (struct coder_job){.env = &rig->env,
                              .host = &rig->host,
                              .codec = &rig->guarded,
                              .params = rig->params.values,
                              .hints = rig->hints,
                              .tensor = &subject->tensor,
                              .dtype_bits = subject->bits};
}

tsr_status rig_accepts(struct rig *rig, const struct subject *subject, tsr_error *err) {
    struct coder_job job = job_of(rig, subject);
    return coder_accepts(&job, err);
}

static tsr_status check_given_back(struct rig *rig, const char *what, tsr_status st, tsr_error *err) {
    long long live = atomic_exchange(&rig->live, 0);
    if (live == 0) return st;
    return tsr_fail(err, TSR_E_GATE, "after %s %lld allocations of the host were not freed", what, live);
}

/* What can_encode said yes to must work. */
static tsr_status hold_to_word(tsr_status st, tsr_error *err) {
    if (st == TSR_E_UNSUPPORTED && err) err->code = TSR_E_GATE;
    return st == TSR_E_UNSUPPORTED ? TSR_E_GATE : st;
}

struct coder_sink rig_sink(struct stored *stored) {
    return (struct coder_sink){stored, store_begin, store_tile};
}

tsr_status rig_encode(struct rig *rig, const struct subject *subject, struct stored *stored, tsr_error *err) {
    struct coder_job job = job_of(rig, subject);
    struct coder_source source = {(void *)(uintptr_t)subject, read_subject};
    struct coder_sink sink = rig_sink(stored);
    return hold_to_word(coder_encode(&job, &source, &sink, NULL, err), err);
}

tsr_status rig_open_decoder(struct rig *rig, const struct subject *subject, const struct stored *stored,
                            struct coder **coder, tsr_error *err) {
    struct coder_job job = job_of(rig, subject);
    return coder_open(&job, &stored->grid, stored->header.text, stored->header.length, rig->codec->bitstream_version,
                      coder, err);
}

struct decoding {
    struct coder *coder;
    const struct subject *subject;
    const struct stored *stored;
    uint8_t *dst;
};

static tsr_status decode_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct decoding *run = ctx;
    const struct stored_tile *stored = stored_tile_at(run->stored, index);
    tsr_tile tile = tile_at(&run->stored->grid, index, run->subject->bits);
    uint64_t element = tile.first_row * run->stored->grid.columns + tile.first_column;
    return coder_decode_tile(run->coder, index, run->stored->bytes.text + stored->at, stored->size, stored->raw,
                             run->dst + element * (run->subject->bits / 8), worker, err);
}

tsr_status rig_decode(struct rig *rig, const struct subject *subject, const struct stored *stored, uint8_t *dst,
                      tsr_error *err) {
    struct decoding run = {NULL, subject, stored, dst};
    tsr_status st = rig_open_decoder(rig, subject, stored, &run.coder, err);
    if (st == TSR_OK) st = pool_for(rig->pool, stored->count, decode_one, &run, err);
    coder_close(run.coder);
    return hold_to_word(st, err);
}

static tsr_status round_trip(struct rig *rig, const struct subject *subject, tsr_error *err) {
    struct stored stored = {0};
    uint8_t *decoded = mem_alloc_aligned(subject->tensor.bytes);
    tsr_status st = decoded ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for the bench");
    if (st == TSR_OK) st = check_given_back(rig, "encoding", rig_encode(rig, subject, &stored, err), err);
    if (st == TSR_OK) st = check_given_back(rig, "decoding", rig_decode(rig, subject, &stored, decoded, err), err);
    if (st == TSR_OK) st = rig_compare(rig, subject, &stored, decoded, NULL, err);
    stored_clear(&stored);
    mem_free(decoded);
    return st;
}

tsr_status rig_round_trip(struct rig *rig, int32_t dtype, uint64_t rows, uint64_t columns, enum fill fill,
                          uint64_t *tried, tsr_error *err) {
    struct subject subject;
    tsr_status st = subject_make(&subject, dtype, rows, columns, fill, rig->seed, err);
    if (st != TSR_OK) return st;
    st = rig_accepts(rig, &subject, err);
    if (st == TSR_OK) {
        ++*tried;
        st = round_trip(rig, &subject, err);
        if (st != TSR_OK && err) {
            tsr_error inner = *err;
            tsr_fail(err, inner.code, "%llu x %llu: %.200s", (unsigned long long)rows, (unsigned long long)columns,
                     inner.message);
        }
    } else if (st == TSR_E_UNSUPPORTED) {
        st = TSR_OK;
    }
    subject_clear(&subject);
    return st;
}
