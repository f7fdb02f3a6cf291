"""Signals become exceptions, and wait for what belongs together."""

import os
import signal
import threading

import pytest

from planet_tf import signals

BOTH = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, signals.Terminated)]


@pytest.fixture(autouse=True)
def _as_in_the_foreground():
    """Where the tests run in the background, Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "exception"), BOTH)
def test_a_signal_raises_and_the_handlers_come_back(number, exception):
    before = signal.getsignal(number)
    with pytest.raises(exception), signals.as_exceptions():
        send(number)
        raise AssertionError("not reached")
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "exception"), BOTH)
def test_what_is_held_comes_to_its_end(number, exception):
    done = []
    with pytest.raises(exception), signals.as_exceptions():
        with signals.held():
            with signals.held():
                send(number)
                send(number)
                done.append("inner")
            done.append("outer")
        done.append("not reached")
    assert done == ["inner", "outer"]
    with signals.as_exceptions(), signals.held():
        pass  # nothing is left over


def test_what_was_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.as_exceptions():
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with signals.as_exceptions():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
