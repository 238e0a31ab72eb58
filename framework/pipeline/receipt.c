/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes and digests are those of the staged files. The receipt does not count itself or tessera.run.json: neither is
 * needed to give the source back. */
#include "receipt.h"

#include "budget.h"

#include <base/alloc.h>
#include <base/str.h>
#include <format/container.h>
#include <inttypes.h>
#include <math.h>
#include <reading/facts.h>
#include <stdio.h>
#include <string.h>
#include <tessera/version.h>

/* Sums over the tensors and files. */
struct totals {
    uint64_t weights, payload_bytes, dictionary_bytes, alias_bytes;
    uint64_t source_bytes, output_bytes;         /* whole .safetensors files */
    uint64_t all_source_bytes, all_output_bytes; /* with the small files that were kept */
    struct metric lossy;
    bool exact;
};

/* ---- source ---- */

static void add_file(struct members *list, struct str *names, const char *name, uint64_t bytes,
                     const struct digest *digest) {
    char hex[DIGEST_HEX];
    struct members file = members_object();
    members_text(&file, "name", name);
    members_count(&file, "bytes", bytes);
    members_digest(&file, "digest", digest);
    members_append(list, &file);
    str_add_format(names, "%s %" PRIu64 " %s\n", digest_to_hex(digest, hex), bytes, name);
}

/* The digest of the whole source is that of the lines "DIGEST BYTES NAME". */
static void add_source(struct members *receipt, const struct receipt_input *in, struct totals *totals) {
    struct members source = members_object(), files = members_list();
    struct str names = {0};
    for (uint64_t i = 0; i < in->checkpoint->file_count; i++) {
        const struct checkpoint_file *file = &in->checkpoint->files[i];
        add_file(&files, &names, file->name, file->st.file.size, &in->facts->files[i]);
        totals->source_bytes += file->st.file.size;
    }
    totals->all_source_bytes = totals->source_bytes;
    for (uint64_t i = 0; i < in->checkpoint->extra_count; i++) {
        const struct checkpoint_extra *extra = &in->checkpoint->extras[i];
        if (in->layout->kept[i] == LAYOUT_NONE) continue;
        add_file(&files, &names, extra->name, extra->bytes, &in->facts->extras[i]);
        totals->all_source_bytes += extra->bytes;
    }
    struct digest digest = digest_of(names.text ? names.text : "", names.length);
    source.failed |= names.failed;
    members_digest(&source, "digest", &digest);
    members_nest(&source, "files", &files);
    members_nest(receipt, "source", &source);
    str_clear(&names);
}

static void add_left_out(struct members *receipt, const struct receipt_input *in) {
    struct members list = members_list();
    for (uint64_t i = 0; i < in->checkpoint->extra_count; i++) {
        if (in->layout->kept[i] != LAYOUT_NONE) continue;
        struct members file = members_object();
        members_text(&file, "name", in->checkpoint->extras[i].name);
        members_count(&file, "bytes", in->checkpoint->extras[i].bytes);
        members_append(&list, &file);
    }
    members_nest(receipt, "not_copied", &list);
}

/* ---- plan and measurements ---- */

static bool uses(const struct plan_entry *entry, uint64_t stages, const tsr_codec *codec) {
    for (uint64_t s = 0; s < stages; s++) {
        if (plan_stage_at(entry, s).codec == codec) return true;
    }
    return false;
}

/* True when no tensor before this one, and no stage before that one, has its codec. */
static bool first_of_its_codec(const struct plan *plan, uint64_t index, uint64_t stage) {
    const struct plan_entry *entry = &plan->entries[index];
    const tsr_codec *codec = plan_stage_at(entry, stage).codec;
    for (uint64_t i = 0; i < index; i++) {
        if (plan->entries[i].alias_of < 0 && uses(&plan->entries[i], plan->entries[i].more_count + 1, codec)) return false;
    }
    return !uses(entry, stage, codec);
}

