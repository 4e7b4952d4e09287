"""Evaluate a trained run: `amago evaluate`, and which modules loading an agent imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ready_runs import checkpoint, ready, store, truncate, weights
from toys import Walk

import amago_core
from amago_core.acting.evaluation_result import Evaluation, TaskResult
from amago_core.cli.evaluate import evaluation_rows
from amago_core.cli.main import cli
from amago_core.errors import AmagoError

TRAINING_MODULES = (
    "amago_core.running", "amago_core.learning", "amago_core.acting.collector", "amago_core.replay",
    "amago_core.acting.evaluator", "amago_core.run_folder.plots",
    "amago_standard.objectives.amago", "amago_standard.objectives.filters",
    "amago_standard.exploration.epsilon", "amago_standard.exploration.bilevel",
    "amago_standard.environments.bandit", "amago_standard.relabelers.none",
    "amago_standard.trackers.jsonl", "matplotlib", "rich", "xformers",
)  # fmt: skip
"""Modules that only training, evaluating or recording needs."""

ACT = """
import sys
import numpy as np
import amago_core

agent = amago_core.load(sys.argv[1])
agent.reset(batch=2)
agent.act(np.zeros((2, 1), np.float32))
print(sorted(name for name in sys.modules if name.startswith(tuple(sys.argv[2:]))))
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw no plots; restore the environment variables that commands set for threads."""
    monkeypatch.setattr("amago_core.run_folder.plots.plot_adaptation", lambda evaluation, path: None)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    return iter([None])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of the rounds 0, 2 and 4, of which that of round 2 was the best."""
    run = ready(tmp_path_factory.mktemp("runs") / "run")
    store(run).save_best(2, 20, {"model": weights(run)}, {"mean_return": 1.0})
    return run


def evaluate(*words: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, words)], prog_name="amago")


def test_acting_imports_no_training_module_and_logs_a_damaged_checkpoint(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    truncate(checkpoint(run, 4) / "model.safetensors")
    seen = json.loads((run / "spaces.json").read_text())["observation"]["shape"]
    code = ACT.replace("(2, 1)", str((2, *seen)))
    words = [sys.executable, "-c", code, str(run), *TRAINING_MODULES]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.stdout == "[]\n", done.stdout + done.stderr
    assert done.stderr.splitlines() == [
        f"the checkpoint {checkpoint(run, 4)} is damaged: "
        "model.safetensors does not have the checksum it was written with",
        f"the checkpoint before it is used: {checkpoint(run, 2)} (round 2, update 20)",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--checkpoint=best"], "best/round-00000002 (round 2, update 20)"),
        (["--checkpoint=newest"], "round-00000004 (round 4, update 40)"),
        (["--checkpoint=2"], "round-00000002 (round 2, update 20)"),
        ([], "round-00000004 (round 4, update 40)"),
    ],
    ids=["best", "newest", "round", "nothing"],
)
def test_evaluate_reads_the_checkpoint_it_is_given(run: Path, words: list[str], expected: str) -> None:
    done = evaluate(run, *words, "evaluation.episodes=2")
    assert done.exit_code == 0, done.output
    rows = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert rows["checkpoint"].strip() == f"{run}/checkpoints/{expected}"
    written = json.loads(Path(rows["written to"].strip()).read_text())
    assert f"{written['checkpoint']} (round {written['round']}, update {written['update']})" == (
        rows["checkpoint"].strip()
    )
    assert written["overrides"] == ["evaluation.episodes=2"]
    assert written["evaluation"]["episodes"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["chekpoint=best"],
            "'chekpoint=best' has no effect on an evaluation. Did you mean '--checkpoint best'?",
        ),
        (
            ["checkpoints=2"],
            "'checkpoints=2' has no effect on an evaluation. Did you mean '--checkpoint 2'?",
        ),
        (
            ["checkpoint="],
            "'checkpoint=' names no checkpoint. Write --checkpoint best, --checkpoint newest, "
            "the number of a round, or a folder.",
        ),
        (
            ["--checkpoint=bets"],
            "{run} has no checkpoint 'bets', and there is none at that path. Did you mean 'best'? "
            "Available: newest, best, 0, 2, 4.",
        ),
        (
            ["checkpoints.keep=9"],
            "{run} is trained; an evaluation cannot change\n  checkpoints.keep: 3 -> 9\n"
            "It can change environment, evaluation, collector, running, seed.",
        ),
    ],
)
def test_a_wrong_word_of_evaluate_is_one_message(run: Path, words: list[str], message: str) -> None:
    done = evaluate(run, *words)
    assert done.stderr == f"Error: {message.format(run=run)}\n"
    assert (done.stdout, done.exit_code) == ("", 2)


def test_a_run_of_a_local_environment_is_an_error_that_says_what_to_type(tmp_path: Path) -> None:
    run = ready(tmp_path / "run", environment=Walk)
    message = (
        f"{run} was trained on a local environment, of which only the spaces are stored. "
        f"In Python: amago_core.evaluate('{run}', environment=make). "
        f"On an installed one: amago evaluate {run} environment=NAME; to list them, type: "
        "amago components environment"
    )
    assert evaluate(run).stderr == f"Error: {message}\n"
    with pytest.raises(AmagoError) as caught:
        amago_core.evaluate(run)
    assert str(caught.value) == message
    assert amago_core.evaluate(run, environment=Walk).episodes == 3


def test_a_given_environment_replaces_the_evaluation_environment(tmp_path: Path) -> None:
    evaluation = {"episodes": 3, "environment": {"use": "t-maze", "length": 4}}
    run = ready(tmp_path / "run", environment=Walk, evaluation=evaluation)
    with pytest.raises(
        AmagoError, match="the agent cannot be evaluated on environment standard/t-maze"
    ):
        amago_core.evaluate(run)
    assert amago_core.evaluate(run, environment=Walk).episodes == 3


def test_several_tasks_have_a_row_each() -> None:
    tasks = tuple(
        TaskResult(name, 4, total, 0.5, success, 9.0)
        for name, total, success in (("maze", 2.0, 0.25), ("arms", 4.0, None))
    )
    assert evaluation_rows(Evaluation(8, 3.0, 0.5, None, 9.0, (), tasks)) == [
        ("return", "3.000 +- 0.500"),
        ("return of maze", "2.000 +- 0.500, success 0.250, 4 episodes"),
        ("return of arms", "4.000 +- 0.500, 4 episodes"),
    ]


def test_results_are_numbered_and_a_full_disk_error_holds_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ready(tmp_path / "run")
    for _ in range(2):
        result = amago_core.evaluate(run)
    assert sorted(path.name for path in (run / "evaluations").iterdir()) == ["001.json", "002.json"]

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("amago_core.run_folder.evaluate_run.write_file", full)
    with pytest.raises(AmagoError) as caught:
        amago_core.evaluate(run)
    assert str(caught.value) == (
        f"the evaluation finished with a mean return of {result.mean_return:g}, but cannot be written "
        f"to {run / 'evaluations'}: No space left on device."
    )
