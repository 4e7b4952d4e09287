"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor
from torch.nn.functional import gelu, leaky_relu, relu, silu

# In place where the gradient can be computed from the result: one tensor less is kept for it.
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "leaky-relu": partial(leaky_relu, inplace=True),
    "relu": partial(relu, inplace=True),
    "gelu": gelu,
    "silu": silu,
}
"""Activation functions by their names in a spec; a function may overwrite its argument."""
