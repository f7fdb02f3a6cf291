"""SIGTERM as an exception, so that a run can be brought to an end in order."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """The process was asked to end by SIGTERM; like KeyboardInterrupt, no error."""


@contextlib.contextmanager
def terminated() -> Iterator[None]:
    """Has SIGTERM raise Terminated meanwhile, as Ctrl-C raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return

    def end(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
