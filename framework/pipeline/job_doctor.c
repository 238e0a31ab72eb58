/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor: gathers facts, and says of each thing that is wrong what to do about it. An error is what keeps this program from
 * its work, a warning what a part of it has to do without. */
#include "job_doctor.h"

#include "machine.h"

#include <base/alloc.h>
#include <base/arena.h>
#include <base/digest.h>
#include <base/fs.h>
#include <base/pool.h>
#include <base/str.h>
#include <format/libraries.h>
#include <numeric/paths.h>
#include <reading/members.h>
#include <string.h>
#include <tessera/version.h>
#include <unistd.h>

#define FOLDERS_MAX 64
#define DISK_LOW ((uint64_t)1 << 30)
#define MEMORY_LOW ((uint64_t)512 << 20)

struct examining {
    const struct job_doctor_options *options;
    const struct job_paths *paths;
    const struct env *env;
    struct members whole, findings;
    bool ok;
};

enum weight { WEIGHT_WARNING, WEIGHT_ERROR };

static void find(struct examining *e, enum weight weight, const char *what, const char *hint) {
    struct members finding = members_object();
    members_text(&finding, "level", weight == WEIGHT_ERROR ? "error" : "warning");
    members_text(&finding, "what", what);
    members_text(&finding, "hint", hint);
    members_append(&e->findings, &finding);
    if (weight == WEIGHT_ERROR) e->ok = false;
}

/* ---- libraries and kernels ---- */

static void add_library(struct members *list, const char *name, const char *version) {
    struct members library = members_object();
    members_text(&library, "name", name);
    members_text(&library, "version", *version ? version : NULL);
    members_append(list, &library);
}

static void add_libraries(struct examining *e) {
    struct members list = members_list();
    const char *version, *kernels;
    char text[64];
    unsigned xxhash = digest_library_version();
    for (unsigned i = 0; i < FORMAT_LIBRARIES; i++) {
        const char *name = format_library(i, text, sizeof text, &version);
        add_library(&list, name, version);
        if (!*version) {
            find(e, WEIGHT_WARNING, "this build goes without libsndfile: no sound files are read or written",
                 "install libsndfile1-dev and build again");
        }
    }
    (void)snprintf(text, sizeof text, "%u.%u.%u", xxhash / 10000, xxhash / 100 % 100, xxhash % 100);
    add_library(&list, "xxhash", text);
    const char *blas = numeric_blas(&kernels); /* "OpenBLAS 0.3.21 ..." and how it was built */
    size_t name = strcspn(blas, " ");
    (void)snprintf(text, sizeof text, "%.*s", (int)(name + (blas[name] ? 1 + strcspn(blas + name + 1, " ") : 0)), blas);
    add_library(&list, "BLAS", text);
    members_nest(&e->whole, "libraries", &list);
}

static void add_cpu(struct examining *e) {
    struct members cpu = members_object(), list = members_list();
    const char *chosen, *kernels;
    char name[MACHINE_CPU];
    machine_cpu(name);
    members_text(&cpu, "name", name);
    members_count(&cpu, "workers", pool_workers(e->env->pool));
    for (unsigned i = 0; i < NUMERIC_PATHS; i++) {
        struct members path = members_object();
        members_text(&path, "for", numeric_path(i, &chosen));
        members_text(&path, "kernels", chosen);
        members_append(&list, &path);
    }
    members_nest(&cpu, "paths", &list);
    (void)numeric_blas(&kernels);
    members_text(&cpu, "blas_kernels", kernels);
    members_nest(&e->whole, "cpu", &cpu);
}

/* ---- plugins ---- */

/* Both may be written in several ways: "bin/../lib" is "lib". */
static bool lies_in(const char *path, const char *folder) {
    char *real_path = fs_real_path(path), *real_folder = fs_real_path(folder);
    size_t length = real_folder ? strlen(real_folder) : 0;
    bool inside = real_path && length && !strncmp(real_path, real_folder, length) && real_path[length] == '/' &&
                  !strchr(real_path + length + 1, '/');
    mem_free(real_path);
    mem_free(real_folder);
    return inside;
}

static void add_plugin(struct examining *e, struct members *list, const struct registry_plugin *plugin) {
    struct members object = members_object();
    members_text(&object, "path", plugin->path);
    members_text(&object, "name", plugin->plugin ? plugin->plugin->name : NULL);
    members_text(&object, "refused", plugin->refusal);
    members_append(list, &object);
    if (!plugin->refusal) return;
    struct str what = {0};
    str_add_format(&what, "plugin %s is not used: %s", plugin->path, plugin->refusal);
    find(e, WEIGHT_WARNING, what.text ? what.text : "a plugin is not used", "build it against this version, or remove the file");
    str_clear(&what);
}

static void add_plugin_folder(struct examining *e, struct members *list, const char *name) {
    struct members folder = members_object(), plugins = members_list();
    const struct registry *registry = e->options->registry;
    members_text(&folder, "folder", name);
    members_bool(&folder, "there", fs_kind_of(name) == FS_FOLDER);
    for (uint64_t i = 0; registry && i < registry_plugin_count(registry); i++) {
        const struct registry_plugin *plugin = registry_plugin_at(registry, i);
        if (lies_in(plugin->path, name)) add_plugin(e, &plugins, plugin);
    }
    members_nest(&folder, "plugins", &plugins);
    members_append(list, &folder);
}

