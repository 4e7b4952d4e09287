"""Replays of a task with other goals, for the law of ``with_goals``.

Shape suffixes: K = slots for goals, X = coordinates of a goal, G = goals, N = achieved values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from amago_registry.errors import AmagoError
from amago_registry.goals import ACHIEVED, GOALS, Goals, present, shown
from amago_registry.recordings import recorded_trajectory
from amago_registry.spaces import flat_observation
from amago_registry.testing.playing import Moment, Player, at_random

Columns: TypeAlias = Mapping[str, np.ndarray]

DRAWS = 8
"""Number of goal lists with which a task is replayed."""

OTHERS = 2
"""More rollouts of the same task; what they achieve are goals that the first may never reach."""


@dataclass(frozen=True)
class Recorded:
    """A recorded rollout from the start of its task.

    Args:
        actions: Actions in the environment's form.
        columns: Columns in the format of the replay.
        over: Whether the task ended; else only the recording did.
    """

    actions: list[Any]
    columns: Columns
    over: bool


def played(player: Player, seed: int, steps: int, walk: int = 0) -> Recorded:
    """Return a rollout with random actions, to the end of the task or for a number of steps.

    Args:
        player: Wraps the environment.
        seed: Seed of the task.
        steps: Most steps.
        walk: Seed of the actions.

    Raises:
        AssertionError: If the rollout cannot be recorded.
    """
    policy = at_random(player.env.action_space, walk)
    moments, actions = [player.reset(seed)], list[Any]()
    while not moments[-1].over and len(actions) < steps:
        actions.append(policy(moments[-1].obs))
        moments.append(player.step(actions[-1]))
    return _recorded(player, moments, actions)


def replayed(player: Player, seed: int, actions: list[Any], goals: Goals) -> Recorded:
    """Return the rollout of the same actions with other goals, up to the end of the task."""
    moments, taken = [player.reset(seed, {"goals": goals.copy()})], list[Any]()
    for action in actions:
        if moments[-1].over:
            break
        taken.append(action)
        moments.append(player.step(action))
    return _recorded(player, moments, taken)


def other_goals(columns: Columns, others: list[Columns], seed: int) -> Iterator[Goals]:
    """Yield goals ``(G, X)`` or ``(K, X)``: reached in order, in another order, or possibly never.

    Args:
        columns: Columns of the rollout whose actions are replayed.
        others: Columns of other rollouts of the same task.
        seed: Seed of the random choice.
    """
    rng = np.random.default_rng(seed)
    slots = columns[GOALS].shape[1]
    own_NX, others_NX = (
        _achieved(columns),
        np.concatenate([_achieved(one) for one in [columns, *others]]),
    )
    dtype = np.result_type(columns[GOALS], others_NX)  # Achieved values may exceed the goals' dtype.
    for draw in range(DRAWS if len(others_NX) else 0):
        source_NX = others_NX if draw % 4 == 3 or not len(own_NX) else own_NX
        picks_G = rng.integers(len(source_NX), size=rng.integers(1, slots + 1))
        goals_GX = source_NX[picks_G if draw % 2 else np.sort(picks_G)].astype(dtype)
        yield shown(goals_GX, slots) if draw % 3 == 2 else goals_GX


def difference(found: Any, expected: Columns) -> str | None:
    """Return a description of the first difference between columns; None if they are equal."""
    if not isinstance(found, Mapping) or found.keys() != expected.keys():
        names = sorted(found) if isinstance(found, Mapping) else repr(found)
        return f"the columns are {names} instead of {sorted(expected)}"
    for name, wanted in expected.items():
        given = found[name]
        form = getattr(given, "dtype", type(given).__name__), np.shape(given)
        if form != (wanted.dtype, wanted.shape):
            return f"{name} is {form[0]} {form[1]} instead of {wanted.dtype} {wanted.shape}"
        rows = np.flatnonzero((given != wanted).reshape(len(wanted), -1).any(1))
        if len(rows):
            row = rows[0]
            return f"{name} is {given[row].tolist()} in row {row} instead of {wanted[row].tolist()}"
    return None


def _achieved(columns: Columns) -> np.ndarray:
    """Return the values achieved after the first action: ``(N, X)``."""
    achieved = columns[ACHIEVED][1:]
    flat_NX = achieved.reshape(-1, achieved.shape[-1])
    present_NX: np.ndarray = flat_NX[present(flat_NX)]
    return present_NX


def _recorded(player: Player, moments: list[Moment], actions: list[Any]) -> Recorded:
    """Return the recorded rollout; truncated at its last step if the task did not end."""
    columns = _columns(player, moments, actions)
    if not moments[-1].over:
        columns["truncated"][-1] = True
    return Recorded(actions, columns, moments[-1].over)


def _columns(player: Player, moments: list[Moment], actions: list[Any]) -> dict[str, np.ndarray]:
    seen, acted = player.env.observation_space, player.env.action_space
    flat = [flat_observation(moment.obs, seen) for moment in moments]
    steps = moments[1:]
    try:
        recording = recorded_trajectory(
            {key: np.stack([one[key] for one in flat]) for key in flat[0]},
            np.stack(actions),
            [moment.reward for moment in steps],
            np.array([moment.terminated for moment in steps], bool),
            np.array([moment.truncated for moment in steps], bool),
            seen,
            acted,
            recorded={key: np.stack([m.info[key] for m in moments]) for key in moments[0].keys},
            recorded_space=player.recorded_space,
        )
    except (AmagoError, KeyError, TypeError, ValueError) as error:
        raise AssertionError(
            f"{player.component.name}: its trajectory cannot be recorded: {error}"
        ) from error
    return dict(recording.columns)
