"""Signals wait for a safe point, unless there are two."""

import os
import signal
import threading

import pytest

from planet_tf import errors
from planet_tf.training import interrupts

BOTH = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def _as_in_the_foreground():
    """Where the tests run in the background, Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), BOTH)
def test_a_signal_is_raised_at_the_next_check(number, status):
    before, done = signal.getsignal(number), []
    with pytest.raises(errors.Interrupted) as error, interrupts.deferred():
        interrupts.check()
        send(number)
        done.append("the act ends")
        interrupts.check("whatever an observer gets")
        done.append("not reached")
    assert error.value.exit_status == status and done == ["the act ends"]
    assert signal.Signals(number).name in error.value.message
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_stops_at_once(first):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts.deferred():
        send(first)
        send(signal.SIGINT)
        raise AssertionError("not reached")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_sigterm_waits_too():
    with pytest.raises(errors.Interrupted) as error, interrupts.deferred():
        send(signal.SIGINT)
        send(signal.SIGTERM)
        interrupts.check()
    assert error.value.exit_status == 130  # the first one's


def test_a_request_ends_with_the_block():
    with interrupts.deferred():
        send(signal.SIGTERM)
    interrupts.check()
    with interrupts.deferred():
        interrupts.check()


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.deferred():
            send(signal.SIGINT)
            interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with interrupts.deferred():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
