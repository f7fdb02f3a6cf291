"""Ctrl-C and SIGTERM as exceptions that never fall into the middle of what belongs together."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """The process was asked to end by SIGTERM; like KeyboardInterrupt, no error."""


_EXCEPTIONS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
_holding = 0  # how many `held` are open
_waiting: list[int] = []


def _raise_or_keep(number: int, frame) -> None:
    if _holding:
        _waiting.append(number)
    else:
        raise _EXCEPTIONS[signal.Signals(number)]


@contextlib.contextmanager
def as_exceptions() -> Iterator[None]:
    """Has SIGTERM raise Terminated, and Ctrl-C KeyboardInterrupt, meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return
    before = {
        number: signal.signal(number, _raise_or_keep)
        for number in _EXCEPTIONS
        if signal.getsignal(number) is not signal.SIG_IGN  # as in the background, or under nohup
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Lets what is done here come to its end before a signal raises its exception."""
    global _holding
    _holding += 1
    try:
        yield
    finally:
        _holding -= 1
        if not _holding and _waiting:
            number = _waiting[0]
            _waiting.clear()
            raise _EXCEPTIONS[signal.Signals(number)]
