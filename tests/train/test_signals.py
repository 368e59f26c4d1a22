import contextlib
import os
import pickle
import signal
import threading
import time

import pytest

from eosin.errors import InterruptedRunError
from eosin.train.signals import ASKS_TO_STOP, StopRequest


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ASKS_TO_STOP)
def test_a_signal_asks_to_stop_and_the_process_lives_on(number: signal.Signals):
    with StopRequest() as stop:
        assert not stop.requested
        send(number)
        assert stop.requested


def test_a_second_interrupt_does_not_wait():
    with StopRequest():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_second_signal_of_the_cluster_changes_nothing():
    with StopRequest() as stop:
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
        assert stop.requested


def test_handlers_are_put_back_even_after_an_error():
    before = [signal.getsignal(number) for number in ASKS_TO_STOP]
    with contextlib.suppress(ZeroDivisionError), StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
        1 / 0  # noqa: B018
    assert [signal.getsignal(number) for number in ASKS_TO_STOP] == before


def test_it_does_nothing_in_a_thread_which_may_have_no_handlers():
    found = []

    def run() -> None:
        with StopRequest() as stop:
            found.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, before)]


@pytest.mark.parametrize("number", ASKS_TO_STOP)
def test_a_signal_ends_a_wait_at_once(number: signal.Signals):
    never = threading.Event()

    def wait() -> bool:
        threading.Timer(0.05, send, [number]).start()
        return never.wait(60)

    with StopRequest() as stop:
        assert stop.unless_requested(lambda: 7) == 7
        begin_s = time.monotonic()
        assert stop.unless_requested(wait) is None
        assert time.monotonic() - begin_s < 30
        assert stop.requested


def test_a_wait_is_ended_through_code_that_survives_any_error():
    def wait() -> str:
        try:
            send(signal.SIGTERM)
        except Exception:  # noqa: BLE001 - as a stream does whose slides may do anything
            return "went on"
        return "went on"

    with StopRequest() as stop:
        assert stop.unless_requested(wait) is None


def test_the_next_signal_does_not_disturb_what_the_end_of_a_wait_closes():
    closed = []

    def wait() -> None:
        try:
            send(signal.SIGUSR1)
        finally:
            send(signal.SIGTERM)
            closed.append(True)

    with StopRequest() as stop:
        assert stop.unless_requested(wait) is None
    assert closed == [True]


def test_whoever_is_asked_to_stop_begins_no_wait():
    with StopRequest() as stop:
        send(signal.SIGTERM)
        assert stop.unless_requested(lambda: pytest.fail("waited")) is None


def test_an_error_of_a_wait_comes_through_and_the_next_signal_is_noted_down():
    with StopRequest() as stop:
        with pytest.raises(ZeroDivisionError):
            stop.unless_requested(lambda: 1 / 0)
        send(signal.SIGTERM)
        assert stop.requested


def test_the_error_says_how_to_go_on_and_crosses_processes():
    error = pickle.loads(pickle.dumps(InterruptedRunError(step=120)))
    assert error.step == 120
    assert str(error) == "asked to stop, and saved after 120 steps; give the same command to go on"
    early = str(InterruptedRunError(step=0))
    assert early == "asked to stop before its first step; give the same command to go on"
