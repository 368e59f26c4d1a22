import contextlib
import os
import pickle
import signal
import threading

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


def test_the_error_says_how_to_go_on_and_crosses_processes():
    error = pickle.loads(pickle.dumps(InterruptedRunError(step=120)))
    assert error.step == 120
    assert str(error) == "asked to stop, and saved after 120 steps; give the same command to go on"
    early = str(InterruptedRunError(step=0))
    assert early == "asked to stop before its first step; give the same command to go on"
