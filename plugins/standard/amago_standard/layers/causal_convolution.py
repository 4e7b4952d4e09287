"""Causal depthwise convolution over time, inside every sequence of the packed stream.

Shape suffixes: N = timesteps of a packed batch, B = environments, C = channels, S = taps of a filter,
W = taps but the present one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amago_registry.layout import SequenceLayout
from amago_standard.layers.precision import at_least_single


class CausalConvolution(nn.Module):
    """Causal depthwise convolution: ``y_n = bias + sum_j weight_j * x_(n-j)``, channel by channel.

    j runs over the last ``size`` timesteps. Sequences are padded with zeros and never see the sequence
    before them. Recurrences that are linear in their state put it in front of themselves, so that a key
    can tell what came just before (Fu et al., 2022, arXiv:2212.14052). Costs ``size`` multiplications
    per number; acting keeps ``(size - 1) * channels`` numbers.

    Args:
        channels: C.
        size: S, timesteps that a filter sees, the present one included; at least 1.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        bound = size**-0.5  # As torch's convolutions begin.
        self.weight = nn.Parameter(torch.empty(size, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, x_NC: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, C)``, in single precision or better."""
        x_NC = at_least_single(x_NC)
        y_NC = torch.addcmul(self.bias, x_NC, self.weight[0])
        for back, weight_C in enumerate(self.weight[1:], start=1):
            same_N1 = (layout.sequence_N[back:] == layout.sequence_N[:-back])[:, None]
            y_NC[back:].addcmul_(x_NC[:-back] * same_N1, weight_C)
        return y_NC

    def initial_state(self, batch: int) -> Tensor:
        """Return the window before the first timestep: zeros ``(B, W, C)``."""
        size, channels = self.weight.shape
        return self.weight.new_zeros(batch, size - 1, channels)

    def step(self, x_BC: Tensor, window_BWC: Tensor) -> tuple[Tensor, Tensor]:
        """Take one timestep per environment; return ``(B, C)`` and the window, the oldest row first."""
        x_BSC = torch.cat([window_BWC, at_least_single(x_BC)[:, None]], dim=1)
        y_BC = self.bias + (x_BSC * self.weight.flip(0)).sum(1)
        return y_BC, x_BSC[:, 1:]
