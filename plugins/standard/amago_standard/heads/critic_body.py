"""Base class of critics: an ensemble of networks over states, or over states and actions.

Shape suffixes: N = timesteps, E = state features, C = ensemble members, K = actions per timestep,
G = discounts, A = actions or action features, H = hidden features, O = outputs per value.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from amago_registry.actions import action_width
from amago_registry.contexts import CriticContext
from amago_standard.heads.options import CriticOptions
from amago_standard.layers.ensemble import EnsembleLinear, EnsembleMLP
from amago_standard.layers.precision import at_least_single


class CriticBody(nn.Module):
    """Base class of critics: C independent MLPs; subclasses define what their outputs mean.

    Enumerating (discrete actions alone): from the state to all actions under all discounts. Otherwise
    from state, action vector and the discount's effective horizon to one value.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes; see :class:`CriticOptions`.
        outputs: Shape of one value's prediction: ``()``, or ``(O,)``.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    def __init__(
        self, context: CriticContext, options: CriticOptions, outputs: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        actions, discounts = action_width(context.action_space), context.discounts
        self.enumerates = options.enumerate_actions and isinstance(
            context.action_space, spaces.Discrete
        )
        self.outputs = outputs
        self.net: EnsembleMLP | ActionEnsemble
        if self.enumerates:
            self.shape = (len(discounts), actions, *outputs)
            self.net = EnsembleMLP(
                options.members, context.in_dim, options.hidden_dims, math.prod(self.shape)
            )
        else:
            self.net = ActionEnsemble(context, options, actions, math.prod(outputs))

    def predict(self, state_NE: Tensor, action: Tensor) -> Tensor:
        """Return predictions ``(N, C, G, ...)`` of action vectors ``(N, G, A)``.

        Continuous actions are clipped to +-0.999, which takes away the pull to the border. Others are
        not: the clip would stop the gradient of straight-through samples at the choice that was made.
        Several actions per timestep, ``(N, K, G, A)``, give ``(N, C, K, G, ...)``. An action that is
        the same under all discounts, expanded or ``(N, 1, A)``, is multiplied once.
        """
        out = at_least_single(cast(Tensor, self.net(state_NE, action)))
        return (out if self.outputs else out.squeeze(-1)).transpose(0, 1)

    def predict_all(self, state_NE: Tensor) -> Tensor:
        """Return predictions ``(N, C, G, A, ...)`` for every discrete action."""
        out_CNX = at_least_single(cast(Tensor, self.net(state_NE)))
        return torch.unflatten(out_CNX.transpose(0, 1), -1, self.shape)

    def select(self, prediction: Tensor, action_N: Tensor) -> Tensor:
        """Return ``(N, C, G, ...)`` of ``(N, C, G, A, ...)``: one action per timestep."""
        index = action_N.view(-1, *[1] * (prediction.dim() - 1))
        shape = (*prediction.shape[:3], 1, *prediction.shape[4:])
        return prediction.gather(3, index.expand(shape)).squeeze(3)

    @torch.no_grad()
    def start_at(self, output_O: Tensor) -> None:
        """Let every value's outputs start as these, whatever the state and the action."""
        mlp = self.net if isinstance(self.net, EnsembleMLP) else self.net.rest
        last = [mlp.layers[-1]] if mlp is not None else list(self.net.children())
        for layer in cast(list[EnsembleLinear], last):
            layer.weight.zero_()
            if layer.bias is not None:
                torch.unflatten(layer.bias, -1, [-1, len(output_O)]).copy_(output_O)


class ActionEnsemble(nn.Module):
    """Q-network ensemble over state, action and effective horizon; all actions share the state's part.

    Args:
        context: State width and discounts.
        options: Sizes.
        action_dim: A.
        outputs: O.
    """

    horizon_G1: Tensor

    def __init__(
        self, context: CriticContext, options: CriticOptions, action_dim: int, outputs: int
    ) -> None:
        super().__init__()
        first, *rest = (*options.hidden_dims, outputs)
        # The columns of one linear layer over state, action and horizon.
        fan_in = context.in_dim + action_dim + 1
        self.clips = isinstance(context.action_space, spaces.Box)
        self.state = EnsembleLinear(options.members, context.in_dim, first, fan_in=fan_in)
        self.action = EnsembleLinear(options.members, action_dim + 1, first, fan_in=fan_in, bias=False)
        self.rest = EnsembleMLP(options.members, first, rest[:-1], rest[-1]) if rest else None
        horizons = torch.tensor([1 / (1 - discount) for discount in context.discounts])
        self.register_buffer("horizon_G1", torch.log1p(horizons)[:, None], persistent=False)

    def forward(self, state_NE: Tensor, action: Tensor) -> Tensor:
        """Return ``(C, N, G, O)``, or ``(C, N, K, G, O)`` for actions ``(N, K, G, A)``."""
        if action.stride(-2) == 0:
            action = action[..., :1, :]
        action = action.to(state_NE.dtype)
        if self.clips:
            action = action.clamp(-0.999, 0.999)
        from_state_CNH = cast(Tensor, self.state(state_NE))
        per_action = [1] * (action.dim() - 2)
        hidden = self._first_layer(torch.unflatten(from_state_CNH, 1, [-1, *per_action]), action)
        if self.rest is None:
            return hidden
        # In place: a sum keeps nothing for its gradient, and this is the largest tensor of an update.
        hidden = leaky_relu(hidden, inplace=True)
        out = cast(Tensor, self.rest(hidden.flatten(1, -2)))
        return torch.unflatten(out, 1, hidden.shape[1:-1])

    def _first_layer(self, from_state: Tensor, action: Tensor) -> Tensor:
        """Return the first layer's outputs ``(C, N, ..., G, H)`` before the activation."""
        horizon_G1, shape = self.horizon_G1.to(action.dtype), action.shape[:-1]
        if shape[-1] == 1:
            # One action under all discounts: two small products and one large sum.
            once, discounts = pad(action, (0, 1)).flatten(0, -2), len(horizon_G1)
            given = torch.cat([once, pad(horizon_G1, (action.shape[-1], 0))])
            products = cast(Tensor, self.action(given))
            from_action, from_horizon_CGH = torch.split(products, [len(once), discounts], 1)
            per_row = [1] * (action.dim() - 2)
            from_horizon = torch.unflatten(from_horizon_CGH, 1, [*per_row, discounts])
            return (from_state + torch.unflatten(from_action, 1, shape)) + from_horizon
        given = torch.cat([action, horizon_G1.expand(*shape, 1)], -1).flatten(0, -2)
        return from_state + torch.unflatten(cast(Tensor, self.action(given)), 1, shape)
