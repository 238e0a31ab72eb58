# SPDX-License-Identifier: Apache-2.0
"""Long calls of C that Ctrl-C can stop."""
from __future__ import annotations

import signal
import threading
from typing import Any, Callable, List, Optional, Tuple


def run_interruptibly(function: Callable[[], int], cancel: Callable[[], None], resume: Callable[[], None]) -> int:
    """function(), which cancel() makes end early. Signals are seen by the main thread only, and not inside of C: so
    another thread calls while the main one waits. It waits to the end in any case, since C writes into arrays that the
    main thread would free: SIGINT becomes a cancel(), and its own handler hears of it when the call has ended."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        return function()
    heard: List[Any] = []

    def stop(number: int, frame: Any) -> None:
        heard.append((number, frame))
        cancel()

    signal.signal(signal.SIGINT, stop)
    try:
        statuses, raised = _run_aside(function, cancel)
    finally:
        signal.signal(signal.SIGINT, before)
    if heard or raised is not None:
        resume()
    if raised is not None:
        raise raised
    if heard:
        before(*heard[0])
    return statuses[0]


def _run_aside(
    function: Callable[[], int], cancel: Callable[[], None]
) -> Tuple[List[int], Optional[BaseException]]:
    """The one status of the call, and what handlers of other signals raised meanwhile."""
    statuses: List[int] = []
    done = threading.Event()
    raised: Optional[BaseException] = None

    def work() -> None:
        try:
            statuses.append(function())
        finally:
            done.set()

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads
        return [function()], None
    except BaseException as error:  # it runs all the same
        raised = error
    # Not Thread.join: once interrupted, Python 3.11 takes a running thread for one that has ended.
    while True:
        try:
            if raised is not None:
                cancel()
            done.wait()
            return statuses, raised
        except BaseException as error:
            if done.is_set() and not statuses:
                raise  # the call itself did not come to its end
            raised = raised or error
