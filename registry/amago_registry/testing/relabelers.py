"""Laws of relabelers, on walks along a line towards two goals, or on a trajectory of the author's.

A relabeler that needs other columns is given them: ``law(component, trajectory=columns)``.

Shape suffixes: T = transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from amago_registry.component import Component
from amago_registry.contexts import RelabelerContext
from amago_registry.errors import reason
from amago_registry.protocols import Relabeler
from amago_registry.testing.arrays import frozen, global_randomness, make_part
from amago_registry.testing.building import require, require_protocol

Trajectory: TypeAlias = Mapping[str, np.ndarray]

SEEDS = range(10)
ENDS = ("terminated", "truncated")
_PAID = ("obs.goals", "achieved", "reward")
ABSENT = -1
"""Shown in place of a goal that is absent or has been reached."""


class RelabelerLaw(Protocol):
    """A law that can be tried with a trajectory of the author's."""

    __name__: str

    def __call__(
        self,
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        trajectory: Trajectory | None = None,
    ) -> None:
        """Check the component.

        Args:
            component: The part.
            device: Ignored; relabelers hold no tensors.
            dtype: Ignored.
            trajectory: Columns as the replay stores them: ``obs.<key>`` (T+1, ...), ``action``,
                ``reward``, ``terminated`` and ``truncated`` (T, ...), others of T or T+1 rows. By
                default those of :func:`walks`.

        Raises:
            AssertionError: If the component breaks the law.
        """


def _law(check: Callable[[Component, Trajectory], None]) -> RelabelerLaw:
    """Make a law of a check of one trajectory."""

    @wraps(check)
    def law(
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        trajectory: Trajectory | None = None,
    ) -> None:
        del device, dtype
        for columns in walks() if trajectory is None else (trajectory,):
            check(component, columns)

    return law


def _on_walks_alone(law: RelabelerLaw) -> RelabelerLaw:
    """Leave out a trajectory of the author's: what its columns mean is not known."""

    @wraps(law)
    def checked(
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        trajectory: Trajectory | None = None,
    ) -> None:
        if trajectory is None:
            law(component, device=device, dtype=dtype)

    return checked


