# SPDX-License-Identifier: Apache-2.0
"""One exception for each status of the library (tessera/status.h)."""
from __future__ import annotations

from typing import Any, Dict, Optional, Type


class TesseraError(Exception):
    """What the library said went wrong. `status` is its number; `result` what it found all the same, or None."""

    status: int = 0

    def __init__(self, message: str, result: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(message)
        self.result = result


class ArgumentError(TesseraError, ValueError):
    """The call was wrong: rows or tensors that are not there."""

    status = -1


class ConfigError(TesseraError, ValueError):
    """A config or a parameter is wrong, or an output exists already."""

    status = -2


class InputError(TesseraError, ValueError):
    """A file is not there or is malformed."""

    status = -3


class CorruptError(TesseraError):
    """Stored bytes are damaged. After verify(), `result["damage"]` lists all of it."""

    status = -4


class UnsupportedError(TesseraError):
    """Well-formed, but this version, an absent plugin or the framework cannot do it."""

    status = -5


class LimitError(TesseraError):
    """A documented limit is exceeded."""

    status = -6


class OutOfMemoryError(TesseraError, MemoryError):
    """An allocation failed."""

    status = -7


class FileError(TesseraError, OSError):
    """The operating system refused a file operation."""

    status = -8


class BusyError(TesseraError):
    """Another process works on the same output."""

    status = -9


class CancelledError(TesseraError):
    """Library.cancel() or a progress callback stopped the call."""

    status = -10


class GateError(TesseraError):
    """A gate of the config said no; nothing was published. `result["gates"]` tells what was measured."""

    status = -11


class PluginError(TesseraError):
    """A plugin misbehaves or cannot be loaded."""

    status = -12


class SpaceError(TesseraError):
    """The buffer is too small."""

    status = -13


class TensorNotFoundError(InputError, KeyError):
    """There is no tensor of that name."""

    def __str__(self) -> str:  # KeyError would show a repr
        return str(self.args[0])


_BY_STATUS: Dict[int, Type[TesseraError]] = {
    kind.status: kind
    for kind in (
        ArgumentError,
        ConfigError,
        InputError,
        CorruptError,
        UnsupportedError,
        LimitError,
        OutOfMemoryError,
        FileError,
        BusyError,
        CancelledError,
        GateError,
        PluginError,
        SpaceError,
    )
}


def error_of(status: int, message: str, result: Optional[Dict[str, Any]] = None) -> TesseraError:
    """The exception for a status of the library."""
    error = _BY_STATUS.get(status, TesseraError)(message, result)
    error.status = status
    return error
