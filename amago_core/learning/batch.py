"""A packed batch as tensors on the device, made of the arrays of :mod:`amago_core.learning.packing`.

Shape suffixes: N = timesteps of all slices, M = transitions of all slices, S = slices, A = action
features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from amago_core.acting.action_masks import MASK_KEY, action_mask
from amago_core.learning.packing import PackedArrays, pack_arrays, transition_rows
from amago_registry.layout import SequenceLayout
from amago_registry.trajectories import OBSERVATION, Trajectory

if TYPE_CHECKING:
    from gymnasium import spaces
    from numpy.typing import NDArray

    from amago_registry.protocols import Batch


@dataclass(eq=False, slots=True)
class PackedBatch:
    """A training batch as tensors: sequences end to end, no padding.

    Args:
        obs: Observations ``(N, ...)`` by key.
        prev_action_NA: Previous action as a vector; zeros at the first timestep of a task.
        prev_reward_N: Previous reward; 0 at the first timestep of a task.
        rows_M: Row of each transition's timestep, int64; its successor is the next row.
        action: Stored actions: indices are int64, ``(M,)`` or ``(M, axes)``, other numbers float32.
        reward_M: Reward after the action.
        terminated_M: True where the task terminated after the action.
        layout: Offsets of the sequences, and the time of every row.
        action_mask_NA: Mask of valid actions, bool; None where the environment has none.
        relabelled: Fraction of sequences that were relabeled; None without a relabeler.
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
    relabelled: float | None = None


def pack(
    slices: Sequence[Trajectory], action_space: spaces.Space[Any], device: torch.device | str = "cpu"
) -> PackedBatch:
    """Pack slices into a batch on a device; a slice of T transitions becomes T+1 rows.

    Args:
        slices: At least one, all with the same observations.
        action_space: Canonical; see :mod:`amago_registry.contexts`.
        device: Device of the batch.

    Raises:
        ValueError: If there is no slice, or one without a transition.
        UnsupportedSpaceError: If the action space is not canonical.
    """
    return to_device(pack_arrays(slices, action_space), device)


def to_device(arrays: PackedArrays, device: torch.device | str = "cpu") -> PackedBatch:
    """Move packed arrays to a device, as tensors; on the CPU they share the arrays' memory.

    Copies to CUDA are asynchronous, through pinned memory.
    """
    kind = torch.device(device).type

    def move(array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return _pinned(tensor).to(device, non_blocking=True) if kind == "cuda" else tensor.to(device)

    columns = arrays.columns
    obs = {
        name.removeprefix(OBSERVATION): column
        for name, column in columns.items()
        if name.startswith(OBSERVATION)
    }
    masked = columns["action"].dtype == np.int64 and MASK_KEY in obs
    return PackedBatch(
        obs={key: move(column) for key, column in obs.items()},
        prev_action_NA=move(columns["prev_action"]),
        prev_reward_N=move(columns["prev_reward"]),
        rows_M=move(transition_rows(arrays.lengths_S)),
        action=move(columns["action"]),
        reward_M=move(columns["reward"]),
        terminated_M=move(columns["terminated"]),
        layout=_layout(arrays, move),
        action_mask_NA=move(action_mask(obs)) if masked else None,
        relabelled=float(columns["relabelled"].mean()) if "relabelled" in columns else None,
    )


def _pinned(tensor: Tensor) -> Tensor:
    """Return a copy in pinned memory, from which a copy to CUDA is asynchronous.

    Copied by numpy: torch would start a thread pool for every loader thread.
    """
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    np.copyto(copy.numpy(), tensor.numpy())
    return copy


def _layout(arrays: PackedArrays, move: Callable[[NDArray[Any]], Tensor]) -> SequenceLayout:
    """Return the same layout as `SequenceLayout.build`, computed on the host with numpy."""
    rows_S = arrays.lengths_S + 1
    ends_S = rows_S.cumsum()
    sequence_N = np.repeat(np.arange(len(rows_S)), rows_S)
    time_N = np.repeat(arrays.times_S - ends_S + rows_S, rows_S)
    time_N += np.arange(len(time_N))
    offsets = np.concatenate([[0], ends_S]).astype(np.int32)
    return SequenceLayout(tuple(rows_S.tolist()), move(offsets), move(sequence_N), move(time_N))


if TYPE_CHECKING:

    def _satisfies_the_protocol(batch: PackedBatch) -> Batch:
        return batch
