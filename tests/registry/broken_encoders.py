"""Correct encoders, small enough to read, and one way of breaking each law."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from amago_registry import EncoderContext, Options, UnsupportedSpaceError


class NoOptions(Options):
    """No options."""


class Linear(nn.Module):
    """One linear layer that ignores images and goals: obeys every law."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__()
        self.out_dim = 3
        self.net = nn.Linear(10, 3)
        self.register_buffer("mean", torch.zeros(10))

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        x = torch.cat([obs["place"], obs["sight"], prev_action, prev_reward[:, None]], -1)
        return self.net(x - self.mean)


class ReadsGoalsAlone(Linear):
    """Supports only some spaces: obeys every law."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__(context, options)
        if "goals" not in context.observation_space.spaces:
            raise UnsupportedSpaceError("there are no goals.")

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        return super().forward(obs, prev_action, prev_reward) + obs["goals"].sum((1, 2))[:, None]


class RefusesEverything(Linear):
    """Supports no space."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        raise UnsupportedSpaceError("there is no sound.")


class LiesAboutItsWidth(Linear):
    """Declares a wrong ``out_dim``."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.out_dim = 4


class CountsInWords(Linear):
    """Declares ``out_dim`` as a float."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.out_dim = 3.0


class CentresOverRows(Linear):
    """Normalizes over the rows of the batch."""

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        y = super().forward(obs, prev_action, prev_reward)
        return y - y.mean(0) if len(y) > 1 else y


class CentresImages(Linear):
    """Normalizes images over the rows of the batch."""

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        y = super().forward(obs, prev_action, prev_reward)
        return y + obs["image"].to(y).mean() if "image" in obs else y


class FreezesItself(Linear):
    """Detaches its output from the weights."""

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        return super().forward(obs, prev_action, prev_reward).detach().requires_grad_()


class AdoptsAtOnce(Linear):
    """Updates statistics in every training forward pass."""

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        if self.training:
            self.mean += 0.1
        return super().forward(obs, prev_action, prev_reward)


class HidesAWeight(Linear):
    """Has a random tensor that is not in the state dict."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.hidden_weight = torch.randn(3)

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        return super().forward(obs, prev_action, prev_reward) + self.hidden_weight.to(self.mean)


class TiesItsWeights(Linear):
    """One tensor under two names."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.same = self.net
