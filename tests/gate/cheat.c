/* SPDX-License-Identifier: Apache-2.0
 *
 * A codec that cheats: its payload holds nothing, the weights stay in the memory of the process that encoded them. Within
 * that process every check finds a perfect reconstruction; in a fresh one it decodes to zeros. */
#include <stdlib.h>
#include <string.h>
#include <tessera/plugin.h>

#define TENSORS 4096

struct memory {
    char name[256];
    uint64_t tile;
    void *values;
};

static struct memory remembered[TENSORS];
static int count;

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    (void)err;
    *self = strdup(setup->tensor->name);
    return TSR_OK;
}

static void destroy(void *self) {
    free(self);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    (void)self;
    (void)tile;
    return 1;
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    (void)capacity;
    (void)err;
    int at = __sync_fetch_and_add(&count, 1) % TENSORS;
    strncpy(remembered[at].name, self, sizeof remembered[at].name - 1);
    remembered[at].tile = tile->index;
    remembered[at].values = malloc(tile->bytes);
    memcpy(remembered[at].values, src, tile->bytes);
    memset(dst, 0, 1);
    *written = 1;
    return TSR_OK;
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    (void)src;
    (void)size;
    (void)err;
    memset(dst, 0, tile->bytes);
    for (int i = 0; i < count && i < TENSORS; i++) {
        if (remembered[i].tile == tile->index && !strcmp(remembered[i].name, self)) memcpy(dst, remembered[i].values, tile->bytes);
    }
    return TSR_OK;
}

static const tsr_codec CODEC = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.example.cheat",
    .name = "cheat",
    .description = "keeps the weights outside of the payload",
    .bitstream_version = 1,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_RECONSTRUCT,
    .dtypes = TSR_DTYPES_FLOAT,
    .input = TSR_INPUT_F32,
    .create = create,
    .destroy = destroy,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
};

static const tsr_codec *const CODECS[] = {&CODEC, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "cheat",
    .version = "1",
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
