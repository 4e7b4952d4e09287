"""Tasks replayed under other goals, for the law of ``with_goals``.

Shape suffixes: K = places for goals, X = coordinates of a goal, G = goals, N = achieved values.
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
"""Lists of goals that a task is replayed under."""

OTHERS = 2
"""More walks through the same task, whose achieved values are goals that the first may never reach."""


@dataclass(frozen=True)
class Recorded:
    """A task from its beginning on.

    Args:
        actions: As the environment was given them.
        columns: As the replay would have stored them.
        over: Whether the task ended with them; else only its recording did.
    """

    actions: list[Any]
    columns: Columns
    over: bool


def played(player: Player, seed: int, steps: int, walk: int = 0) -> Recorded:
    """Play a task at random, to its end or for so many steps.

    Args:
        player: Plays it.
        seed: Which task.
        steps: Most steps.
        walk: Seed of the actions.

    Raises:
        AssertionError: If what was seen cannot be recorded.
    """
    policy = at_random(player.env.action_space, walk)
    moments, actions = [player.reset(seed)], list[Any]()
    while not moments[-1].over and len(actions) < steps:
        actions.append(policy(moments[-1].obs))
        moments.append(player.step(actions[-1]))
    return _recorded(player, moments, actions)


def replayed(player: Player, seed: int, actions: list[Any], goals: Goals) -> Recorded:
    """Return what the actions are recorded as under other goals, up to the end of the task."""
    moments, taken = [player.reset(seed, {"goals": goals.copy()})], list[Any]()
    for action in actions:
        if moments[-1].over:
            break
        taken.append(action)
        moments.append(player.step(action))
    return _recorded(player, moments, taken)


def other_goals(columns: Columns, others: list[Columns], seed: int) -> Iterator[Goals]:
    """Yield goals ``(G, X)`` or ``(K, X)``: reached in their order, in another one, or perhaps never.

    Args:
        columns: Of the task whose actions are replayed.
        others: Of other walks through it.
        seed: Of what is drawn.
    """
    rng = np.random.default_rng(seed)
    places = columns[GOALS].shape[1]
    own_NX, others_NX = (
        _achieved(columns),
        np.concatenate([_achieved(one) for one in [columns, *others]]),
    )
    dtype = np.result_type(columns[GOALS], others_NX)  # What is achieved may not fit into the goals.
    for draw in range(DRAWS if len(others_NX) else 0):
        source_NX = others_NX if draw % 4 == 3 or not len(own_NX) else own_NX
        picks_G = rng.integers(len(source_NX), size=rng.integers(1, places + 1))
        goals_GX = source_NX[picks_G if draw % 2 else np.sort(picks_G)].astype(dtype)
        yield shown(goals_GX, places) if draw % 3 == 2 else goals_GX


def difference(found: Any, expected: Columns) -> str | None:
    """Return in words where columns differ from what they should be; None where they do not."""
    if not isinstance(found, Mapping) or found.keys() != expected.keys():
        names = sorted(found) if isinstance(found, Mapping) else repr(found)
        return f"the columns are {names}, not {sorted(expected)}"
    for name, wanted in expected.items():
        given = found[name]
        form = getattr(given, "dtype", type(given).__name__), np.shape(given)
        if form != (wanted.dtype, wanted.shape):
            return f"{name} is {form[0]} {form[1]}, not {wanted.dtype} {wanted.shape}"
        rows = np.flatnonzero((given != wanted).reshape(len(wanted), -1).any(1))
        if len(rows):
            row = rows[0]
            return f"{name} is {given[row].tolist()} in row {row}, not {wanted[row].tolist()}"
    return None


def _achieved(columns: Columns) -> np.ndarray:
    """Return all that was achieved after some action: ``(N, X)``."""
    achieved = columns[ACHIEVED][1:]
    flat_NX = achieved.reshape(-1, achieved.shape[-1])
    there_NX: np.ndarray = flat_NX[present(flat_NX)]
    return there_NX


def _recorded(player: Player, moments: list[Moment], actions: list[Any]) -> Recorded:
    """Return what was played; where it goes on, the recording is cut."""
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
            f"{player.component.name}: what it shows and records cannot be stored: {error}"
        ) from error
    return dict(recording.columns)
