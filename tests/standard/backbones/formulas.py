"""Layers held against their formulas, one timestep of one sequence at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from amago_registry import SequenceLayout

Mixer = TypeVar("Mixer", bound=nn.Module)


def check_formula(
    mixer: Mixer, slow: Callable[[Mixer, list[Tensor]], list[Tensor]], lengths: list[int], width: int
) -> None:
    """Compare the outputs and all gradients of a packed stream with those of a slow formula.

    Args:
        mixer: The layer, in float64, called as ``mixer(x_NE, layout)``.
        slow: Returns the output of every timestep of one sequence.
        lengths: Of the sequences.
        width: E.
    """
    layout = SequenceLayout.build(lengths)
    x_NE = torch.randn(layout.timesteps, width, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([row for part in x_NE.split(lengths) for row in slow(mixer, list(part))])
    actual = mixer(x_NE, layout)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    toward, inputs = torch.randn_like(actual), [x_NE, *mixer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(actual, inputs, toward), torch.autograd.grad(expected, inputs, toward)
    )
