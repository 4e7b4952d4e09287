"""Refusals of contradictory options, and warnings about those without effect: learning data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from bandit_recordings import record_run
from click.testing import CliRunner
from gymnasium import spaces
from toys import Walk, tiny

from amago_core.cli.main import cli
from amago_core.compose.build import compose
from amago_core.compose.summary import Row, describe
from amago_core.errors import AmagoError, SpecError
from amago_core.run_folder.dataset import ShardsDataset
from amago_core.spec import load_spec
from amago_core.spec.checks import data_notes
from amago_registry.errors import DatasetError
from amago_registry.trajectories import Trajectory

BANDIT = {"use": "bandit", "arms": 3, "pulls": 10}
ALONE = "training.steps_per_round=0"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six tasks of the bandit of ten pulls."""
    return record_run(load_spec(tiny()), tmp_path_factory.mktemp("runs") / "bandit")


def offline(run: Path, **changes: Any) -> dict[str, Any]:
    """A spec that learns from a run, and has no environment unless one is given."""
    return tiny(**{"environment": None, "dataset": {"use": "shards", "folder": str(run)}, **changes})


def refused(written: dict[str, Any], *overrides: str, **settings: Any) -> str:
    with pytest.raises(AmagoError) as caught:
        compose(load_spec(written, overrides, local_environment=bool(settings)), **settings)
    return str(caught.value)


def test_without_an_environment_the_task_is_that_of_the_dataset(run: Path) -> None:
    parts = compose(load_spec(offline(run), [ALONE]))
    assert isinstance(parts.dataset, ShardsDataset)
    assert (parts.task.name, parts.task.make) == ("the dataset core/shards", None)
    assert parts.task.horizon is None
    assert parts.task.acted == spaces.Discrete(3)
    assert parts.evaluation_task is None
    assert parts.exploration is None


def test_an_offline_run_is_evaluated_in_evaluation_environment(run: Path) -> None:
    parts = compose(load_spec(offline(run, evaluation={"environment": BANDIT}), [ALONE]))
    assert parts.evaluation_task is not None
    assert parts.evaluation_task.name == "standard/bandit"
    assert parts.evaluation_task.make is not None


def test_a_dataset_beside_an_environment_leaves_the_task_unchanged(run: Path) -> None:
    parts = compose(load_spec(offline(run, environment=BANDIT)))
    assert parts.task.name == "standard/bandit"
    assert parts.evaluation_task is parts.task
    assert parts.exploration is not None
    assert parts.dataset is not None
    (drawn,) = parts.dataset.sample(np.random.default_rng(0), 1, 0)
    assert drawn.length == 10


def test_a_spec_without_a_dataset_composes_none() -> None:
    assert compose(load_spec(tiny())).dataset is None


def test_the_table_says_what_the_dataset_holds(run: Path) -> None:
    holds = "6 trajectories, 60 timesteps"
    row = Row("dataset", "core/shards", holds, "observation (1,), action 3 choices, reward ()", 0)
    first, second, *_ = describe(load_spec(offline(run, environment=BANDIT)))
    assert (first.part, second) == ("environment", row)
    alone, encoder, *_ = describe(load_spec(offline(run), [ALONE]))
    assert (alone, encoder.part) == (row, "agent.encoder")


def test_a_spec_needs_an_environment_or_a_dataset() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(tiny(environment=None))
    assert str(caught.value) == (
        "the spec has 1 problem:\n  environment: is missing. Name one, as in 'environment: t-maze'; "
        "`amago components environment` lists them"
    )


def test_a_dataset_of_other_spaces_than_the_environment_is_refused(run: Path) -> None:
    def corridor() -> gymnasium.Env[Any, Any]:
        return Walk()

    assert refused(offline(run), environment=corridor) == (
        "the dataset core/shards does not fit environment corridor: its observations are "
        "Box(-1.0, 1.0, (1,), float32), those of the environment Box(-inf, inf, (2,), float32)."
    )
    assert refused(offline(run, environment={**BANDIT, "arms": 4})) == (
        "the dataset core/shards does not fit environment standard/bandit: its actions are "
        "Discrete(3), those of the environment Discrete(4)."
    )


def test_evaluation_in_other_spaces_than_the_dataset_is_refused(run: Path) -> None:
    other = {"environment": {**BANDIT, "arms": 4}}
    assert refused(offline(run, evaluation=other), ALONE) == (
        "the agent cannot be evaluated on environment standard/bandit: its actions are Discrete(4), "
        "those of the dataset core/shards are Discrete(3)."
    )


CONTRADICTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "no environment to step": (
        (),
        "training.steps_per_round is 20, and this spec has no environment to take steps in: write "
        "training.steps_per_round=0 to learn from the dataset core/shards alone, or environment: {use: "
        "some-name}.",
    ),
    "no learning data": (
        ("dataset=null", "environment=bandit", ALONE),
        "training.steps_per_round is 0, and there is no dataset: there is nothing to learn from. Write "
        "dataset: {use: some-name} (`amago components dataset` lists them), or set "
        "training.steps_per_round.",
    ),
    "dataset never sampled": (
        ("environment={use: bandit, arms: 3}", "sampling.dataset_share=0"),
        "sampling.dataset_share is 0: the dataset core/shards is never sampled. Write a share above 0, "
        "or dataset=null.",
    ),
    "experience never sampled": (
        ("environment={use: bandit, arms: 3}", "sampling.dataset_share=1"),
        "sampling.dataset_share is 1: the collected experience is never sampled. Write a "
        "share below 1, or training.steps_per_round=0.",
    ),
    "neither steps nor updates": (
        (ALONE, "training.updates_per_round=0"),
        "training.steps_per_round and training.updates_per_round are both 0: the run would do "
        "nothing. Set training.updates_per_round to learn from the dataset core/shards.",
    ),
    "no updates": (
        ("environment={use: bandit, arms: 3}", "training.updates_per_round=0"),
        "training.updates_per_round is 0: nothing is learned from the dataset core/shards. Set the "
        "updates of a round, or write dataset=null.",
    ),
    "no steps for collectors": (
        (ALONE, "running.mode=async"),
        "running.mode is async, and training.steps_per_round is 0: its collector processes would "
        "have no steps to take. Write running.mode=interleaved.",
    ),
    "no evaluation to stop at": (
        (ALONE, "training.stop.return=5"),
        "training.stop.return is 5, and there is no environment to evaluate in: write "
        "evaluation.environment={use: some-name}, or training.stop.return=null.",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_is_refused(run: Path, overrides: tuple[str, ...], message: str) -> None:
    assert refused(offline(run), *overrides) == message


@pytest.mark.parametrize(
    "shares",
    [
        {"dataset_share": 0.0, "final_dataset_share": 1.0},
        {"dataset_share": 1.0, "final_dataset_share": 0.0},
        {"dataset_share": 0.5, "final_dataset_share": None},
    ],
    ids=["rising", "falling", "half"],
)
def test_an_annealed_or_fractional_dataset_share_is_allowed(run: Path, shares: dict[str, Any]) -> None:
    assert compose(load_spec(offline(run, environment=BANDIT, sampling=shares))).dataset is not None


class Rewriting:
    """A relabeler that needs to see the whole trajectory."""

    identity = False

    def __init__(self, context: Any, options: Any) -> None:
        pass


def test_segments_and_a_relabeler_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amago_standard.relabelers.none.NoRelabeler", Rewriting)
    assert refused(tiny(), "collector.segment_length=5") == (
        "the relabeler standard/none rewrites whole trajectories, and collector.segment_length=5 "
        "stores segments: write collector.segment_length=null or relabeler=none."
    )
    assert compose(load_spec(tiny())).relabeler.identity is False


def test_segments_without_a_relabeler_are_allowed() -> None:
    compose(load_spec(tiny(), ["collector.segment_length=5"]))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (
            lambda *_: 1 / 0,
            "the dataset core/shards cannot be used: drawing for update 0 raised ZeroDivisionError: "
            "division by zero",
        ),
        (
            lambda *_: iter([]),
            "the dataset core/shards drew the wrong number of trajectories for update 0: 0 instead of "
            "1.",
        ),
        (
            lambda *_: None,
            "the dataset core/shards cannot be used: drawing for update 0 raised TypeError: 'NoneType' "
            "object is not iterable",
        ),
        (lambda *_: [{}], "the dataset core/shards drew a dict in place of a trajectory."),
        (
            lambda *_: [Trajectory({"reward": np.zeros(1, np.float32)})],
            "the dataset core/shards cannot be learned from: of a trajectory, it lacks action, "
            "obs.observation, terminated, truncated; its columns are reward.",
        ),
    ],
    ids=["raises", "few", "none", "dictionary", "columns"],
)
def test_a_faulty_dataset_is_reported_before_training(
    run: Path, sample: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShardsDataset, "sample", lambda self, *asked: sample(*asked))
    assert refused(offline(run), ALONE) == message


