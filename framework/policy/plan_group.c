/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors that share a dictionary. A group has one codec with one set of parameters; its members are the entries, in
 * checkpoint order, whose rule says `group` and gives them the same group text. Training reads the source through the same
 * view that encoding does. A dictionary that the codec does not want to train, or that costs more than it saves, is
 * no error: its members go on without, and the plan says why. */
#include <inttypes.h>
#include <string.h>

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <base/str.h>
#include <plugin/coder.h>
#include <plugin/matrix.h>
#include <tessera/ext/dictionary.h>
#include <tessera/version.h>

#include "plan_sample.h"

/* What the codec sees of one member. */
struct member {
    const struct plan_entry *entry;
    struct sample_source source;
    tsr_tensor tensor;
    tsr_codec_setup setup;
    struct coder_source file;
    struct matrix matrix;
    tsr_row_source rows;
};

struct training {
    const struct planner *planner;
    struct plan_group *group;
    const struct plan_entry *first; /* whose codec and parameters are everybody's */
    const tsr_dictionary *operations;
    struct host_services services;
    struct member *members;
    tsr_dictionary_member *lent; /* the same as the codec gets them */
    struct str bytes;
};

/* ---- which entries belong together ---- */

/* "role attn_q", "role attn_q 1024x1024", "group mine": with the codec's own parameters, the group's name. */
static const char *group_name(const struct planner *planner, const struct plan_entry *entry) {
    struct arena *arena = &planner->plan->arena;
    const char *text = entry->rule->group;
    if (!strcmp(text, GROUP_ROLE)) return arena_format(arena, "role %s", entry->role.role);
    if (strcmp(text, GROUP_ROLE_SHAPE)) return arena_format(arena, "group %s", text);
    return arena_format(arena, "role %s %" PRIu64 "x%" PRIu64, entry->role.role, entry->rows, entry->columns);
}

static bool belongs(const struct planner *planner, const struct plan_group *group, const char *name,
                    const struct plan_entry *entry) {
    const struct plan_entry *first = &planner->plan->entries[group->members[0]];
    return !strcmp(group->name, name) && first->codec == entry->codec &&
           !strcmp(first->params.canonical, entry->params.canonical);
}

static tsr_status add_member(struct planner *planner, uint64_t index, tsr_error *err) {
    struct plan *plan = planner->plan;
    struct plan_entry *entry = &plan->entries[index];
    const char *name = group_name(planner, entry);
    if (!name) return plan_no_memory(err);
    uint64_t g = 0;
    while (g < plan->group_count && !belongs(planner, &plan->groups[g], name, entry)) g++;
    struct plan_group *group = &plan->groups[g];
    if (g == plan->group_count) {
        *group = (struct plan_group){.name = name};
        group->members = arena_alloc(&plan->arena, plan->count, sizeof *group->members);
        if (!group->members) return plan_no_memory(err);
        plan->group_count++;
    }
    group->members[group->count++] = index;
    entry->group = (int64_t)g;
    return TSR_OK;
}

static tsr_status collect(struct planner *planner, tsr_error *err) {
    struct plan *plan = planner->plan;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < plan->count && !st; i++) {
        const struct plan_entry *entry = &plan->entries[i];
        if (!entry->rule || !entry->rule->group || entry->alias_of >= 0) continue;
        if (!plan->groups) plan->groups = arena_alloc(&plan->arena, plan->count, sizeof *plan->groups);
        st = plan->groups ? add_member(planner, i, err) : plan_no_memory(err);
    }
    return st;
}

/* Members go on without a dictionary; `why` is what the plan says of each. */
static tsr_status dissolve(struct planner *planner, struct plan_group *group, const char *why, tsr_error *err) {
    const char *note = arena_format(&planner->plan->arena, "without a dictionary (%s): %s", group->name, why);
    if (!note) return plan_no_memory(err);
    for (uint64_t i = 0; i < group->count; i++) {
        struct plan_entry *entry = &planner->plan->entries[group->members[i]];
        entry->group = -1;
        if (!entry->note) entry->note = note;
    }
    mem_free(group->dictionary);
    group->dictionary = NULL;
    group->bytes = 0;
    return TSR_OK;
}

/* ---- what the codec sees ---- */

