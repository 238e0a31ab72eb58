# SPDX-License-Identifier: Apache-2.0
"""An open checkpoint, raw or compressed, in the manner of safetensors' safe_open."""
from __future__ import annotations

import ctypes
import operator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Type

from . import _native_api as api
from ._frameworks import address_of, framework_name, make_empty, wants_f32
from ._library import Library, PathLike, path_bytes, shared_library
from .errors import ArgumentError, TensorNotFoundError, UnsupportedError


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the source had it."""

    name: str
    dtype: str  # "BF16"
    shape: Tuple[int, ...]
    role: Optional[str]  # known of compressed checkpoints only
    alias_of: Optional[str]  # the tensor that is stored for both
    nbytes: int  # in the source dtype
    stored_nbytes: int
    exact: bool  # reading gives the bytes of the source
    index: int
    _has_rows: bool  # rows are whole bytes


def _decode(value: Optional[bytes]) -> Optional[str]:
    return None if value is None else value.decode("utf-8")


class safe_open:  # noqa: N801, the name that safetensors has for it
    """Opens a folder or a .safetensors file, raw or compressed; tensors are read when asked for.

    framework: 'np' for numpy arrays, 'pt' for torch tensors (then `device` is where they go). f32: every F16 and BF16
    tensor comes as F32. BF16 and 8-bit floats come to numpy as the types of ml_dtypes (without that module BF16 as
    float32, which is exact, and 8-bit floats not at all), or with raw=True as bits in uint16 and uint8.

        with tessera.safe_open("model.tsr", framework="np") as f:
            row = f.get_slice("model.embed_tokens.weight")[17]
    """

    def __init__(
        self,
        path: PathLike,
        framework: str = "np",
        device: Any = "cpu",
        *,
        f32: bool = False,
        raw: bool = False,
        library: Optional[Library] = None,
    ) -> None:
        self._handle: Optional[ctypes.c_void_p] = None
        self._framework, self._device = framework_name(framework), device
        self._f32, self._raw = f32, raw
        self._library = library or shared_library()
        handle = ctypes.c_void_p()
        self._library.call("tsr_checkpoint_open", self._library.handle, path_bytes(path), ctypes.byref(handle))
        self._handle = handle
        self._infos = {info.name: info for info in self._list()}

    def _list(self) -> Iterator[TensorInfo]:
        error, info = api.Error(), api.TensorInfo(struct_size=ctypes.sizeof(api.TensorInfo))
        for index in range(api.native.tsr_checkpoint_count(self._handle)):
            api.native.tsr_checkpoint_tensor(self._handle, index, ctypes.byref(info), ctypes.byref(error))
            yield TensorInfo(
                name=info.name.decode("utf-8"),
                dtype=info.dtype_name.decode("utf-8"),
                shape=tuple(info.shape[: info.rank]),
                role=_decode(info.role),
                alias_of=_decode(info.alias_of),
                nbytes=info.bytes,
                stored_nbytes=info.stored_bytes,
                exact=bool(info.exact),
                index=index,
                _has_rows=info.row_bytes > 0,
            )

    # ---- life ----

    def close(self) -> None:
        """Closes the files. Arrays that were read stay."""
        handle, self._handle = self._handle, None
        if handle:
            api.native.tsr_checkpoint_close(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def __enter__(self) -> "safe_open":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    # ---- what is in it ----

    @property
    def is_compressed(self) -> bool:
        return bool(api.native.tsr_checkpoint_is_compressed(self._open()))

    def keys(self) -> List[str]:
        """Names in the order of the source files."""
        return list(self._infos)

    def offset_keys(self) -> List[str]:
        return self.keys()

    def info(self, name: str) -> TensorInfo:
        if name not in self._infos:
            raise TensorNotFoundError(f'there is no tensor "{name}"')
        return self._infos[name]

    def __contains__(self, name: object) -> bool:
        return name in self._infos

    def __len__(self) -> int:
        return len(self._infos)

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    # ---- reading ----

    def get_tensor(self, name: str) -> Any:
        """The whole tensor."""
        return self.get_tensors([name])[name]

    def get_tensors(self, names: Optional[Iterable[str]] = None) -> Dict[str, Any]:
        """Many tensors (default: all) in one call, which keeps all workers busy."""
        infos = [self.info(name) for name in (self._infos if names is None else names)]
        arrays = self._read([(info, 0, None) for info in infos])
        return {info.name: array for info, array in zip(infos, arrays)}

    def get_slice(self, name: str) -> "TensorSlice":
        """An object whose subscript reads: only tiles that hold the chosen rows are decoded."""
        return TensorSlice(self, self.info(name))

    def _open(self) -> ctypes.c_void_p:
        if not self._handle:
            raise ValueError("the checkpoint is closed")
        return self._handle

    def _read(self, wanted: List[Tuple[TensorInfo, int, Optional[int]]]) -> List[Any]:
        """Arrays for (tensor, first row, row count or None for the whole tensor)."""
        reads, arrays = (api.Read * len(wanted))(), []
        for read, (info, first, count) in zip(reads, wanted):
            as_f32 = wants_f32(info.dtype, self._framework, self._f32, self._raw)
            shape = info.shape if count is None else (count,) + info.shape[1:]
            array = make_empty(info.dtype, shape, self._framework, as_f32, self._raw)
            arrays.append(array)
            read.struct_size = ctypes.sizeof(api.Read)
            read.tensor, read.first_row = info.index, first
            read.row_count = api.ALL_ROWS if count is None else count
            read.dst, read.dst_bytes = address_of(array, self._framework)
            read.form = api.FORM_F32 if as_f32 else api.FORM_SOURCE
        if wanted:
            self._library.call("tsr_checkpoint_read", self._open(), reads, len(wanted))
        if self._framework == "pt" and str(self._device) != "cpu":
            arrays = [array.to(self._device) for array in arrays]
        return arrays


class TensorSlice:
    """One tensor of an open checkpoint, as a thing to subscript: s[3], s[2:10], s[2:10, ::4], s[:]."""

    def __init__(self, checkpoint: safe_open, info: TensorInfo) -> None:
        self._checkpoint, self._info = checkpoint, info

    def get_shape(self) -> List[int]:
        return list(self._info.shape)

    def get_dtype(self) -> str:
        return self._info.dtype

    @property
    def shape(self) -> Tuple[int, ...]:
        return self._info.shape

    def __getitem__(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        info = self._info
        if not info.shape or not parts or parts[0] is Ellipsis or not info._has_rows:
            return self._checkpoint._read([(info, 0, None)])[0][index]
        if info.dtype == "F4":
            raise UnsupportedError(f'tensor "{info.name}": F4 has two elements a byte, read it as a whole')
        first, count, rest = self._rows(parts[0])
        array = self._checkpoint._read([(info, first, count)])[0]
        return array[(rest,) + parts[1:]]

    def _rows(self, part: Any) -> Tuple[int, int, Any]:
        """First row and number of rows to read, and what remains to be done with them."""
        rows = self._info.shape[0]
        if isinstance(part, slice):
            start, stop, step = part.indices(rows)
            if step < 0:
                raise ArgumentError(f"step: found {step}, expected at least 1")
            return start, max(stop - start, 0), slice(None, None, step)
        try:
            row = operator.index(part)
        except TypeError:
            raise ArgumentError(f"index: found {part!r}, expected a number or a slice") from None
        if not -rows <= row < rows:
            raise IndexError(f'tensor "{self._info.name}": row {row}, it has {rows}')
        return row % rows, 1, 0