def test_a_dataset_without_spaces_is_reported_before_training(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amago_core.compose.tasks.compose_dataset", lambda *_: object())
    assert refused(offline(run), ALONE) == (
        "the dataset core/shards cannot be used: asking for its spaces raised AttributeError: 'object' "
        "object has no attribute 'observation_space'"
    )


def test_a_dataset_that_cannot_be_described_is_reported_before_training(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShardsDataset, "describe", lambda self: {}["count"])
    assert refused(offline(run), ALONE) == (
        "the dataset core/shards cannot be used: describing it raised KeyError: 'count'"
    )


def test_actions_outside_their_space_are_reported_before_training(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ShardsDataset.sample

    def sample(self: ShardsDataset, *asked: Any) -> list[Trajectory]:
        (drawn,) = original(self, *asked)
        return [Trajectory({**drawn.columns, "action": drawn.columns["action"] + np.uint8(3)})]

    monkeypatch.setattr(ShardsDataset, "sample", sample)
    assert refused(offline(run), ALONE) == (
        "the dataset core/shards cannot be learned from: of a trajectory, action has values outside "
        "Discrete(3)."
    )


def test_an_error_about_a_datasets_action_space_names_the_dataset(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ShardsDataset.__init__

    def change(self: ShardsDataset, *given: Any) -> None:
        original(self, *given)
        self.action_space = spaces.Box(-np.inf, np.inf, (1,))

    monkeypatch.setattr(ShardsDataset, "__init__", change)
    assert refused(offline(run), ALONE) == (
        "dataset core/shards: actions of space Box(-inf, inf, (1,), float32) are not supported: use "
        "Discrete, MultiDiscrete, MultiBinary or a Box with finite bounds."
    )


def test_a_missing_dataset_folder_is_one_sentence() -> None:
    with pytest.raises(DatasetError) as caught:
        compose(load_spec(offline(Path("nowhere")), [ALONE]))
    assert str(caught.value) == (
        "dataset.folder nowhere does not exist. A relative path begins in the working directory, "
        f"{Path.cwd()}. A run records one: amago train SPEC --run nowhere"
    )


def test_dataset_options_without_effect_are_reported(run: Path) -> None:
    sampling = {"dataset_share": 1.0, "final_dataset_share": 0.25, "anneal_updates": 9}
    short = load_spec(offline(run, environment=BANDIT, sampling=sampling))
    assert data_notes(short) == [
        "sampling.anneal_updates is 9, but the run has only 8 updates: the dataset's share does not "
        "reach 0.25."
    ]
    assert data_notes(load_spec(tiny())) == []
    enough = load_spec(offline(run, environment=BANDIT, sampling={**sampling, "anneal_updates": 8}))
    assert data_notes(enough) == []
    assert data_notes(load_spec(tiny(sampling={"dataset_share": 0.9}))) == [
        "sampling.dataset_share has no effect: there is no dataset."
    ]
    moving = load_spec(offline(run, environment=BANDIT, sampling={"final_dataset_share": 0}), [ALONE])
    assert data_notes(moving) == [
        "sampling.dataset_share has no effect: training.steps_per_round is 0."
    ]
    assert data_notes(load_spec(offline(run), [ALONE])) == [
        "the agent is never evaluated: there is no environment. To evaluate it, write "
        "evaluation.environment={use: some-name}."
    ]


def test_check_prints_the_dataset_and_the_warnings(run: Path, tmp_path: Path) -> None:
    spec = tmp_path / "offline.yaml"
    spec.write_text(f"dataset: {{use: shards, folder: {run}}}\ntraining: {{steps_per_round: 0}}\n")
    result = CliRunner().invoke(cli, ["check", str(spec), "agent.backbone={use: gru, width: 8}"])
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    holds, seen = "6 trajectories, 60 timesteps", "observation (1,), action 3 choices, reward ()"
    assert f"dataset core/shards {holds} {seen} 0" in lines
    assert lines[-1] == (
        "the agent is never evaluated: there is no environment. To evaluate it, write "
        "evaluation.environment={use: some-name}."
    )


def test_a_dataset_of_the_engine_is_explained_like_any_other_part() -> None:
    result = CliRunner().invoke(cli, ["explain", "dataset", "shards"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        "dataset core/shards: the trajectories of another run: its replay, "
    )
    assert result.stdout.endswith(
        "In a spec:\n  dataset:\n    use: shards\n    folder: ...\n    by: trajectories\n"
    )