static tsr_status read_rows(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                            void *dst, tsr_error *err) {
    struct member *member = ctx;
    return member->entry->codec->input == TSR_INPUT_F32
               ? matrix_read_finite(&member->matrix, first_row, rows, first_column, columns, dst, err)
               : matrix_read(&member->matrix, first_row, rows, first_column, columns, dst, err);
}

static tsr_status open_member(struct training *training, uint64_t index, tsr_error *err) {
    struct member *member = &training->members[index];
    const struct plan_entry *entry = &training->planner->plan->entries[training->group->members[index]];
    uint64_t rows = entry->rows, columns = entry->columns;
    member->entry = entry;
    member->source = (struct sample_source){training->planner, entry};
    member->tensor = sample_tensor_of(entry);
    member->setup = (tsr_codec_setup){.struct_size = sizeof member->setup,
                                      .host = &training->services.host,
                                      .tensor = &member->tensor,
                                      .params = entry->params.values,
                                      .stride = max_u64(entry->role.stride, 1),
                                      .role = entry->role.role};
    struct coder_job job = {.tensor = &member->tensor,
                            .transposed = entry->transposed,
                            .dtype_bits = tile_matrix_of(member->tensor.dtype, member->tensor.bytes, &rows, &columns)};
    member->file = (struct coder_source){&member->source, sample_source_read};
    member->rows = (tsr_row_source){sizeof member->rows, member, read_rows};
    training->lent[index] = (tsr_dictionary_member){sizeof training->lent[index], &member->setup, NULL};
    return matrix_open(&member->matrix, &job, &member->file, err);
}

static tsr_status open_members(struct training *training, tsr_error *err) {
    uint64_t count = training->group->count;
    training->members = mem_alloc_zero(count, sizeof *training->members);
    training->lent = mem_alloc_zero(count, sizeof *training->lent);
    tsr_status st = training->members && training->lent ? TSR_OK : plan_no_memory(err);
    for (uint64_t i = 0; i < count && !st; i++) st = open_member(training, i, err);
    return st;
}

static void training_clear(struct training *training) {
    for (uint64_t i = 0; training->members && i < training->group->count; i++) {
        matrix_close(&training->members[i].matrix);
    }
    mem_free(training->members);
    mem_free(training->lent);
    str_clear(&training->bytes);
}

/* ---- training ---- */

/* Everything that the dictionary depends on. */
static tsr_status make_key(const struct training *training, char key[DIGEST_HEX], tsr_error *err) {
    const struct plan_entry *first = training->first;
    struct str text = {0};
    char hex[DIGEST_HEX];
    str_add_format(&text, "dictionary\n%s\n%s %" PRIu64 " %s\n%s\n", TSR_VERSION, first->codec->id,
                   first->codec->bitstream_version, first->plugin ? first->plugin->digest : "", first->params.canonical);
    for (uint64_t i = 0; i < training->group->count; i++) {
        const struct plan_entry *entry = training->members[i].entry;
        str_add_format(&text, "%s %s %" PRIu64 "x%" PRIu64 " %d %s %u %s\n", entry->source->name,
                       entry->source->entry->dtype_name, entry->rows, entry->columns, entry->transposed,
                       entry->role.role, (unsigned)entry->role.stride, digest_to_hex(&entry->digest, hex));
    }
    struct digest digest = digest_of(text.text ? text.text : "", text.length);
    digest_to_hex(&digest, key);
    tsr_status st = text.failed ? plan_no_memory(err) : TSR_OK;
    str_clear(&text);
    return st;
}

static tsr_status keep_bytes(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    struct training *training = ctx;
    if (size > TSR_DICTIONARY_MAX - training->bytes.length) {
        return tsr_fail(err, TSR_E_LIMIT, "dictionary above %llu bytes", (unsigned long long)TSR_DICTIONARY_MAX);
    }
    str_add(&training->bytes, bytes, (size_t)size);
    return training->bytes.failed ? plan_no_memory(err) : TSR_OK;
}

static tsr_status train(struct training *training, tsr_error *err) {
    struct plan_group *group = training->group;
    tsr_writer writer = {sizeof writer, training, keep_bytes};
    for (uint64_t i = 0; i < group->count; i++) training->lent[i].rows = &training->members[i].rows;
    env_log(training->planner->env, TSR_LOG_INFO, "%s: training the dictionary of %" PRIu64 " tensors", group->name,
            group->count);
    tsr_status st = training->operations->train(training->lent, group->count, &writer, err);
    if (!st && training->bytes.length == 0) {
        st = tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: its dictionary is empty", training->first->codec->name);
    }
    if (st) return error_context(err, st, "%s", group->name);
    group->dictionary = mem_alloc(training->bytes.length);
    if (!group->dictionary) return plan_no_memory(err);
    memcpy(group->dictionary, training->bytes.text, training->bytes.length);
    group->bytes = training->bytes.length;
    return TSR_OK;
}

