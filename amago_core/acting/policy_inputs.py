"""What an agent is shown beside the observation, in memory that is allocated once.

Shape suffixes: B = environments, A = action features, X = axes of an action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amago_registry.actions import CanonicalAction, action_width, choices


class PolicyInputs:
    """The action and reward that led each environment to where it is, and their way into torch.

    What :meth:`tensors` returns is the agent's own, on either device: a part may keep what it is shown,
    and the next step must not change it.

    Args:
        action_space: Canonical.
        environments: B.
        device: Where the agent is.
    """

    def __init__(self, action_space: CanonicalAction, environments: int, device: torch.device) -> None:
        self.prev_action_BA = np.zeros((environments, action_width(action_space)), np.float32)
        self.prev_reward_B = np.zeros(environments, np.float32)
        self._vector_BA = np.zeros_like(self.prev_action_BA)
        factors = choices(action_space)
        # Where the one-hot of each factor begins, in all rows end to end.
        row_B1 = np.arange(environments)[:, None] * sum(factors)
        self._first_BX = row_B1 + np.cumsum([0, *factors[:-1]]) if factors else None
        self._device = device
        self._pinned: dict[tuple[str, ...], tuple[Tensor, np.ndarray]] = {}

    def act(self, action: np.ndarray, reward_B: np.ndarray, played_B: np.ndarray) -> None:
        """Remember the actions ``(B,)`` or ``(B, X)`` and their rewards where ``played_B`` is true."""
        vector_BA = self._vector_BA
        if self._first_BX is None:
            vector_BA[:] = action
        else:
            vector_BA.fill(0)
            vector_BA.reshape(-1)[self._first_BX + action.reshape(len(action), -1)] = 1
        np.copyto(self.prev_action_BA, vector_BA, where=played_B[:, None])
        np.copyto(self.prev_reward_B, reward_B, where=played_B, casting="same_kind")

    def forget(self, mask_B: np.ndarray) -> None:
        """Show that nothing led here, where ``mask_B`` is true."""
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
        view[...] = values  # The agent's last actions are back, so nothing reads this any more.
        return tensor.to(self._device, non_blocking=True)