static void add_plugins(struct members *receipt, const struct plan *plan) {
    struct members list = members_list();
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct plan_entry *entry = &plan->entries[i];
        for (uint64_t s = 0; entry->alias_of < 0 && s <= entry->more_count; s++) {
            if (!first_of_its_codec(plan, i, s)) continue;
            struct plan_stage stage = plan_stage_at(entry, s);
            const struct registry_plugin *owner = stage.plugin;
            struct members plugin = members_object();
            members_text(&plugin, "id", stage.codec->id);
            members_text(&plugin, "version", owner && owner->plugin ? owner->plugin->version : NULL);
            members_text(&plugin, "digest", owner && owner->digest[0] ? owner->digest : NULL);
            members_append(&list, &plugin);
        }
    }
    members_nest(receipt, "plugins", &list);
}

/* What tensors share: each is counted once, beside the payloads. */
static void add_dictionaries(struct members *receipt, const struct plan *plan, struct totals *totals) {
    struct members list = members_list();
    for (uint64_t g = 0; g < plan->group_count; g++) {
        const struct plan_group *group = &plan->groups[g];
        if (!group->dictionary) continue;
        struct members dictionary = members_object();
        members_text(&dictionary, "group", group->name);
        members_count(&dictionary, "bytes", group->bytes);
        members_digest(&dictionary, "digest", &group->digest);
        members_append(&list, &dictionary);
        totals->dictionary_bytes += group->bytes;
    }
    members_nest(receipt, "dictionaries", &list);
}

static void set_rule(struct members *tensor, const struct config *config, const struct plan_entry *entry) {
    char text[256];
    if (entry->rule) {
        (void)snprintf(text, sizeof text, "%s:%u", fs_base_name(config->path), entry->rule->line);
    } else {
        (void)snprintf(text, sizeof text, "(built in)");
    }
    members_text(tensor, "rule", text);
}

static uint64_t weights_of(const struct plan_entry *entry) {
    uint64_t weights = 1;
    for (uint64_t i = 0; i < entry->source->entry->rank; i++) weights *= entry->source->entry->shape[i];
    return weights;
}

/* The codecs behind the first, and whose dictionary the first one uses. */
static void set_stages(struct members *tensor, const struct plan *plan, const struct plan_entry *entry) {
    struct members list = members_list();
    for (uint64_t i = 1; entry->alias_of < 0 && i <= entry->more_count; i++) {
        struct plan_stage planned = plan_stage_at(entry, i);
        struct members stage = members_object();
        members_text(&stage, "codec", planned.codec->id);
        members_count(&stage, "bitstream", planned.codec->bitstream_version);
        members_text(&stage, "params", planned.params.canonical);
        members_append(&list, &stage);
    }
    members_nest(tensor, "stages", &list);
    members_text(tensor, "group", entry->alias_of < 0 && entry->group >= 0 ? plan->groups[entry->group].name : NULL);
}

/* How a tensor is stored; all null for an alias. */
static void set_storage(struct members *tensor, const struct plan *plan, const struct plan_entry *entry) {
    bool alias = entry->alias_of >= 0;
    members_text(tensor, "codec", alias ? NULL : entry->codec->id);
    if (alias) {
        members_text(tensor, "bitstream", NULL);
    } else {
        members_count(tensor, "bitstream", entry->codec->bitstream_version);
    }
    members_text(tensor, "params", alias ? NULL : entry->params.canonical);
    set_stages(tensor, plan, entry);
    members_text(tensor, "alias_of", alias ? plan->entries[entry->alias_of].source->name : NULL);
}

static void set_errors(struct members *tensor, const struct outcome *outcome) {
    const struct metric *metric = &outcome->metric;
    bool identical = outcome->identical;
    members_bool(tensor, "exact", identical);
    members_real(tensor, "relative_error", identical ? 0 : metric_relative_error(metric));
    members_real(tensor, "cosine", identical ? 1 : metric_cosine(metric));
    members_real(tensor, "sqnr_db", identical ? INFINITY : metric_sqnr_db(metric));
    members_real(tensor, "max_abs_error", identical ? 0 : metric->max_abs_error);
    members_real(tensor, "row_cosine_mean", identical ? 1 : outcome->rows.mean);
    members_real(tensor, "row_cosine_p5", identical ? 1 : outcome->rows.p5);
    members_real(tensor, "row_cosine_min", identical ? 1 : outcome->rows.min);
    members_real(tensor, "worst_row_error", identical ? 0 : metric->worst_row_error);
}

