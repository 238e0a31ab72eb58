/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches through indexes against dense ones, on a real output matrix with the hidden states that a model really multiplies
 * it with. The states are taken from a run of the model over a text; compressing and searching is done by the program
 * itself, as users do it.
 * usage: bench_search [MODEL [TEXT [TOKENS [TENSOR [INDEX]]]]]: only indexes whose names begin with INDEX */
#include <base/alloc.h>
#include <base/fs.h>
#include <base/pool.h>
#include <format/json.h>
#include <format/safetensors_write.h>
#include <model/model_open.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tokenizer/tokenizer.h>
#include <unistd.h>

static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};

struct states {
    float *x;
    uint64_t count, most, hidden, layer;
};

static void must(tsr_status status, const tsr_error *err) {
    if (status == TSR_OK) return;
    fprintf(stderr, "bench_search: %s\n", err->message);
    exit(1);
}

static tsr_status keep(void *ctx, uint64_t layer, const float *state, uint64_t tokens, uint64_t hidden, tsr_error *err) {
    struct states *states = ctx;
    (void)err;
    if (layer != states->layer) return TSR_OK;
    states->hidden = hidden;
    for (uint64_t t = 0; t < tokens && states->count < states->most; t++, states->count++) {
        memcpy(states->x + states->count * hidden, state + t * hidden, (size_t)hidden * sizeof *state);
    }
    return TSR_OK;
}

/* ---- hidden states ---- */

static void run_model(struct open_model *model, const uint32_t *tokens, uint64_t count, struct states *states) {
    enum { WINDOW = 512 };
    const tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = states, .hidden = keep};
    tsr_error err = {0};
    states->layer = model->info.layers + 1;
    states->x = mem_alloc_zero(states->most * model->info.hidden, sizeof *states->x);
    for (uint64_t at = 0; at < count; at += WINDOW) {
        void *sequence = NULL;
        must(model->plugin->sequence_create(model->self, WINDOW, &sequence, &err), &err);
        must(model->plugin->forward(model->self, sequence, tokens + at, count - at < WINDOW ? count - at : WINDOW, &hooks, NULL,
                                    &err),
             &err);
        model->plugin->sequence_destroy(model->self, sequence);
    }
}

static void make_queries(const char *path, const char *text_path, uint64_t most, const char *build, const char *to) {
    char folder[512];
    struct env env = {.pool = pool_create(2)};
    struct registry *registry;
    struct open_model *model = mem_alloc_zero(1, sizeof *model);
    struct tokenizer *tokenizer = NULL;
    struct token_ids ids = {0};
    struct states states = {.most = most};
    char *text = NULL;
    uint64_t size = 0;
    tsr_error err = {0};
    (void)snprintf(folder, sizeof folder, "%s/lib/tessera", build);
    const char *folders[] = {folder};
    must(registry_create(folders, 1, &env, &registry, &err), &err);
    must(model_open(path, registry, &PATHS, &env, model, &err), &err);
    must(tokenizer_open(path, &tokenizer, &err), &err);
    must(fs_read_whole(text_path, UINT64_C(1) << 30, &text, &size, &err), &err);
    must(tokenizer_encode(tokenizer, text, size, false, &ids, &err), &err);
    run_model(model, ids.ids, ids.count < most ? ids.count : most, &states);
    const struct safetensors_part part = {
        .name = "hidden", .dtype = TSR_DTYPE_F32, .rank = 2, .shape = {states.count, states.hidden}, .memory = states.x};
    must(safetensors_write(to, &part, 1, NULL, 0, &err), &err);
    mem_free(states.x);
    mem_free(text);
    token_ids_clear(&ids);
    tokenizer_close(tokenizer);
    model_close(model);
    mem_free(model);
    registry_destroy(registry);
    pool_destroy(env.pool);
}

/* ---- searches ---- */

static json_t *run_json(const char *command) {
    FILE *pipe = popen(command, "r");
    json_error_t error;
    json_t *result = pipe ? json_loadf(pipe, 0, &error) : NULL;
    int status = pipe ? pclose(pipe) : -1;
    if (result && status == 0) return result;
    fprintf(stderr, "bench_search: failed: %s\n", command);
    exit(1);
}

static double real(const json_t *object, const char *a, const char *b) {
    return json_number_value(json_object_get(json_object_get(object, a), b));
}

/* A share of nothing is null. */
static void print_share(const char *form, const json_t *value) {
    if (json_is_number(value)) printf(form, json_number_value(value));
    else printf(" - |");
}

