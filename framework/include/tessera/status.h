/* SPDX-License-Identifier: Apache-2.0
 *
 * How every operation that can fail reports: a status (0 or a stable negative number) and a caller-owned
 * 256-byte error. Nothing is allocated and no host symbol is needed, so host and plugins share this file.
 * Knows nothing of tensors, codecs or files. */
#ifndef TESSERA_STATUS_H
#define TESSERA_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t tsr_status;

/* Numbers never change meaning; new ones are added at the end. */
enum {
    TSR_OK = 0,
    TSR_E_ARGUMENT = -1,     /* the caller broke the contract of the function */
    TSR_E_CONFIG = -2,       /* a command line, config or parameter is wrong */
    TSR_E_INPUT = -3,        /* an input file is malformed */
    TSR_E_CORRUPT = -4,      /* stored bytes are damaged: checksum or bitstream */
    TSR_E_UNSUPPORTED = -5,  /* well-formed, but this build or codec cannot do it */
    TSR_E_LIMIT = -6,        /* a documented limit is exceeded */
    TSR_E_NOMEM = -7,        /* an allocation failed */
    TSR_E_IO = -8,           /* the operating system refused a file operation */
    TSR_E_BUSY = -9,         /* another process holds the lock */
    TSR_E_CANCELLED = -10,   /* the user interrupted */
    TSR_E_GATE = -11,        /* a quality gate said no */
    TSR_E_PLUGIN = -12,      /* a plugin misbehaves or cannot be loaded */
    TSR_E_SPACE = -13,       /* the caller's buffer is too small */
    TSR_STATUS_LAST = -13    /* a plugin that returns less than this, or a positive number, misbehaves */
};

#define TSR_ERROR_TEXT 240

/* Filled on failure only. `offset` is a byte position in the input, or TSR_NO_OFFSET. Frozen at 256 bytes. */
typedef struct tsr_error {
    int32_t code;
    int32_t reserved;
    uint64_t offset;
    char message[TSR_ERROR_TEXT];
} tsr_error;

#define TSR_NO_OFFSET UINT64_MAX

#ifdef __cplusplus
static_assert(sizeof(tsr_error) == 256, "tsr_error is frozen at 256 bytes");
#else
_Static_assert(sizeof(tsr_error) == 256, "tsr_error is frozen at 256 bytes");
#endif

#if defined(__GNUC__)
#define TSR_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#else
#define TSR_PRINTF(format_index, first_index)
#endif

/* Fills `err` (which may be NULL) and returns `code`. The message names the subject, what was found and what
 * was expected, without a trailing full stop; longer text is cut at 239 bytes. [any] */
static inline tsr_status tsr_fail(tsr_error *err, tsr_status code, const char *format, ...) TSR_PRINTF(3, 4);

static inline tsr_status tsr_fail(tsr_error *err, tsr_status code, const char *format, ...) {
    if (err) {
        va_list arguments;
        err->code = code;
        err->reserved = 0;
        err->offset = TSR_NO_OFFSET;
        va_start(arguments, format);
        (void)vsnprintf(err->message, sizeof err->message, format, arguments);
        va_end(arguments);
    }
    return code;
}

/* True when the table `p` was built with `member` and has it set. Use for optional operations only. */
#define TSR_HAS(p, type, member) \
    ((p)->struct_size >= offsetof(type, member) + sizeof((p)->member) && (p)->member)

#ifdef __cplusplus
}
#endif
#endif
