/* SPDX-License-Identifier: Apache-2.0
 *
 * decompress: every source file under its own name, headers and small files byte for byte, tensors as their codecs give
 * them back. Tiles go straight to their place in the file, so memory does not grow with the model. What should be exact
 * is read again and compared with the digest that was taken of the source. */
#include "job.h"
#include "layout.h"
#include "work.h"

#include <base/alloc.h>
#include <base/error.h>
#include <reading/decoder.h>
#include <reading/facts.h>
#include <reading/lanes.h>
#include <reading/members.h>
#include <reading/meter.h>
#include <reading/stored.h>
#include <string.h>

struct restoring {
    const struct registry *registry;
    const struct env *env;
    struct stored stored;
    struct work work;
    char **paths; /* [stored.source_count] of the restored files, which are open only while a tensor is written */
    struct meter meter;
    tsr_error *err;
};

static tsr_status no_memory(const struct restoring *r) {
    return tsr_fail(r->err, TSR_E_NOMEM, "%s: out of memory", r->stored.checkpoint.root);
}

/* ---- tensors ---- */

struct restoring_one {
    struct restoring *all;
    const struct stored_tensor *tensor;
    struct fs_output output;
};

static tsr_status write_run(void *ctx, uint64_t offset, void *bytes, uint64_t size, tsr_error *err) {
    struct restoring_one *one = ctx;
    const struct stored_tensor *tensor = one->tensor;
    return fs_write_at(&one->output, tensor->offset + offset, bytes, size, err);
}

static tsr_status write_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes, void *scratch,
                             tsr_error *err) {
    struct restoring_one *one = ctx;
    tsr_status st = order_scatter(&decoder->order, tile, write_run, one, bytes, scratch, err);
    if (st == TSR_OK) meter_add(&one->all->meter, NULL, tile->bytes);
    return st;
}

/* Reads the restored bytes back: they must be the source's where the codec is exact. */
static tsr_status check_exact(const struct restoring *r, const struct stored_tensor *tensor, tsr_error *err) {
    struct fs_file file = {0};
    struct digest digest;
    tsr_status st = fs_open(r->paths[tensor->source], &file, err);
    if (st == TSR_OK) st = facts_of_range(&file, tensor->offset, tensor->bytes, &digest, err);
    if (st == TSR_OK && !digest_equal(&digest, &tensor->digest)) {
        st = tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": the decoded bytes are not those of the source", tensor->name);
    }
    fs_close(&file);
    return st;
}

static tsr_status restore_tensor(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct restoring *r = ctx;
    const struct stored_tensor *tensor = &r->stored.tensors[index];
    struct restoring_one one = {.all = r, .tensor = tensor};
    struct decoder_input input = stored_input(&r->stored, tensor);
    struct decoder decoder = {0};
    (void)worker;
    tsr_status st = meter_check_cancel(r->env, err);
    if (st == TSR_OK) st = decoder_open(&input, r->registry, r->env, &decoder, err);
    if (st == TSR_OK && decoder.payload.head.bytes != tensor->bytes) {
        st = tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": its payload holds %llu bytes, the manifest says %llu",
                      tensor->name, (unsigned long long)decoder.payload.head.bytes, (unsigned long long)tensor->bytes);
    }
    if (st == TSR_OK) st = fs_continue(r->paths[tensor->source], &one.output, err);
    if (st == TSR_OK) st = decoder_each(&decoder, write_tile, &one, err);
    if (st == TSR_OK) st = fs_finish(&one.output, err);
    fs_abandon(&one.output);
    decoder_close(&decoder);
    if (st == TSR_OK && stored_decodes_exactly(&r->stored, tensor)) st = check_exact(r, tensor, err);
    if (st == TSR_OK) meter_add(&r->meter, tensor->name, 0);
    return st;
}

static tsr_status restore_tensors(struct restoring *r) {
    const struct stored *stored = &r->stored;
    uint64_t total = 0, *bytes = mem_alloc_array(stored->tensor_count, sizeof *bytes);
    if (!bytes) return no_memory(r);
    for (uint64_t i = 0; i < stored->tensor_count; i++) total += bytes[i] = stored->tensors[i].bytes;
    meter_begin(&r->meter, r->env, "decompress", total, stored->tensor_count);
    tsr_status st = lanes_run(r->env, bytes, stored->tensor_count, restore_tensor, r, r->err);
    meter_end(&r->meter);
    mem_free(bytes);
    return st;
}

