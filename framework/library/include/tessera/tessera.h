/* SPDX-License-Identifier: Apache-2.0
 *
 * libtessera: checkpoints, raw (.safetensors) or compressed by Tessera, for other programs. Open one, list its tensors, read
 * a tensor or some of its rows into your own memory, verify, compress, decompress. Nothing else is promised to the
 * outside; the headers beside this one are for plugins.
 *
 *   Threads     [any]: from any thread at any time. [library]: from any thread, but calls on one tsr_library, and on the
 *               checkpoints opened with it, take turns: the second waits for the first. Two libraries work at the same
 *               time and share nothing. A library does not survive fork(): create one in the child.
 *   Ownership   What a function creates is yours until you give it to the function named beside it. Strings inside of
 *               structs are borrowed, until their owner goes. Arguments are read during the call only.
 *   Errors      TSR_OK or a TSR_E_* number (status.h). `err` may be NULL; it is filled on failure only, with one line
 *               that names the subject, what was found and what was expected. On failure outputs are untouched
 *               unless said otherwise, and everything can still be used and closed.
 *   Structs     Set struct_size to sizeof before the call and zero the rest: members are only ever added at the end.
 *   Process     No function prints, exits, changes the locale, or touches signal handlers. During a call the calling thread
 *               has the "C" locale, also inside of callbacks. Kept between libraries are loaded plugins, and the allocator that
 *               jansson is given (it remembers that memory was short, and is malloc otherwise).
 *
 * Plugins are looked for in options.plugin_path, in TESSERA_PLUGIN_PATH (not when setuid), in the folder tessera/ beside
 * libtessera.so (or ../lib/tessera, seen from a program that has the library inside), and in the installed folder. */
#ifndef TESSERA_TESSERA_H
#define TESSERA_TESSERA_H

#include <tessera/status.h>
#include <tessera/tensor.h>
#include <tessera/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Number in the soname. Grows with every change that old programs could not live with. */
#define TSR_LIBRARY_ABI 0

#if defined(__GNUC__)
#define TSR_API __attribute__((visibility("default")))
#else
#define TSR_API
#endif

/* ---- the library ---- */

typedef struct tsr_library tsr_library;

/* Progress of one stage of a call. Strings are valid during the callback. */
typedef struct tsr_progress {
    uint64_t struct_size;
    const char *stage;   /* "read", "verify", "encode" ... */
    const char *subject; /* tensor or file just finished, or NULL */
    uint64_t done_bytes;
    uint64_t total_bytes;
    uint64_t done_items;
    uint64_t total_items;
} tsr_progress;

typedef struct tsr_library_options {
    uint64_t struct_size;
    uint64_t workers;        /* threads that work during a call, the caller's included; 0: as many as processors */
    uint64_t memory_bytes;   /* bound on what a call allocates, roughly; 0: none */
    const char *plugin_path; /* a folder that is searched first, or NULL */
    const char *roles_path;  /* a folder of role files that is searched first, or NULL */
    void *ctx;               /* handed to the callbacks */
    /* One line without a newline, level TSR_LOG_* of host.h (0 error ... 3 debug). From any thread, also at once. NULL:
     * silence. Must not call into libtessera. */
    void (*log)(void *ctx, int32_t level, const char *text);
    /* From any thread, never two at once; anything but 0 stops the call, which then returns TSR_E_CANCELLED. NULL: nobody
     * listens. Must not call into libtessera, except tsr_library_cancel. */
    int32_t (*progress)(void *ctx, const tsr_progress *progress);
} tsr_library_options;

/* "0.1.0", of the library that runs. [any] */
TSR_API const char *tsr_version(void);

/* Starts workers. `options` may be NULL. Plugins are loaded when they are first needed. TSR_E_NOMEM when the system gives
 * no memory or threads. Give back with tsr_library_destroy. [any] */
TSR_API tsr_status tsr_library_create(const tsr_library_options *options, tsr_library **library, tsr_error *err);

/* Ends the workers. No call may be running and no checkpoint of it be open; NULL is allowed. */
TSR_API void tsr_library_destroy(tsr_library *library);

/* With `stop` not 0: calls that run, and all later ones, return TSR_E_CANCELLED soon, until it is called with 0. May be
 * called in a signal handler. [any] */
TSR_API void tsr_library_cancel(tsr_library *library, int32_t stop);

/* Frees a text that one of the functions below made; NULL is allowed. [any] */
TSR_API void tsr_text_free(char *text);

/* ---- checkpoints ---- */

typedef struct tsr_checkpoint tsr_checkpoint;

/* Opens a folder in the Hugging Face layout or one .safetensors file, raw or compressed. TSR_E_INPUT when it is malformed,
 * TSR_E_CORRUPT when a compressed one contradicts itself. Tensor data is not looked at. Give back with
 * tsr_checkpoint_close, before the library. [library] */
TSR_API tsr_status tsr_checkpoint_open(tsr_library *library, const char *path, tsr_checkpoint **checkpoint,
                                       tsr_error *err);
/* NULL is allowed. No call on the checkpoint may be running. */
TSR_API void tsr_checkpoint_close(tsr_checkpoint *checkpoint);

/* 1 when it was compressed by Tessera, else 0. [any] */
TSR_API int32_t tsr_checkpoint_is_compressed(const tsr_checkpoint *checkpoint);
/* Number of tensors. [any] */
TSR_API uint64_t tsr_checkpoint_count(const tsr_checkpoint *checkpoint);

