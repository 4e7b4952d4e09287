"""Laws of relabelers, run on walks along a line towards two goals, or on a trajectory of your own.

If the relabeler needs other columns, or another environment's ``with_goals``, pass them:
``law(component, trajectory=columns, context=RelabelerContext(with_goals=...))``. Choose a trajectory
that the relabeler changes.

Shape suffixes: T = transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from amago_registry.component import Component
from amago_registry.contexts import RelabelerContext
from amago_registry.errors import reason
from amago_registry.goals import ABSENT, GOALS, present, with_goals
from amago_registry.protocols import Relabeler
from amago_registry.testing.arrays import frozen, global_randomness, make_part
from amago_registry.testing.building import require, require_protocol

Trajectory: TypeAlias = Mapping[str, np.ndarray]

SEEDS = range(10)
ENDS = ("terminated", "truncated")
ROUNDING = 1e-6
"""Relative tolerance of a return."""

_GOAL_COLUMNS = (GOALS, "reward", *ENDS)
"""The columns that depend on the goals."""

_CONTEXT = RelabelerContext(with_goals=with_goals, environment="a walk along a line")


class RelabelerLaw(Protocol):
    """A law that takes an optional trajectory and context."""

    __name__: str

    def __call__(
        self,
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        trajectory: Trajectory | None = None,
        context: RelabelerContext | None = None,
    ) -> None:
        """Check the component.

        Args:
            component: The part.
            device: Ignored; relabelers hold no tensors.
            dtype: Ignored.
            trajectory: Columns in the format of the replay: ``obs.<key>`` (T+1, ...), ``action``,
                ``reward``, ``terminated`` and ``truncated`` (T, ...), others with T or T+1 rows. By
                default those of :func:`walks`.
            context: Context of the part; by default one whose ``with_goals`` is that of goals in
                sequence, :func:`amago_registry.goals.with_goals`.

        Raises:
            AssertionError: If the component breaks the law.
        """


@dataclass(frozen=True)
class _TestCase:
    """A component with the trajectory and context of a test."""

    component: Component
    trajectory: Trajectory
    context: RelabelerContext

    def part(self) -> Any:
        part = make_part(self.component, self.context)
        require_protocol(part, Relabeler, self.component)
        return part

    def require(self, condition: bool, sentence: str) -> None:
        require(condition, self.component, sentence)

    def copy(self) -> dict[str, np.ndarray]:
        return {name: column.copy() for name, column in self.trajectory.items()}

    def relabelled(self) -> list[Trajectory]:
        """Return the results of a new part for the trajectory, one per seed."""
        part = self.part()
        return [_relabelled(part, self.copy(), self.component, seed) for seed in SEEDS]


def _law(check: Callable[[_TestCase], None]) -> RelabelerLaw:
    """Decorate a check of one trajectory as a law."""

    @wraps(check)
    def law(
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        trajectory: Trajectory | None = None,
        context: RelabelerContext | None = None,
    ) -> None:
        del device, dtype
        for columns in walks() if trajectory is None else (trajectory,):
            check(_TestCase(component, columns, context or _CONTEXT))

    return law


def _on_walks_alone(law: RelabelerLaw) -> RelabelerLaw:
    """Skip a law for a trajectory of the plugin author: the meaning of its columns is unknown."""

    @wraps(law)
    def checked(
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        trajectory: Trajectory | None = None,
        context: RelabelerContext | None = None,
    ) -> None:
        if trajectory is None:
            law(component, device=device, dtype=dtype, context=context)

    return checked


def walks() -> list[Trajectory]:
    """Return walks on the cells 0 to 9 that reach none, one and both of two goals; and one of one step.

    Columns: ``obs.obs`` (T+1, 2), the cell / 9 and the time / T; ``obs.goals`` (T+1, 2, 1), cells to
    visit in order, -1 for visited ones; ``achieved`` (T+1, 1), the cell; ``action`` 0 left, 1 right;
    ``reward`` 1 where a goal is reached. A walk is terminated by its last goal, else truncated.
    """
    back_and_forth = (1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0)
    return [
        _walk(back_and_forth, goals=(0, 9)),
        _walk(back_and_forth, goals=(6, 0)),
        _walk(back_and_forth, goals=(7, 5)),
        _walk((1,), goals=(9, 0)),
    ]


def _walk(actions: Sequence[int], goals: tuple[int, int]) -> Trajectory:
    """Return a walk from cell 4 that ends with the last action or the last goal."""
    cells, reached, shown = [4], [], [list(goals)]
    for action in actions:
        cells.append(cells[-1] + (1 if action else -1))
        remaining = [goal for goal in shown[-1] if goal != ABSENT]
        reached.append(cells[-1] == remaining[0])
        remaining = remaining[1:] if reached[-1] else remaining
        shown.append([ABSENT] * (2 - len(remaining)) + remaining)
        if not remaining:
            break
    length, done = len(reached), shown[-1] == [ABSENT] * 2
    end_T = np.arange(length) == length - 1
    time = np.arange(length + 1) / length
    return {
        "obs.obs": np.stack([np.array(cells) / 9, time], -1).astype(np.float32),
        "obs.goals": np.array(shown, np.int64)[..., None],
        "achieved": np.array(cells, np.int64)[:, None],
        "action": np.array(actions[:length], np.uint8),
        "reward": np.array(reached, np.float32),
        "terminated": end_T & done,
        "truncated": end_T & (not done),
    }


@_law
def a_relabeler_offers_what_samplers_call(case: _TestCase) -> None:
    """It is a ``Relabeler`` whose ``identity`` is a bool, and returns a trajectory: arrays by name."""
    part = case.part()
    identity = type(part.identity).__name__
    case.require(identity == "bool", f"its identity is of type {identity}, not bool.")
    _relabelled(part, case.copy(), case.component)


@_law
def its_argument_stays_as_it_was(case: _TestCase) -> None:
    """The argument, whose arrays may be read-only, is not modified."""
    part = case.part()
    for seed in SEEDS:
        given = case.copy()
        _relabelled(part, given, case.component, seed)
        changed = _differences(given, case.trajectory)
        sentence = f"it modifies {changed} of the trajectory that it is given; modify copies."
        case.require(not changed, sentence)
    stored = case.copy()
    for column in stored.values():
        column.flags.writeable = False
    for seed in SEEDS:
        try:
            part(stored, np.random.default_rng(seed))
        except Exception as error:
            raise AssertionError(
                f"{case.component.name}: given read-only arrays, as the replay passes them, it raised "
                f"{reason(error)}; modify copies."
            ) from error


@_law
def an_identity_changes_nothing(case: _TestCase) -> None:
    """If ``identity`` is true, the result equals the argument, bit by bit."""
    part = case.part()
    if part.identity is not True:
        return
    for seed in SEEDS:
        returned = _relabelled(part, case.copy(), case.component, seed)
        changed = _differences(returned, case.trajectory)
        case.require(not changed, f"its identity is true, but it changes {changed}.")


@_law
def the_same_columns_come_back(case: _TestCase) -> None:
    """The result has the same columns: names, dtypes and row shapes."""
    for columns in case.relabelled():
        given, returned = sorted(case.trajectory), sorted(columns)
        case.require(returned == given, f"given the columns {given}, it returns {returned}.")
        for name, column in columns.items():
            one, other = _kind(case.trajectory[name]), _kind(column)
            case.require(other == one, f"it returns {name} as {other} instead of {one}.")


@_law
def there_is_one_timestep_more_than_transitions(case: _TestCase) -> None:
    """The result has at least one and no additional transitions, and T or T+1 rows in each column."""
    most = len(case.trajectory["reward"])
    for columns in case.relabelled():
        length = len(columns["reward"]) if "reward" in columns else 0
        sentence = f"given {most} transitions, it returns {length}; return 1 to {most}."
        case.require(1 <= length <= most, sentence)
        for name in sorted(columns.keys() & case.trajectory.keys()):
            one_more = name.startswith("obs.") or len(case.trajectory[name]) > most
            rows, wanted = len(columns[name]), length + one_more
            sentence = f"with {length} transitions, {name} has {rows} rows instead of {wanted}."
            case.require(rows == wanted, sentence)


@_law
def what_was_done_is_not_rewritten(case: _TestCase) -> None:
    """The actions are a prefix of the recorded ones: a result may be shorter, not start later."""
    taken = case.trajectory["action"]
    for columns in case.relabelled():
        action = columns.get("action", taken)
        sentence = "its actions are not a prefix of the recorded actions."
        case.require(np.array_equal(action, taken[: len(action)]), sentence)


@_on_walks_alone
@_law
def what_was_seen_is_not_rewritten(case: _TestCase) -> None:
    """Columns that do not depend on the goals are a prefix of the recorded ones, bit by bit."""
    for columns in case.relabelled():
        changed = _list(
            [
                name
                for name, given in case.trajectory.items()
                if name not in (*_GOAL_COLUMNS, "action") and name in columns
                if frozen(columns[name]) != frozen(given[: len(columns[name])])
            ]
        )
        sentence = f"it changes {changed}, which does not depend on the goals."
        case.require(not changed, sentence)


@_law
def only_the_last_transition_ends_it(case: _TestCase) -> None:
    """No transition but the last is ``terminated`` or ``truncated``."""
    for columns in case.relabelled():
        for name in ENDS:
            early = np.flatnonzero(columns.get(name, np.zeros(1))[:-1]).tolist()
            sentence = f"{name} is true at the transitions {early}, before the last; cut at the first."
            case.require(not early, sentence)


@_law
def what_is_cut_short_ends(case: _TestCase) -> None:
    """A shortened trajectory is ``terminated`` or ``truncated`` at its last transition."""
    most = len(case.trajectory["reward"])
    for columns in case.relabelled():
        ends = [columns.get(name, np.ones(0)) for name in ENDS]
        lengths = [len(end) for end in ends]
        # Columns without rows are reported by another law.
        cut = all(0 < length < most for length in lengths)
        sentence = (
            f"cut to {lengths[0]} of {most} transitions, it is neither terminated nor truncated at the "
            "last one."
        )
        case.require(not cut or any(end[-1] for end in ends), sentence)


@_on_walks_alone
@_law
def goals_rewards_and_ends_are_what_the_environment_would_have_made(case: _TestCase) -> None:
    """With other goals they are those of ``with_goals``; with the same goals, the recorded ones."""
    for columns in case.relabelled():
        shown = columns.get(GOALS, case.trajectory[GOALS])
        # Other laws check the shape of goals, and the flags of shortened trajectories.
        if shown[:1].shape != case.trajectory[GOALS][:1].shape:
            continue
        goals = shown[0].tolist()
        case.require(bool(present(shown[0]).any()), f"its goals are {goals}: no goal at all.")
        wanted, names = _expected(case.trajectory, columns, shown[0])
        wrong = [
            name
            for name in names
            if name in columns and not np.array_equal(columns[name], wanted[name])
        ]
        if np.array_equal(shown[0], case.trajectory[GOALS][0]):
            sentence = f"it keeps the goals, but changes {_list(wrong)}."
        else:
            sentence = (
                f"with the goals {goals}, its {_list(wrong)} differs from the environment's; return "
                "the result of context.with_goals."
            )
        case.require(not wrong, sentence)


def _expected(
    recorded: Trajectory, columns: Trajectory, goals_KX: np.ndarray
) -> tuple[Trajectory, tuple[str, ...]]:
    """Return the expected columns for the goals, and the names of those to compare."""
    if not np.array_equal(goals_KX, recorded[GOALS][0]):
        return with_goals(recorded, goals_KX), _GOAL_COLUMNS
    cut = {name: recorded[name][: len(columns.get(name, ()))] for name in _GOAL_COLUMNS}
    return cut, (GOALS, "reward") if len(cut["reward"]) < len(recorded["reward"]) else _GOAL_COLUMNS


@_law
def what_is_changed_is_what_the_environment_said(case: _TestCase) -> None:
    """With an author's ``with_goals``, the result is the argument or a result of ``with_goals``."""
    if case.context is _CONTEXT or case.context.with_goals is None:
        return
    valid: list[Trajectory] = [case.trajectory]
    original = case.context.with_goals

    def logged(columns: Trajectory, goals: Any) -> Trajectory:
        result = original(columns, goals)
        valid.append({name: column.copy() for name, column in result.items()})
        return result

    with_log = replace(case, context=replace(case.context, with_goals=logged))
    for columns in with_log.relabelled():
        wrong = min((_differences(columns, other) for other in valid), key=len)
        sentence = (
            f"its {wrong} is neither that of its argument nor that of a result of context.with_goals; "
            "return such a result unchanged."
        )
        case.require(not wrong, sentence)


