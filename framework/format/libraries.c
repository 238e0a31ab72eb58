/* SPDX-License-Identifier: Apache-2.0
 *
 * Each library says its version in its own way. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "libraries.h"

#include <jansson.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>
#include <yaml.h>
#include <zstd.h>
#ifdef TSR_SNDFILE
#include <sndfile.h>
#endif

static const char *pcre2_version(char *buffer, size_t size) {
    char text[64] = "";
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) >= (int)sizeof text || pcre2_config(PCRE2_CONFIG_VERSION, text) < 0) return "?";
    (void)snprintf(buffer, size, "%.*s", (int)strcspn(text, " "), text); /* a date follows */
    return buffer;
}

static const char *sound_version(void) {
#ifdef TSR_SNDFILE
    const char *text = sf_version_string();
    return text + strcspn(text, "0123456789");
#else
    return "";
#endif
}

const char *format_library(unsigned index, char *buffer, size_t size, const char **version) {
    static const char *const names[FORMAT_LIBRARIES] = {"jansson", "libyaml", "zstd", "pcre2", "utf8proc", "libsndfile"};
    switch (index) {
    case 0: *version = jansson_version_str(); break;
    case 1: *version = yaml_get_version_string(); break;
    case 2: *version = ZSTD_versionString(); break;
    case 3: *version = pcre2_version(buffer, size); break;
    case 4: *version = utf8proc_version(); break;
    default: *version = sound_version();
    }
    return names[index];
}
