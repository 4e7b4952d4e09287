"""Mamba-2: a selective state-space model with one decay per head.

Sources: "Transformers are SSMs" (Dao and Gu, 2024, arXiv:2405.21060); what makes it selective is from
"Mamba" (Gu and Dao, 2023, arXiv:2312.00752).

Shape suffixes: N = timesteps of a packed batch, B = environments, E = width, I = width inside the
mixer, H = heads, P = features per head (I = H P), S = features of the state per feature of a head,
G = 1 (all heads write and read at the same places), C = channels of the convolution (I + 2 S).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.mamba_kernels import StateSpaceScan
from amago_standard.backbones.options import MambaOptions
from amago_standard.backbones.stack import Stack
from amago_standard.layers.causal_convolution import CausalConvolution
from amago_standard.layers.precision import at_least_single

INNER = 2
"""Width inside the mixer, in widths; the papers' choice."""

FILTER = 4
"""Timesteps that the convolution sees; the papers' choice."""

LONGEST = 4
"""Horizons that the longest memory lasts at first: over one horizon it loses a fifth."""


class StateSpaceMixer(nn.Module):
    """Selective state-space layer, by heads.

    ``h_t = exp(d_t a) h_(t-1) + d_t x_t b_t^T`` and ``y_t = h_t c_t + D x_t`` in every head. The input
    chooses the step ``d_t``: long where it is worth writing, which also forgets, and near 0 where the
    memory is to stay. ``x_t`` (P features), ``b_t`` and ``c_t`` (S features) come from the input
    through a short causal convolution; a gate and an RMS norm follow.

    Departs from the papers in how it begins and in a norm. They begin with steps of 0.001 to 0.1, a of
    -1 to -16 and random filters, so that little is written and little lasts longer than 100 timesteps:
    at the end of an episode, the present, which comes through the skip D, outweighs an early cue. Here
    steps begin at log 2, the rates so that ``1 / |d a|``, the timesteps a head remembers, is spread
    over 1 to ``LONGEST horizon``, and the filters as the identity. And the norm is of each head alone,
    so that heads that write little count beside heads that write much.

    Args:
        options: Sizes.
        horizon: Timesteps that memories should last at first.
        scan: Computes the recurrence of a packed stream.
    """

    def __init__(self, options: MambaOptions, horizon: int, scan: StateSpaceScan) -> None:
        super().__init__()
        inner = INNER * options.width
        self.heads, self.features, self.state = options.heads, inner // options.heads, options.state_dim
        self.widths = [inner, inner + 2 * options.state_dim, options.heads]
        self.scan = scan
        self.project = nn.Linear(options.width, sum(self.widths), bias=False)
        self.convolution = CausalConvolution(self.widths[1], FILTER)
        with torch.no_grad():  # The identity.
            self.convolution.bias.zero_()
            self.convolution.weight.zero_()[0] = 1
        lasts_H = torch.linspace(LONGEST * horizon, 1, options.heads)
        self.step_bias = nn.Parameter(torch.zeros(options.heads))
        self.log_rate = nn.Parameter(-(math.log(2) * lasts_H).log())  # softplus(0) is log 2.
        self.skip = nn.Parameter(torch.ones(options.heads))
        self.norm_scale = nn.Parameter(torch.ones(options.heads, self.features))
        self.out = nn.Linear(inner, options.width, bias=False)

    def forward(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)`` for a packed stream."""
        gate_NI, mixed_NC, step_NH = self._projected(x_NE)
        x_NHP, write_NGS, read_NGS = self._split(self.convolution(mixed_NC, layout))
        inputs = (x_NHP, step_NH, -self.log_rate.exp(), write_NGS, read_NGS)
        return self._output(self.scan(inputs, layout), x_NHP, gate_NI)

    def initial_state(self, batch: int) -> State:
        """Return zeros: the convolution's window, and ``(B, H, P, S)``."""
        memory_BHPS = self.skip.new_zeros(batch, self.heads, self.features, self.state)
        return {"window": self.convolution.initial_state(batch), "memory": memory_BHPS}

    def step(self, x_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state, its memory in place."""
        gate_BI, mixed_BC, step_BH = self._projected(x_BE)
        mixed_BC, window = self.convolution.step(mixed_BC, cast(Tensor, state["window"]))
        x_BHP, write_BGS, read_BGS = self._split(mixed_BC)
        memory_BHPS = cast(Tensor, state["memory"])
        memory_BHPS.mul_((step_BH * -self.log_rate.exp()).exp()[..., None, None])
        memory_BHPS.addcmul_((step_BH[..., None] * x_BHP)[..., None], write_BGS[:, :, None])
        y_BHP = (memory_BHPS.flatten(1, 2) @ read_BGS.mT).view_as(x_BHP)
        return self._output(y_BHP, x_BHP, gate_BI), {"window": window, "memory": memory_BHPS}

    def _projected(self, x_NE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gate, the input of the convolution, and the steps."""
        gate_NI, mixed_NC, step_NH = torch.split(self.project(x_NE), self.widths, dim=-1)
        return gate_NI, mixed_NC, softplus(at_least_single(step_NH) + self.step_bias)

    def _split(self, mixed_NC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, b and c: ``(N, H, P)`` and twice ``(N, G, S)``."""
        widths = [self.widths[0], self.state, self.state]
        x_NI, write_NS, read_NS = torch.split(silu(mixed_NC), widths, dim=-1)
        return x_NI.view(-1, self.heads, self.features), write_NS[:, None], read_NS[:, None]

    def _output(self, y_NHP: Tensor, x_NHP: Tensor, gate_NI: Tensor) -> Tensor:
        y_NHP = torch.addcmul(y_NHP, self.skip[:, None], x_NHP)
        y_NHP = y_NHP * silu(at_least_single(gate_NI)).view_as(y_NHP)
        normed_NHP = nn.functional.rms_norm(y_NHP, (self.features,), eps=1e-5) * self.norm_scale
        return cast(Tensor, self.out(normed_NHP.flatten(1)))


class Mamba(Stack):
    """Mamba-2 backbone: a state matrix per head, written and decayed as the input decides.

    Choose it for long contexts: training is linear in their length and made of products of matrices,
    acting costs the same at every step, and the state is larger than that of a recurrent network by
    ``2 state_dim``, so that many things can be remembered side by side. Unlike a Transformer it cannot
    look up again what its state did not keep.

    Multiplications per layer and timestep: in the forward pass of training about ``6 width^2 + (6
    state_dim + 64) width``, acting ``6 width^2 + 8 state_dim width``. Acting state per layer: ``2 width
    state_dim`` numbers and the convolution's window of ``6 (width + state_dim)``; with the defaults 3 x
    18,112 numbers, 217 kB per environment.

    Args:
        context: Width in and context length; supplied by the composer.
        options: Sizes and kernel; see :class:`MambaOptions`.
    """

    def __init__(self, context: BackboneContext, options: MambaOptions) -> None:
        scan = StateSpaceScan(options.kernel)
        super().__init__(
            context, options, lambda: StateSpaceMixer(options, context.context_length, scan)
        )
