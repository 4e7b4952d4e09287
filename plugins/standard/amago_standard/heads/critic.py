"""The critic head: an ensemble of scalar value estimates.

Shape suffixes: N = timesteps, E = state features, C = ensemble members, G = discounts,
A = actions (discrete) or action features (continuous).
"""

from __future__ import annotations

from typing import cast

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_registry.contexts import CriticContext
from amago_standard.heads.options import EnsembleCriticOptions
from amago_standard.layers.ensemble import EnsembleLinear, EnsembleMLP
from amago_standard.layers.popart import PopArt
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.spaces import action_size


class EnsembleCritic(nn.Module):
    """C independent critics whose targets are normalised by PopArt.

    Discrete actions: the state alone, to the values of all actions under all discounts. Continuous:
    state, action and the discount's effective horizon, to one value.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes and scales; see :class:`EnsembleCriticOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is neither Discrete nor a flat Box.
    """

    def __init__(self, context: CriticContext, options: EnsembleCriticOptions) -> None:
        super().__init__()
        actions, discounts = action_size(context.action_space), context.discounts
        self.enumerates = isinstance(context.action_space, spaces.Discrete)
        self.outputs = (len(discounts), actions) if self.enumerates else (len(discounts),)
        if self.enumerates:
            self.net: nn.Module = EnsembleMLP(
                options.members, context.in_dim, options.hidden_dims, len(discounts) * actions
            )
        else:
            self.net = _ActionCritic(context.in_dim, actions, discounts, options)
        self.popart = PopArt(
            len(discounts), rate=options.popart_rate, initial_scale=options.initial_scale
        )

    def predict(self, state_NE: Tensor, action: Tensor) -> Tensor:
        """Return raw predictions ``(N, C, G)`` for actions ``(N, G, A)``, clipped to +-0.999."""
        return at_least_single(cast(Tensor, self.net(state_NE, action)))

    def predict_all(self, state_NE: Tensor) -> Tensor:
        """Return raw predictions ``(N, C, G, A)`` for every discrete action."""
        out_CNX = at_least_single(cast(Tensor, self.net(state_NE)))
        return out_CNX.transpose(0, 1).reshape(len(state_NE), -1, *self.outputs)

    def select(self, prediction: Tensor, action_N: Tensor) -> Tensor:
        """Return ``(N, C, G)`` of ``(N, C, G, A)``: the predictions of one action per timestep."""
        index = action_N.view(-1, 1, 1, 1).expand(*prediction.shape[:-1], 1)
        return prediction.gather(-1, index).squeeze(-1)

    def value(self, prediction: Tensor) -> Tensor:
        """Return predictions in the units of return."""
        return self.popart.denormalize(prediction)

    def normalize(self, value: Tensor) -> Tensor:
        """Return values ``(..., G)`` in the units of the targets' spread."""
        return self.popart.normalize(value)

    def observe(self, target_NG: Tensor) -> None:
        """Propose statistics that include these targets."""
        self.popart.observe(target_NG)

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        """Return squared errors ``(N, C, G)`` in normalised units."""
        # The mean cancels: the difference of two normalised values.
        error = (self.value(prediction) - target_NG[:, None]) / self.popart.std_G
        return error.square()


class _ActionCritic(nn.Module):
    """State, action and effective horizon to one value; the state's part is shared by all discounts."""

    horizon_G: Tensor

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        discounts: tuple[float, ...],
        options: EnsembleCriticOptions,
    ) -> None:
        super().__init__()
        first, *rest = (*options.hidden_dims, 1)
        # The columns of one linear layer over state, action and horizon.
        fan_in = state_dim + action_dim + 1
        self.state = EnsembleLinear(options.members, state_dim, first, fan_in=fan_in)
        self.action = EnsembleLinear(options.members, action_dim + 1, first, fan_in=fan_in, bias=False)
        self.width = first
        self.rest = EnsembleMLP(options.members, first, rest[:-1], rest[-1]) if rest else None
        horizons = torch.tensor([1 / (1 - discount) for discount in discounts])
        self.register_buffer("horizon_G", torch.log1p(horizons), persistent=False)

    def forward(self, state_NE: Tensor, action_NGA: Tensor) -> Tensor:
        rows, discounts, _ = action_NGA.shape
        horizon_NG1 = self.horizon_G.to(state_NE.dtype).view(1, -1, 1).expand(rows, -1, -1)
        given = torch.cat([action_NGA.clamp(-0.999, 0.999), horizon_NG1], dim=-1).flatten(0, 1)
        from_action = cast(Tensor, self.action(given)).reshape(-1, rows, discounts, self.width)
        hidden = cast(Tensor, self.state(state_NE))[:, :, None] + from_action
        if self.rest is not None:
            hidden = cast(Tensor, self.rest(leaky_relu(hidden.flatten(1, 2))))
        return hidden.reshape(-1, rows, discounts).permute(1, 0, 2)
