/* SPDX-License-Identifier: Apache-2.0
 *
 * init: one rule for each role that may be lossy and is there, as `quality` would have it; everything else stays exact. Comments
 * hold names of tensors, which may be anything: they are made safe, so that none can end its line. */
#include "job_init.h"

#include <base/alloc.h>
#include <base/str.h>
#include <format/dtype.h>
#include <policy/model_type.h>
#include <policy/role.h>
#include <string.h>

#define ROLES_MAX 128
#define UNKNOWN_SHOWN 20
#define FREE_BITS 6 /* that of the profile `quality` */

struct init_role {
    const char *role;
    int32_t regime;
    uint64_t tensors, bytes;
    uint64_t dtypes; /* bit set of those that a lossy codec takes */
};

struct initing {
    const char *model, *model_type;
    const struct job_paths *paths;
    const struct env *env;
    struct arena arena;
    struct checkpoint checkpoint;
    struct role_set *roles;
    struct init_role list[ROLES_MAX];
    uint64_t count, unknown, exact, exact_bytes, bytes;
    const char *unknown_names[UNKNOWN_SHOWN];
    bool lossy; /* the codec is there */
    struct str text;
    tsr_error *err;
};

/* ---- what there is ---- */

static bool takes_loss(int32_t dtype) {
    return dtype == TSR_DTYPE_BF16 || dtype == TSR_DTYPE_F16 || dtype == TSR_DTYPE_F32;
}

static struct init_role *role_of(struct initing *in, const char *role, int32_t regime) {
    uint64_t i = 0;
    while (i < in->count && (strcmp(in->list[i].role, role) != 0 || in->list[i].regime != regime)) i++;
    if (i == ROLES_MAX) return NULL;
    if (i == in->count) in->list[in->count++] = (struct init_role){.role = role, .regime = regime};
    return &in->list[i];
}

static void take_unknown(struct initing *in, const char *name) {
    if (in->unknown < UNKNOWN_SHOWN) in->unknown_names[in->unknown] = name;
    in->unknown++;
}

static tsr_status take_tensor(struct initing *in, const struct checkpoint_tensor *tensor) {
    const struct safetensors_entry *entry = tensor->entry;
    struct role_assignment role;
    tsr_status st = role_assign(in->roles, tensor->name, entry->rank, entry->shape, &role, in->err);
    if (st != TSR_OK) return st;
    in->bytes += entry->bytes;
    if (!role.file) take_unknown(in, tensor->name);
    bool lossy = in->lossy && role.regime != TSR_REGIME_EXACT && takes_loss(entry->dtype);
    struct init_role *found = lossy ? role_of(in, role.role, role.regime) : NULL;
    if (!found) {
        in->exact++;
        in->exact_bytes += entry->bytes;
        return TSR_OK;
    }
    found->tensors++;
    found->bytes += entry->bytes;
    found->dtypes |= TSR_DTYPE_BIT(entry->dtype);
    return TSR_OK;
}

static tsr_status look(struct initing *in) {
    tsr_status st = checkpoint_open(in->model, &in->checkpoint, in->err);
    if (st == TSR_OK) st = model_type_read(&in->checkpoint, &in->arena, &in->model_type, in->err);
    if (st == TSR_OK) {
        st = role_find("auto", in->model_type, in->paths->role_folders, in->paths->role_folder_count, in->env, &in->arena,
                       &in->roles, in->err);
    }
    for (uint64_t i = 0; i < in->checkpoint.tensor_count && st == TSR_OK; i++) st = take_tensor(in, &in->checkpoint.tensors[i]);
    return st;
}

/* ---- the text ---- */

static void say_what(struct initing *in) {
    char bytes[32];
    str_add_text(&in->text, "# A config for ");
    str_add_safe(&in->text, in->model);
    str_add_format(&in->text, ": %llu tensors, %s.\n", (unsigned long long)in->checkpoint.tensor_count,
                   text_bytes(in->bytes, bytes, sizeof bytes));
    if (in->model_type) {
        str_add_text(&in->text, "# Its config.json calls it \"");
        str_add_safe(&in->text, in->model_type);
        str_add_format(&in->text, "\"; the role file \"%s\" says what each tensor is for.\n", role_set_name(in->roles));
    } else {
        str_add_format(&in->text, "# No config.json says what it is; the role file \"%s\" goes by names that many models share.\n",
                       role_set_name(in->roles));
    }
    str_add_text(&in->text, "#\n# What it would do:  tessera plan MODEL -c THIS-FILE\n# Do it:             tessera compress MODEL -c THIS-FILE -o OUT\n"
                            "# The language:      docs/config.md; codecs and parameters: tessera plugin list, tessera plugin show NAME\n#\n");
}

