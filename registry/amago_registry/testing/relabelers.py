"""Laws of relabelers, on walks along a line towards two goals, or on a trajectory of the author's.

A relabeler that needs other columns is given them, and where they are rewards of another environment,
that too: ``law(component, trajectory=columns, context=RelabelerContext(with_goals=...))``. Choose a
trajectory in which there is something to relabel.

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
"""Of a return, in shares of it."""

_ASKED = (GOALS, "reward", *ENDS)
"""What follows from the goals that are asked for."""

_CONTEXT = RelabelerContext(with_goals=with_goals, environment="a walk along a line")


class RelabelerLaw(Protocol):
    """A law that can be tried with a trajectory and a context of the author's."""

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
            trajectory: Columns as the replay stores them: ``obs.<key>`` (T+1, ...), ``action``,
                ``reward``, ``terminated`` and ``truncated`` (T, ...), others of T or T+1 rows. By
                default those of :func:`walks`.
            context: What it is built with; by default one whose ``with_goals`` is that of goals in a
                row, :func:`amago_registry.goals.with_goals`.

        Raises:
            AssertionError: If the component breaks the law.
        """


@dataclass(frozen=True)
class _Trial:
    """A part that is yet to be made, and what it is tried on."""

    component: Component
    trajectory: Trajectory
    context: RelabelerContext

    def part(self) -> Any:
        part = make_part(self.component, self.context)
        require_protocol(part, Relabeler, self.component)
        return part

    def require(self, truth: bool, sentence: str) -> None:
        require(truth, self.component, sentence)

    def copy(self) -> dict[str, np.ndarray]:
        return {name: column.copy() for name, column in self.trajectory.items()}

    def relabelled(self) -> list[Trajectory]:
        """Return what a new part makes of the trajectory, seed by seed."""
        part = self.part()
        return [_relabelled(part, self.copy(), self.component, seed) for seed in SEEDS]


def _law(check: Callable[[_Trial], None]) -> RelabelerLaw:
    """Make a law of a check of one trajectory."""

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
            check(_Trial(component, columns, context or _CONTEXT))

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
        context: RelabelerContext | None = None,
    ) -> None:
        if trajectory is None:
            law(component, device=device, dtype=dtype, context=context)

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
def a_relabeler_offers_what_samplers_call(trial: _Trial) -> None:
    """It is a ``Relabeler`` whose ``identity`` is a bool, and returns a trajectory: arrays by name."""
    part = trial.part()
    identity = type(part.identity).__name__
    trial.require(identity == "bool", f"its identity is of type {identity}, no bool.")
    _relabelled(part, trial.copy(), trial.component)


@_law
def its_argument_stays_as_it_was(trial: _Trial) -> None:
    """The trajectory that it was given, which may be read-only, has the same bits afterwards."""
    part = trial.part()
    for seed in SEEDS:
        given = trial.copy()
        _relabelled(part, given, trial.component, seed)
        changed = _differences(given, trial.trajectory)
        sentence = f"it changes {changed} of the trajectory that it was given; change copies."
        trial.require(not changed, sentence)
    stored = trial.copy()
    for column in stored.values():
        column.flags.writeable = False
    for seed in SEEDS:
        try:
            part(stored, np.random.default_rng(seed))
        except Exception as error:
            raise AssertionError(
                f"{trial.component.name}: given arrays that cannot be written to, as the replay gives "
                f"them, it raised {reason(error)}; change copies."
            ) from error


@_law
def an_identity_changes_nothing(trial: _Trial) -> None:
    """Where ``identity`` is true, what comes back is what was given, bit by bit."""
    part = trial.part()
    if part.identity is not True:
        return
    for seed in SEEDS:
        returned = _relabelled(part, trial.copy(), trial.component, seed)
        changed = _differences(returned, trial.trajectory)
        trial.require(not changed, f"its identity is true, and it changes {changed}.")


@_law
def the_same_columns_come_back(trial: _Trial) -> None:
    """With their names, dtypes, and shapes behind the rows."""
    for columns in trial.relabelled():
        given, returned = sorted(trial.trajectory), sorted(columns)
        trial.require(returned == given, f"given the columns {given}, it returns {returned}.")
        for name, column in columns.items():
            one, other = _kind(trial.trajectory[name]), _kind(column)
            trial.require(other == one, f"{name} was {one}, and it returns {other}.")


@_law
def there_is_one_timestep_more_than_transitions(trial: _Trial) -> None:
    """At least one transition, none invented; each column has as many rows as is its way."""
    most = len(trial.trajectory["reward"])
    for columns in trial.relabelled():
        length = len(columns["reward"]) if "reward" in columns else 0
        sentence = f"of {most} transitions it makes {length}; return 1 to {most}."
        trial.require(1 <= length <= most, sentence)
        for name in sorted(columns.keys() & trial.trajectory.keys()):
            one_more = name.startswith("obs.") or len(trial.trajectory[name]) > most
            rows, wanted = len(columns[name]), length + one_more
            sentence = f"of {length} transitions, {name} has {rows} rows instead of {wanted}."
            trial.require(rows == wanted, sentence)


@_law
def what_was_done_is_not_rewritten(trial: _Trial) -> None:
    """The actions are the first of those that were taken: time goes on from the same beginning."""
    taken = trial.trajectory["action"]
    for columns in trial.relabelled():
        action = columns.get("action", taken)
        sentence = "its actions are not the first of those that were taken."
        trial.require(np.array_equal(action, taken[: len(action)]), sentence)


@_on_walks_alone
@_law
def what_was_seen_is_not_rewritten(trial: _Trial) -> None:
    """Whatever does not follow from goals is the first of what was seen and recorded, bit by bit."""
    for columns in trial.relabelled():
        changed = _list(
            [
                name
                for name, given in trial.trajectory.items()
                if name not in (*_ASKED, "action") and name in columns
                if frozen(columns[name]) != frozen(given[: len(columns[name])])
            ]
        )
        sentence = f"it changes {changed}, which other goals would not have changed."
        trial.require(not changed, sentence)


@_law
def only_the_last_transition_ends_it(trial: _Trial) -> None:
    """No transition but the last is ``terminated`` or ``truncated``."""
    for columns in trial.relabelled():
        for name in ENDS:
            early = np.flatnonzero(columns.get(name, np.zeros(1))[:-1]).tolist()
            sentence = f"{name} at the transitions {early}, it goes on; cut it at the first."
            trial.require(not early, sentence)


@_law
def what_is_cut_short_ends(trial: _Trial) -> None:
    """The last of fewer transitions is ``terminated`` or ``truncated``: nothing followed it."""
    most = len(trial.trajectory["reward"])
    for columns in trial.relabelled():
        ends = [columns.get(name, np.ones(0)) for name in ENDS]
        lengths = [len(end) for end in ends]
        # Where there are no rows at all, another law says so.
        cut = all(0 < length < most for length in lengths)
        sentence = (
            f"cut to {lengths[0]} of {most} transitions, the last is neither terminated nor truncated."
        )
        trial.require(not cut or any(end[-1] for end in ends), sentence)


@_on_walks_alone
@_law
def goals_rewards_and_ends_are_what_the_environment_would_have_made(trial: _Trial) -> None:
    """Under other goals they are those of ``with_goals``; under the same ones, those recorded."""
    for columns in trial.relabelled():
        shown = columns.get(GOALS, trial.trajectory[GOALS])
        # Goals of another shape are the subject of other laws, as are the ends of what is cut short.
        if shown[:1].shape != trial.trajectory[GOALS][:1].shape:
            continue
        asked = shown[0].tolist()
        trial.require(bool(present(shown[0]).any()), f"it asks for {asked}: for no goal at all.")
        wanted, names = _wanted(trial.trajectory, columns, shown[0])
        wrong = [
            name
            for name in names
            if name in columns and not np.array_equal(columns[name], wanted[name])
        ]
        if np.array_equal(shown[0], trial.trajectory[GOALS][0]):
            sentence = f"it asks for what had been asked for, and changes {_list(wrong)}."
        else:
            sentence = (
                f"it asks for {asked}, and {_list(wrong)} is not what the environment would have made "
                "of that; ask context.with_goals."
            )
        trial.require(not wrong, sentence)


def _wanted(
    recorded: Trajectory, columns: Trajectory, goals_KX: np.ndarray
) -> tuple[Trajectory, tuple[str, ...]]:
    """Return what goals lead to, and the columns in which that is known."""
    if not np.array_equal(goals_KX, recorded[GOALS][0]):
        return with_goals(recorded, goals_KX), _ASKED
    cut = {name: recorded[name][: len(columns.get(name, ()))] for name in _ASKED}
    return cut, (GOALS, "reward") if len(cut["reward"]) < len(recorded["reward"]) else _ASKED


@_law
def what_is_changed_is_what_the_environment_said(trial: _Trial) -> None:
    """Given an author's ``with_goals``, it returns what it was given or one of its answers."""
    if trial.context is _CONTEXT or trial.context.with_goals is None:
        return
    said: list[Trajectory] = [trial.trajectory]
    ask = trial.context.with_goals

    def listened(columns: Trajectory, goals: Any) -> Trajectory:
        answer = ask(columns, goals)
        said.append({name: column.copy() for name, column in answer.items()})
        return answer

    listening = replace(trial, context=replace(trial.context, with_goals=listened))
    for columns in listening.relabelled():
        wrong = min((_differences(columns, answer) for answer in said), key=len)
        sentence = (
            f"its {wrong} is neither what it was given nor what context.with_goals returned; ask for "
            "other goals, and return the answer as it is."
        )
        trial.require(not wrong, sentence)


