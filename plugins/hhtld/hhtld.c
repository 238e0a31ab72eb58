/* SPDX-License-Identifier: Apache-2.0
 *
 * hhtld (hierarchical heel-hip-twig-leaf distances): a signature of four bytes a row, an address in a tree of spherical
 * k-means and a certified distance from there; the family of inverted files with residual norms. It routes searches and
 * reconstructs nothing. This file is the plugin's face; README.md has formulas, bytes and measurements. */
#include "hhtld_block.h"
#include "hhtld_encode.h"
#include "hhtld_search.h"
#include "hhtld_train.h"

#include <tessera/ext/dictionary.h>
#include <tessera/plugin.h>

enum {
    PARAM_TWIG_SCOPE,
    PARAM_LEAVES,
    PARAM_FAMILIES,
    PARAM_GAIN,
    PARAM_LANES,
    PARAM_CENTRE,
    PARAM_TABLE,
    PARAM_ITERATIONS,
    PARAM_COUNT
};

enum { TILE_WEIGHTS = 1 << 18 };

static const char *const SCOPES[] = {"per_family", "flat", NULL};
static const char *const GAINS[] = {"leaf", "row", NULL};

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "twig_scope", "what TWIG counts: 256 leaves in each of 16 families, or 256 in all", "per_family",
     SCOPES, 0, 0, TSR_PARAM_CHOICE, 0},
    {sizeof(tsr_param), "leaves", "leaves of the tree; 0: one for eight rows, as many as fit", "0", NULL, 0, 4096,
     TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "families", "families (HIP) of the tree; 0: 16, fewer for few leaves", "0", NULL, 0, 16,
     TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "gain", "length along the leaf: one for the leaf, or two bytes for each row", "leaf", GAINS, 0, 0,
     TSR_PARAM_CHOICE, 0},
    {sizeof(tsr_param), "lanes", "bytes of Slot L for each row, and two for its own bound; 0: none", "0", NULL, 0,
     HHTLD_LANES_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "centre", "measure from the mean row instead of the origin", "true", NULL, 0, 0,
     TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "table", "store the cosines between leaves (flat) or families, by Fisher's z", "false", NULL, 0,
     0, TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "iterations", "rounds of k-means", "6", NULL, 0, 50, TSR_PARAM_INT, 0},
};

/* One of encoder and decoder is in use. */
struct hhtld {
    const tsr_host *host;
    const tsr_tensor *tensor;
    struct hhtld_settings settings;
    const uint8_t *dictionary; /* of the group, or NULL */
    uint64_t dictionary_bytes;
    uint8_t *own;              /* palette made by prepare */
    int32_t decoding;
    int32_t reserved;
    struct hhtld_encoder encoder;
    struct hhtld_decoder decoder;
};

static struct hhtld_settings settings_of(const tsr_param_value *params) {
    return (struct hhtld_settings){.families = (uint32_t)params[PARAM_FAMILIES].integer,
                                   .leaves = (uint32_t)params[PARAM_LEAVES].integer,
                                   .lanes = (uint32_t)params[PARAM_LANES].integer,
                                   .iterations = (uint32_t)params[PARAM_ITERATIONS].integer,
                                   .flat = params[PARAM_TWIG_SCOPE].integer == 1,
                                   .row_gain = params[PARAM_GAIN].integer == 1,
                                   .centre = params[PARAM_CENTRE].integer != 0,
                                   .table = params[PARAM_TABLE].integer != 0};
}

static const tsr_products *find_products(const tsr_host *host, tsr_error *err) {
    const tsr_products *products = host->get_extension(host, TSR_PRODUCTS_ID);
    if (products && TSR_HAS(products, tsr_products, dot_codes)) return products;
    (void)tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld: the host does not lend %s", TSR_PRODUCTS_ID);
    return NULL;
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    const struct hhtld_settings settings = settings_of(setup->params);
    struct hhtld_shape shape;
    if (setup->tensor->columns > TILE_WEIGHTS) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld: rows of %llu columns, expected at most %d",
                        (unsigned long long)setup->tensor->columns, TILE_WEIGHTS);
    }
    if (!find_products(setup->host, err)) return TSR_E_UNSUPPORTED;
    return hhtld_train_plan(&settings, setup->tensor->rows, setup->tensor->columns,
                            TSR_CODEC_HEADER_MAX - HHTLD_HEADER_FIXED, &shape, err);
}

static void destroy(void *self) {
    struct hhtld *hhtld = self;
    if (!hhtld) return;
    if (hhtld->decoding)
        hhtld_palette_clear(hhtld->host, &hhtld->decoder.palette);
    else
        hhtld_encoder_clear(&hhtld->encoder);
    hhtld->host->free(hhtld->host, hhtld->own);
    hhtld->host->free(hhtld->host, hhtld);
}