/* ---- files ---- */

static tsr_status begin_source(struct restoring *r, uint64_t index) {
    const struct stored_source *source = &r->stored.sources[index];
    struct fs_output output = {0};
    char *header = NULL;
    uint64_t size = 0;
    tsr_status st = work_path(r->work.staged, source->name, &r->paths[index], r->err);
    if (st == TSR_OK) {
        st = stored_blob(&r->stored, CONTAINER_HEADER_OF, source->name, SAFETENSORS_HEADER_MAX + 8, &header, &size,
                         r->err);
    }
    if (st == TSR_OK && size != source->header_bytes) {
        st = tsr_fail(r->err, TSR_E_CORRUPT, "%s: its stored header has %llu bytes, the manifest says %llu",
                      source->name, (unsigned long long)size, (unsigned long long)source->header_bytes);
    }
    if (st == TSR_OK) st = fs_create(r->paths[index], &output, r->err);
    if (st == TSR_OK) st = fs_write(&output, header, size, r->err);
    if (st == TSR_OK) st = fs_finish(&output, r->err);
    fs_abandon(&output);
    mem_free(header);
    return st;
}

static tsr_status finish_sources(struct restoring *r) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < r->stored.source_count && st == TSR_OK; i++) {
        struct fs_output output = {0};
        st = fs_continue(r->paths[i], &output, r->err);
        if (st == TSR_OK) st = fs_sync(&output, r->err);
        if (st == TSR_OK) st = fs_finish(&output, r->err);
        fs_abandon(&output);
    }
    return st;
}

/* A small file, from its blob or its copy; its digest is known from the source. */
static tsr_status restore_extra(struct restoring *r, const struct stored_extra *extra) {
    struct fs_output output = {0};
    char *path = NULL, *bytes = NULL, *copy = NULL;
    uint64_t size = 0;
    tsr_status st = work_path(r->work.staged, extra->name, &path, r->err);
    if (st == TSR_OK && extra->kept == STORED_BLOB) {
        st = stored_blob(&r->stored, CONTAINER_FILE_OF, extra->name, EXTRA_BYTES_MAX, &bytes, &size, r->err);
    } else if (st == TSR_OK) {
        copy = fs_join(r->stored.checkpoint.root, extra->name);
        st = copy ? fs_read_whole(copy, EXTRA_BYTES_MAX, &bytes, &size, r->err) : no_memory(r);
    }
    struct digest digest = digest_of(bytes, size);
    if (st == TSR_OK && !digest_equal(&digest, &extra->digest)) {
        st = tsr_fail(r->err, TSR_E_CORRUPT, "%s: is not the file that was compressed", extra->name);
    }
    if (st == TSR_OK) st = fs_create(path, &output, r->err);
    if (st == TSR_OK) st = fs_write(&output, bytes, size, r->err);
    if (st == TSR_OK) st = fs_sync(&output, r->err);
    if (st == TSR_OK) st = fs_finish(&output, r->err);
    fs_abandon(&output);
    mem_free(bytes);
    mem_free(copy);
    mem_free(path);
    return st;
}

static tsr_status restore_extras(struct restoring *r) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < r->stored.extra_count && st == TSR_OK; i++) {
        const struct stored_extra *extra = &r->stored.extras[i];
        if (extra->kept == STORED_NONE) {
            env_log(r->env, TSR_LOG_WARNING, "%s: was not kept by compress, take it from the source", extra->name);
        } else {
            st = restore_extra(r, extra);
        }
    }
    return st;
}

static tsr_status restore_all(struct restoring *r) {
    r->paths = mem_alloc_zero(r->stored.source_count, sizeof *r->paths);
    if (!r->paths) return no_memory(r);
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < r->stored.source_count && st == TSR_OK; i++) st = begin_source(r, i);
    if (st == TSR_OK) st = restore_tensors(r);
    if (st == TSR_OK) st = finish_sources(r);
    for (uint64_t i = 0; i < r->stored.source_count; i++) mem_free(r->paths[i]);
    mem_free(r->paths);
    return st == TSR_OK ? restore_extras(r) : st;
}

