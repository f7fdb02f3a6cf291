"""Ctrl-C and SIGTERM stop a run at a safe point: after an update or an agent step."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from planet_tf import errors

_EXIT_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}  # 128 + the signal's number, as shells do
_requested: list[signal.Signals] = []


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Keeps signals until the next `check` while the block runs; a second Ctrl-C stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {
        number: signal.signal(number, _request)
        for number in _EXIT_STATUS
        if signal.getsignal(number) is not signal.SIG_IGN  # as in the background, or under nohup
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requested.clear()


def _request(number: int, frame) -> None:
    if _requested and number == signal.SIGINT:
        raise KeyboardInterrupt
    _requested.append(signal.Signals(number))


def check(*_) -> None:
    """Raises Interrupted if a signal has come since `deferred` began; takes any arguments."""
    if _requested:
        number = _requested[0]
        raise errors.Interrupted(f"stopped by {number.name}", _EXIT_STATUS[number])