static tsr_status open_header(struct hhtld *hhtld, const tsr_codec_setup *setup, tsr_error *err) {
    const uint8_t *header = setup->header;
    if (setup->header_bytes < HHTLD_HEADER_FIXED || header[0] > HHTLD_PALETTE_SHARED || header[1] > 3) {
        return tsr_fail(err, TSR_E_CORRUPT, "hhtld: header: cut short or numbers out of range");
    }
    const uint8_t *palette = header + HHTLD_HEADER_FIXED;
    uint64_t bytes = setup->header_bytes - HHTLD_HEADER_FIXED;
    if (header[0] == HHTLD_PALETTE_SHARED) {
        if (bytes) return tsr_fail(err, TSR_E_CORRUPT, "hhtld: header: bytes left over");
        if (!setup->dictionary) return tsr_fail(err, TSR_E_CORRUPT, "hhtld: the group's palette is missing");
        palette = setup->dictionary;
        bytes = setup->dictionary_bytes;
    }
    hhtld->decoder.heel = header[1];
    return hhtld_palette_read(setup->host, palette, bytes, setup->tensor->columns, &hhtld->decoder.palette, err);
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_products *products = find_products(host, err);
    *self = NULL;
    if (!products) return TSR_E_UNSUPPORTED;
    struct hhtld *hhtld = host->alloc(host, sizeof *hhtld);
    if (!hhtld) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for an instance");
    memset(hhtld, 0, sizeof *hhtld);
    hhtld->host = host;
    hhtld->tensor = setup->tensor;
    hhtld->decoding = setup->decoding;
    hhtld->settings = settings_of(setup->params);
    hhtld->encoder.host = hhtld->decoder.host = host;
    hhtld->encoder.products = hhtld->decoder.products = products;
    hhtld->dictionary = setup->dictionary;
    hhtld->dictionary_bytes = setup->dictionary_bytes;
    hhtld->encoder.heel = hhtld_heel(setup->role);
    tsr_status st = setup->decoding ? open_header(hhtld, setup, err) : can_encode(setup, err);
    if (st == TSR_OK)
        *self = hhtld;
    else
        destroy(hhtld);
    return st;
}

/* A palette of its own, for a tensor without a group. */
static tsr_status make_palette(struct hhtld *hhtld, const tsr_row_source *source, uint64_t *size, tsr_error *err) {
    const struct hhtld_member member = {source, hhtld->tensor->rows};
    const struct hhtld_training training = {.host = hhtld->host,
                                            .products = hhtld->encoder.products,
                                            .settings = hhtld->settings,
                                            .members = &member,
                                            .member_count = 1,
                                            .rows = hhtld->tensor->rows,
                                            .columns = hhtld->tensor->columns};
    struct hhtld_shape plan;
    tsr_status st = hhtld_train_plan(&hhtld->settings, training.rows, training.columns,
                                     TSR_CODEC_HEADER_MAX - HHTLD_HEADER_FIXED, &plan, err);
    return st == TSR_OK ? hhtld_train(&training, &plan, &hhtld->own, size, err) : st;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    struct hhtld *hhtld = self;
    uint64_t size = hhtld->dictionary_bytes;
    const uint8_t head[HHTLD_HEADER_FIXED] = {hhtld->dictionary ? HHTLD_PALETTE_SHARED : HHTLD_PALETTE_OWN,
                                              (uint8_t)hhtld->encoder.heel};
    tsr_status st = hhtld->dictionary ? TSR_OK : make_palette(hhtld, source, &size, err);
    if (st == TSR_OK) st = header->write(header->ctx, head, sizeof head, err);
    if (st == TSR_OK && hhtld->own) st = header->write(header->ctx, hhtld->own, size, err);
    if (st == TSR_OK) {
        st = hhtld_palette_read(hhtld->host, hhtld->own ? hhtld->own : hhtld->dictionary, size, hhtld->tensor->columns,
                                &hhtld->encoder.palette, err);
    }
    return st == TSR_OK ? hhtld_encoder_init(&hhtld->encoder, err) : st;
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    const struct hhtld *hhtld = self;
    const struct hhtld_palette *palette = &hhtld->encoder.palette;
    return tile->rows * hhtld_entry_bytes(palette->flags, palette->lane_count);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    const struct hhtld *hhtld = self;
    return hhtld_encode_tile(&hhtld->encoder, tile, src, dst, capacity, written, err);
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct hhtld *hhtld = self;
    return hhtld_decode_tile(&hhtld->decoder, tile, src, size, dst, err);
}

/* ---- search ---- */

static tsr_status search_open(void *self, const tsr_signature_source *source, void **search, tsr_error *err) {
    const struct hhtld *hhtld = self;
    return hhtld_search_open(&hhtld->decoder, hhtld->tensor->rows, source, search, err);
}

