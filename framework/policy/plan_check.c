/* SPDX-License-Identifier: Apache-2.0
 *
 * Named checks of a plan (docs/checks.md): what was tried before and did not work, and what is easily forgotten. Each is a
 * short predicate over an entry or the whole plan; what it finds is advice, never an error. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <base/fs.h>
#include <base/str.h>

#include "plan_parts.h"

#define WORDS_OF_A_BYTE 256
#define SPREAD_MUCH 4.0
#define ORTHOGONAL 1.25    /* of the mean cosine of independent directions */
#define WORSE_THAN_SCALAR 1.25
#define SCALAR_LAW 1.423   /* 1.53 dB: uniform quantisation with an ideal entropy coder on Gaussian data, from 1 bit on */
#define PLUGIN_BYTES_MAX (UINT64_C(1) << 28)

struct checking {
    struct planner *planner;
    uint64_t room;
    tsr_error *err;
    tsr_status status;
};

static void found(struct checking *checking, const char *id, const char *tensor, const char *instead, const char *format,
                  ...) TSR_PRINTF(5, 6);

static void found(struct checking *checking, const char *id, const char *tensor, const char *instead, const char *format,
                  ...) {
    struct plan *plan = checking->planner->plan;
    char why[400];
    va_list arguments;
    if (checking->status || plan->check_count == checking->room) return;
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    const char *kept = arena_dup(&plan->arena, why, strlen(why));
    if (!kept) {
        checking->status = plan_no_memory(checking->err);
        return;
    }
    plan->checks[plan->check_count++] = (struct plan_check){id, tensor, kept, instead};
}

/* ---- facts about an entry ---- */

/* Value of the codec's parameter of that name, or NULL. */
static const tsr_param_value *param_of(const struct plan_stage *stage, const char *name) {
    for (uint64_t i = 0; i < stage->codec->param_count; i++) {
        if (!strcmp(param_at(stage->codec, i)->name, name)) return &stage->params.values[i];
    }
    return NULL;
}

static bool has_role(const struct plan_entry *entry, const char *first, const char *second, const char *third) {
    const char *role = entry->role.role;
    return !strcmp(role, first) || !strcmp(role, second) || !strcmp(role, third);
}

static bool is_lossy(const struct plan_entry *entry) {
    return entry->alias_of < 0 && !plan_entry_is_exact(entry);
}

static double bits_of(const struct checking *checking, uint64_t index) {
    uint64_t weights = checking->planner->facts[index].weights;
    return weights ? 8.0 * (double)checking->planner->plan->entries[index].predicted_bytes / (double)weights : 0;
}

/* ---- checks of one tensor ---- */

static void check_regime(struct checking *c, const struct plan_entry *entry) {
    if (entry->regime != TSR_REGIME_INDEX || entry->row_error_max > 0) return;
    found(c, "C1", entry->source->name, "leave row_error_max at its default, or say why decisions alone count",
          "its rows are looked up by id, but no bound on a row's error is kept");
}

static void check_palette(struct checking *c, const struct plan_entry *entry, const struct plan_stage *stage,
                          const struct plan_probe *probe) {
    const tsr_param_value *palette = param_of(stage, "palette"), *rank = param_of(stage, "rank");
    const tsr_param_value *dim = param_of(stage, "dim");
    bool has_palette = palette && palette->integer > 0;
    if (has_palette && probe->rows && probe->length_spread > SPREAD_MUCH) {
        found(c, "C2", entry->source->name, "a codec with a scale for each row: scalar, rvq, spiral",
              "its longest row is %.1f times the middle one, and a palette codes direction and length together",
              probe->length_spread);
    }
    if (has_palette && entry->regime == TSR_REGIME_ARGMAX) {
        found(c, "D6", entry->source->name, "sub-vectors with a scale (rvq, spiral) or scalar",
              "a palette of whole rows was ten times better than averages and still far from usable (cosine .2 to .5)");
    }
    if (has_palette && rank && rank->integer == 0 && !param_of(stage, "bands")->count) {
        found(c, "D7", entry->source->name, "components (rank), or a codec that codes all columns",
              "one number beside a centroid can change a row's length, not its direction");
    }
    bool whole_rows = has_palette || (dim && dim->integer == 0);
    if (!whole_rows || !probe->rows || probe->mean_cosine > ORTHOGONAL * probe->random_cosine) return;
    found(c, "AP4", entry->source->name, "sub-vectors of 4 to 16 columns, or scalar",
          "its rows are nearly orthogonal (mean |cos| %.3f, independent directions have %.3f): centroids of whole rows hold "
          "next to nothing",
          probe->mean_cosine, probe->random_cosine);
}

