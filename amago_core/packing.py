"""Slices to one packed batch on the device.

Shape suffixes: N = timesteps of all slices, M = transitions of all slices, S = slices, A = action
features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from amago_core.masks import MASK_KEY, action_mask
from amago_registry.actions import action_vector, action_width, choices
from amago_registry.layout import SequenceLayout
from amago_registry.trajectories import OBSERVATION, Trajectory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amago_registry.protocols import Batch


@dataclass(eq=False, slots=True)
class PackedBatch:
    """A batch in the one data layout: sequences end to end, no padding.

    Args:
        obs: Observations ``(N, ...)`` by key.
        prev_action_NA: Vector of the action that led to each timestep; zeros where a recording begins.
        prev_reward_N: Reward that came with each timestep; 0 where a recording begins.
        rows_M: Row of each transition's timestep, int64; its successor is the next row.
        action: Stored actions: indices are int64, ``(M,)`` or ``(M, axes)``, other numbers float32.
        reward_M: Reward after the action.
        terminated_M: True where the task ended after the action.
        layout: Where the sequences lie, and the time of every row.
        action_mask_NA: Which actions could be taken, bool; None where the environment shows no mask.
    """

    obs: dict[str, Tensor]
    prev_action_NA: Tensor
    prev_reward_N: Tensor
    rows_M: Tensor
    action: Tensor
    reward_M: Tensor
    terminated_M: Tensor
    layout: SequenceLayout
    action_mask_NA: Tensor | None = None


def pack(
    slices: Sequence[Trajectory], action_space: spaces.Space[Any], device: torch.device | str = "cpu"
) -> PackedBatch:
    """Lay slices end to end; a slice of T transitions becomes T+1 rows.

    What the policy saw before each timestep is derived here: ``prev_action`` and ``prev_reward`` of a
    row are the action and reward of the row before, those of a first row come with its slice.

    Args:
        slices: At least one, all with the same columns.
        action_space: Canonical; see :mod:`amago_registry.contexts`.
        device: Where the batch will be.

    Raises:
        ValueError: If there is no slice, or one without a transition.
        UnsupportedSpaceError: If the action space is not canonical.
    """
    if not slices or min(piece.length for piece in slices) < 1:
        raise ValueError("a batch needs at least one slice, and a slice at least one transition")
    width, discrete = action_width(action_space), bool(choices(action_space))
    lengths_S = np.array([piece.length for piece in slices])
    rows_M = np.arange(lengths_S.sum()) + np.repeat(np.arange(len(slices)), lengths_S)

    reward_M = _join(slices, "reward").astype(np.float32, copy=False)
    action = _join(slices, "action").astype(np.int64 if discrete else np.float32, copy=False)
    prev_action_NA = np.zeros((len(rows_M) + len(slices), width), np.float32)
    prev_reward_N = np.zeros(len(prev_action_NA), np.float32)
    prev_action_NA[rows_M + 1] = _vectors(action, action_space)
    prev_reward_N[rows_M + 1] = reward_M
    _lead_in(slices, lengths_S, action_space, prev_action_NA, prev_reward_N)

    def move(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    obs = _observations(slices, move)
    return PackedBatch(
        obs=obs,
        prev_action_NA=move(prev_action_NA),
        prev_reward_N=move(prev_reward_N),
        rows_M=move(rows_M),
        action=move(action),
        reward_M=move(reward_M),
        terminated_M=move(_join(slices, "terminated").astype(np.bool_, copy=False)),
        layout=_layout(slices, lengths_S, device),
        action_mask_NA=action_mask(obs) if discrete and MASK_KEY in obs else None,
    )


def _vectors(action: NDArray[Any], action_space: spaces.Space[Any]) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = action_vector(torch.from_numpy(action), action_space).numpy()
    return vectors


def _lead_in(
    slices: Sequence[Trajectory],
    lengths_S: NDArray[Any],
    action_space: spaces.Space[Any],
    prev_action_NA: NDArray[np.float32],
    prev_reward_N: NDArray[np.float32],
) -> None:
    """Write the action and reward before each slice into its first row, where there are any."""
    first_S = np.cumsum(lengths_S + 1) - (lengths_S + 1)
    for row, piece in zip(first_S, slices, strict=True):
        if piece.prev_action is not None:
            prev_action_NA[row] = _vectors(np.array(piece.prev_action), action_space)
            prev_reward_N[row] = piece.prev_reward


def _join(slices: Sequence[Trajectory], name: str) -> NDArray[Any]:
    joined: NDArray[Any] = np.concatenate([piece.columns[name] for piece in slices])
    return joined


def _observations(
    slices: Sequence[Trajectory], move: Callable[[NDArray[Any]], Tensor]
) -> dict[str, Tensor]:
    obs = {}
    for name in slices[0].columns:
        if name.startswith(OBSERVATION):
            joined = _join(slices, name)
            if joined.dtype == np.float64:
                joined = joined.astype(np.float32)
            obs[name.removeprefix(OBSERVATION)] = move(joined)
    return obs


def _layout(
    slices: Sequence[Trajectory], lengths_S: NDArray[Any], device: torch.device | str
) -> SequenceLayout:
    rows_S = lengths_S + 1
    shift_S = np.array([piece.start_time for piece in slices]) - (np.cumsum(rows_S) - rows_S)
    time_N = np.arange(rows_S.sum()) + np.repeat(shift_S, rows_S)
    return SequenceLayout.build(rows_S.tolist(), torch.from_numpy(time_N), device)


if TYPE_CHECKING:

    def _satisfies_the_protocol(batch: PackedBatch) -> Batch:
        return batch
