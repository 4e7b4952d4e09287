"""Backbone of leaky traces: exponential averages of the past at several time scales.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = features out,
K = traces, W = features per trace, S = sequences of one run, L = their common length.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from amago_memory_zoo.options import TracesOptions
from amago_registry import BackboneContext, SequenceLayout
from amago_registry.protocols import State


class Traces(nn.Module):
    """Leaky-trace backbone: K exponential averages of the input, each with its own time constant.

    No gates and no learned decay, so it remembers roughly and cheaply: constant
    state, constant cost per step. Training takes L x L products per sequence of length L.

    Args:
        context: Width in; supplied by the composer.
        options: Sizes; see :class:`TracesOptions`.
    """

    decay_K: Tensor

    def __init__(self, context: BackboneContext, options: TracesOptions) -> None:
        super().__init__()
        self.embed = nn.Linear(context.in_dim, options.width)
        self.mix = nn.Linear((options.traces + 1) * options.width, options.width)
        self.norm = nn.LayerNorm(options.width)
        self.out_dim, self.traces = options.width, options.traces
        decays = [1 - 4.0**-index for index in range(options.traces)]
        self.register_buffer("decay_K", torch.tensor(decays))

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)`` of a packed stream."""
        x_NW = self.embed(x_ND)
        traces = [
            self._traces(x_NW[start : start + count * length].view(count, length, -1))
            for start, count, length in layout.runs
        ]
        return self._read(x_NW, torch.cat(traces))

    def initial_state(self, batch: int) -> State:
        """Return empty traces ``(B, K, W)``."""
        return {"trace": self.norm.weight.new_zeros(batch, self.traces, self.out_dim)}

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        x_BW = self.embed(x_BD)
        decay_K1 = self.decay_K[:, None].to(x_BW.dtype)
        trace_BKW = decay_K1 * cast(Tensor, state["trace"]) + (1 - decay_K1) * x_BW[:, None]
        return self._read(x_BW, trace_BKW), {"trace": trace_BKW}

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with the environments where ``mask_B`` is true emptied."""
        return {"trace": cast(Tensor, state["trace"]).masked_fill(mask_B[:, None, None], 0.0)}

    def _traces(self, x_SLW: Tensor) -> Tensor:
        """Return the traces ``(S * L, K, W)`` of sequences of one length."""
        position_L = torch.arange(x_SLW.shape[1], device=x_SLW.device)
        back_LL = position_L[:, None] - position_L[None, :]
        decay_K11 = self.decay_K[:, None, None].to(x_SLW.dtype)
        weight_KLL = (1 - decay_K11) * decay_K11 ** back_LL.clamp_min(0)
        weight_KLL = weight_KLL.masked_fill(back_LL < 0, 0.0)
        return torch.einsum("kij,sjw->sikw", weight_KLL, x_SLW).flatten(0, 1)

    def _read(self, x_NW: Tensor, trace_NKW: Tensor) -> Tensor:
        seen = torch.cat([x_NW, trace_NKW.flatten(1)], dim=-1)
        return cast(Tensor, self.norm(nn.functional.silu(self.mix(seen))))