@_law
def the_return_never_falls(case: _TestCase) -> None:
    """The return (sum of rewards) is never lower than before."""
    given = case.trajectory["reward"].sum(dtype=np.float64)
    for columns in case.relabelled():
        reward = columns.get("reward", case.trajectory["reward"])
        returned = reward.sum(dtype=np.float64)
        sentence = f"the return falls from {given:g} to {returned:g}; keep the better trajectory."
        case.require(not returned < given - ROUNDING * abs(given), sentence)


@_law
def its_numbers_are_finite(case: _TestCase) -> None:
    """Columns have neither NaN nor infinity."""
    for columns in case.relabelled():
        broken = [name for name in sorted(columns) if not np.isfinite(columns[name]).all()]
        case.require(not broken, f"it returns numbers that are not finite in {_list(broken)}.")


@_law
def all_randomness_comes_from_the_generator(case: _TestCase) -> None:
    """Equal generators give equal results; global random generators are neither used nor seeded."""
    runs = []
    for seed in (0, 1):
        with global_randomness(seed) as touched:
            runs.append([frozen(columns) for columns in case.relabelled()])
            sentence = "it uses or seeds a global random generator; use rng."
            case.require(not touched(), sentence)
    sentence = "equal generators give different trajectories; use rng alone."
    case.require(runs[0] == runs[1], sentence)


