# SPDX-License-Identifier: Apache-2.0
"""tessera/tessera.h for ctypes. Structs and functions are in the order of the header; ctypes lets other threads run
during a call."""
from __future__ import annotations

import ctypes
import os
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_int32, c_uint64, c_void_p
from pathlib import Path

RANK_MAX = 8
ALL_ROWS = 2**64 - 1
FORM_SOURCE, FORM_F32 = 0, 1
LIBRARY_ABI = 0


class Error(Structure):
    _fields_ = [("code", c_int32), ("reserved", c_int32), ("offset", c_uint64), ("message", c_char * 240)]


class Progress(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("stage", c_char_p),
        ("subject", c_char_p),
        ("done_bytes", c_uint64),
        ("total_bytes", c_uint64),
        ("done_items", c_uint64),
        ("total_items", c_uint64),
    ]


LOG_CALLBACK = CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
PROGRESS_CALLBACK = CFUNCTYPE(c_int32, c_void_p, POINTER(Progress))


class LibraryOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("workers", c_uint64),
        ("memory_bytes", c_uint64),
        ("plugin_path", c_char_p),
        ("roles_path", c_char_p),
        ("ctx", c_void_p),
        ("log", LOG_CALLBACK),
        ("progress", PROGRESS_CALLBACK),
    ]


class TensorInfo(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("name", c_char_p),
        ("dtype_name", c_char_p),
        ("role", c_char_p),
        ("alias_of", c_char_p),
        ("rank", c_uint64),
        ("shape", c_uint64 * RANK_MAX),
        ("bytes", c_uint64),
        ("rows", c_uint64),
        ("row_bytes", c_uint64),
        ("f32_bytes", c_uint64),
        ("stored_bytes", c_uint64),
        ("dtype", c_int32),
        ("exact", c_int32),
    ]


class Read(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("tensor", c_uint64),
        ("first_row", c_uint64),
        ("row_count", c_uint64),
        ("dst", c_void_p),
        ("dst_bytes", c_uint64),
        ("form", c_int32),
        ("reserved", c_int32),
    ]


class CompressOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("model", c_char_p),
        ("output", c_char_p),
        ("config", c_char_p),
        ("stats", c_char_p),
        ("store", c_char_p),
        ("record", c_char_p),
        ("gate_program", c_char_p),
        ("max_shard_bytes", c_uint64),
        ("shard", c_uint64),
        ("shard_count", c_uint64),
        ("merge", c_uint64),
        ("force", c_int32),
        ("restart", c_int32),
        ("publish_anyway", c_int32),
        ("reserved", c_int32),
        ("probe_text", c_char_p),
        ("target_kld", c_double),
    ]


class DecompressOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("path", c_char_p),
        ("destination", c_char_p),
        ("stage_limit", c_uint64),
        ("codec_level", c_uint64),
        ("force", c_int32),
        ("exact", c_int32),
    ]


_LIBRARY, _CHECKPOINT, _TEXT = c_void_p, c_void_p, POINTER(c_void_p)
_FUNCTIONS = {
    "tsr_version": (c_char_p, []),
    "tsr_library_create": (c_int32, [POINTER(LibraryOptions), POINTER(_LIBRARY), POINTER(Error)]),
    "tsr_library_destroy": (None, [_LIBRARY]),
    "tsr_library_cancel": (None, [_LIBRARY, c_int32]),
    "tsr_text_free": (None, [c_void_p]),
    "tsr_checkpoint_open": (c_int32, [_LIBRARY, c_char_p, POINTER(_CHECKPOINT), POINTER(Error)]),
    "tsr_checkpoint_close": (None, [_CHECKPOINT]),
    "tsr_checkpoint_is_compressed": (c_int32, [_CHECKPOINT]),
    "tsr_checkpoint_count": (c_uint64, [_CHECKPOINT]),
    "tsr_checkpoint_tensor": (c_int32, [_CHECKPOINT, c_uint64, POINTER(TensorInfo), POINTER(Error)]),
    "tsr_checkpoint_read": (c_int32, [_CHECKPOINT, POINTER(Read), c_uint64, POINTER(Error)]),
    "tsr_inspect": (c_int32, [_LIBRARY, c_char_p, _TEXT, POINTER(Error)]),
    "tsr_verify": (c_int32, [_LIBRARY, c_char_p, _TEXT, POINTER(Error)]),
    "tsr_compress": (c_int32, [_LIBRARY, POINTER(CompressOptions), _TEXT, POINTER(Error)]),
    "tsr_decompress": (c_int32, [_LIBRARY, POINTER(DecompressOptions), _TEXT, POINTER(Error)]),
}


def _load() -> ctypes.CDLL:
    name = f"libtessera.so.{LIBRARY_ABI}"
    inside = Path(__file__).parent / "_native" / "lib" / name
    path = os.environ.get("TESSERA_LIBRARY") or (str(inside) if inside.exists() else name)
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"tessera: {path} cannot be loaded ({error}); TESSERA_LIBRARY can name another file") from error
    for function, (result, arguments) in _FUNCTIONS.items():
        entry = getattr(library, function)
        entry.restype, entry.argtypes = result, arguments
    return library


native = _load()
