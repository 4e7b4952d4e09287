"""Gated DeltaNet: linear attention whose memory is overwritten by key, not only added to and decayed.

Source: "Gated Delta Networks: Improving Mamba2 with Delta Rule" (Yang, Kautz and Hatamizadeh, 2024,
arXiv:2412.06464).

Shape suffixes: N = timesteps of a packed batch, B = environments, E = width, H = heads, K = features of
a key, V = features of a value, C = channels of the convolution (all keys, queries and values),
W = timesteps in its window.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import GatedDeltaNetOptions
from amago_standard.backbones.stack import Stack
from amago_standard.layers.causal_convolution import CausalConvolution
from amago_standard.layers.delta_rule import delta_rule, delta_step
from amago_standard.layers.precision import at_least_single

TAPS = 4


class Projected(NamedTuple):
    """Outputs of the input projection."""

    mixed_NC: Tensor
    gate_NE: Tensor
    write_NH: Tensor
    log_decay_NH: Tensor


class DeltaMixer(nn.Module):
    """Gated delta rule by heads: each keeps a matrix from keys to values; see :func:`delta_rule`.

    As in the paper: queries, keys and values pass a convolution over ``TAPS`` timesteps and SiLU;
    queries and keys have length 1; what a head answers is normalised (RMS) and gated. The decay is
    ``exp(-exp(rate) softplus(w x + shift))``. The heads begin to remember for an eighth of ``horizon``
    up to ``horizon`` steps, where the paper draws times that do not depend on the task.

    Args:
        width: E.
        heads: H.
        value_expansion: Width of all values together, in widths.
        horizon: Steps that the longest memories last at first.
    """

    def __init__(self, width: int, heads: int, value_expansion: int, horizon: int) -> None:
        super().__init__()
        self.heads = heads
        self.keys, self.values = width, value_expansion * width
        self.project = nn.Linear(width, 2 * self.keys + 2 * self.values + 2 * heads, bias=False)
        self.convolution = CausalConvolution(2 * self.keys + self.values, TAPS)
        steps_H = max(horizon, 2) * torch.logspace(0, -3, heads, base=2)
        self.rate = nn.Parameter(torch.zeros(heads))
        self.shift = nn.Parameter((1 / steps_H).expm1().log())  # The inverse of softplus.
        self.norm = nn.RMSNorm(self.values // heads, eps=1e-5)
        self.out = nn.Linear(self.values, width, bias=False)

    def forward(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)`` for a packed stream."""
        row = self._projected(x_NE)
        q, k, v = self._split(self.convolution(row.mixed_NC, layout))
        y_NHV = delta_rule(q, k, v, row.write_NH, row.log_decay_NH, layout)
        return self._gated(y_NHV, row.gate_NE)

    def initial_state(self, batch: int) -> State:
        """Return zeros: ``window (B, W, C)`` and ``memory (B, H, K, V)``."""
        sizes = self.heads, self.keys // self.heads, self.values // self.heads
        return {
            "window": self.convolution.initial_state(batch),
            "memory": self.out.weight.new_zeros(batch, *sizes),
        }

    def step(self, x_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        row = self._projected(x_BE)
        mixed_BC, window = self.convolution.step(row.mixed_NC, cast(Tensor, state["window"]))
        q, k, v = self._split(mixed_BC)
        memory = cast(Tensor, state["memory"])
        y_BHV, memory = delta_step(q, k, v, row.write_NH, row.log_decay_NH, memory)
        return self._gated(y_BHV, row.gate_NE), {"window": window, "memory": memory}

    def _projected(self, x_NE: Tensor) -> Projected:
        sizes = [2 * self.keys + self.values, self.values, self.heads, self.heads]
        mixed_NC, gate_NE, write_NH, decay_NH = torch.split(self.project(x_NE), sizes, dim=-1)
        step_NH = softplus(at_least_single(decay_NH) + self.shift)
        return Projected(
            mixed_NC, gate_NE, at_least_single(write_NH).sigmoid(), -self.rate.exp() * step_NH
        )

    def _split(self, mixed_NC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values by head, ``(N, H, ...)``."""
        qk_NC, v_NC = torch.split(silu(mixed_NC), [2 * self.keys, self.values], dim=-1)
        q_NHK, k_NHK = unit(qk_NC.view(len(qk_NC), 2, self.heads, -1)).unbind(1)
        return q_NHK, k_NHK, v_NC.view(len(v_NC), self.heads, -1)

    def _gated(self, y_NHV: Tensor, gate_NE: Tensor) -> Tensor:
        return cast(Tensor, self.out(self.norm(y_NHV).flatten(-2) * silu(gate_NE)))


def unit(x: Tensor) -> Tensor:
    """Return vectors scaled to length 1; vectors near zero stay shorter."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


class GatedDeltaNet(Stack):
    """Gated DeltaNet backbone: linear attention in which a key's new value replaces its old one.

    Choose it where facts change, or where there are more of them than a state can hold side by side:
    it recalls by key as a transformer does, from a memory of constant size. Training is made of matrix
    products over chunks and linear in the length; an update, and an acting step, takes three to
    five times as long as that of a ``mingru`` of the same size. Acting state: layers x (width^2 / heads
    + 9 x width) numbers, more with wider values, all read and written in every step, at any length.

    Args:
        context: Width in and context length; supplied by the composer.
        options: Sizes; see :class:`GatedDeltaNetOptions`.
    """

    def __init__(self, context: BackboneContext, options: GatedDeltaNetOptions) -> None:
        super().__init__(
            context,
            options,
            lambda: DeltaMixer(
                options.width, options.heads, options.value_expansion, context.context_length
            ),
        )