static tsr_status train_or_find(struct training *training, tsr_error *err) {
    const struct plan_dictionaries *kept = training->planner->options->dictionaries;
    struct plan_group *group = training->group;
    char key[DIGEST_HEX];
    tsr_status st = make_key(training, key, err);
    if (!st && kept) st = kept->load(kept->ctx, key, &group->dictionary, &group->bytes, err);
    if (!st && !group->dictionary) {
        st = train(training, err);
        if (!st && kept) st = kept->save(kept->ctx, key, group->dictionary, group->bytes, err);
    }
    if (!st) group->digest = digest_of(group->dictionary, group->bytes);
    return st;
}

static tsr_status make_dictionary(struct planner *planner, struct plan_group *group, tsr_error *err) {
    struct training training = {.planner = planner, .group = group};
    tsr_error reason = {0};
    uint64_t bytes = 0;
    training.first = &planner->plan->entries[group->members[0]];
    training.operations = training.first->codec->get_extension(TSR_DICTIONARY_ID);
    host_services_init(&training.services, planner->env);
    tsr_status st = open_members(&training, err);
    if (!st) {
        st = training.operations->can_train(training.lent, group->count, &bytes, &reason);
        if (st == TSR_E_UNSUPPORTED) {
            st = dissolve(planner, group, reason.message, err);
        } else if (st) {
            if (err) *err = reason;
        } else {
            st = train_or_find(&training, err);
        }
    }
    training_clear(&training);
    return st;
}

tsr_status plan_make_groups(struct planner *planner, tsr_error *err) {
    tsr_status st = collect(planner, err);
    for (uint64_t g = 0; g < planner->plan->group_count && !st; g++) {
        st = make_dictionary(planner, &planner->plan->groups[g], err);
    }
    return st;
}

/* ---- what it is worth ---- */

/* Payloads of the members that still use the dictionary, and what they would take losslessly. */
struct worth {
    uint64_t members, payloads, lossless;
};

static struct worth weigh(const struct planner *planner, const struct plan_group *group) {
    struct worth worth = {0};
    for (uint64_t i = 0; i < group->count; i++) {
        uint64_t index = group->members[i];
        if (planner->plan->entries[index].group < 0) continue;
        worth.members++;
        worth.payloads += planner->facts[index].lossy.bytes;
        worth.lossless += planner->facts[index].lossless.bytes;
    }
    return worth;
}

static tsr_status fall_back_all(struct planner *planner, struct plan_group *group, const struct worth *worth,
                                tsr_error *err) {
    const char *note = arena_format(&planner->plan->arena,
                                    "falls back to passthrough: payloads of %" PRIu64 " bytes and a dictionary of %" PRIu64
                                    " are not smaller than lossless, %" PRIu64 " bytes",
                                    worth->payloads, group->bytes, worth->lossless);
    if (!note) return plan_no_memory(err);
    for (uint64_t i = 0; i < group->count; i++) {
        struct plan_entry *entry = &planner->plan->entries[group->members[i]];
        if (entry->group < 0) continue;
        plan_fall_back(planner, entry, note);
        entry->predicted_bytes = planner->options->predict ? planner->facts[group->members[i]].lossless.bytes : 0;
        entry->predicted_error = 0;
        entry->bound_error = 0;
        entry->predicted_cosine = 1;
    }
    return TSR_OK;
}

tsr_status plan_settle_groups(struct planner *planner, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t g = 0; g < planner->plan->group_count && !st; g++) {
        struct plan_group *group = &planner->plan->groups[g];
        struct worth worth = weigh(planner, group);
        if (!group->dictionary) continue;
        bool pays = worth.payloads + group->bytes < worth.lossless;
        if (worth.members && !pays) st = fall_back_all(planner, group, &worth, err);
        if (worth.members && pays) continue;
        mem_free(group->dictionary);
        group->dictionary = NULL;
        group->bytes = 0;
    }
    return st;
}