static void add_tensor(struct members *list, const struct receipt_input *in, uint64_t index) {
    const struct plan_entry *entry = &in->plan->entries[index];
    const struct safetensors_entry *source = entry->source->entry;
    struct members tensor = members_object();
    members_text(&tensor, "name", entry->source->name);
    members_text(&tensor, "dtype", source->dtype_name);
    members_shape(&tensor, "shape", source->shape, source->rank);
    members_text(&tensor, "role", entry->role.role);
    members_set(&tensor, "layer", entry->role.layer < 0 ? json_null() : json_integer(entry->role.layer));
    members_text(&tensor, "regime", regime_name(entry->regime));
    set_rule(&tensor, in->config, entry);
    set_storage(&tensor, in->plan, entry);
    members_count(&tensor, "source_bytes", source->bytes);
    members_count(&tensor, "bytes", in->outcomes[index].payload_bytes);
    if (entry->index && entry->alias_of < 0) {
        members_text(&tensor, "index", entry->index->codec->name);
        members_text(&tensor, "index_params", entry->index->params.canonical);
        members_count(&tensor, "index_bytes", in->outcomes[index].index_bytes);
    }
    set_errors(&tensor, &in->outcomes[index]);
    members_real(&tensor, "row_error_max", entry->row_error_max > 0 ? entry->row_error_max : INFINITY);
    members_text(&tensor, "note", entry->note);
    members_append(list, &tensor);
}

static void add_tensors(struct members *receipt, const struct receipt_input *in, struct totals *totals) {
    struct members list = members_list();
    totals->exact = true;
    for (uint64_t i = 0; i < in->plan->count; i++) {
        const struct plan_entry *entry = &in->plan->entries[i];
        add_tensor(&list, in, i);
        totals->weights += weights_of(entry);
        totals->payload_bytes += in->outcomes[i].payload_bytes;
        totals->exact = totals->exact && in->outcomes[i].identical;
        if (entry->alias_of >= 0) totals->alias_bytes += entry->source->entry->bytes;
        if (entry->alias_of < 0 && !in->outcomes[i].identical) compare_join(&totals->lossy, &in->outcomes[i].metric);
    }
    members_nest(receipt, "tensors", &list);
}

static double ratio(uint64_t source, uint64_t stored) {
    return stored ? (double)source / (double)stored : INFINITY;
}

static void add_totals(struct members *receipt, const struct receipt_input *in, const struct totals *totals) {
    struct members sums = members_object();
    members_count(&sums, "tensors", in->plan->count);
    members_count(&sums, "weights", totals->weights);
    members_count(&sums, "source_bytes", totals->source_bytes);
    members_count(&sums, "unique_bytes", totals->source_bytes - totals->alias_bytes);
    members_count(&sums, "payload_bytes", totals->payload_bytes);
    members_count(&sums, "dictionary_bytes", totals->dictionary_bytes);
    members_count(&sums, "output_bytes", totals->output_bytes);
    members_count(&sums, "all_source_bytes", totals->all_source_bytes);
    members_count(&sums, "all_output_bytes", totals->all_output_bytes);
    members_real(&sums, "ratio", ratio(totals->source_bytes, totals->output_bytes));
    members_real(&sums, "ratio_unique", ratio(totals->source_bytes - totals->alias_bytes, totals->output_bytes));
    members_real(&sums, "bits_per_weight", ratio((totals->payload_bytes + totals->dictionary_bytes) * 8, totals->weights));
    members_real(&sums, "relative_error", totals->exact ? 0 : metric_relative_error(&totals->lossy));
    members_real(&sums, "cosine", totals->exact ? 1 : metric_cosine(&totals->lossy));
    members_bool(&sums, "exact", totals->exact);
    members_nest(receipt, "totals", &sums);
}

