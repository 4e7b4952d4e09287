"""Helpers for laws of actors and critics: sizes, action spaces, states.

Shape suffixes: N = timesteps, E = state features.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry.component import Component
from amago_registry.contexts import ActorContext, CriticContext
from amago_registry.errors import UnsupportedSpaceError
from amago_registry.testing.building import build, require, require_protocol, seeded

ROWS = 6
IN_DIM = 5
DISCOUNTS = (0.5, 0.9, 0.99)
DISCRETE = spaces.Discrete(4)
CONTINUOUS = spaces.Box(-1.0, 1.0, (3,))
MULTI_BINARY = spaces.MultiBinary(3)
MULTI_DISCRETE = spaces.MultiDiscrete([3, 2])
ACTION_SPACES: tuple[spaces.Space[Any], ...] = (DISCRETE, CONTINUOUS, MULTI_BINARY, MULTI_DISCRETE)
DOUBLE = torch.float64


def heads(
    component: Component,
    context: type[ActorContext] | type[CriticContext],
    protocol: Any,
    *,
    device: str,
    dtype: torch.dtype,
    action_spaces: tuple[spaces.Space[Any], ...] = ACTION_SPACES,
) -> list[tuple[spaces.Space[Any], Any]]:
    """Return every action space that the part supports, with the part built for it.

    Raises:
        AssertionError: If it supports none of them, or does not implement the protocol.
    """
    supported: list[tuple[spaces.Space[Any], Any]] = []
    for space in action_spaces:
        supplied = context(in_dim=IN_DIM, action_space=space, discounts=DISCOUNTS)
        try:
            part = build(component, supplied, device=device, dtype=dtype)
        except UnsupportedSpaceError:
            continue
        require_protocol(part, protocol, component)
        supported.append((space, part))
    tried = ", ".join(map(str, action_spaces))
    require(bool(supported), component, f"it supports none of the action spaces {tried}.")
    return supported


def with_moved_weights(
    parts: list[tuple[spaces.Space[Any], Any]],
) -> list[tuple[spaces.Space[Any], Any]]:
    """Return the parts with noise added to their weights.

    Many parts are initialized to treat all actions equally, which would hide that a part confuses them.
    """
    with seeded(1), torch.no_grad():
        for _, part in parts:
            for weight in part.parameters():
                weight.add_(0.1 * torch.randn(weight.shape, dtype=DOUBLE).to(weight))
    return parts


def states(device: str | torch.device, dtype: torch.dtype) -> Tensor:
    """Return the state representations ``(N, E)`` that every law uses."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, IN_DIM, generator=generator, dtype=DOUBLE).to(device, dtype)


def gradients(value: Tensor, part: nn.Module) -> list[Tensor]:
    """Return the gradients of ``value`` for every trained weight; zeros if it has none."""
    weights = [weight for weight in part.parameters() if weight.requires_grad]
    if not value.requires_grad:
        return [torch.zeros_like(weight) for weight in weights]
    found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