/* One tensor as the source had it. A row is one index of the first extent; a scalar has one row. */
typedef struct tsr_tensor_info {
    uint64_t struct_size;
    const char *name;       /* tensors of subfolders: with the folder in front */
    const char *dtype_name; /* as in the file: "BF16" */
    const char *role;       /* what it is for, or NULL: known of compressed checkpoints only */
    const char *alias_of;   /* name of the tensor that holds the same bytes and is stored for both, or NULL */
    uint64_t rank;
    uint64_t shape[TSR_RANK_MAX];
    uint64_t bytes;     /* in the source dtype */
    uint64_t rows;      /* that tsr_read can cut between */
    uint64_t row_bytes; /* 0 when the rows are no whole bytes: only all can be read */
    uint64_t f32_bytes; /* as F32; 0 when it cannot be read so (it can from F32, F16, BF16) */
    uint64_t stored_bytes;
    int32_t dtype;      /* TSR_DTYPE_* */
    int32_t exact;      /* 1: reading gives the bytes of the source */
} tsr_tensor_info;

/* Fills `info` for tensor `index`, in the order of the source files and of offsets within a file. Strings live as long as
 * the checkpoint. TSR_E_ARGUMENT for an index that is not there. [any] */
TSR_API tsr_status tsr_checkpoint_tensor(const tsr_checkpoint *checkpoint, uint64_t index, tsr_tensor_info *info,
                                         tsr_error *err);
/* Index of the tensor of that name. TSR_E_INPUT when there is none. [any] */
TSR_API tsr_status tsr_checkpoint_find(const tsr_checkpoint *checkpoint, const char *name, uint64_t *index,
                                       tsr_error *err);

enum {
    TSR_FORM_SOURCE = 0, /* the dtype of the source */
    TSR_FORM_F32 = 1
};
#define TSR_ALL_ROWS UINT64_MAX

/* What to read and where to. */
typedef struct tsr_read {
    uint64_t struct_size;
    uint64_t tensor;    /* index */
    uint64_t first_row;
    uint64_t row_count; /* TSR_ALL_ROWS: all from first_row on */
    void *dst;          /* dense, row-major as in the source; aligned as its elements */
    uint64_t dst_bytes; /* room; more than is needed is allowed */
    int32_t form;       /* TSR_FORM_* */
    int32_t reserved;   /* 0 */
} tsr_read;

/* Carries out reads[count], many tensors at once, decoding only tiles that are asked for. Each stored tile is checked against
 * its checksum. TSR_E_SPACE when a dst is too small, TSR_E_ARGUMENT for rows or tensors that are not there,
 * TSR_E_UNSUPPORTED for a dtype that has no such form, TSR_E_CORRUPT for damage. All requests are checked before the first
 * byte is written; after a later failure the contents of all dst are undefined. [library] */
TSR_API tsr_status tsr_checkpoint_read(tsr_checkpoint *checkpoint, const tsr_read *reads, uint64_t count,
                                       tsr_error *err);

/* ---- jobs ----
 *
 * Each gives a result as JSON, in UTF-8, whose members docs/cli.md documents: it is what the program prints with --json. `json`
 * may be NULL; *json is NULL when there is no result. Free it with tsr_text_free. */

/* What is in a checkpoint: files, tensors with roles, duplicates, totals. [library] */
TSR_API tsr_status tsr_inspect(tsr_library *library, const char *model, char **json, tsr_error *err);

/* Checks every checksum of a compressed folder and decodes every tile. TSR_E_CORRUPT when anything is damaged; *json then
 * lists all of it. [library] */
TSR_API tsr_status tsr_verify(tsr_library *library, const char *path, char **json, tsr_error *err);

typedef struct tsr_compress_options {
    uint64_t struct_size;
    const char *model;  /* folder or .safetensors file */
    const char *output; /* folder to be made */
    const char *config; /* file, name of an installed profile, or NULL: lossless */
    const char *stats;  /* what `tessera calibrate` wrote, or NULL */
    const char *store;  /* folder of encoded tensors that runs share, or NULL */
    const char *record; /* file that keeps what came of it, or NULL */
    /* The program that runs the gates of a config; NULL: bin/tessera of the installation that the library is in. */
    const char *gate_program;
    uint64_t max_shard_bytes; /* 0: files as in the source */
    uint64_t shard;           /* 1..shard_count: encode this share only, into output.shard-I-of-N */
    uint64_t shard_count;     /* 0: no shares */
    uint64_t merge;           /* put the parts of so many shares together, or 0 */
    int32_t force;            /* 1: an existing output is replaced */
    int32_t restart;          /* 1: an unfinished run is thrown away, not resumed */
    int32_t publish_anyway;   /* 1: published even if a gate fails */
    int32_t reserved;         /* 0 */
    const char *probe_text;   /* text on which outputs are compared while a budget is settled, or NULL: the config's */
    double target_kld;        /* above 0: the budget, whatever the config says: nats a position, at most */
} tsr_compress_options;

/* Plans, encodes, verifies what was written from disk, runs the gates of the config, publishes by a rename. A call that was
 * cancelled is resumed by the same call. *json is the receipt; with TSR_E_GATE, when nothing was published, what the gates
 * found. [library] */
TSR_API tsr_status tsr_compress(tsr_library *library, const tsr_compress_options *options, char **json, tsr_error *err);

typedef struct tsr_decompress_options {
    uint64_t struct_size;
    const char *path;        /* a compressed folder */
    const char *destination; /* folder to be made */
    uint64_t stage_limit;    /* codecs of a stack to use, 0 for all */
    uint64_t codec_level;    /* parts that progressive codecs use, 0 for all */
    int32_t force;           /* 1: what is there is replaced */
    int32_t exact;           /* 1: TSR_E_CONFIG unless all tensors come back bit for bit */
} tsr_decompress_options;

/* Back to plain safetensors, every source file under its own name. [library] */
TSR_API tsr_status tsr_decompress(tsr_library *library, const tsr_decompress_options *options, char **json,
                                  tsr_error *err);

#ifdef __cplusplus
}
#endif
#endif