def walks() -> list[Trajectory]:
    """Return walks on the cells 0 to 9: no goal of two is reached, one, both; and one of one step.

    Columns: ``obs.obs`` (T+1, 2), the cell / 9 and the time / T; ``obs.goals`` (T+1, 2, 1), cells to
    visit in order, -1 for those visited; ``achieved`` (T+1, 1), the cell; ``action`` 0 left, 1 right;
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
    """Walk from cell 4 until the actions or the goals are used up."""
    cells, reached, shown = [4], [], [list(goals)]
    for action in actions:
        cells.append(cells[-1] + (1 if action else -1))
        left = [goal for goal in shown[-1] if goal != ABSENT]
        reached.append(cells[-1] == left[0])
        left = left[1:] if reached[-1] else left
        shown.append([ABSENT] * (2 - len(left)) + left)
        if not left:
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
def a_relabeler_offers_what_samplers_call(component: Component, trajectory: Trajectory) -> None:
    """It is a ``Relabeler`` whose ``identity`` is a bool, and returns a trajectory: arrays by name."""
    part = _part(component)
    identity = type(part.identity).__name__
    require(identity == "bool", component, f"its identity is of type {identity}, no bool.")
    _relabelled(part, _copy(trajectory), component)


@_law
def its_argument_stays_as_it_was(component: Component, trajectory: Trajectory) -> None:
    """The trajectory that it was given has the same columns and bits afterwards."""
    part = _part(component)
    for seed in SEEDS:
        given = _copy(trajectory)
        _relabelled(part, given, component, seed)
        changed = _differences(given, trajectory)
        sentence = f"it changes {changed} of the trajectory that it was given; change copies."
        require(not changed, component, sentence)


@_law
def an_identity_changes_nothing(component: Component, trajectory: Trajectory) -> None:
    """Where ``identity`` is true, what comes back is what was given, bit by bit."""
    part = _part(component)
    if part.identity is not True:
        return
    for seed in SEEDS:
        returned = _relabelled(part, _copy(trajectory), component, seed)
        changed = _differences(returned, trajectory)
        require(not changed, component, f"its identity is true, and it changes {changed}.")


@_law
def the_same_columns_come_back(component: Component, trajectory: Trajectory) -> None:
    """With their names, dtypes, and shapes behind the rows."""
    for columns in _all_relabelled(component, trajectory):
        given, returned = sorted(trajectory), sorted(columns)
        sentence = f"given the columns {given}, it returns {returned}."
        require(returned == given, component, sentence)
        for name, column in columns.items():
            one, other = _kind(trajectory[name]), _kind(column)
            require(other == one, component, f"{name} was {one}, and it returns {other}.")


@_law
def there_is_one_timestep_more_than_transitions(component: Component, trajectory: Trajectory) -> None:
    """At least one transition, none invented; each column has as many rows as is its way."""
    most = len(trajectory["reward"])
    for columns in _all_relabelled(component, trajectory):
        length = len(columns["reward"]) if "reward" in columns else 0
        sentence = f"of {most} transitions it makes {length}; return 1 to {most}."
        require(1 <= length <= most, component, sentence)
        for name in sorted(columns.keys() & trajectory.keys()):
            one_more = name.startswith("obs.") or len(trajectory[name]) > most
            rows, wanted = len(columns[name]), length + one_more
            sentence = f"of {length} transitions, {name} has {rows} rows instead of {wanted}."
            require(rows == wanted, component, sentence)


@_law
def what_was_done_is_not_rewritten(component: Component, trajectory: Trajectory) -> None:
    """The actions are the first of those that were taken: time goes on from the same beginning."""
    taken = trajectory["action"]
    for columns in _all_relabelled(component, trajectory):
        action = columns.get("action", taken)
        sentence = "its actions are not the first of those that were taken."
        require(np.array_equal(action, taken[: len(action)]), component, sentence)


@_law
def only_the_last_transition_ends_it(component: Component, trajectory: Trajectory) -> None:
    """No transition but the last is ``terminated`` or ``truncated``."""
    for columns in _all_relabelled(component, trajectory):
        for name in ENDS:
            early = np.flatnonzero(columns.get(name, np.zeros(1))[:-1]).tolist()
            sentence = f"{name} at the transitions {early}, it goes on; cut it at the first."
            require(not early, component, sentence)


@_law
def what_is_cut_short_ends(component: Component, trajectory: Trajectory) -> None:
    """The last of fewer transitions is ``terminated`` or ``truncated``: nothing followed it."""
    most = len(trajectory["reward"])
    for columns in _all_relabelled(component, trajectory):
        ends = [columns.get(name, np.ones(0)) for name in ENDS]
        lengths = [len(end) for end in ends]
        # Where there are no rows at all, another law says so.
        cut = all(0 < length < most for length in lengths)
        sentence = (
            f"cut to {lengths[0]} of {most} transitions, the last is neither terminated nor truncated."
        )
        require(not cut or any(end[-1] for end in ends), component, sentence)


@_on_walks_alone
@_law
def a_goal_that_is_shown_pays_when_it_is_reached(component: Component, trajectory: Trajectory) -> None:
    """Where other goals are shown, the reward is 1 on reaching the first that is left, and else 0."""
    for columns in _all_relabelled(component, trajectory):
        goals, achieved, reward = ({**trajectory, **columns}[name] for name in _PAID)
        reached_T = _reached(goals, achieved[: len(goals)])
        same = np.array_equal(goals, trajectory["obs.goals"][: len(goals)])
        # Rows that are too few, and what is not finite, are subjects of other laws.
        if same or len(reached_T) != len(reward) or not np.isfinite(reward).all():
            continue
        wrong = np.flatnonzero(reward != reached_T).tolist()
        sentence = f"at the transitions {wrong}, its reward is not 1 where the goal shown is reached."
        require(not wrong, component, sentence)


@_law
def its_numbers_are_finite(component: Component, trajectory: Trajectory) -> None:
    """No NaN and no infinity in any column."""
    for columns in _all_relabelled(component, trajectory):
        broken = [name for name in sorted(columns) if not np.isfinite(columns[name]).all()]
        require(not broken, component, f"it returns numbers that are not finite in {_list(broken)}.")


@_law
def all_randomness_comes_from_the_generator(component: Component, trajectory: Trajectory) -> None:
    """Equal generators give equal trajectories, and the global ones are neither read nor changed."""
    runs = []
    for seed in (0, 1):
        with global_randomness(seed) as touched:
            runs.append([frozen(columns) for columns in _all_relabelled(component, trajectory)])
            sentence = "it draws from a global generator, or seeds it; draw from rng."
            require(not touched(), component, sentence)
    sentence = "equal generators give different trajectories; draw from rng alone."
    require(runs[0] == runs[1], component, sentence)


@_law
def a_call_leaves_no_trace(component: Component, trajectory: Trajectory) -> None:
    """What comes back does not depend on what was relabelled before: batches may be drawn again."""
    part = _part(component)
    first, again = (
        [frozen(_relabelled(part, _copy(trajectory), component, seed)) for seed in SEEDS]
        for _ in range(2)
    )
    sentence = "it relabels otherwise when asked again with an equal generator; keep nothing."
    require(first == again, component, sentence)


RELABELER_LAWS: tuple[RelabelerLaw, ...] = (
    a_relabeler_offers_what_samplers_call,
    its_argument_stays_as_it_was,
    an_identity_changes_nothing,
    the_same_columns_come_back,
    there_is_one_timestep_more_than_transitions,
    what_was_done_is_not_rewritten,
    only_the_last_transition_ends_it,
    what_is_cut_short_ends,
    a_goal_that_is_shown_pays_when_it_is_reached,
    its_numbers_are_finite,
    all_randomness_comes_from_the_generator,
    a_call_leaves_no_trace,
)
"""What every relabeler obeys."""


def _part(component: Component) -> Any:
    part = make_part(component, RelabelerContext())
    require_protocol(part, Relabeler, component)
    return part


def _copy(trajectory: Trajectory) -> dict[str, np.ndarray]:
    return {name: column.copy() for name, column in trajectory.items()}


def _all_relabelled(component: Component, trajectory: Trajectory) -> list[Trajectory]:
    """Return what a new part makes of the trajectory, seed by seed."""
    part = _part(component)
    return [_relabelled(part, _copy(trajectory), component, seed) for seed in SEEDS]


def _relabelled(part: Any, trajectory: Trajectory, component: Component, seed: int = 0) -> Trajectory:
    """Return what the part makes of the trajectory itself."""
    try:
        columns: Trajectory = part(trajectory, np.random.default_rng(seed))
    except Exception as error:
        raise AssertionError(
            f"{component.name}: given the columns {sorted(trajectory)}, it raised {reason(error)}. "
            "Where it needs others, try it with them: law(component, trajectory=columns)."
        ) from error
    arrays = isinstance(columns, Mapping) and all(
        isinstance(column, np.ndarray) and column.ndim for column in columns.values()
    )
    require(arrays, component, "what it returns is no dictionary of numpy arrays.")
    return columns


def _reached(goals: np.ndarray, achieved: np.ndarray) -> np.ndarray:
    """Return (T,) whether what a transition of a walk achieves is the first goal shown before it."""
    reached = []
    for shown, cell in zip(goals, achieved[1:], strict=False):  # There is no step from the last.
        left = shown[shown != ABSENT]
        reached.append(left.size > 0 and left[0] == cell[0])
    return np.array(reached, bool)


def _differences(columns: Trajectory, others: Trajectory) -> str:
    """Return the names of the columns that are not the same in both, bit by bit."""
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
