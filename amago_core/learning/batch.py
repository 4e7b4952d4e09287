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
        relabelled: Share of the sequences whose trajectory was; None where no relabeler was asked.
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
    """Lay slices end to end; a slice of T transitions becomes T+1 rows.

    Args:
        slices: At least one, all with the same observations.
        action_space: Canonical; see :mod:`amago_registry.contexts`.
        device: Where the batch will be.

    Raises:
        ValueError: If there is no slice, or one without a transition.
        UnsupportedSpaceError: If the action space is not canonical.
    """
    return tensors(pack_arrays(slices, action_space), device)


def tensors(stream: PackedArrays, device: torch.device | str = "cpu") -> PackedBatch:
    """Return a stream as a batch; on the CPU it takes over the stream's memory.

    To CUDA the copies go by way of pinned memory, and nobody waits for them.
    """
    kind = torch.device(device).type

    def move(array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return _pinned(tensor).to(device, non_blocking=True) if kind == "cuda" else tensor.to(device)

    columns = stream.columns
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
        rows_M=move(transition_rows(stream.lengths_S)),
        action=move(columns["action"]),
        reward_M=move(columns["reward"]),
        terminated_M=move(columns["terminated"]),
        layout=_layout(stream, move),
        action_mask_NA=move(action_mask(obs)) if masked else None,
        relabelled=float(columns["relabelled"].mean()) if "relabelled" in columns else None,
    )


def _pinned(tensor: Tensor) -> Tensor:
    """Return a copy that can be sent to CUDA while the host goes on.

    Copied by numpy: torch would do it with a team of threads for every thread that loads.
    """
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    np.copyto(copy.numpy(), tensor.numpy())
    return copy


def _layout(stream: PackedArrays, move: Callable[[NDArray[Any]], Tensor]) -> SequenceLayout:
    """Return what `SequenceLayout.build` returns; every array here is made once, on the host."""
    rows_S = stream.lengths_S + 1
    ends_S = rows_S.cumsum()
    sequence_N = np.repeat(np.arange(len(rows_S)), rows_S)
    time_N = np.repeat(stream.times_S - ends_S + rows_S, rows_S)
    time_N += np.arange(len(time_N))
    offsets = np.concatenate([[0], ends_S]).astype(np.int32)
    return SequenceLayout(tuple(rows_S.tolist()), move(offsets), move(sequence_N), move(time_N))


if TYPE_CHECKING:

    def _satisfies_the_protocol(batch: PackedBatch) -> Batch:
        return batch