/* ---- the job ---- */

static tsr_status check_disk(struct restoring *r, const char *destination) {
    uint64_t needed = 0, available = fs_free_bytes(destination);
    for (uint64_t i = 0; i < r->stored.source_count; i++) needed += r->stored.sources[i].bytes;
    if (needed <= available) return TSR_OK;
    return tsr_fail(r->err, TSR_E_IO, "%s: needs %llu bytes of disk, %llu are free", destination,
                    (unsigned long long)needed, (unsigned long long)available);
}

static tsr_status make_result(const struct restoring *r, const char *destination, json_t **result) {
    const struct stored *stored = &r->stored;
    struct members whole = members_object(), files = members_list();
    uint64_t bytes = 0;
    bool exact = true;
    for (uint64_t i = 0; i < stored->source_count; i++) {
        struct members file = members_object();
        members_text(&file, "name", stored->sources[i].name);
        members_count(&file, "bytes", stored->sources[i].bytes);
        members_append(&files, &file);
        bytes += stored->sources[i].bytes;
    }
    for (uint64_t i = 0; i < stored->tensor_count; i++) {
        exact = exact && stored_decodes_exactly(stored, &stored->tensors[i]);
    }
    members_text(&whole, "output", destination);
    members_nest(&whole, "files", &files);
    members_count(&whole, "bytes", bytes);
    members_bool(&whole, "exact", exact);
    return members_finish(&whole, result, r->err);
}

/* Nothing is resumed: decoding is as fast as copying. What a compression of that name left is not ours to throw away. */
static tsr_status run(struct restoring *r, const char *destination, json_t **result) {
    tsr_status st = check_disk(r, destination);
    if (st == TSR_OK) st = work_open(destination, &r->work, r->err);
    if (st == TSR_OK && work_has_journal(&r->work)) {
        st = tsr_fail(r->err, TSR_E_CONFIG, "%s: compress left work for %s there: run it again or remove that folder",
                      r->work.folder, destination);
    }
    if (st != TSR_OK) return st;
    st = work_clear_all(&r->work, r->err);
    if (st == TSR_OK) st = work_clear_staged(&r->work, r->err);
    if (st == TSR_OK) st = restore_all(r);
    if (st == TSR_OK) st = make_result(r, destination, result);
    if (st == TSR_OK) st = work_publish(&r->work, r->err);
    tsr_error why = {0};
    if (work_remove(&r->work, &why) != TSR_OK) {
        env_log(r->env, TSR_LOG_WARNING, "the work folder stays: %s", why.message);
    }
    return st;
}

static tsr_status check_levels(const struct restoring *r, const struct job_decompress_options *options) {
    for (uint64_t i = 0; options->exact && i < r->stored.tensor_count; i++) {
        const struct stored_tensor *tensor = &r->stored.tensors[i];
        if (stored_decodes_exactly(&r->stored, tensor)) continue;
        return tsr_fail(r->err, TSR_E_CONFIG, "%s: level exact is not there, tensor \"%s\" was stored lossily",
                        options->output, tensor->name);
    }
    return TSR_OK;
}

tsr_status job_decompress(const struct job_decompress_options *options, const struct registry *registry,
                          const struct env *env, json_t **result, tsr_error *err) {
    const char *output = options->output, *destination = options->destination;
    struct restoring r = {.registry = registry, .env = env, .err = err};
    *result = NULL;
    tsr_status st = work_check_apart(output, destination, err);
    if (st == TSR_OK && fs_kind_of(destination) != FS_ABSENT && !options->force) {
        st = tsr_fail(err, TSR_E_CONFIG, "%s: exists, --force replaces it", destination);
    }
    if (st == TSR_OK) st = stored_open(output, &r.stored, err);
    r.stored.stage_limit = options->stage_limit;
    r.stored.codec_level = options->codec_level;
    if (st == TSR_OK) st = check_levels(&r, options);
    if (st == TSR_OK) st = run(&r, destination, result);
    if (st != TSR_OK) {
        json_decref(*result);
        *result = NULL;
    }
    stored_close(&r.stored);
    work_close(&r.work);
    return st;
}
