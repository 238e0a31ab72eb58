/* SPDX-License-Identifier: Apache-2.0
 *
 * The dynamic linker maps a file without asking whether it is all there: a library cut short would end the host with
 * SIGBUS. So the segments are checked against the file's size first. Flags: symbols are resolved now (a missing one is
 * an error here, not in the middle of a run), stay private to the plugin, and the library stays for the life of the
 * process, because pointers into it do. */
#include "loader.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/fs.h>
#include <base/str.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "descriptor.h"

#define MAJOR_SEARCHED 9 /* other majors that are looked for, to say what was found */

static tsr_status check_segment(const struct fs_file *file, uint64_t offset, tsr_error *err) {
    ElfW(Phdr) segment;
    tsr_status st = fs_read_at(file, offset, &segment, sizeof segment, err);
    if (st != TSR_OK) return st;
    uint64_t end;
    if (checked_add(segment.p_offset, segment.p_filesz, &end) && end <= file->size) return TSR_OK;
    return tsr_fail(err, TSR_E_PLUGIN, "a truncated shared library: a segment ends at %llu, the file at %llu",
                    (unsigned long long)end, (unsigned long long)file->size);
}

/* True to its headers as far as the linker's mapping goes; whether it fits this machine the linker says. */
static tsr_status check_elf(const struct fs_file *file, tsr_error *err) {
    ElfW(Ehdr) header;
    if (file->size < sizeof header) return tsr_fail(err, TSR_E_PLUGIN, "not a shared library: too short");
    tsr_status st = fs_read_at(file, 0, &header, sizeof header, err);
    if (st != TSR_OK) return st;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_phentsize != sizeof(ElfW(Phdr))) {
        return tsr_fail(err, TSR_E_PLUGIN, "not a shared library of this machine");
    }
    uint64_t table = (uint64_t)header.e_phnum * sizeof(ElfW(Phdr)), end;
    if (!checked_add(header.e_phoff, table, &end) || end > file->size) {
        return tsr_fail(err, TSR_E_PLUGIN, "a truncated shared library: no segment table");
    }
    for (uint64_t i = 0; i < header.e_phnum && st == TSR_OK; i++) {
        st = check_segment(file, header.e_phoff + i * sizeof(ElfW(Phdr)), err);
    }
    return st;
}

static tsr_status check_file(const char *path, tsr_error *err) {
    struct fs_file file = {0};
    tsr_status st = fs_open(path, &file, err);
    if (st == TSR_OK) st = check_elf(&file, err);
    fs_close(&file);
    return st;
}

static tsr_status no_symbol(void *library, tsr_error *err) {
    for (int major = 0; major <= MAJOR_SEARCHED; major++) {
        char symbol[32];
        snprintf(symbol, sizeof symbol, "tsr_plugin_v%d", major);
        if (!dlsym(library, symbol)) continue;
        return tsr_fail(err, TSR_E_PLUGIN, "made for plugin ABI %d, this program has ABI %d", major, TSR_ABI_MAJOR);
    }
    return tsr_fail(err, TSR_E_PLUGIN, "exports no symbol %s", TSR_PLUGIN_SYMBOL);
}

/* What the linker says begins with the path, which the caller names already. */
static tsr_status linker_says(const char *path, tsr_error *err) {
    const char *text = dlerror();
    if (!text) text = "unknown reason";
    if (text_starts_with(text, path)) text += strlen(path);
    while (*text == ':' || *text == ' ') text++;
    return tsr_fail(err, TSR_E_PLUGIN, "cannot be loaded: %s", text);
}

tsr_status loader_open(const char *path, const tsr_plugin **plugin, tsr_error *err) {
    tsr_status st = check_file(path, err);
    if (st != TSR_OK) return st;
    char *real = fs_real_path(path); /* a name without a slash would be looked for in the system's folders */
    if (!real) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a path");
    void *library = dlopen(real, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) st = linker_says(real, err);
    mem_free(real);
    if (st != TSR_OK) return st;
    const tsr_plugin *found = dlsym(library, TSR_PLUGIN_SYMBOL);
    if (!found) return no_symbol(library, err);
    st = descriptor_check(found, err);
    if (st == TSR_OK) *plugin = found;
    return st;
}
