# SPDX-License-Identifier: Apache-2.0
"""How dtypes of a checkpoint become arrays: numpy's or torch's, made empty, for the library to fill."""
from __future__ import annotations

import sys
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

try:
    import ml_dtypes
except ImportError:  # the package depends on it; a copy of the sources may be used without
    ml_dtypes = None

from .errors import ArgumentError, UnsupportedError

_NUMPY: Dict[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
    "C64": "<c8",
}
# What numpy itself has no type for: the types of ml_dtypes, which safetensors gives too.
_EXTENSIONS: Dict[str, str] = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"}
# The same, and F4, as unsigned integers of the same width. F4 has two elements a byte.
_NUMPY_BITS: Dict[str, str] = {"BF16": "<u2", "F8_E4M3": "|u1", "F8_E5M2": "|u1", "F8_E8M0": "|u1", "F4": "|u1"}
_TORCH: Dict[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}

Shape = Tuple[int, ...]


def framework_name(framework: str) -> str:
    """'np' or 'pt' for the names that safetensors has for them."""
    name = {"np": "np", "numpy": "np", "pt": "pt", "torch": "pt", "pytorch": "pt"}.get(framework)
    if name is None:
        raise ArgumentError(f"framework: found {framework!r}, expected 'np' or 'pt'")
    return name


def _packed_shape(dtype: str, shape: Shape) -> Shape:
    """Elements of F4 come two a byte, along the last extent."""
    if dtype != "F4" or not shape:
        return shape
    return shape[:-1] + (shape[-1] // 2,)


def _torch_dtype(dtype: str) -> Any:
    import torch

    found = getattr(torch, _TORCH.get(dtype, ""), None)
    if found is None:
        raise UnsupportedError(f"dtype {dtype}: torch {torch.__version__} has no such type")
    return found


def _numpy_dtype(dtype: str, raw: bool) -> Optional[np.dtype]:
    """None where there is none."""
    if dtype in _NUMPY:
        return np.dtype(_NUMPY[dtype])
    if raw and dtype in _NUMPY_BITS:
        return np.dtype(_NUMPY_BITS[dtype])
    extension = getattr(ml_dtypes, _EXTENSIONS.get(dtype, ""), None)
    return None if extension is None else np.dtype(extension)


def wants_f32(dtype: str, framework: str, f32: bool, raw: bool) -> bool:
    """Whether the library is asked for F32: on request, and for BF16 where numpy has no such type."""
    return dtype in ("F32", "F16", "BF16") and (f32 or (framework == "np" and _numpy_dtype(dtype, raw) is None))


def make_empty(dtype: str, shape: Shape, framework: str, as_f32: bool, raw: bool) -> Any:
    """An uninitialised array for a tensor of that dtype."""
    if as_f32:
        dtype = "F32"
    shape = _packed_shape(dtype, shape)
    if framework == "pt":
        import torch

        return torch.empty(shape, dtype=_torch_dtype(dtype))
    found = _numpy_dtype(dtype, raw)
    if found is None:
        raise UnsupportedError(f"dtype {dtype}: numpy has no such type; raw=True gives its bits, framework='pt' torch's type")
    return np.empty(shape, dtype=found)


def address_of(array: Any, framework: str) -> Tuple[int, int]:
    """Where its elements are, and how many bytes they take."""
    if framework == "pt":
        return array.data_ptr(), array.numel() * array.element_size()
    return array.ctypes.data, array.nbytes


# ---- writing ----


def describe(array: Any) -> Tuple[str, List[int], Any]:
    """Dtype and shape as safetensors names them, and an object with the bytes."""
    if "torch" in sys.modules and isinstance(array, sys.modules["torch"].Tensor):
        return _describe_torch(array)
    array = np.asarray(array)
    for name, extension in _EXTENSIONS.items():
        if _numpy_dtype(name, False) == array.dtype:
            return name, list(array.shape), np.ascontiguousarray(array).reshape(-1).view(_NUMPY_BITS[name]).data
    little = array.dtype.newbyteorder("<")
    dtype = next((name for name, code in _NUMPY.items() if np.dtype(code) == little), None)
    if dtype is None:
        raise UnsupportedError(f"dtype {array.dtype}: cannot be stored")
    return dtype, list(array.shape), np.ascontiguousarray(array, dtype=little).data


def _describe_torch(tensor: Any) -> Tuple[str, List[int], Any]:
    import torch

    name = str(tensor.dtype).replace("torch.", "")
    dtype: Optional[str] = next((key for key, value in _TORCH.items() if value == name), None)
    if dtype is None:
        raise UnsupportedError(f"dtype {tensor.dtype}: cannot be stored")
    shape = list(tensor.shape)
    if dtype == "F4" and shape:
        shape[-1] *= 2
    dense = tensor.detach().cpu().contiguous()
    return dtype, shape, dense.reshape(-1).view(torch.uint8).numpy().data if dense.numel() else b""