static void search_close(void *self, void *search) {
    const struct hhtld *hhtld = self;
    hhtld_search_close(&hhtld->decoder, search);
}

static tsr_status search_rows(void *self, void *search, const tsr_search_request *request, uint64_t *rows,
                              double *score, uint64_t *found, tsr_search_stats *stats, tsr_error *err) {
    const struct hhtld *hhtld = self;
    return hhtld_search_run(&hhtld->decoder, search, request, rows, score, found, stats, err);
}

static uint64_t index_bytes(const tsr_codec_setup *setup) {
    const struct hhtld_settings settings = settings_of(setup->params);
    const tsr_tensor *tensor = setup->tensor;
    struct hhtld_shape plan;
    tsr_status st = hhtld_train_plan(&settings, tensor->rows, tensor->columns,
                                     TSR_CODEC_HEADER_MAX - HHTLD_HEADER_FIXED, &plan, NULL);
    if (st != TSR_OK) return 0;
    return HHTLD_HEADER_FIXED + hhtld_palette_bytes(&plan) + tensor->rows * hhtld_entry_bytes(plan.flags, plan.lane_count);
}

static const tsr_signature SIGNATURE = {sizeof(tsr_signature), search_open, search_close, search_rows, index_bytes};

/* ---- palettes of groups ---- */

static tsr_status group_plan(const tsr_dictionary_member *members, uint64_t count, struct hhtld_training *training,
                             struct hhtld_shape *plan, tsr_error *err) {
    training->columns = members[0].setup->tensor->columns;
    training->settings = settings_of(members[0].setup->params);
    for (uint64_t i = 0; i < count; i++) {
        const tsr_tensor *tensor = members[i].setup->tensor;
        training->rows += tensor->rows;
        if (tensor->columns == training->columns) continue;
        return tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld: %.80s has rows of %llu columns, %.80s of %llu: no palette serves both",
                        tensor->name, (unsigned long long)tensor->columns, members[0].setup->tensor->name,
                        (unsigned long long)training->columns);
    }
    return hhtld_train_plan(&training->settings, training->rows, training->columns, TSR_CODEC_HEADER_MAX, plan, err);
}

static tsr_status can_train(const tsr_dictionary_member *members, uint64_t count, uint64_t *bytes, tsr_error *err) {
    struct hhtld_training training = {0};
    struct hhtld_shape plan;
    if (count == 0) return tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld: a group without tensors");
    tsr_status st = group_plan(members, count, &training, &plan, err);
    if (st == TSR_OK) *bytes = hhtld_palette_bytes(&plan);
    return st;
}

static tsr_status train(const tsr_dictionary_member *members, uint64_t count, const tsr_writer *dictionary,
                        tsr_error *err) {
    struct hhtld_training training = {.member_count = count};
    struct hhtld_shape plan;
    uint8_t *bytes = NULL;
    uint64_t size = 0;
    if (count == 0) return tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld: a group without tensors");
    const tsr_host *host = training.host = members[0].setup->host;
    training.products = find_products(host, err);
    if (!training.products) return TSR_E_UNSUPPORTED;
    struct hhtld_member *list = host->alloc(host, count * sizeof *list);
    if (!list) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory to train");
    for (uint64_t i = 0; i < count; i++) {
        list[i] = (struct hhtld_member){members[i].rows, members[i].setup->tensor->rows};
    }
    training.members = list;
    tsr_status st = group_plan(members, count, &training, &plan, err);
    if (st == TSR_OK) st = hhtld_train(&training, &plan, &bytes, &size, err);
    if (st == TSR_OK) st = dictionary->write(dictionary->ctx, bytes, size, err);
    host->free(host, bytes);
    host->free(host, list);
    return st;
}

static const tsr_dictionary DICTIONARY = {sizeof(tsr_dictionary), can_train, train};

static const void *get_extension(const char *id) {
    if (!strcmp(id, TSR_SIGNATURE_ID)) return &SIGNATURE;
    return strcmp(id, TSR_DICTIONARY_ID) ? NULL : &DICTIONARY;
}

static const tsr_codec HHTLD = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.hhtld",
    .name = "hhtld",
    .description = "search index, 4 bytes a row: a tree address and a certified distance from there",
    .bitstream_version = HHTLD_BITSTREAM_VERSION,
    .bitstream_oldest = 1,
    .flags = TSR_CODEC_SIGNATURE | TSR_CODEC_ENCODE_PORTABLE | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .tile_weights = TILE_WEIGHTS,
    .input = TSR_INPUT_F32,
    .can_encode = can_encode,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
    .get_extension = get_extension,
};

static const tsr_codec *const CODECS[] = {&HHTLD, &hhtld_block_codec, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-hhtld",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
