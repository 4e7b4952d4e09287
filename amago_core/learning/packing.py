"""Pack trajectory slices into a batch: concatenated end to end without padding, as numpy arrays.

:mod:`amago_core.learning.batch` makes tensors of them. Numpy alone, so that a process that only draws
batches need not import torch.

Shape suffixes: N = timesteps of all slices, M = transitions of all slices, S = slices, A = action
features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_registry.actions import action_width, choices
from amago_registry.errors import AmagoError
from amago_registry.trajectories import OBSERVATION, Trajectory

if TYPE_CHECKING:
    from gymnasium import spaces
    from numpy.typing import NDArray


@dataclass(eq=False, slots=True)
class PackedArrays:
    """A packed batch on the host, as numpy arrays; the layout is derived from the lengths later.

    Args:
        columns: By name: ``obs.<key>`` (N, ...), ``prev_action`` (N, A), ``prev_reward`` (N,),
            ``action`` (M,) or (M, axes), ``reward`` (M,) and ``terminated`` (M,); ``relabelled`` (S,)
            if there is a relabeler.
        lengths_S: Transitions of each slice, int64.
        times_S: Time of each slice's first timestep, int64.
    """

    columns: dict[str, NDArray[Any]]
    lengths_S: NDArray[np.int64]
    times_S: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays as one dictionary, to be sent to another process."""
        return {**self.columns, "lengths_S": self.lengths_S, "times_S": self.times_S}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> PackedArrays:
        """Return the packed batch from the dictionary of `to_arrays`."""
        lengths_S, times_S = arrays.pop("lengths_S"), arrays.pop("times_S")
        return cls(arrays, lengths_S, times_S)


def pack_arrays(slices: Sequence[Trajectory], action_space: spaces.Space[Any]) -> PackedArrays:
    """Pack slices end to end, as arrays; a slice of T transitions becomes T+1 rows.

    The previous action and reward, which are inputs of the policy, are computed here: ``prev_action``
    and ``prev_reward`` of a row are the action and reward of the row before; those of a slice's first
    row are stored with the slice.

    Args:
        slices: At least one, all with the same observations.
        action_space: Canonical; see :mod:`amago_registry.contexts`.

    Raises:
        ValueError: If there is no slice, or one without a transition.
        AmagoError: If the action space is not canonical, or an action is outside it.
    """
    lengths_S = np.array([trajectory.length for trajectory in slices], np.int64)
    if not len(lengths_S) or lengths_S.min() < 1:
        raise ValueError("a batch needs at least one slice, and a slice at least one transition")
    transitions = int(lengths_S.sum())
    rows = transitions + len(slices)
    columns = {
        name: _concatenate(slices, name, rows)
        for name in slices[0].columns
        if name.startswith(OBSERVATION)
    }
    rows_M = transition_rows(lengths_S)
    width, factors = action_width(action_space), choices(action_space)
    action = _concatenate(slices, "action", transitions, np.int64 if factors else np.float32)
    columns["action"] = action
    columns["prev_action"] = (
        _previous_one_hots(slices, rows_M, action, factors)
        if factors
        else _previous_vectors(slices, rows, width)
    )
    columns["prev_reward"] = _previous_rewards(slices, rows)
    columns["reward"] = _concatenate(slices, "reward", transitions, np.float32)
    columns["terminated"] = _concatenate(slices, "terminated", transitions, np.bool_)
    if all(trajectory.relabelled is not None for trajectory in slices):
        relabelled = [trajectory.relabelled for trajectory in slices]
        columns["relabelled"] = np.array(relabelled, np.bool_)
    times_S = np.array([trajectory.start_time for trajectory in slices], np.int64)
    return PackedArrays(columns, lengths_S, times_S)


def transition_rows(lengths_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of each transition; the last row of a slice has no transition."""
    sequence_M = np.repeat(np.arange(len(lengths_S)), lengths_S)
    sequence_M += np.arange(len(sequence_M))
    return sequence_M


def _concatenate(slices: Sequence[Trajectory], name: str, rows: int, dtype: Any = None) -> NDArray[Any]:
    """Concatenate one column of all slices into a new array, with a single copy."""
    columns = [trajectory.columns[name] for trajectory in slices]
    if dtype is None:
        dtype = np.result_type(*{column.dtype for column in columns})
        dtype = np.float32 if dtype == np.float64 else dtype
    out = np.empty((rows, *columns[0].shape[1:]), dtype)
    return np.concatenate(columns, out=out, casting="unsafe")


def _previous_rewards(slices: Sequence[Trajectory], rows: int) -> NDArray[np.float32]:
    """Return the reward before each row; that of a slice's first row is stored with the slice."""
    first_S = np.array([trajectory.prev_reward for trajectory in slices], np.float32)
    rewards = (trajectory.columns["reward"] for trajectory in slices)
    interleaved = [part for pair in zip(first_S[:, None], rewards, strict=True) for part in pair]
    return np.concatenate(interleaved, out=np.empty(rows, np.float32), casting="unsafe")


def _previous_one_hots(
    slices: Sequence[Trajectory],
    rows_M: NDArray[np.int64],
    action: NDArray[np.int64],
    factors: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return the previous action of each row, one-hot for each factor; zeros where there is none."""
    width, offsets = sum(factors), np.cumsum([0, *factors[:-1]])
    one_hot_NA = np.zeros((len(rows_M) + len(slices), width), np.float32)
    first_rows, first_actions = _previous_actions(slices, len(factors))
    for rows, actions in ((rows_M + 1, action), (first_rows, first_actions)):
        _set_one_hots(one_hot_NA.reshape(-1), rows * width, np.atleast_2d(actions.T), factors, offsets)
    return one_hot_NA


def _previous_actions(
    slices: Sequence[Trajectory], factors: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of every slice that has a previous action, and those actions."""
    row, rows, actions = 0, [], []
    for trajectory in slices:
        if trajectory.prev_action is not None:
            rows.append(row)
            actions.append(trajectory.prev_action)
        row += trajectory.length + 1
    return np.array(rows, np.int64), np.array(actions, np.int64).reshape(len(rows), factors)


def _set_one_hots(
    flat: NDArray[np.float32],
    starts: NDArray[np.int64],
    indices: NDArray[np.int64],
    factors: tuple[int, ...],
    offsets: NDArray[np.int64],
) -> None:
    """Set a 1 for each factor in the rows whose flat offsets are ``starts``."""
    for count, offset, index in zip(factors, offsets, indices, strict=True):
        _check_choices(index, count)
        flat[starts + index + offset] = 1.0


def _check_choices(indices: NDArray[np.int64], count: int) -> None:
    """Raise for an action outside the choices: its 1 would be set in another row."""
    if not indices.size:
        return
    for index in (int(indices.min()), int(indices.max())):
        if not 0 <= index < count:
            raise AmagoError(
                f"an action is {index}, outside the choices 0 to {count - 1}: the trajectory was "
                "recorded or relabelled for another action space"
            )


def _previous_vectors(slices: Sequence[Trajectory], rows: int, width: int) -> NDArray[np.float32]:
    """Return the previous action of each row, a vector; zeros where there is none."""
    no_action = np.zeros(width, np.float32)
    parts = []
    for trajectory in slices:
        first = no_action if trajectory.prev_action is None else trajectory.prev_action
        parts += [np.reshape(first, (1, width)), trajectory.columns["action"]]
    return np.concatenate(parts, out=np.empty((rows, width), np.float32), casting="unsafe")
