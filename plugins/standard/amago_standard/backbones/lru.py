"""Linear recurrent units (Orvieto et al., 2023, arXiv:2303.06349).

Shape suffixes: N = timesteps of a packed batch, B = environments, E = width, S = complex numbers
remembered, 2 = their real and imaginary parts.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, glu

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import LRUOptions
from amago_standard.backbones.stack import Stack
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.scan import linear_scan

FASTEST_TURN = math.pi / 10
"""Largest angle by which a number turns per step at first; the paper's choice for long sequences."""


class LinearRecurrentUnit(nn.Module):
    """Linear recurrent unit layer: a complex diagonal linear recurrence, then a gated output.

    ``h_t = lambda h_(t-1) + gamma (B x_t)`` and ``y_t = GLU(gelu(Re(C h_t) + D x_t))``, where
    ``lambda = exp(-exp(nu) + i exp(theta))`` has a magnitude below 1 whatever is learned. ``gamma``
    begins as ``sqrt(1 - |lambda|^2)``, so that all numbers are of one size however long they last.
    Parameters and acting state are real: real and imaginary parts side by side.

    Departs from the paper in two ways. There the magnitudes begin in a ring around 0, uniform in area
    between two radii chosen for each task, which leaves few long memories if the ring is wide; here the
    steps that a number lasts, ``exp(-nu)``, are uniform between 1 and ``horizon``. And C begins
    twice as large, so that one event long ago still counts beside the present, which comes through D.

    Args:
        width: E.
        state: S.
        horizon: Steps that the longest memories last at first.
    """

    def __init__(self, width: int, state: int, horizon: int) -> None:
        super().__init__()
        steps_S = torch.empty(state).uniform_(1, max(horizon, 2))
        # Away from 0, where the logarithm ends.
        turn_S = torch.empty(state).uniform_(1e-4, 1) * FASTEST_TURN
        self.nu = nn.Parameter(-steps_S.log())
        self.theta = nn.Parameter(turn_S.log())
        self.log_gamma = nn.Parameter(0.5 * (-torch.expm1(-2 / steps_S)).log())
        self.write = nn.Linear(width, 2 * state, bias=False)
        self.read = nn.Linear(2 * state, width, bias=False)
        nn.init.normal_(self.write.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.read.weight, std=2 * state**-0.5)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, 2 * width)

    def forward(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)`` for a packed stream."""
        hidden_NS = linear_scan(self._decay(), self._written(x_NE), layout)
        return self._shown(torch.view_as_real(hidden_NS), x_NE)

    def initial_state(self, batch: int) -> State:
        """Return zeros ``(B, S, 2)``."""
        return {"hidden": self.nu.new_zeros(batch, len(self.nu), 2)}

    def step(self, x_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        before_BS = torch.view_as_complex(cast(Tensor, state["hidden"]))
        hidden_BS2 = torch.view_as_real(torch.addcmul(self._written(x_BE), self._decay(), before_BS))
        return self._shown(hidden_BS2, x_BE), {"hidden": hidden_BS2}

    def _decay(self) -> Tensor:
        """Return lambda, ``(S,)``."""
        return torch.polar((-self.nu.exp()).exp(), self.theta.exp())

    def _written(self, x_NE: Tensor) -> Tensor:
        """Return complex ``(N, S)``."""
        written_NS2 = at_least_single(self.write(x_NE)).view(-1, len(self.nu), 2)
        return torch.view_as_complex(written_NS2 * self.log_gamma.exp()[:, None])

    def _shown(self, hidden_NS2: Tensor, x_NE: Tensor) -> Tensor:
        """Return ``(N, E)``; the real part of C h is a real product with both parts of h."""
        return glu(self.out(gelu(torch.addcmul(self.read(hidden_NS2.flatten(1)), self.skip, x_NE))))


class LRU(Stack):
    """Linear recurrent unit (LRU) backbone: complex states decay and turn at rates of their own.

    Choose it for signals and smooth histories over long contexts: a linear recurrence trains stably and
    in parallel over time. What is kept does not depend on what is seen: to hold on to one event among
    many, choose gates, as in ``mingru`` or ``mamba``.

    Costs: per layer and timestep ``2 width^2 + 4 width state_dim`` multiplications, acting the same;
    training takes about ``2 sqrt(N)`` steps one after the other. Acting state: 2 x layers x state_dim
    numbers; with the defaults 768, 3 kB per environment.

    Args:
        context: Width in and context length; supplied by the composer.
        options: Sizes; see :class:`LRUOptions`.
    """

    def __init__(self, context: BackboneContext, options: LRUOptions) -> None:
        super().__init__(
            context,
            options,
            lambda: LinearRecurrentUnit(options.width, options.state_dim, context.context_length),
        )
