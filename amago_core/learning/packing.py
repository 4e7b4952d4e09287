"""Slices laid end to end, as arrays: what a batch holds before anything is a tensor.

Numpy alone, so that a process that only draws batches need not import torch.

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
    """A packed batch on the host, less what follows from its lengths.

    Args:
        columns: By name: ``obs.<key>`` (N, ...), ``prev_action`` (N, A), ``prev_reward`` (N,),
            ``action`` (M,) or (M, axes), ``reward`` (M,) and ``terminated`` (M,); ``relabelled`` (S,)
            where a relabeler was asked.
        lengths_S: Transitions of each slice, int64.
        times_S: Time of each slice's first timestep, int64.
    """

    columns: dict[str, NDArray[Any]]
    lengths_S: NDArray[np.int64]
    times_S: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as one dictionary, as it is sent to another process."""
        return {**self.columns, "lengths_S": self.lengths_S, "times_S": self.times_S}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> PackedArrays:
        """Return what `to_arrays` was called on."""
        lengths_S, times_S = arrays.pop("lengths_S"), arrays.pop("times_S")
        return cls(arrays, lengths_S, times_S)


def pack_arrays(slices: Sequence[Trajectory], action_space: spaces.Space[Any]) -> PackedArrays:
    """Lay slices end to end; a slice of T transitions becomes T+1 rows.

    What the policy saw before each timestep is derived here: ``prev_action`` and ``prev_reward`` of a
    row are the action and reward of the row before, those of a first row come with its slice.

    Args:
        slices: At least one, all with the same observations.
        action_space: Canonical; see :mod:`amago_registry.contexts`.

    Raises:
        ValueError: If there is no slice, or one without a transition.
        AmagoError: If the action space is not canonical, or has no such actions.
    """
    lengths_S = np.array([piece.length for piece in slices], np.int64)
    if not len(lengths_S) or lengths_S.min() < 1:
        raise ValueError("a batch needs at least one slice, and a slice at least one transition")
    transitions = int(lengths_S.sum())
    rows = transitions + len(slices)
    columns = {
        name: _joined(slices, name, rows) for name in slices[0].columns if name.startswith(OBSERVATION)
    }
    rows_M = transition_rows(lengths_S)
    width, factors = action_width(action_space), choices(action_space)
    action = _joined(slices, "action", transitions, np.int64 if factors else np.float32)
    columns["action"] = action
    columns["prev_action"] = (
        _one_hots(slices, rows_M, action, factors) if factors else _vectors(slices, rows, width)
    )
    columns["prev_reward"] = _previous_rewards(slices, rows)
    columns["reward"] = _joined(slices, "reward", transitions, np.float32)
    columns["terminated"] = _joined(slices, "terminated", transitions, np.bool_)
    if all(piece.relabelled is not None for piece in slices):
        columns["relabelled"] = np.array([piece.relabelled for piece in slices], np.bool_)
    times_S = np.array([piece.start_time for piece in slices], np.int64)
    return PackedArrays(columns, lengths_S, times_S)


def transition_rows(lengths_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of each transition: the last row of a slice has none."""
    sequence_M = np.repeat(np.arange(len(lengths_S)), lengths_S)
    sequence_M += np.arange(len(sequence_M))
    return sequence_M


def _joined(slices: Sequence[Trajectory], name: str, rows: int, dtype: Any = None) -> NDArray[Any]:
    """Copy one column of all slices, once, into an array of its own."""
    pieces = [piece.columns[name] for piece in slices]
    if dtype is None:
        dtype = np.result_type(*{piece.dtype for piece in pieces})
        dtype = np.float32 if dtype == np.float64 else dtype
    joined = np.empty((rows, *pieces[0].shape[1:]), dtype)
    return np.concatenate(pieces, out=joined, casting="unsafe")


def _previous_rewards(slices: Sequence[Trajectory], rows: int) -> NDArray[np.float32]:
    first_S = np.array([piece.prev_reward for piece in slices], np.float32)
    led = zip(first_S[:, None], (piece.columns["reward"] for piece in slices), strict=True)
    parts = [part for pair in led for part in pair]
    return np.concatenate(parts, out=np.empty(rows, np.float32), casting="unsafe")


def _one_hots(
    slices: Sequence[Trajectory],
    rows_M: NDArray[np.int64],
    action: NDArray[np.int64],
    factors: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return the actions before each row, one-hot for each factor; zeros where there was none."""
    width, offsets = sum(factors), np.cumsum([0, *factors[:-1]])
    hot_NA = np.zeros((len(rows_M) + len(slices), width), np.float32)
    first, before = _previous_actions(slices, len(factors))
    for rows, taken in ((rows_M + 1, action), (first, before)):
        _set_one_hots(hot_NA.reshape(-1), rows * width, np.atleast_2d(taken.T), factors, offsets)
    return hot_NA


def _previous_actions(
    slices: Sequence[Trajectory], factors: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of every slice before which there was an action, and those actions."""
    row, rows, actions = 0, [], []
    for piece in slices:
        if piece.prev_action is not None:
            rows.append(row)
            actions.append(piece.prev_action)
        row += piece.length + 1
    return np.array(rows, np.int64), np.array(actions, np.int64).reshape(len(rows), factors)


def _set_one_hots(
    flat: NDArray[np.float32],
    starts: NDArray[np.int64],
    indices: NDArray[np.int64],
    factors: tuple[int, ...],
    offsets: NDArray[np.int64],
) -> None:
    """Set a one for each factor in the rows that begin at ``starts``."""
    for count, offset, index in zip(factors, offsets, indices, strict=True):
        _check_choices(index, count)
        flat[starts + index + offset] = 1.0


def _check_choices(indices: NDArray[np.int64], count: int) -> None:
    """Refuse an action that would be a one in another row."""
    if not indices.size:
        return
    for index in (int(indices.min()), int(indices.max())):
        if not 0 <= index < count:
            raise AmagoError(
                f"an action is {index}, and there are the choices 0 to {count - 1}: what is learned "
                "from was recorded with other actions, or relabelled with others"
            )


def _vectors(slices: Sequence[Trajectory], rows: int, width: int) -> NDArray[np.float32]:
    """Return the actions before each row, which are vectors already; zeros where there was none."""
    none = np.zeros(width, np.float32)
    parts = []
    for piece in slices:
        before = none if piece.prev_action is None else piece.prev_action
        parts += [np.reshape(before, (1, width)), piece.columns["action"]]
    return np.concatenate(parts, out=np.empty((rows, width), np.float32), casting="unsafe")
