"""Fast and forgetful memory (Morad et al., 2023, arXiv:2310.04128).

Shape suffixes: N = timesteps of a packed batch, B = environments, E = width, M = traces, C = contexts,
2 = real and imaginary parts.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import FFMOptions
from amago_standard.backbones.stack import Stack
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.scan import linear_scan


class ForgetfulMemory(nn.Module):
    """Fast and forgetful memory layer: ``h_t = exp(-|alpha| + i omega) h_(t-1) + x_t``.

    The M numbers ``x_t = (W_1 u_t) sigmoid(W_2 u_t)`` of an input u fade at M rates alpha and turn at C
    speeds omega, which encode the age of a memory. The output is
    ``g norm(W_3 h_t) + (1 - g) W_5 u_t`` with ``g = sigmoid(W_4 u_t)``.

    Traces begin by lasting 1 to ``horizon`` steps, and contexts by turning once in 1 (which is not at
    all) to ``horizon`` steps, evenly spread.

    Departs from the paper in two ways. There every h is divided and multiplied by ``exp(|alpha| t)``,
    which overflows on long sequences unless they are cut or the rates are bounded; the scan here
    overflows at no length and no rate, and rounds as a loop does. And there the slowest trace begins by
    fading to one hundredth within the horizon; here to 1/e, so that gradients reach that far from the
    first update.

    Args:
        width: E.
        traces: M.
        contexts: C.
        horizon: Steps that the longest memory and the longest period last at first.
    """

    def __init__(self, width: int, traces: int, contexts: int, horizon: int) -> None:
        super().__init__()
        self.widths = traces, traces, width, width
        longest = max(horizon, 2)
        self.alpha = nn.Parameter(1 / torch.linspace(longest, 1, traces))
        self.omega = nn.Parameter(2 * math.pi / torch.linspace(longest, 1, contexts))
        self.enter = nn.Linear(width, sum(self.widths))
        self.read = nn.Linear(2 * traces * contexts, width)

    def forward(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)`` for a packed stream."""
        written_NM, passed_NE, gate_NE = self._entered(x_NE)
        decay_MC = self._decay()
        written_NMC = written_NM.to(decay_MC.dtype)[..., None].expand(-1, *decay_MC.shape)
        hidden_NMC = linear_scan(decay_MC, written_NMC, layout)
        return self._shown(torch.view_as_real(hidden_NMC), passed_NE, gate_NE)

    def initial_state(self, batch: int) -> State:
        """Return zeros ``(B, M, C, 2)``."""
        return {"hidden": self.alpha.new_zeros(batch, len(self.alpha), len(self.omega), 2)}

    def step(self, x_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        written_BM, passed_BE, gate_BE = self._entered(x_BE)
        before_BMC = torch.view_as_complex(cast(Tensor, state["hidden"]))
        hidden_BMC2 = torch.view_as_real(before_BMC * self._decay() + written_BM[..., None])
        return self._shown(hidden_BMC2, passed_BE, gate_BE), {"hidden": hidden_BMC2}

    def _decay(self) -> Tensor:
        """Return a complex factor for every trace in every context, ``(M, C)``."""
        fades_M1 = (-self.alpha.abs()).exp()[:, None]
        return torch.polar(fades_M1.expand(-1, len(self.omega)), self.omega.expand(len(self.alpha), -1))

    def _entered(self, x_NE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is remembered, ``(N, M)``, what passes by, and the gate between, ``(N, E)``."""
        value_NM, opened_NM, passed_NE, gate_NE = self.enter(x_NE).split(self.widths, dim=-1)
        return at_least_single(value_NM * opened_NM.sigmoid()), passed_NE, gate_NE.sigmoid()

    def _shown(self, hidden_NMC2: Tensor, passed_NE: Tensor, gate_NE: Tensor) -> Tensor:
        recalled_NE = self.read(hidden_NMC2.flatten(1))
        recalled_NE = layer_norm(recalled_NE, recalled_NE.shape[1:])
        return gate_NE * recalled_NE + (1 - gate_NE) * passed_NE


class FFM(Stack):
    """Fast and forgetful memory backbone: a small decaying state, made for partial observability.

    Choose it where what matters was seen a knowable time ago, and where acting state must be small.
    What is kept does not depend on what is remembered, and everything fades; training is parallel over
    time.

    Costs: per layer and timestep ``2 width^2 + 2 width traces (1 + contexts)`` multiplications beside
    the feed-forward layer's ``4 width^2``, acting the same; training takes about ``2 sqrt(N)`` steps
    one after the other. Acting state: 2 x layers x traces x contexts numbers; with the defaults 768,
    3 kB per environment.

    Args:
        context: Width in and context length; supplied by the composer.
        options: Sizes; see :class:`FFMOptions`.
    """

    def __init__(self, context: BackboneContext, options: FFMOptions) -> None:
        super().__init__(
            context,
            options,
            lambda: ForgetfulMemory(
                options.width, options.traces, options.contexts, context.context_length
            ),
        )
