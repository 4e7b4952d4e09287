"""Stop requests: SIGINT and SIGTERM as requests to stop after the round."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from amago_core.cli.main import cli
from amago_core.system.stopping import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_the_second_interrupts(number: signal.Signals) -> None:
    announced: list[str] = []
    with Interruption(lambda: announced.append("stopping")) as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        assert announced == ["stopping"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert announced == ["stopping"]


def test_the_previous_handlers_are_restored_also_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def fail() -> None:
        with Interruption(lambda: None):
            assert signal.getsignal(signal.SIGINT) != before[0]
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_handlers_are_unchanged() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with Interruption(lambda: None) as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


@pytest.mark.parametrize(
    ("started", "message"),
    [
        (
            True,
            "Stopped at once. The same command with --resume continues from the last checkpoint.\n",
        ),
        (False, "Stopped; nothing was stored.\n"),
    ],
)
def test_a_second_ctrl_c_tells_whether_the_run_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: bool, message: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    if started:
        run.mkdir()
    monkeypatch.setattr("amago_core.running.train.train", interrupted)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    spec = tmp_path / "spec.yaml"
    spec.write_text("environment: bandit")
    done = CliRunner().invoke(cli, ["train", str(spec), f"--run={run}"])
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", message)