static void check_codebook(struct checking *c, const struct plan_entry *entry, const struct plan_stage *stage) {
    const tsr_param_value *ladder = param_of(stage, "ladder"), *guard = param_of(stage, "guard");
    if (!ladder) ladder = param_of(stage, "tree");
    for (uint64_t i = 0; ladder && i < ladder->count; i++) {
        int64_t k = ladder->list[i];
        if (k & (k - 1)) {
            found(c, "C5", entry->source->name, "a power of two, or entropy: true",
                  "%lld words need indices of %d bits, %.2f bits of information", (long long)k,
                  (int)ceil(log2((double)k)), log2((double)k));
        }
        if (k > WORDS_OF_A_BYTE) {
            found(c, "D3", entry->source->name, "another stage of 256 words",
                  "%lld words: an index above one byte buys %.1f bits for a codebook %.0f times as large", (long long)k,
                  log2((double)k) - 8, (double)k / WORDS_OF_A_BYTE);
        }
    }
    if (guard && !guard->integer) {
        found(c, "D5", entry->source->name, "guard: true, and more bits where the error is too large",
              "without the guard, more or larger stages memorise: the codebook becomes the tensor, and larger");
    }
}

static void check_clusters(struct checking *c, const struct plan_entry *entry) {
    const char *name = entry->codec->name;
    if (!strcmp(name, "hclam") && entry->regime == TSR_REGIME_INDEX) {
        found(c, "D2", entry->source->name, "scalar at 6 to 8 bits, or passthrough",
              "a tree over a vocabulary was tried: rows that are looked up by id need each its own precision");
    }
    if (!strcmp(name, "hhtld-block")) {
        found(c, "D1", entry->source->name, "rvq at 2 bits (D .096)",
              "rebuilding from a tree address and a gain gives D .34 at 1.9 bits");
    }
}

/* Tiles that do not shrink are stored as they are, and a search through them reads every row. */
static void check_index_bytes(struct checking *c, const struct plan_entry *entry) {
    uint64_t rows = max_u64(entry->rows, 1), own = entry->source->entry->bytes;
    if (entry->index_bytes < own || own == 0) return;
    found(c, "C6", entry->source->name, "fewer anchors, lanes or leaves, or no index",
          "%s takes %.1f bytes a row, the row itself %.1f: the rows are stored again, and all are read",
          entry->index->codec->name, (double)entry->index_bytes / (double)rows, (double)own / (double)rows);
}

static void check_index(struct checking *c, const struct plan_entry *entry) {
    if (!entry->index) return;
    check_index_bytes(c, entry);
    if (has_role(entry, "attn_q", "attn_k", "attn_qkv")) {
        found(c, "D4", entry->source->name, "exact attention; index the output matrix instead",
              "attention by lookup between rows of weights: 3.7 %% of the decisions were right");
    }
    if (has_role(entry, "lm_head", "embed", "codebook")) return;
    found(c, "C3", entry->source->name, "index lm_head or embedding rows",
          "rows of a %s are no tokens: nearest rows say nothing about products of activations", entry->role.role);
}

static void check_rate(struct checking *c, const struct plan_entry *entry, uint64_t index) {
    double bits = bits_of(c, index), scalar = SCALAR_LAW * exp2(-2 * bits);
    if (!strcmp(entry->codec->name, "scalar") || bits < 1 || entry->predicted_error <= WORSE_THAN_SCALAR * scalar) return;
    found(c, "AP3", entry->source->name, "scalar at the same bits",
          "%s reaches D %.3g at %.2f bits a weight, where scalar reaches about %.3g", entry->codec->name,
          entry->predicted_error, bits, scalar);
}

