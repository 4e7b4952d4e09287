"""Relabelers and the environment's ``with_goals``, in every loader; their errors name the part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from loader_parts import relabeling
from toys import Seeker, tiny

import amago_core
from amago_core.acting.task import Task
from amago_core.compose.build import compose, compose_relabeler
from amago_core.compose.tasks import compose_task
from amago_core.errors import AmagoError, LoaderError
from amago_core.learning.checked_parts import CheckedRelabeler, TrajectoryChecker
from amago_core.learning.loader import Loader, make_loader
from amago_core.learning.relabeling import find_with_goals
from amago_core.replay import Replay, ReplayWriter
from amago_core.spec import RunSpec, load_spec
from amago_registry.goals import with_goals
from amago_registry.trajectories import Trajectory

Columns = Mapping[str, np.ndarray]
LOADERS = ("none", "thread", "process")
TRAJECTORY = ["obs.obs", "obs.goals", "achieved", "action", "reward", "terminated", "truncated"]


class SeekerPart:
    """An environment part that has ``with_goals``."""

    with_goals = staticmethod(with_goals)

    def make(self) -> Seeker:
        return Seeker()


def seeking(**more: Any) -> Any:
    """Return an environment factory with attributes such as ``with_goals``."""

    def make() -> Seeker:
        return Seeker()

    for name, value in more.items():
        setattr(make, name, value)
    return make


def walked(seed: int) -> Trajectory:
    """Return a stored trajectory: 5 steps to the right, without reaching a goal."""
    goals = np.array([[0], [0]])
    cells = np.arange(4, 10)[:, None]
    return Trajectory(
        {
            "obs.obs": cells.astype(np.float32),
            "obs.goals": np.stack([goals] * 6),
            "achieved": cells,
            "action": np.full(5, 2, np.uint8),
            "reward": np.zeros(5, np.float32),
            "terminated": np.zeros(5, bool),
            "truncated": np.arange(5) == 4,
        },
        seed,
    )


def spec_of(how: str, loader: str = "none", **more: Any) -> RunSpec:
    spec = load_spec(tiny(sampling={"loader": loader}, **more), local_environment=True)
    return spec.model_copy(update={"relabeler": relabeling(how), "environment": None})


def test_with_goals_of_a_part_is_found_by_its_method_make() -> None:
    found = find_with_goals(SeekerPart().make)
    assert found == with_goals


def test_with_goals_of_a_function_is_its_attribute() -> None:
    def of_function(columns: Columns, goals: Any) -> Columns:
        return columns

    assert find_with_goals(seeking(with_goals=of_function)) == of_function


@pytest.mark.parametrize("make", [None, seeking(), Seeker().reset, seeking(with_goals=None)])
def test_environments_without_with_goals_have_no_goal_oracle(make: Any) -> None:
    assert find_with_goals(make) is None


class SeekerItself(Seeker):
    """An environment whose class is the factory, and whose with_goals needs an instance."""

    def with_goals(self, columns: Columns, goals: Any) -> Columns:
        raise AssertionError("there is no instance")


class SeekerClass(Seeker):
    """An environment whose class is the factory, and whose with_goals needs no instance."""

    with_goals = staticmethod(with_goals)


def test_with_goals_of_a_class_must_be_static() -> None:
    assert find_with_goals(SeekerClass) == with_goals
    assert find_with_goals(SeekerItself) is None
    assert find_with_goals(SeekerItself()) is not None


def test_a_relabeler_is_given_the_environments_with_goals() -> None:
    task = compose_task(None, 0, seeking(with_goals=with_goals))
    relabeler = compose_relabeler(spec_of("goals"), task)
    columns = relabeler(walked(0).columns, np.random.default_rng(0))
    # Cell 3 is never reached.
    assert columns["obs.goals"][:, :, 0].tolist() == [[3, 4]] * 6
    assert columns["reward"].tolist() == [0] * 5


def test_without_an_environment_a_relabeler_has_no_goal_oracle() -> None:
    seen, acted = Seeker().observation_space, Seeker().action_space
    task = Task("the dataset x", None, seen, acted, None)
    with pytest.raises(AmagoError) as caught:
        compose_relabeler(spec_of("goals"), task)
    assert str(caught.value) == "goals of no environment cannot be changed"


def test_composing_and_checking_raise_what_a_relabeler_raises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(AmagoError) as caught:
        compose(spec_of("goals"), seeking())
    assert str(caught.value) == "goals of make cannot be changed"
    from amago_core.cli import check

    spec = load_spec(tiny()).model_copy(update={"relabeler": relabeling("goals")})
    monkeypatch.setattr(check, "load_spec", lambda *_: spec)
    monkeypatch.setattr(check, "spec_yaml", lambda _: "")
    result = CliRunner().invoke(check.command, ["tiny.yaml"])
    assert isinstance(result.exception, AmagoError)
    assert str(result.exception) == "goals of standard/bandit cannot be changed"


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    writer = ReplayWriter(tmp_path)
    for seed in range(6):
        writer.append(walked(seed))
    writer.flush(0)
    return Replay(tmp_path, None)


@contextmanager
def loading(spec: RunSpec, replay: Replay, make: Callable[[], Any]) -> Iterator[Loader]:
    task = compose_task(None, 0, make)
    relabeler, device = compose_relabeler(spec, task), torch.device("cpu")
    made = make_loader(spec, task, replay, relabeler=relabeler, dataset=None, device=device)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("loader", LOADERS)
def test_every_loader_calls_the_environments_with_goals(loader: str, replay: Replay) -> None:
    goal = 7

    def to_the_right(columns: Columns, goals: Any) -> Columns:
        other = np.array([[goal], [goals[0, 0] + 6]])
        return with_goals(columns, other if goals.any() else goals)

    make = seeking(with_goals=to_the_right)
    with loading(spec_of("goals", loader), replay, make) as made:
        ((batch,),) = made.round(0, 1, 6)
    assert batch.reward_M.tolist() == [0, 0, 1, 0, 1] * 4
    assert batch.terminated_M.tolist() == [False, False, False, False, True] * 4
    assert batch.relabelled == 1.0
    assert batch.obs["goals"][:6, :, 0].tolist() == [[7, 9]] * 3 + [[-1, 9]] * 2 + [[-1, -1]]


def test_a_with_goals_that_cannot_be_pickled_is_refused(replay: Replay) -> None:
    lock = threading.Lock()

    def locked(columns: Columns, goals: Any) -> Columns:
        with lock:
            return columns

    spec = spec_of("goals", "process")
    with (
        pytest.raises(LoaderError) as caught,
        loading(spec, replay, seeking(with_goals=locked)),
    ):
        pass
    assert str(caught.value) == (
        "with_goals of environment make cannot be sent to loader processes (TypeError: cannot pickle "
        "'_thread.lock' object): let it hold only what can be pickled, or write sampling.loader=thread."
    )


class Unpicklable:
    """Can be pickled but not unpickled."""

    def __call__(self, columns: Columns, goals: Any) -> Columns:
        return columns

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_a_with_goals_that_a_process_cannot_unpickle_is_named(replay: Replay) -> None:
    make = seeking(with_goals=Unpicklable())
    with (
        loading(spec_of("goals", "process"), replay, make) as made,
        pytest.raises(LoaderError) as caught,
    ):
        list(made.round(0, 1, 6))
    assert str(caught.value) == (
        "loader processes cannot unpickle with_goals of environment make (ValueError: invalid literal "
        "for int() with base 10: 'no number'): define it in a module that can be imported by its name, "
        "or write sampling.loader=thread."
    )


def lost(columns: Columns, goals: Any) -> Columns:
    raise KeyError("map")


@pytest.mark.parametrize("loader", LOADERS)
def test_an_error_of_with_goals_names_the_environment(loader: str, replay: Replay) -> None:
    with (
        loading(spec_of("goals", loader), replay, seeking(with_goals=lost)) as made,
        pytest.raises(AmagoError) as caught,
    ):
        list(made.round(0, 1, 6))
    assert str(caught.value) == "the environment make cannot be used: with_goals raised KeyError: 'map'"


def unmapped(columns: Columns, goals: Any) -> Columns:
    return {**columns, "reward": columns["map"]}


def unpaid(columns: Columns, goals: Any) -> Columns:
    return {name: column for name, column in columns.items() if name != "reward"}


def silent(columns: Columns, goals: Any) -> Any:
    return None


ANSWERS: list[tuple[Any, str]] = [
    (
        unmapped,
        "with_goals of environment make needs the column 'map', and a trajectory has "
        f"{', '.join(TRAJECTORY)}: name an environment that shows it (obs.<key>) or records it (its "
        "recorded_space has the key), or write relabeler=none.",
    ),
    (silent, "with_goals of environment make returned a NoneType instead of columns."),
    (
        unpaid,
        "what with_goals of environment make returned cannot be learned from: it lacks reward; "
        f"its columns are {', '.join(sorted({*TRAJECTORY} - {'reward'}))}.",
    ),
]


@pytest.mark.parametrize(("answer", "message"), ANSWERS, ids=["unmapped", "silent", "unpaid"])
@pytest.mark.parametrize("how", ["goals", "within goals"])
def test_wrong_columns_of_with_goals_name_the_environment_not_the_relabeler(
    how: str, answer: Any, message: str
) -> None:
    task = compose_task(None, 0, seeking(with_goals=answer))
    relabeler = CheckedRelabeler(
        compose_relabeler(spec_of(how), task),
        "tests/relabeler",
        TrajectoryChecker(task.observed, task.acted),
    )
    with pytest.raises(AmagoError) as caught:
        relabeler(walked(0).columns, np.random.default_rng(0))
    assert str(caught.value) == message


def paying_less(columns: Columns, goals: Any) -> Columns:
    found = with_goals(columns, goals)
    return {**found, "reward": found["reward"] - 0.1}


def ending_early(columns: Columns, goals: Any) -> Columns:
    return {name: column[:-1] for name, column in with_goals(columns, goals).items()}


def forgetting(columns: Columns, goals: Any) -> Columns:
    found = with_goals(columns, goals)
    return {name: column for name, column in found.items() if name != "achieved"}


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (paying_less, "reward is -0.10000000149011612 instead of 0.0 in row 0"),
        (ending_early, "obs.obs is (5, 1) instead of (6, 1)"),
        (forgetting, "achieved is missing"),
    ],
)
def test_a_with_goals_that_changes_the_recording_is_refused(answer: Any, wrong: str) -> None:
    relabeler = compose_relabeler(spec_of("goals"), compose_task(None, 0, seeking(with_goals=answer)))
    with pytest.raises(AmagoError) as caught:
        relabeler(walked(0).columns, np.random.default_rng(0))
    assert str(caught.value) == (
        "with_goals of environment make, called with a trajectory's original goals, must return what "
        f"was recorded, and its {wrong}. Correct it, or write relabeler=none. "
        "amago_registry.goals.with_goals is for environments that pay 1 for a goal and nothing else, "
        "and end with the last goal."
    )


def test_the_last_step_can_be_both_terminated_and_truncated() -> None:
    columns = dict(walked(0).columns)
    columns["obs.goals"] = np.array([[[5], [9]], *[[[-1], [9]]] * 4, [[-1], [-1]]])
    columns["reward"] = np.float32([1, 0, 0, 0, 1])
    columns["terminated"] = columns["truncated"] = np.arange(5) == 4
    calls: list[Any] = []

    def listening(columns: Columns, goals: Any) -> Columns:
        calls.append(goals.tolist())
        return with_goals(columns, goals)

    task = compose_task(None, 0, seeking(with_goals=listening))
    relabeler = compose_relabeler(spec_of("goals"), task)
    for _ in range(20):
        relabeler(columns, np.random.default_rng(0))
    assert calls[:2] == [[[5], [9]], [[3], [4]]]
    assert len(calls) == 16 + 20


def test_goals_of_another_format_are_not_checked() -> None:
    calls: list[Any] = []

    def listening(columns: Columns, goals: Any) -> Columns:
        calls.append(goals.tolist())
        return columns

    task = compose_task(None, 0, seeking(with_goals=listening))
    relabeler = compose_relabeler(spec_of("goals"), task)
    columns = dict(walked(0).columns) | {"reward": np.ones(5, np.float32)}
    del columns["achieved"]
    assert relabeler(columns, np.random.default_rng(0)) == columns
    assert calls == [[[3], [4]]]  # By the relabeler.


def test_a_task_lists_the_columns_observed_and_recorded() -> None:
    task = compose_task(None, 0, seeking())
    assert task.columns == {"obs.obs": (1,), "obs.goals": (2, 1), "achieved": (1,)}
    assert Task("x", None, task.observation_space, task.action_space, None).columns is None


@pytest.mark.parametrize("loader", LOADERS)
def test_a_relabeler_has_the_environments_name_in_every_loader(loader: str, replay: Replay) -> None:
    with (
        loading(spec_of("ask", loader), replay, seeking()) as made,
        pytest.raises(AmagoError) as caught,
    ):
        list(made.round(0, 1, 6))
    assert str(caught.value) == (
        "the environment is called make and has "
        "{'obs.obs': (1,), 'obs.goals': (2, 1), 'achieved': (1,)}"
    )


FAULTS = {
    "fail": "the relabeler tests/relabeler cannot be used: relabelling a trajectory raised "
    "KeyError: 'goal'",
    "refuse": "goals are missing: write goals=3",
    "none": "the relabeler tests/relabeler returned a NoneType instead of columns.",
    "blind": "what the relabeler tests/relabeler returned cannot be learned from: it lacks "
    f"{', '.join(sorted(TRAJECTORY[:2]))}; its columns are {', '.join(sorted(TRAJECTORY[2:]))}.",
}


@pytest.mark.parametrize("how", FAULTS)
def test_an_error_in_a_nested_relabeler_names_the_nested_one(how: str) -> None:
    task = compose_task(None, 0, seeking())
    outer = compose_relabeler(spec_of(f"within {how}"), task)
    with pytest.raises(AmagoError) as caught:
        outer(walked(0).columns, np.random.default_rng(0))
    assert str(caught.value) == FAULTS[how]


def test_a_nested_relabeler_is_given_the_same_context_as_the_outer_one() -> None:
    task = compose_task(None, 0, seeking(with_goals=with_goals))
    columns = compose_relabeler(spec_of("within goals"), task)(
        walked(0).columns, np.random.default_rng(0)
    )
    assert columns["obs.goals"][0, :, 0].tolist() == [3, 4]
    with pytest.raises(AmagoError) as caught:
        compose_relabeler(spec_of("within goals"), compose_task(None, 0, seeking()))
    assert str(caught.value) == "goals of make cannot be changed"


def test_a_missing_column_is_named_together_with_the_existing_ones() -> None:
    columns = dict(walked(0).columns)
    del columns["achieved"]
    task = compose_task(None, 0, seeking())
    checker = TrajectoryChecker(task.observed, task.acted)
    relabeler = CheckedRelabeler(
        compose_relabeler(spec_of("achieved"), task), "tests/hindsight", checker
    )
    with pytest.raises(AmagoError) as caught:
        relabeler(columns, np.random.default_rng(0))
    assert str(caught.value) == (
        "the relabeler tests/hindsight needs the column 'achieved', and a trajectory has obs.obs, "
        "obs.goals, action, reward, terminated, truncated: name an environment that shows it "
        "(obs.<key>) or records it (its recorded_space has the key), or write relabeler=none."
    )


@pytest.mark.parametrize("loader", ["none", "process"])
def test_a_run_in_a_local_environment_is_relabelled_by_its_with_goals(
    loader: str, tmp_path: Path
) -> None:
    calls: list[int] = []

    def counted(columns: Columns, goals: Any) -> Columns:
        calls.append(len(columns["achieved"]))
        return with_goals(columns, goals)

    result = amago_core.train(
        spec_of("goals", loader, training={"batch": 4, "rounds": 2, "steps_per_round": 30}),
        environment=seeking(with_goals=counted),
        run=tmp_path / "run",
    )
    assert result.updates > 0
    assert bool(calls) == (loader == "none")  # Otherwise it is called in another process.
    stored = Replay(result.run / "replay", None).trajectory(0)
    assert stored.columns["achieved"].shape == (stored.length + 1, 1)
