# SPDX-License-Identifier: Apache-2.0
"""A tsr_library as an object: calls that Ctrl-C can stop, callbacks whose exceptions come out again, and the one that the
module's functions share."""
from __future__ import annotations

import ctypes
import json
import os
import threading
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Tuple, Union

from ._interrupt import run_interruptibly
from ._native_api import LOG_CALLBACK, PROGRESS_CALLBACK, Error, LibraryOptions, native
from .errors import error_of

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Progress:
    """Progress of one stage of a call."""

    stage: str
    subject: Optional[str]
    done_bytes: int
    total_bytes: int
    done_items: int
    total_items: int


def path_bytes(path: Optional[PathLike]) -> Optional[bytes]:
    return None if path is None else os.fsencode(path)


def _text(value: Optional[bytes]) -> Optional[str]:
    return None if value is None else value.decode("utf-8", "replace")


class Library:
    """Workers, plugins and callbacks. Its methods are calls of the module's functions with library=this.

    workers: threads that work during a call, 0 for all processors. memory_bytes: a rough bound, 0 for none.
    progress: called with a Progress, from any thread, never two at once; what it raises stops the call and comes out of
    it. log: called with a level (0 error, 1 warning, 2 info, 3 debug) and a line.

    From several threads calls take turns. After fork() the child needs a Library of its own."""

    def __init__(
        self,
        *,
        workers: int = 0,
        memory_bytes: int = 0,
        plugin_path: Optional[PathLike] = None,
        roles_path: Optional[PathLike] = None,
        progress: Optional[Callable[[Progress], None]] = None,
        log: Optional[Callable[[int, str], None]] = None,
    ) -> None:
        self._handle: Optional[ctypes.c_void_p] = None
        self._pid = os.getpid()
        self._raised: Optional[BaseException] = None
        options = LibraryOptions(
            ctypes.sizeof(LibraryOptions), workers, memory_bytes, path_bytes(plugin_path), path_bytes(roles_path)
        )
        # Kept for as long as the library may call them.
        self._callbacks = (self._log_callback(log), self._progress_callback(progress))
        if log:
            options.log = self._callbacks[0]
        if progress:
            options.progress = self._callbacks[1]
        handle, error = ctypes.c_void_p(), Error()
        status = native.tsr_library_create(ctypes.byref(options), ctypes.byref(handle), ctypes.byref(error))
        if status:
            raise error_of(status, error.message.decode("utf-8", "replace"))
        self._handle = handle

    def close(self) -> None:
        """Ends the workers. No call may be running and no checkpoint of it be open."""
        handle, self._handle = self._handle, None
        if handle and self._pid == os.getpid():
            native.tsr_library_destroy(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def cancel(self) -> None:
        """Stops calls that run in other threads, and refuses later ones until resume()."""
        native.tsr_library_cancel(self.handle, 1)

    def resume(self) -> None:
        """Takes cancel() back."""
        native.tsr_library_cancel(self.handle, 0)

    @property
    def handle(self) -> ctypes.c_void_p:
        if not self._handle:
            raise ValueError("the library is closed")
        if self._pid != os.getpid():
            raise RuntimeError("a Library does not survive fork(): create one in this process")
        return self._handle

    # ---- callbacks ----

    def _log_callback(self, log: Optional[Callable[[int, str], None]]) -> Any:
        def pass_log(_ctx: Any, level: int, text: bytes) -> None:
            try:
                if log:
                    log(level, text.decode("utf-8", "replace"))
            except BaseException as error:
                self._raised = error

        return LOG_CALLBACK(pass_log)

    def _progress_callback(self, progress: Optional[Callable[[Progress], None]]) -> Any:
        def pass_progress(_ctx: Any, shown: Any) -> int:
            try:
                now = shown.contents
                if progress:
                    progress(
                        Progress(
                            _text(now.stage) or "",
                            _text(now.subject),
                            now.done_bytes,
                            now.total_bytes,
                            now.done_items,
                            now.total_items,
                        )
                    )
            except BaseException as error:
                self._raised = error
            return 1 if self._raised else 0

        return PROGRESS_CALLBACK(pass_progress)

    # ---- calls ----

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function that takes a tsr_error last; a bad status becomes an exception."""
        status, message = self._status_of(name, arguments)
        self._check(status, message, None)

    def call_for_json(self, name: str, *arguments: Any) -> Dict[str, Any]:
        """The same for one that also gives a text."""
        text = ctypes.c_void_p()
        status, message = self._status_of(name, (*arguments, ctypes.byref(text)))
        result = None
        if text.value:
            try:
                result = json.loads(ctypes.string_at(text.value).decode("utf-8"))
            finally:
                native.tsr_text_free(text)
        self._check(status, message, result)
        return result or {}

    def _status_of(self, name: str, arguments: Tuple[Any, ...]) -> Tuple[int, str]:
        error, function = Error(), getattr(native, name)
        self._raised = None
        status = run_interruptibly(lambda: function(*arguments, ctypes.byref(error)), self.cancel, self.resume)
        return status, error.message.decode("utf-8", "replace")

    def _check(self, status: int, message: str, result: Optional[Dict[str, Any]]) -> None:
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        if status:
            raise error_of(status, message, result)


_shared: Optional[Library] = None
_shared_lock = threading.Lock()


def shared_library() -> Library:
    """The one that is used where none is given; made when first needed, and again after fork()."""
    global _shared
    with _shared_lock:
        if _shared is None or _shared._pid != os.getpid() or not _shared._handle:
            _shared = Library()
        return _shared


def _forget_after_fork() -> None:
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
