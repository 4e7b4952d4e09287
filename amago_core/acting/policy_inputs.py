"""Policy inputs: observations, previous actions and rewards as tensors, in preallocated arrays.

Shape suffixes: B = environments, A = action features, X = axes of an action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amago_registry.actions import CanonicalAction, action_width, choices


class PolicyInputs:
    """Previous action and reward of each environment, and their conversion to tensors.

    :meth:`tensors` always returns copies: a part may keep its inputs, and the next step must not change
    them.

    Args:
        action_space: Canonical.
        environments: B.
        device: Device of the agent.
    """

    def __init__(self, action_space: CanonicalAction, environments: int, device: torch.device) -> None:
        self.prev_action_BA = np.zeros((environments, action_width(action_space)), np.float32)
        self.prev_reward_B = np.zeros(environments, np.float32)
        self._vector_BA = np.zeros_like(self.prev_action_BA)
        factors = choices(action_space)
        # Start of each factor's one-hot in the flattened rows.
        row_start_B1 = np.arange(environments)[:, None] * sum(factors)
        self._one_hot_start_BX = row_start_B1 + np.cumsum([0, *factors[:-1]]) if factors else None
        self._device = device
        self._pinned: dict[tuple[str, ...], tuple[Tensor, np.ndarray]] = {}

    def record(self, action: np.ndarray, reward_B: np.ndarray, played_B: np.ndarray) -> None:
        """Store actions ``(B,)`` or ``(B, X)`` and their rewards where ``played_B`` is true."""
        vector_BA = self._vector_BA
        if self._one_hot_start_BX is None:
            vector_BA[:] = action
        else:
            vector_BA.fill(0)
            vector_BA.reshape(-1)[self._one_hot_start_BX + action.reshape(len(action), -1)] = 1
        np.copyto(self.prev_action_BA, vector_BA, where=played_B[:, None])
        np.copyto(self.prev_reward_B, reward_B, where=played_B, casting="same_kind")

    def reset(self, mask_B: np.ndarray) -> None:
        """Set previous action and reward to zero where ``mask_B`` is true: a task begins."""
        self.prev_action_BA[mask_B] = 0
        self.prev_reward_B[mask_B] = 0

    def tensors(
        self, obs: Mapping[str, np.ndarray], time_B: np.ndarray
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Return observations, previous actions, previous rewards and times, on the device."""
        return (
            {key: self._tensor(("obs", key), values) for key, values in obs.items()},
            self._tensor(("prev_action",), self.prev_action_BA),
            self._tensor(("prev_reward",), self.prev_reward_B),
            self._tensor(("time",), time_B),
        )

    def _tensor(self, name: tuple[str, ...], values: np.ndarray) -> Tensor:
        if self._device.type == "cpu":
            return torch.from_numpy(values.copy())
        if name not in self._pinned:
            tensor = torch.from_numpy(values.copy()).pin_memory()
            self._pinned[name] = (tensor, tensor.numpy())
        tensor, view = self._pinned[name]
        view[...] = values  # The last actions were copied back, so no transfer still reads this.
        return tensor.to(self._device, non_blocking=True)