@_law
def a_call_leaves_no_trace(case: _TestCase) -> None:
    """The result does not depend on earlier calls: a resumed run samples batches again."""
    part = case.part()
    first, again = (
        [frozen(_relabelled(part, case.copy(), case.component, seed)) for seed in SEEDS]
        for _ in range(2)
    )
    sentence = "called again with an equal generator, it returns other results; keep no state."
    case.require(first == again, sentence)


RELABELER_LAWS: tuple[RelabelerLaw, ...] = (
    a_relabeler_offers_what_samplers_call,
    its_argument_stays_as_it_was,
    an_identity_changes_nothing,
    the_same_columns_come_back,
    there_is_one_timestep_more_than_transitions,
    what_was_done_is_not_rewritten,
    what_was_seen_is_not_rewritten,
    only_the_last_transition_ends_it,
    what_is_cut_short_ends,
    goals_rewards_and_ends_are_what_the_environment_would_have_made,
    what_is_changed_is_what_the_environment_said,
    the_return_never_falls,
    its_numbers_are_finite,
    all_randomness_comes_from_the_generator,
    a_call_leaves_no_trace,
)
"""The laws that every relabeler must pass."""


def _relabelled(part: Any, trajectory: Trajectory, component: Component, seed: int = 0) -> Trajectory:
    """Return the part's result for the trajectory, which is not copied."""
    try:
        columns: Trajectory = part(trajectory, np.random.default_rng(seed))
    except Exception as error:
        raise AssertionError(
            f"{component.name}: given the columns {sorted(trajectory)}, it raised {reason(error)}. "
            "If it needs other columns, pass them: law(component, trajectory=columns, "
            "context=RelabelerContext(with_goals=...))."
        ) from error
    arrays = isinstance(columns, Mapping) and all(
        isinstance(column, np.ndarray) and column.ndim for column in columns.values()
    )
    require(arrays, component, "it does not return a dictionary of numpy arrays.")
    return columns


def _differences(columns: Trajectory, others: Trajectory) -> str:
    """Return the names of the columns that differ, bit by bit."""
    return _list(
        sorted(
            name
            for name in columns.keys() | others.keys()
            if frozen(columns.get(name, ())) != frozen(others.get(name, ()))
        )
    )


def _kind(column: np.ndarray) -> str:
    return f"{column.dtype} {column.shape[1:]}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