static void suggest(struct initing *in) {
    if (!strcmp(role_set_name(in->roles), "qwen3-tts")) {
        str_add_text(&in->text, "# There are profiles for this family: -c qwen3-tts-lossless, qwen3-tts-quality, qwen3-tts-small.\n");
    } else if (in->count) {
        str_add_text(&in->text, "# Suggested profile: quality. The rules below do what it does, about 6 bits a weight, for the roles of this model.\n"
                                "# Others: lossless (exact), near-lossless (7.5 bits), balanced (4.5), small (3.5), tiny (2.75).\n");
    } else {
        str_add_text(&in->text, "# Suggested profile: lossless. No tensor here is known to bear a loss.\n");
    }
}

static void list_unknown(struct initing *in) {
    uint64_t shown = in->unknown < UNKNOWN_SHOWN ? in->unknown : UNKNOWN_SHOWN;
    if (!in->unknown) return;
    str_add_format(&in->text, "#\n# %llu tensors have no role and stay exact. A rule can take them by name (match: \"...\"), a role file by pattern\n"
                              "# (docs/roles.md):\n",
                   (unsigned long long)in->unknown);
    for (uint64_t i = 0; i < shown; i++) {
        str_add_text(&in->text, "#   ");
        str_add_safe(&in->text, in->unknown_names[i]);
        str_add_text(&in->text, "\n");
    }
    if (shown < in->unknown) str_add_format(&in->text, "#   and %llu more\n", (unsigned long long)(in->unknown - shown));
}

static void add_dtypes(struct initing *in, uint64_t dtypes) {
    static const int32_t all[] = {TSR_DTYPE_BF16, TSR_DTYPE_F16, TSR_DTYPE_F32};
    const char *separator = "";
    for (int i = 0; i < 3; i++) {
        if (!(dtypes & TSR_DTYPE_BIT(all[i]))) continue;
        str_add_format(&in->text, "%s%s", separator, dtype_name(all[i]));
        separator = ", ";
    }
}

static const char *plural(uint64_t count) {
    return count == 1 ? "" : "s";
}

static void add_rule(struct initing *in, const struct init_role *role) {
    char bytes[32];
    str_add_format(&in->text, "  - {role: %s, regime: %s, dtype: [", role->role, regime_name(role->regime));
    add_dtypes(in, role->dtypes);
    str_add_format(&in->text, "], codec: trellis, params: {bits: auto, states: 64}%s}  # %llu tensor%s, %s\n",
                   role->regime == TSR_REGIME_INDEX ? ", row_error_max: 0" : "", (unsigned long long)role->tensors,
                   plural(role->tensors), text_bytes(role->bytes, bytes, sizeof bytes));
}

static void add_rules(struct initing *in) {
    char bytes[32];
    str_add_text(&in->text, "tessera: 1\nroles: auto\n\n# The first rule that matches a tensor takes it.\nrules:\n");
    for (uint64_t i = 0; i < in->count; i++) add_rule(in, &in->list[i]);
    /* Where the rules above take everything, this one takes nothing. */
    str_add_format(&in->text, "  - {codec: passthrough%s}  # everything else stays exact: %llu tensor%s, %s\n", in->exact ? "" : ", optional: true",
                   (unsigned long long)in->exact, plural(in->exact), text_bytes(in->exact_bytes, bytes, sizeof bytes));
}

static void add_budget(struct initing *in) {
    if (!in->count) return;
    str_add_format(&in->text, "\n# Bits a weight, on average over the tensors of the rules that say auto. With --stats they go where an error costs most\n"
                              "# (docs/budget.md); a number in place of auto fixes a rule. Fewer bits: smaller and less exact.\n"
                              "budget: {free_bits: %d}\n",
                   FREE_BITS);
}

static void add_gates(struct initing *in) {
    if (!in->count) return;
    str_add_text(&in->text, "\n# A small error of the weights does not mean that the model answers alike. With these lines nothing is published unless\n"
                            "# it does, on a text of yours (docs/gates.md):\n"
                            "# gates:\n#   parity: {text: eval.txt, positions: 20000, min_top1: 0.9, max_kld: 0.02}\n");
}

tsr_status job_init(const char *model, const struct registry *registry, const struct job_paths *paths, const struct env *env,
                    char **text, tsr_error *err) {
    struct initing *in = mem_alloc_zero(1, sizeof *in);
    const tsr_codec *codec;
    if (!in) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", model);
    in->model = model;
    in->paths = paths;
    in->env = env;
    in->err = err;
    in->lossy = registry_codec(registry, "trellis", &codec, NULL, NULL) == TSR_OK;
    tsr_status st = look(in);
    if (st == TSR_OK) {
        say_what(in);
        suggest(in);
        list_unknown(in);
        add_rules(in);
        add_budget(in);
        add_gates(in);
        if (in->text.failed) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", model);
    }
    *text = st == TSR_OK ? in->text.text : NULL;
    if (st != TSR_OK) str_clear(&in->text);
    checkpoint_close(&in->checkpoint);
    arena_clear(&in->arena);
    mem_free(in);
    return st;
}
