"""Ctrl-C as a request, not as an accident."""

from __future__ import annotations

import signal
import threading

import pytest

from amago_core.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_the_second_interrupts(number: signal.Signals) -> None:
    said: list[str] = []
    with Interruption(lambda: said.append("stopping")) as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        assert said == ["stopping"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert said == ["stopping"]


def test_the_handlers_from_before_come_back_also_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def fail() -> None:
        with Interruption(lambda: None):
            assert signal.getsignal(signal.SIGINT) != before[0]
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with Interruption(lambda: None) as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