static void print_search(const char *name, const char *what, const json_t *r) {
    double queries = json_number_value(json_object_get(r, "queries"));
    double bytes = json_number_value(json_object_get(r, "index_bytes"));
    printf("| %s | %s | %.1f | %.3f | %.3f | %.3f |", name, what,
           100 * bytes / json_number_value(json_object_get(r, "tensor_bytes")), 100 * real(r, "shares", "skip"),
           100 * real(r, "shares", "compose"), 100 * real(r, "shares", "escalate"));
    print_share(" %.5f |", json_object_get(r, "recall"));
    print_share(" %.7f |", json_object_get(r, "skip_accuracy"));
    printf(" %.3f | %.3f | %.2f |\n", 1e3 * real(r, "seconds", "index") / queries, 1e3 * real(r, "seconds", "dense") / queries,
           real(r, "seconds", "speedup"));
    fflush(stdout);
}

struct variant {
    const char *name, *index;
};

static const struct variant VARIANTS[] = {
    {"hhtld", "{codec: hhtld}"},
    {"hhtld, gain: row", "{codec: hhtld, params: {gain: row}}"},
    {"hhtld, flat", "{codec: hhtld, params: {twig_scope: flat, families: 16}}"},
    {"hhtld, 32 lanes", "{codec: hhtld, params: {lanes: 32}}"},
    {"hhtld, 128 lanes", "{codec: hhtld, params: {lanes: 128}}"},
    {"hclam-index", "{codec: hclam-index}"},
    {"spiral-index, 4 anchors", "{codec: spiral-index, params: {anchors: 4}}"},
    {"spiral-index", "{codec: spiral-index}"},
    {"spiral-index, 32 anchors", "{codec: spiral-index, params: {anchors: 32}}"},
};

static const char *const SEARCHES[][2] = {
    {"top 1", ""}, {"top 10", "--top 10"}, {"nearest", "--nearest"}, {"threshold 0.5", "--threshold 0.5"},
    {"threshold 0.75", "--threshold 0.75"},
};

static void compress(const char *build, const char *model, const char *index, const char *out) {
    char config[600], text[512], command[2048];
    tsr_error err = {0};
    int length = snprintf(text, sizeof text,
                          "tessera: 1\nroles: auto\nrules:\n  - {role: [embed, lm_head], codec: passthrough, index: %s}\n"
                          "  - {codec: passthrough}\n",
                          index);
    (void)snprintf(config, sizeof config, "%s/bench/search.yaml", build);
    must(fs_replace(config, text, (uint64_t)length, &err), &err);
    (void)snprintf(command, sizeof command, "nice -n 19 '%s/bin/tessera' compress '%s' -c '%s' -o '%s' --force >/dev/null 2>&1", build, model,
                   config, out);
    must(system(command) ? tsr_fail(&err, TSR_E_IO, "cannot compress %s", model) : TSR_OK, &err);
}

int main(int argc, char **argv) {
    const char *build = getenv("TESSERA_BUILD") ? getenv("TESSERA_BUILD") : "build";
    const char *model = argc > 1 ? argv[1] : getenv("TESSERA_RUN_MODEL"), *text = argc > 2 ? argv[2] : "demo/text/stories.txt";
    const char *tensor = argc > 4 ? argv[4] : "model.embed_tokens.weight";
    const char *only = argc > 5 ? argv[5] : "";
    uint64_t tokens = argc > 3 ? strtoull(argv[3], NULL, 10) : 256;
    char queries[600], out[600], command[2048];
    if (!model) model = "demo/stories-1m";
    (void)snprintf(queries, sizeof queries, "%s/bench/hidden.safetensors", build);
    (void)snprintf(out, sizeof out, "%s/bench/search", build);
    make_queries(model, text, tokens, build, queries);
    printf("%s, %s, %llu hidden states of %s. Bytes against those of the tensor; shares of rows; times of one query on one "
           "thread, dense in turn in the same run.\n\n",
           fs_base_name(model), tensor, (unsigned long long)tokens, fs_base_name(text));
    printf("| index | search | bytes %% | skip %% | compose %% | escalate %% | recall | skip accuracy | index ms | dense ms | x dense |\n");
    printf("|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (unsigned v = 0; v < sizeof VARIANTS / sizeof *VARIANTS; v++) {
        if (strncmp(VARIANTS[v].name, only, strlen(only))) continue;
        compress(build, model, VARIANTS[v].index, out);
        for (unsigned s = 0; s < sizeof SEARCHES / sizeof *SEARCHES; s++) {
            (void)snprintf(command, sizeof command, "'%s/bin/tessera' search '%s' %s --query '%s' --json %s", build, out, tensor,
                           queries, SEARCHES[s][1]);
            json_t *result = run_json(command);
            print_search(VARIANTS[v].name, SEARCHES[s][0], result);
            json_decref(result);
        }
    }
    return 0;
}
