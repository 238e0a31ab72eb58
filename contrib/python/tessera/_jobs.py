# SPDX-License-Identifier: Apache-2.0
"""What `tessera inspect`, `verify`, `compress` and `decompress` do, and saving tensors."""
from __future__ import annotations

import ctypes
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Mapping, Optional, Tuple

from . import _native_api as api
from ._frameworks import describe
from ._library import Library, PathLike, path_bytes, shared_library
from .errors import ArgumentError


def inspect(model: PathLike, *, library: Optional[Library] = None) -> Dict[str, Any]:
    """What is in a checkpoint: files, tensors with roles, duplicates, totals (docs/cli.md, `inspect --json`)."""
    library = library or shared_library()
    return library.call_for_json("tsr_inspect", library.handle, path_bytes(model))


def verify(path: PathLike, *, library: Optional[Library] = None) -> Dict[str, Any]:
    """Checks every checksum of a compressed folder and decodes every tile. Raises CorruptError when anything is damaged;
    its `result["damage"]` lists all of it."""
    library = library or shared_library()
    return library.call_for_json("tsr_verify", library.handle, path_bytes(path))


def _positive(name: str, value: Optional[float]) -> float:
    """0 stands for "not given" in the library's struct, so it must not come from a caller."""
    if value is None:
        return 0.0
    if not 0 < value < math.inf:
        raise ArgumentError(f"{name}: found {value}, expected a number above 0")
    return value


def compress(
    model: PathLike,
    output: PathLike,
    config: Optional[PathLike] = None,
    *,
    force: bool = False,
    restart: bool = False,
    publish_anyway: bool = False,
    max_shard_bytes: int = 0,
    stats: Optional[PathLike] = None,
    store: Optional[PathLike] = None,
    probe_text: Optional[PathLike] = None,
    target_kld: Optional[float] = None,
    library: Optional[Library] = None,
) -> Dict[str, Any]:
    """Compresses a folder or .safetensors file into the folder `output` and gives the receipt.

    config: a file, the name of an installed profile, or None: lossless. stats: what `tessera calibrate` wrote. A budget of the
    config is settled by measuring on probe_text; target_kld, in nats a position, stands for whatever it asks. Raises GateError when a gate of the config says
    no, with what was measured in `result`; nothing is published then. A call that was stopped is resumed by the same."""
    library = library or shared_library()
    options = api.CompressOptions(
        struct_size=ctypes.sizeof(api.CompressOptions),
        model=path_bytes(model),
        output=path_bytes(output),
        config=path_bytes(config),
        stats=path_bytes(stats),
        store=path_bytes(store),
        max_shard_bytes=max_shard_bytes,
        force=force,
        restart=restart,
        publish_anyway=publish_anyway,
        probe_text=path_bytes(probe_text),
        target_kld=_positive("target_kld", target_kld),
    )
    return library.call_for_json("tsr_compress", library.handle, ctypes.byref(options))


def decompress(
    path: PathLike,
    destination: PathLike,
    *,
    force: bool = False,
    exact: bool = False,
    stage_limit: int = 0,
    codec_level: int = 0,
    library: Optional[Library] = None,
) -> Dict[str, Any]:
    """Back to plain safetensors, every source file under its own name. exact: ConfigError unless bit for bit."""
    library = library or shared_library()
    options = api.DecompressOptions(
        struct_size=ctypes.sizeof(api.DecompressOptions),
        path=path_bytes(path),
        destination=path_bytes(destination),
        stage_limit=stage_limit,
        codec_level=codec_level,
        force=force,
        exact=exact,
    )
    return library.call_for_json("tsr_decompress", library.handle, ctypes.byref(options))


def _write_safetensors(tensors: Mapping[str, Any], metadata: Optional[Mapping[str, str]], file: BinaryIO) -> None:
    header: Dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts: List[Tuple[str, Any]] = []
    at = 0
    # The widest elements first, so that all are aligned.
    described = {name: describe(tensor) for name, tensor in tensors.items()}
    width = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
    for name in sorted(described, key=lambda name: (-width.get(described[name][0], 1), name)):
        dtype, shape, data = described[name]
        size = memoryview(data).nbytes
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        parts.append((name, data))
        at += size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _name, data in parts:
        file.write(data)


def save(
    tensors: Mapping[str, Any],
    output: PathLike,
    config: Optional[PathLike] = None,
    *,
    metadata: Optional[Mapping[str, str]] = None,
    force: bool = False,
    library: Optional[Library] = None,
) -> Dict[str, Any]:
    """Compresses numpy arrays or torch tensors into the folder `output`, as compress() does a model.safetensors with these
    tensors, which is written beside `output` for the time of the call."""
    target = Path(os.path.abspath(os.fsdecode(output)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        source = Path(folder) / "model.safetensors"
        with open(source, "wb") as file:
            _write_safetensors(tensors, metadata, file)
        return compress(source, target, config, force=force, restart=True, library=library)
