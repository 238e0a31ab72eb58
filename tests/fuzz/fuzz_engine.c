/* SPDX-License-Identifier: Apache-2.0
 *
 * A config.json of any bytes with the weights of the test fixtures that have its model_type: the model is created, and
 * when it fits, runs a few tokens together and one alone. Whatever the config says ends in a refusal or in numbers. */
#include <base/alloc.h>
#include <base/pool.h>
#include <format/document.h>
#include <model/model_weights.h>
#include <plugin/coder.h>
#include <plugin/registry.h>
#include <stdio.h>
#include <string.h>

#define FAMILIES "models/generic-causal-lm/families"
#define FIXTURES_MAX 80
#define FAMILIES_MAX 64
#define CONFIG_BYTES_MAX (1u << 20)
#define DECODED_BYTES (UINT64_C(64) << 20)
#define TOKENS 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const tsr_plugin tsr_plugin_generic_causal_lm;

struct fixture {
    char type[64];
    struct reader reader;
};

static struct {
    bool begun;
    struct env env;
    struct registry *registry;
    struct arena arena;
    tsr_node families;
    struct fixture fixtures[FIXTURES_MAX];
    unsigned count;
} world;

static const char *type_of(const tsr_node *config) {
    for (uint64_t i = 0; config->kind == TSR_NODE_MAP && i < config->count; i++) {
        const tsr_node *member = &config->children[i];
        if (!strcmp(member->key, "model_type") && member->kind == TSR_NODE_TEXT) return member->text;
    }
    return "";
}

/* ---- what all inputs share ---- */

static void read_families(void) {
    struct fs_list list = {0};
    tsr_node *families = arena_alloc(&world.arena, FAMILIES_MAX, sizeof *families);
    uint64_t count = 0;
    if (!families || fs_list(FAMILIES, false, &list, NULL) != TSR_OK) return;
    for (uint64_t i = 0; i < list.count && count < FAMILIES_MAX; i++) {
        char *path = fs_join(FAMILIES, list.names[i]), *text = NULL;
        uint64_t size = 0;
        if (fs_read_whole(path, CONFIG_BYTES_MAX, &text, &size, NULL) == TSR_OK &&
            document_from_yaml(text, size, path, &world.arena, &families[count], NULL) == TSR_OK) {
            families[count++].key = "";
        }
        mem_free(text);
        mem_free(path);
    }
    fs_list_clear(&list);
    world.families = (tsr_node){.key = "", .text = "", .kind = TSR_NODE_LIST, .children = families, .count = count};
}

static void add_fixture(const char *folder) {
    struct fixture *fixture = &world.fixtures[world.count];
    char *path = fs_join(folder, "config.json"), *text = NULL;
    uint64_t size = 0;
    tsr_node config;
    if (fs_read_whole(path, CONFIG_BYTES_MAX, &text, &size, NULL) == TSR_OK &&
        document_from_json(text, size, path, &world.arena, &config, NULL) == TSR_OK &&
        reader_open(folder, world.registry, &world.env, &fixture->reader, NULL) == TSR_OK) {
        (void)snprintf(fixture->type, sizeof fixture->type, "%.63s", type_of(&config));
        world.count++;
    }
    mem_free(text);
    mem_free(path);
}

static void add_fixtures(const char *root) {
    struct fs_list list = {0};
    if (fs_list(root, false, &list, NULL) != TSR_OK) return;
    for (uint64_t i = 0; i < list.count && world.count < FIXTURES_MAX; i++) {
        char *folder = fs_join(root, list.names[i]);
        if (fs_kind_of(folder) == FS_FOLDER) add_fixture(folder);
        mem_free(folder);
    }
    fs_list_clear(&list);
}

static void begin(void) {
    world.begun = true;
    world.env.pool = pool_create(1);
    (void)registry_create(NULL, 0, &world.env, &world.registry, NULL);
    read_families();
    add_fixtures("tests/data/causal-lm");
    add_fixtures("tests/data/causal-lm-variants");
}

/* ---- one model ---- */

static void run(const tsr_model *plugin, void *self) {
    tsr_model_info info = {.struct_size = sizeof info};
    tsr_error err = {0};
    void *sequence = NULL;
    plugin->info(self, &info);
    float *logits = mem_alloc_array(info.vocabulary, sizeof *logits);
    uint32_t tokens[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++) tokens[i] = (uint32_t)(i * 7 % info.vocabulary);
    if (logits && plugin->sequence_create(self, TOKENS + 1, &sequence, &err) == TSR_OK) {
        tsr_status st = plugin->forward(self, sequence, tokens, TOKENS, NULL, logits, &err);
        if (st == TSR_OK) (void)plugin->forward(self, sequence, tokens, 1, NULL, logits, &err);
    }
    plugin->sequence_destroy(self, sequence);
    mem_free(logits);
}

static void try_fixture(struct fixture *fixture, const tsr_node *config) {
    const tsr_model *plugin = tsr_plugin_generic_causal_lm.models[0];
    const tsr_node parts = {.key = "", .text = "", .kind = TSR_NODE_MAP};
    struct model_weights *weights = NULL;
    struct host_services services;
    tsr_error err = {0};
    void *self = NULL;
    host_services_init(&services, &world.env);
    if (model_weights_create(&fixture->reader, DECODED_BYTES, &world.env, &weights, &err) != TSR_OK) return;
    tsr_model_setup setup = {.struct_size = sizeof setup,
                             .host = &services.host,
                             .config = config,
                             .families = &world.families,
                             .weights = model_weights_table(weights),
                             .parts = &parts};
    if (plugin->probe(&setup) > 0 && plugin->create(&setup, &self, &err) == TSR_OK) {
        run(plugin, self);
        plugin->destroy(self);
    }
    model_weights_destroy(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = {0};
    tsr_node config;
    tsr_error err = {0};
    if (!world.begun) begin();
    if (document_from_json((const char *)data, size, "config.json", &arena, &config, &err) == TSR_OK &&
        config.kind == TSR_NODE_MAP) {
        const char *type = type_of(&config);
        for (unsigned i = 0; i < world.count; i++) {
            if (!strcmp(world.fixtures[i].type, type)) try_fixture(&world.fixtures[i], &config);
        }
    }
    arena_clear(&arena);
    return 0;
}