static void check_entry(struct checking *c, uint64_t index) {
    const struct plan_entry *entry = &c->planner->plan->entries[index];
    if (entry->alias_of >= 0) return;
    check_index(c, entry);
    if (!is_lossy(entry)) return;
    check_regime(c, entry);
    check_clusters(c, entry);
    for (uint64_t s = 0; s <= entry->more_count; s++) {
        struct plan_stage stage = plan_stage_at(entry, s);
        check_palette(c, entry, &stage, &entry->probe);
        check_codebook(c, entry, &stage);
    }
    check_rate(c, entry, index);
}

/* ---- checks of the whole plan ---- */

static void check_gates(struct checking *c) {
    const struct plan *plan = c->planner->plan;
    const struct gate_config *gates = &c->planner->config->gates;
    int decisions = gates->parity.wanted + gates->rollout.wanted + gates->chain.wanted + gates->speech.wanted;
    int all = decisions + gates->reference.wanted + gates->width.wanted + gates->storage.wanted;
    bool lossy = false, scores = false;
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct plan_entry *entry = &plan->entries[i];
        lossy = lossy || is_lossy(entry);
        scores = scores || (is_lossy(entry) && has_role(entry, "attn_q", "attn_k", "attn_qkv"));
    }
    if (!lossy) return;
    if (decisions == 0) {
        found(c, "AP2", NULL, "a parity gate on text of yours", "no gate measures decisions: all quality is predicted");
    } else if (all == 1) {
        found(c, "AP1", NULL, "a second, independent gate (chain, reference, rollout)",
              "one gate decides alone: a pass of it is not yet success");
    }
    if (scores && !gates->chain.wanted) {
        found(c, "AP6", NULL, "a chain gate (min_cos behind every layer)",
              "attention scores are approximate, and nothing looks at how errors grow from layer to layer");
    }
}

/* True when the plugin's file speaks of a Python runtime. */
static bool embeds_python(const char *path) {
    char *bytes = NULL;
    uint64_t size = 0;
    bool found_it = false;
    if (fs_read_whole(path, PLUGIN_BYTES_MAX, &bytes, &size, NULL)) return false;
    static const char WORD[] = "libpython";
    for (uint64_t i = 0; i + sizeof WORD <= size && !found_it; i++) found_it = !memcmp(bytes + i, WORD, sizeof WORD - 1);
    mem_free(bytes);
    return found_it;
}

static bool same_folder(const char *a, const char *b) {
    size_t x = (size_t)(fs_base_name(a) - a), y = (size_t)(fs_base_name(b) - b);
    return x == y && !memcmp(a, b, x);
}

/* Once for each plugin that the plan uses. */
static void check_plugins(struct checking *c) {
    const struct plan *plan = c->planner->plan;
    const struct registry_plugin *own = c->planner->passthrough_plugin, *last = own;
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct registry_plugin *plugin = plan->entries[i].plugin;
        if (!plugin || !own || plugin == last || same_folder(plugin->path, own->path)) continue;
        last = plugin;
        found(c, "AP7", NULL, "install it beside the others once it is trusted",
              "codec %s comes from %s, not from where the program's own codecs are", plan->entries[i].codec->name,
              plugin->path);
        if (!embeds_python(plugin->path)) continue;
        found(c, "AP5", NULL, "a codec in C", "codec %s brings a Python runtime into decoding (%s)",
              plan->entries[i].codec->name, plugin->path);
    }
}

#define CHECKS_A_TENSOR 8

tsr_status plan_check(struct planner *planner, tsr_error *err) {
    struct plan *plan = planner->plan;
    struct checking checking = {planner, plan->count * CHECKS_A_TENSOR + 16, err, TSR_OK};
    plan->checks = arena_alloc(&plan->arena, checking.room, sizeof *plan->checks);
    if (!plan->checks) return plan_no_memory(err);
    for (uint64_t i = 0; i < plan->count; i++) check_entry(&checking, i);
    check_gates(&checking);
    check_plugins(&checking);
    return checking.status;
}
