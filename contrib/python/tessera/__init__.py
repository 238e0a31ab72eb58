# SPDX-License-Identifier: Apache-2.0
"""Compressed model weights.

    tensors = tessera.load_file("model.tsr")                   # numpy arrays; framework="pt" for torch
    with tessera.safe_open("model.tsr", framework="pt") as f:  # as safetensors' safe_open
        rows = f.get_slice("model.embed_tokens.weight")[10:20]
    tessera.compress("my-model", "my-model.tsr")               # lossless; a config for anything else
    tessera.save({"w": array}, "w.tsr")
    tessera.verify("my-model.tsr")

Paths are folders in the Hugging Face layout or .safetensors files, raw or compressed. tessera.torch and tessera.numpy
have load_file for one framework; tessera.transformers loads models.
"""
from __future__ import annotations

from typing import Any, Dict, Optional

from ._checkpoint import TensorInfo, TensorSlice, safe_open
from ._jobs import compress, decompress, inspect, save, verify
from ._library import Library, PathLike, Progress
from ._native_api import native as _native
from .errors import (
    ArgumentError,
    BusyError,
    CancelledError,
    ConfigError,
    CorruptError,
    FileError,
    GateError,
    InputError,
    LimitError,
    OutOfMemoryError,
    PluginError,
    SpaceError,
    TensorNotFoundError,
    TesseraError,
    UnsupportedError,
)

__version__: str = _native.tsr_version().decode()


def load_file(
    path: PathLike,
    framework: str = "np",
    device: Any = "cpu",
    *,
    f32: bool = False,
    raw: bool = False,
    library: Optional[Library] = None,
) -> Dict[str, Any]:
    """All tensors by name, each decoded straight into its array. The options are those of safe_open."""
    with safe_open(path, framework, device, f32=f32, raw=raw, library=library) as checkpoint:
        return checkpoint.get_tensors()


__all__ = [
    "ArgumentError",
    "BusyError",
    "CancelledError",
    "ConfigError",
    "CorruptError",
    "FileError",
    "GateError",
    "InputError",
    "Library",
    "LimitError",
    "OutOfMemoryError",
    "PluginError",
    "Progress",
    "SpaceError",
    "TensorInfo",
    "TensorNotFoundError",
    "TensorSlice",
    "TesseraError",
    "UnsupportedError",
    "compress",
    "decompress",
    "inspect",
    "load_file",
    "safe_open",
    "save",
    "verify",
]