@_law
def the_return_never_falls(trial: _Trial) -> None:
    """The rewards add up to no less than before."""
    given = trial.trajectory["reward"].sum(dtype=np.float64)
    for columns in trial.relabelled():
        reward = columns.get("reward", trial.trajectory["reward"])
        returned = reward.sum(dtype=np.float64)
        sentence = f"the return was {given:g} and is {returned:g}; leave alone what was better."
        trial.require(not returned < given - ROUNDING * abs(given), sentence)


@_law
def its_numbers_are_finite(trial: _Trial) -> None:
    """No NaN and no infinity in any column."""
    for columns in trial.relabelled():
        broken = [name for name in sorted(columns) if not np.isfinite(columns[name]).all()]
        trial.require(not broken, f"it returns numbers that are not finite in {_list(broken)}.")


@_law
def all_randomness_comes_from_the_generator(trial: _Trial) -> None:
    """Equal generators give equal trajectories, and the global ones are neither read nor changed."""
    runs = []
    for seed in (0, 1):
        with global_randomness(seed) as touched:
            runs.append([frozen(columns) for columns in trial.relabelled()])
            sentence = "it draws from a global generator, or seeds it; draw from rng."
            trial.require(not touched(), sentence)
    sentence = "equal generators give different trajectories; draw from rng alone."
    trial.require(runs[0] == runs[1], sentence)


@_law
def a_call_leaves_no_trace(trial: _Trial) -> None:
    """What comes back does not depend on what was relabelled before: batches may be drawn again."""
    part = trial.part()
    first, again = (
        [frozen(_relabelled(part, trial.copy(), trial.component, seed)) for seed in SEEDS]
        for _ in range(2)
    )
    sentence = "it relabels otherwise when asked again with an equal generator; keep nothing."
    trial.require(first == again, sentence)


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
"""What every relabeler obeys."""


def _relabelled(part: Any, trajectory: Trajectory, component: Component, seed: int = 0) -> Trajectory:
    """Return what the part makes of the trajectory itself."""
    try:
        columns: Trajectory = part(trajectory, np.random.default_rng(seed))
    except Exception as error:
        raise AssertionError(
            f"{component.name}: given the columns {sorted(trajectory)}, it raised {reason(error)}. "
            "Where it needs others, try it with them: law(component, trajectory=columns, "
            "context=RelabelerContext(with_goals=...))."
        ) from error
    arrays = isinstance(columns, Mapping) and all(
        isinstance(column, np.ndarray) and column.ndim for column in columns.values()
    )
    require(arrays, component, "what it returns is no dictionary of numpy arrays.")
    return columns


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