/* ---- output files ---- */

static const char *file_kind(const struct receipt_input *in, const char *name) {
    for (uint64_t i = 0; i < in->layout->file_count; i++) {
        if (!strcmp(in->layout->files[i].name, name)) return "container";
    }
    for (uint64_t i = 0; i < in->layout->index_count; i++) {
        if (!strcmp(in->layout->indexes[i].name, name)) return "index";
    }
    for (uint64_t i = 0; i < in->checkpoint->extra_count; i++) {
        if (!strcmp(in->checkpoint->extras[i].name, name))
            return in->layout->kept[i] == LAYOUT_COPY ? "copy" : "config";
    }
    return "other";
}

static tsr_status add_output(struct members *list, const struct receipt_input *in, const char *name,
                             struct totals *totals, tsr_error *err) {
    char *path = fs_join(in->staged, name);
    const char *kind = file_kind(in, name);
    struct digest digest;
    uint64_t bytes = 0;
    tsr_status st =
        path ? facts_of_path(path, &bytes, &digest, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    mem_free(path);
    if (st != TSR_OK) return st;
    struct members file = members_object();
    members_text(&file, "name", name);
    members_text(&file, "kind", kind);
    members_count(&file, "bytes", bytes);
    members_digest(&file, "digest", &digest);
    members_append(list, &file);
    if (!strcmp(kind, "container")) totals->output_bytes += bytes;
    totals->all_output_bytes += bytes;
    return TSR_OK;
}

static tsr_status add_outputs(struct members *receipt, const struct receipt_input *in, struct totals *totals,
                              tsr_error *err) {
    struct members list = members_list();
    struct fs_list names;
    tsr_status st = fs_list(in->staged, true, &names, err);
    for (uint64_t i = 0; i < names.count && st == TSR_OK; i++) {
        if (!strcmp(names.names[i], RECEIPT_NAME) || !strcmp(names.names[i], RUN_NAME)) continue;
        st = add_output(&list, in, names.names[i], totals, err);
    }
    fs_list_clear(&names);
    members_nest(receipt, "files", &list);
    return st;
}

tsr_status receipt_make(const struct receipt_input *input, json_t **receipt, tsr_error *err) {
    struct members whole = members_object(), tool = members_object(), gates = members_object();
    struct totals totals = {0};
    members_text(&tool, "name", "tessera");
    members_text(&tool, "version", TSR_VERSION);
    members_text(&gates, "verify", "PASS");
    members_text(&whole, "tessera", RECEIPT_VERSION);
    members_text(&whole, "format", CONTAINER_VERSION_TEXT);
    members_nest(&whole, "tool", &tool);
    add_source(&whole, input, &totals);
    members_text(&whole, "config", fs_base_name(input->config->path));
    members_text(&whole, "roles", input->plan->role_set);
    add_plugins(&whole, input->plan);
    statistics_tell(input->statistics, input->plan, &whole);
    budget_tell(&whole, input->config, input->plan, input->probes);
    add_tensors(&whole, input, &totals);
    add_dictionaries(&whole, input->plan, &totals);
    tsr_status st = add_outputs(&whole, input, &totals, err);
    add_left_out(&whole, input);
    add_totals(&whole, input, &totals);
    if (input->gates) {
        members_text(&gates, "verdict", json_string_value(json_object_get(input->gates, "verdict")));
        members_set(&gates, "results", json_incref(json_object_get(input->gates, "gates")));
    }
    members_nest(&whole, "gates", &gates);
    tsr_status finished = members_finish(&whole, receipt, st == TSR_OK ? err : NULL);
    if (st != TSR_OK && *receipt) {
        json_decref(*receipt);
        *receipt = NULL;
    }
    return st == TSR_OK ? finished : st;
}
