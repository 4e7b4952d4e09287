"""The agent: encoder, backbone, actor and critic; :meth:`Agent.act` chooses the actions.

Shape suffixes: N = timesteps of a packed batch, B = environments, A = action features,
E = state features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from amago_core.acting.action_masks import action_mask
from amago_registry.actions import policy_of
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import Actor, Backbone, Distribution, Encoder, State


class Agent(nn.Module):
    """The policy network: encoder, backbone, actor and critic.

    Holds everything that is trained; losses, optimizer and target networks are in the learner.

    Args:
        encoder: Timesteps to vectors.
        backbone: Vectors to state representations.
        actor: State representations to actions.
        critic: State representations to estimates of return.
        masked: Whether observations hold an action mask.
    """

    def __init__(
        self,
        encoder: nn.Module,
        backbone: nn.Module,
        actor: nn.Module,
        critic: nn.Module,
        *,
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.masked = masked
        self.encoder, self.backbone = encoder, backbone
        self.actor, self.critic = actor, critic

    @property
    def state_dim(self) -> int:
        """E: features of a state representation."""
        return int(cast(Backbone, self.backbone).out_dim)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def represent(
        self,
        obs: Mapping[str, Tensor],
        prev_action_NA: Tensor,
        prev_reward_N: Tensor,
        layout: SequenceLayout,
    ) -> Tensor:
        """Return state representations ``(N, E)`` of a packed stream."""
        x_ND = cast(Encoder, self.encoder)(obs, prev_action_NA, prev_reward_N)
        return cast(Backbone, self.backbone)(x_ND, layout)

    def policy(self, state_NE: Tensor, action_mask_NA: Tensor | None) -> Distribution:
        """Return the distribution over actions."""
        return policy_of(cast(Actor, self.actor), state_NE, action_mask_NA)

    @torch.inference_mode()
    def initial_state(self, batch: int) -> State:
        """Return the acting state of ``batch`` environments before their first timestep."""
        return cast(Backbone, self.backbone).initial_state(batch)

    @torch.inference_mode()
    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the acting state, set back to its initial value where ``mask_B`` is true."""
        return cast(Backbone, self.backbone).reset(state, mask_B)

    @torch.inference_mode()
    def act(
        self,
        obs: Mapping[str, Tensor],
        prev_action_BA: Tensor,
        prev_reward_B: Tensor,
        time_B: Tensor,
        state: State,
        *,
        sample: bool,
    ) -> tuple[Tensor, State]:
        """Choose one action per environment, for the last of the discounts, with which the agent acts.

        Args:
            obs: Observations ``(B, ...)``.
            prev_action_BA: Previous actions; zeros at a task's start.
            prev_reward_B: Rewards of the previous actions.
            time_B: Steps since each task began.
            state: Acting state; may be written in place.
            sample: Draw from the policy instead of taking its mode.

        Returns:
            Actions in stored form, ``(B,)`` or ``(B, axes)``, and the next state.
        """
        x_BD = cast(Encoder, self.encoder)(obs, prev_action_BA, prev_reward_B)
        state_BE, state = cast(Backbone, self.backbone).step(x_BD, time_B, state)
        policy = self.policy(state_BE, action_mask(obs) if self.masked else None)
        action = policy.sample() if sample else policy.mode()
        return action[:, -1], state
