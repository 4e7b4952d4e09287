"""The options --run, --resume and --checkpoint, and the old words that they replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from amago_core.cli.main import cli
from amago_core.errors import AmagoError

RUN = "run=FOLDER is now written --run FOLDER; the old form still works for one more version.\n"
RESUME = "resume=true is now written --resume; the old form still works for one more version.\n"
NO_RESUME = (
    "resume=false is now written by leaving out --resume; the old form still works for one more "
    "version.\n"
)
CHECKPOINT = (
    "checkpoint=... is now written --checkpoint ...; the old form still works for one more version.\n"
)
STOP = "Error: the test stops here\n"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Keyword arguments of each call to ``train`` or ``evaluate_checkpoint``; both stop there."""
    recorded: list[dict[str, Any]] = []

    def record(*_: object, **keywords: Any) -> None:
        recorded.append(keywords)
        raise AmagoError("the test stops here")

    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("amago_core.running.train.train", record)
    monkeypatch.setattr("amago_core.run_folder.evaluate_run.evaluate_checkpoint", record)
    return recorded


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A folder with a spec, which is all that `amago evaluate` reads before the call."""
    (tmp_path / "spec.yaml").write_text("environment: bandit")
    return tmp_path / "spec.yaml"


def amago(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], prog_name="amago")


@pytest.mark.parametrize(
    ("words", "run", "resume", "lines"),
    [
        ((), None, False, ""),
        (("--run", "a"), "a", False, ""),
        (("--run=a", "--resume"), "a", True, ""),
        (("run=a",), "a", False, RUN),
        (("run=a", "resume=true"), "a", True, RUN + RESUME),
        (("resume=false",), None, False, NO_RESUME),
        (("resume=false", "--resume"), None, True, NO_RESUME),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, tuple) else "",
)
def test_train_reads_its_options_and_their_old_words(
    calls: list[dict[str, Any]],
    spec: Path,
    words: tuple[str, ...],
    run: str | None,
    resume: bool,
    lines: str,
) -> None:
    done = amago("train", spec, *words, "seed=3")
    assert calls == [{"run": run, "resume": resume}]
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", lines + STOP)


@pytest.mark.parametrize(
    ("words", "checkpoint", "lines"),
    [
        ((), "newest", ""),
        (("--checkpoint", "best"), "best", ""),
        (("checkpoint=best",), "best", CHECKPOINT),
        (("checkpoint=best", "--checkpoint=2"), "2", CHECKPOINT),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, tuple) else "",
)
def test_evaluate_reads_its_option_and_its_old_word(
    calls: list[dict[str, Any]], spec: Path, words: tuple[str, ...], checkpoint: str, lines: str
) -> None:
    done = amago("evaluate", spec.parent, *words, "evaluation.episodes=2")
    assert calls == [{"checkpoint": checkpoint}], done.output
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", lines + STOP)


def test_an_option_without_a_value_is_refused(spec: Path, calls: list[dict[str, Any]]) -> None:
    done = amago("train", spec, "--run", "")
    assert done.stderr == (
        "Error: --run names no folder. Write --run FOLDER, as in '--run runs/first'.\n"
    )
    done = amago("evaluate", spec.parent, "--checkpoint", "")
    assert done.stderr == (
        "Error: --checkpoint names no checkpoint. Write --checkpoint best, --checkpoint newest, the "
        "number of a round, or a folder.\n"
    )
    assert calls == []


def test_a_folder_named_by_both_forms_is_refused(spec: Path, calls: list[dict[str, Any]]) -> None:
    done = amago("train", spec, "--run", "b", "run=a")
    assert done.stderr == f"{RUN}Error: --run b and run=a are both given: leave run=a out.\n"
    assert calls == []


def test_an_interrupted_evaluation_says_that_nothing_was_written(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("amago_core.run_folder.evaluate_run.evaluate_checkpoint", interrupted)
    done = amago("evaluate", spec.parent)
    assert (done.stdout, done.stderr) == ("", "Stopped; no evaluation was written.\n")
    assert done.exit_code == 130