static void add_plugins(struct examining *e) {
    const struct job_doctor_options *options = e->options;
    struct members list = members_list();
    struct arena arena = {0};
    const char *folders[FOLDERS_MAX];
    uint64_t count = registry_default_folders(&arena, options->plugin_path, folders, FOLDERS_MAX);
    for (uint64_t i = 0; i < count; i++) add_plugin_folder(e, &list, folders[i]);
    arena_clear(&arena);
    members_nest(&e->whole, "plugin_folders", &list);
    if (!options->registry) {
        find(e, WEIGHT_ERROR, options->registry_failure, "remove one of the two");
    } else if (!registry_codec_at(options->registry, 0)) {
        find(e, WEIGHT_ERROR, "no codec was found: nothing can be compressed or read",
             "build with `make`, or name the folder of the plugins with --plugin-path or TESSERA_PLUGIN_PATH");
    } else if (!registry_model_at(options->registry, 0)) {
        find(e, WEIGHT_WARNING, "no model was found: gates and run will not work", "build with `make`");
    }
}

/* ---- data ---- */

static uint64_t count_yaml(const char *folder) {
    struct fs_list list = {0};
    uint64_t count = 0;
    if (fs_list(folder, false, &list, NULL) != TSR_OK) return 0;
    for (uint64_t i = 0; i < list.count; i++) count += text_ends_with(list.names[i], ".yaml");
    fs_list_clear(&list);
    return count;
}

static void add_data(struct examining *e, struct members *list, const char *kind, const char *const *folders, uint64_t count) {
    uint64_t all = 0;
    char what[128];
    for (uint64_t i = 0; i < count; i++) {
        struct members folder = members_object();
        uint64_t files = count_yaml(folders[i]);
        members_text(&folder, "kind", kind);
        members_text(&folder, "folder", folders[i]);
        members_bool(&folder, "there", fs_kind_of(folders[i]) == FS_FOLDER);
        members_count(&folder, "files", files);
        members_append(list, &folder);
        all += files;
    }
    if (all) return;
    (void)snprintf(what, sizeof what, "no %s were found", kind);
    find(e, WEIGHT_ERROR, what, "the program looks in ../share/tessera beside itself: install with `make install`, do not copy the program alone");
}

static void add_data_folders(struct examining *e) {
    struct members list = members_list();
    add_data(e, &list, "roles", e->paths->role_folders, e->paths->role_folder_count);
    add_data(e, &list, "configs", e->paths->config_folders, e->paths->config_folder_count);
    add_data(e, &list, "families", e->paths->family_folders, e->paths->family_folder_count);
    members_nest(&e->whole, "data_folders", &list);
}

/* ---- memory and disk ---- */

static void add_memory(struct examining *e) {
    struct machine_memory memory = machine_memory();
    struct members object = members_object();
    members_count(&object, "total", memory.total);
    members_count(&object, "available", memory.available);
    members_set(&object, "limit", memory.limit ? json_integer((json_int_t)memory.limit) : json_null());
    members_nest(&e->whole, "memory", &object);
    if (memory.available && memory.available < MEMORY_LOW) {
        find(e, WEIGHT_WARNING, "less than 512 MiB of memory are free", "give --memory, and fewer workers with -j");
    }
}

static void add_disk(struct examining *e) {
    struct members object = members_object();
    uint64_t available = fs_free_bytes(".");
    bool writable = access(".", W_OK) == 0;
    char *here = fs_real_path(".");
    members_text(&object, "folder", here);
    members_count(&object, "free", available);
    members_bool(&object, "writable", writable);
    members_nest(&e->whole, "disk", &object);
    if (available < DISK_LOW) {
        find(e, WEIGHT_WARNING, "less than 1 GiB is free on the disk of the current folder",
             "what is made on the way to an output is written beside it: name one on another disk with -o");
    }
    if (!writable) find(e, WEIGHT_WARNING, "the current folder cannot be written", "give -o a folder elsewhere");
    mem_free(here);
}

tsr_status job_doctor(const struct job_doctor_options *options, const struct job_paths *paths, const struct env *env,
                      json_t **result, tsr_error *err) {
    struct examining e = {.options = options, .paths = paths, .env = env, .whole = members_object(), .findings = members_list(), .ok = true};
    members_text(&e.whole, "version", TSR_VERSION);
    members_text(&e.whole, "compiler", __VERSION__);
    members_count(&e.whole, "abi_major", TSR_ABI_MAJOR);
    members_count(&e.whole, "abi_minor", TSR_ABI_MINOR);
    add_libraries(&e);
    add_plugins(&e);
    add_data_folders(&e);
    add_cpu(&e);
    add_memory(&e);
    add_disk(&e);
    members_nest(&e.whole, "findings", &e.findings);
    members_bool(&e.whole, "ok", e.ok);
    return members_finish(&e.whole, result, err);
}
