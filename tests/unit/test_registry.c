/* SPDX-License-Identifier: Apache-2.0
 *
 * Plugins on disk: good ones are found by name and id, wrong ones are refused with one clear line and remembered. The
 * plugins are compiled here from tests/abi/variant.c. */
#define TSR_PLUGIN_NAME tsr_plugin_variant /* as in a static build */
#include "../abi/variant.c"

#include "unit.h"

#include <base/arena.h>
#include <base/fs.h>
#include <base/pool.h>
#include <plugin/registry.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char root[64];
static struct env env;
static char last_log[512];

static void note_log(void *ctx, int32_t level, const char *text) {
    (void)ctx;
    if (level <= TSR_LOG_WARNING) snprintf(last_log, sizeof last_log, "%s", text);
}

/* Compiles the variant into root/FOLDER/tessera-codec-NAME.so. */
static void compile(const char *folder, const char *name, const char *options) {
    char command[1024];
    const char *cc = getenv("CC") ? getenv("CC") : "cc";
    snprintf(command, sizeof command,
             "mkdir -p %s/%s && %s -std=c11 -fPIC -shared -fvisibility=hidden -Iframework/include %s "
             "tests/abi/variant.c -o %s/%s/tessera-codec-%s.so",
             root, folder, cc, options, root, folder, name);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

/* A registry over up to two folders of root. */
static tsr_status open_folders(const char *a, const char *b, struct registry **registry, tsr_error *err) {
    char first[128], second[128];
    const char *folders[] = {first, second};
    snprintf(first, sizeof first, "%s/%s", root, a);
    snprintf(second, sizeof second, "%s/%s", root, b ? b : "absent");
    return registry_create(folders, 2, &env, registry, err);
}

static void a_plugin_is_found_by_name_and_id(void) {
    struct registry *registry = NULL;
    const tsr_codec *codec = NULL, *same = NULL;
    const struct registry_plugin *owner = NULL;
    tsr_error err = {0};
    compile("good", "copy", "");
    CU_ASSERT_EQUAL_FATAL(open_folders("good", NULL, &registry, &err), TSR_OK);
    CU_ASSERT_EQUAL(registry_plugin_count(registry), 1);
    CU_ASSERT_EQUAL_FATAL(registry_codec(registry, "copy", &codec, &owner, &err), TSR_OK);
    CU_ASSERT_EQUAL(registry_codec(registry, "org.example.copy", &same, NULL, &err), TSR_OK);
    CU_ASSERT_PTR_EQUAL(codec, same);
    CU_ASSERT_EQUAL(strlen(owner->digest), 32);
    CU_ASSERT_PTR_NOT_NULL(strstr(owner->path, "tessera-codec-copy.so"));
    CU_ASSERT_PTR_EQUAL(registry_codec_at(registry, 0), codec);
    CU_ASSERT_PTR_NULL(registry_codec_at(registry, 1));
    CU_ASSERT_EQUAL(registry_codec(registry, "cpoy", &codec, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message, "unknown codec \"cpoy\"; did you mean \"copy\"?");
    registry_destroy(registry);
}

static void a_plugin_of_an_older_minor_is_used(void) {
    struct registry *registry = NULL;
    const tsr_codec *codec = NULL;
    compile("older", "copy",
            "-DVARIANT_CODEC_SIZE='offsetof(tsr_codec,get_extension)' "
            "-DVARIANT_PLUGIN_SIZE='offsetof(tsr_plugin,models)'");
    CU_ASSERT_EQUAL_FATAL(open_folders("older", NULL, &registry, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(registry_codec(registry, "copy", &codec, NULL, NULL), TSR_OK);
    CU_ASSERT_FALSE(TSR_HAS(codec, tsr_codec, get_extension));
    registry_destroy(registry);
}

static void a_plugin_of_a_newer_minor_is_used(void) {
    struct registry *registry = NULL;
    const tsr_codec *codec = NULL;
    compile("newer", "copy", "-DVARIANT_CODEC_SIZE='sizeof(tsr_codec)+16'");
    CU_ASSERT_EQUAL_FATAL(open_folders("newer", NULL, &registry, NULL), TSR_OK);
    CU_ASSERT_EQUAL(registry_codec(registry, "copy", &codec, NULL, NULL), TSR_OK);
    registry_destroy(registry);
}

struct refusal {
    const char *name, *options, *words;
};

static void wrong_plugins_are_refused_in_one_line(void) {
    static const struct refusal REFUSALS[] = {
        {"major", "-DTSR_PLUGIN_NAME=tsr_plugin_v3", "made for plugin ABI 3, this program has ABI 1"},
        {"symbol", "-DTSR_PLUGIN_NAME=another_name", "exports no symbol tsr_plugin_v1"},
        {"small", "-DVARIANT_CODEC_SIZE=8", "a codec has struct_size 8, expected"},
        {"odd", "-DVARIANT_CODEC_SIZE='sizeof(tsr_codec)+3'", "a codec has struct_size"},
        {"huge", "-DVARIANT_PLUGIN_SIZE=UINT64_MAX", "the plugin table has struct_size"},
        {"none", "-DVARIANT_PLUGIN_SIZE=0", "the plugin table has struct_size 0"},
        {"decode", "-DVARIANT_DECODE=NULL", "codec org.example.copy: operation decode is missing"},
        {"id", "-DVARIANT_ID='\"copy\"'", "codec id \"copy\" is not of the form org.example.name"},
        {"null", "-DVARIANT_ID=NULL", "codec id \"(null)\""},
        {"name", "-DVARIANT_NAME='\"Copy\"'", "name \"Copy\" is not"},
        {"flags", "-DVARIANT_FLAGS='(UINT64_C(1)<<40|1)'", "needs a host that knows flags 0x10000000000"},
        {"purpose", "-DVARIANT_FLAGS=3", "expected one of exact, reconstruct, signature"},
        {"dtypes", "-DVARIANT_DTYPES=0", "dtypes 0 do not go with input form 0"},
        {"input", "-DVARIANT_INPUT=TSR_INPUT_F32", "do not go with input form 1"},
        {"default", "-DVARIANT_DEFAULT='\"10\"'", "default: parameter \"level\": 10 is outside 0..9"},
        {"twice", "-DVARIANT_TWICE", "codec org.example.copy is there twice"},
        {"nothing", "-DVARIANT_NOTHING", "offers neither codec nor model"},
        {"unresolved", "-DVARIANT_UNRESOLVED", "cannot be loaded: undefined symbol: nowhere_defined"},
    };
    for (unsigned i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        struct registry *registry = NULL;
        compile(REFUSALS[i].name, "wrong", REFUSALS[i].options);
        last_log[0] = '\0';
        CU_ASSERT_EQUAL_FATAL(open_folders(REFUSALS[i].name, NULL, &registry, NULL), TSR_OK);
        const struct registry_plugin *plugin = registry_plugin_at(registry, 0);
        CU_ASSERT_PTR_NULL(plugin->plugin);
        CU_ASSERT_PTR_NOT_NULL_FATAL(plugin->refusal);
        if (!strstr(plugin->refusal, REFUSALS[i].words)) printf("  %s: %s\n", REFUSALS[i].name, plugin->refusal);
        CU_ASSERT_PTR_NOT_NULL(strstr(plugin->refusal, REFUSALS[i].words));
        CU_ASSERT_PTR_NULL(strchr(plugin->refusal, '\n'));
        CU_ASSERT_PTR_NOT_NULL(strstr(last_log, plugin->refusal));
        CU_ASSERT_PTR_NULL(registry_codec_at(registry, 0));
        registry_destroy(registry);
    }
}

static void write_file(const char *folder, const char *name, const char *bytes, uint64_t size) {
    char path[200];
    struct fs_output output = {0};
    snprintf(path, sizeof path, "%s/%s", root, folder);
    CU_ASSERT_EQUAL(fs_make_folder(path, NULL), TSR_OK);
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
    CU_ASSERT_EQUAL_FATAL(fs_create(path, &output, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_write(&output, bytes, size, NULL), TSR_OK);
    CU_ASSERT_EQUAL(fs_finish(&output, NULL), TSR_OK);
}

/* Cut at many lengths a library is refused, or whole enough to work; the host lives. */
static void truncated_and_foreign_files_are_refused(void) {
    struct registry *registry = NULL;
    char path[200], *bytes = NULL;
    uint64_t size = 0, refused = 0;
    compile("whole", "copy", "");
    snprintf(path, sizeof path, "%s/whole/tessera-codec-copy.so", root);
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(path, 1 << 24, &bytes, &size, NULL), TSR_OK);
    for (uint64_t i = 0; i < 40; i++) {
        char name[64];
        snprintf(name, sizeof name, "tessera-codec-%llu.so", (unsigned long long)i);
        write_file("cut", name, bytes, size * i / 80); /* half the file is section tables, which nobody needs */
    }
    write_file("cut", "tessera-codec-text.so", "hello, this is a text and no library. It is longer than an ELF header.",
               70);
    write_file("cut", "tessera-codec-empty.so", "", 0);
    write_file("cut", "other.so", "not looked at", 13);
    CU_ASSERT_EQUAL_FATAL(open_folders("cut", NULL, &registry, NULL), TSR_OK);
    CU_ASSERT_EQUAL(registry_plugin_count(registry), 42);
    for (uint64_t i = 0; i < registry_plugin_count(registry); i++) refused += !registry_plugin_at(registry, i)->plugin;
    CU_ASSERT_EQUAL(refused, 42);
    registry_destroy(registry);
    free(bytes);
}

static void two_of_one_id_in_one_folder_are_an_error(void) {
    struct registry *registry = NULL;
    tsr_error err = {0};
    compile("double", "a", "");
    compile("double", "b", "");
    CU_ASSERT_EQUAL(open_folders("double", NULL, &registry, &err), TSR_E_PLUGIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "org.example.copy is in two plugins: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "tessera-codec-a.so and "));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "tessera-codec-b.so"));
}

static void the_first_folder_to_give_an_id_wins(void) {
    struct registry *registry = NULL;
    const struct registry_plugin *owner = NULL;
    const tsr_codec *codec = NULL;
    compile("first", "x", "");
    compile("second", "y", "");
    compile("second", "z", "-DVARIANT_ID='\"org.example.z\"' -DVARIANT_NAME='\"z\"'");
    CU_ASSERT_EQUAL_FATAL(open_folders("first", "second", &registry, NULL), TSR_OK);
    CU_ASSERT_EQUAL(registry_codec(registry, "copy", &codec, &owner, NULL), TSR_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(owner->path, "/first/"));
    CU_ASSERT_EQUAL(registry_codec(registry, "z", &codec, &owner, NULL), TSR_OK);
    CU_ASSERT_PTR_NULL(registry_codec_at(registry, 2));
    registry_destroy(registry);
}

static void one_folder_named_twice_is_read_once(void) {
    struct registry *registry = NULL;
    compile("once", "x", "");
    CU_ASSERT_EQUAL_FATAL(open_folders("once", "once/../once", &registry, NULL), TSR_OK);
    CU_ASSERT_EQUAL(registry_plugin_count(registry), 1);
    registry_destroy(registry);
}

static void linked_plugins_can_be_added(void) {
    struct registry *registry = NULL;
    const struct registry_plugin *owner = NULL;
    const tsr_codec *codec = NULL;
    CU_ASSERT_EQUAL_FATAL(registry_create(NULL, 0, &env, &registry, NULL), TSR_OK);
    CU_ASSERT_EQUAL(registry_add(registry, &tsr_plugin_variant, NULL), TSR_OK);
    CU_ASSERT_EQUAL(registry_codec(registry, "copy", &codec, &owner, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(owner->path, "(built in)");
    CU_ASSERT_STRING_EQUAL(owner->digest, "");
    registry_destroy(registry);
}

static void folders_come_in_order(void) {
    struct arena arena = {0};
    const char *folders[8];
    setenv("TESSERA_PLUGIN_PATH", "/a:/b::", 1);
    CU_ASSERT_EQUAL(registry_default_folders(&arena, "/flag", folders, 8), 5);
    CU_ASSERT_STRING_EQUAL(folders[0], "/flag");
    CU_ASSERT_STRING_EQUAL(folders[1], "/a");
    CU_ASSERT_STRING_EQUAL(folders[2], "/b");
    CU_ASSERT_PTR_NOT_NULL(strstr(folders[3], "/../lib/tessera"));
    CU_ASSERT_EQUAL(registry_default_folders(&arena, NULL, folders, 1), 1);
    unsetenv("TESSERA_PLUGIN_PATH");
    arena_clear(&arena);
}

static const struct unit_test TESTS[] = {
    {"a_plugin_is_found_by_name_and_id", a_plugin_is_found_by_name_and_id},
    {"a_plugin_of_an_older_minor_is_used", a_plugin_of_an_older_minor_is_used},
    {"a_plugin_of_a_newer_minor_is_used", a_plugin_of_a_newer_minor_is_used},
    {"wrong_plugins_are_refused_in_one_line", wrong_plugins_are_refused_in_one_line},
    {"truncated_and_foreign_files_are_refused", truncated_and_foreign_files_are_refused},
    {"two_of_one_id_in_one_folder_are_an_error", two_of_one_id_in_one_folder_are_an_error},
    {"the_first_folder_to_give_an_id_wins", the_first_folder_to_give_an_id_wins},
    {"one_folder_named_twice_is_read_once", one_folder_named_twice_is_read_once},
    {"linked_plugins_can_be_added", linked_plugins_can_be_added},
    {"folders_come_in_order", folders_come_in_order},
};

int main(void) {
    snprintf(root, sizeof root, "/tmp/tessera-registry-XXXXXX");
    if (!mkdtemp(root)) return 1;
    env = (struct env){.pool = pool_create(1), .log = note_log};
    int result = unit_run(__FILE__, TESTS, (unsigned)(sizeof TESTS / sizeof *TESTS));
    pool_destroy(env.pool);
    fs_remove_tree(root, NULL);
    return result;
}
