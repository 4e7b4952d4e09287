"""Slices to one packed batch on the device.

Shape suffixes: N = timesteps of all slices, M = transitions of all slices, S = slices, A = action
features (discrete: number of actions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from amago_core.replay.trajectory import OBSERVATION, Slice
from amago_core.spaces import action_width, previous_action
from amago_registry.layout import SequenceLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amago_registry.protocols import Batch


@dataclass(eq=False, slots=True)
class PackedBatch:
    """A batch in the one data layout: sequences end to end, no padding.

    Args:
        obs: Observations ``(N, ...)`` by key.
        prev_action_NA: Action that led to each timestep, one-hot where actions are discrete; zeros
            where a recording begins.
        prev_reward_N: Reward that came with each timestep; 0 where a recording begins.
        rows_M: Row of each transition's timestep, int64; its successor is the next row.
        action: Stored actions: ``(M,)`` int64 indices or ``(M, A)`` in [-1, 1].
        reward_M: Reward after the action.
        terminated_M: True where the task ended after the action.
        layout: Where the sequences lie, and the time of every row.
    """

    obs: dict[str, Tensor]
    prev_action_NA: Tensor
    prev_reward_N: Tensor
    rows_M: Tensor
    action: Tensor
    reward_M: Tensor
    terminated_M: Tensor
    layout: SequenceLayout


def pack(
    slices: Sequence[Slice], action_space: spaces.Space[Any], device: torch.device | str = "cpu"
) -> PackedBatch:
    """Lay slices end to end; a slice of T transitions becomes T+1 rows.

    What the policy saw before each timestep is derived here: ``prev_action`` and ``prev_reward`` of a
    row are the action and reward of the row before, those of a first row come with its slice.

    Args:
        slices: At least one, all with the same columns.
        action_space: ``Discrete(n)`` starting at 0, or a flat ``Box`` over [-1, 1].
        device: Where the batch will be.

    Raises:
        ValueError: If there is no slice.
    """
    if not slices:
        raise ValueError("a batch needs at least one slice")
    width = action_width(action_space)
    discrete = isinstance(action_space, spaces.Discrete)
    lengths_S = np.array([piece.length for piece in slices])
    first_S = np.cumsum(lengths_S + 1) - (lengths_S + 1)
    rows_M = np.arange(lengths_S.sum()) + np.repeat(np.arange(len(slices)), lengths_S)

    reward_M = _join(slices, "reward").astype(np.float32, copy=False)
    action = _join(slices, "action").astype(np.int64 if discrete else np.float32, copy=False)
    prev_action_NA = np.zeros((len(rows_M) + len(slices), width), np.float32)
    prev_reward_N = np.zeros(len(prev_action_NA), np.float32)
    prev_action_NA[rows_M + 1] = previous_action(action, action_space)
    prev_reward_N[rows_M + 1] = reward_M
    for row, piece in zip(first_S, slices, strict=True):
        if piece.prev_action is not None:
            prev_action_NA[row] = previous_action(piece.prev_action[np.newaxis], action_space)[0]
            prev_reward_N[row] = piece.prev_reward

    def move(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return PackedBatch(
        obs=_observations(slices, move),
        prev_action_NA=move(prev_action_NA),
        prev_reward_N=move(prev_reward_N),
        rows_M=move(rows_M),
        action=move(action),
        reward_M=move(reward_M),
        terminated_M=move(_join(slices, "terminated").astype(np.bool_, copy=False)),
        layout=_layout(slices, lengths_S, device),
    )


def _join(slices: Sequence[Slice], name: str) -> NDArray[Any]:
    joined: NDArray[Any] = np.concatenate([piece.columns[name] for piece in slices])
    return joined


def _observations(slices: Sequence[Slice], move: Callable[[NDArray[Any]], Tensor]) -> dict[str, Tensor]:
    obs = {}
    for name in slices[0].columns:
        if name.startswith(OBSERVATION):
            joined = _join(slices, name)
            if joined.dtype == np.float64:
                joined = joined.astype(np.float32)
            obs[name.removeprefix(OBSERVATION)] = move(joined)
    return obs


def _layout(
    slices: Sequence[Slice], lengths_S: NDArray[Any], device: torch.device | str
) -> SequenceLayout:
    rows_S = lengths_S + 1
    shift_S = np.array([piece.time for piece in slices]) - (np.cumsum(rows_S) - rows_S)
    time_N = np.arange(rows_S.sum()) + np.repeat(shift_S, rows_S)
    return SequenceLayout.build(rows_S.tolist(), torch.from_numpy(time_N), device)


if TYPE_CHECKING:

    def _satisfies_the_protocol(batch: PackedBatch) -> Batch:
        return batch
