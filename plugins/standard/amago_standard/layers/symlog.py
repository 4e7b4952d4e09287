"""Symlog, a logarithm for numbers of either sign, and its inverse (Webber, 2013; Hafner et al., 2023).

Close to zero both are the identity, far from it magnitudes become orders of magnitude and back:
numbers of very different scale can share one input or one set of bins.
"""

from __future__ import annotations

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """Return ``sign(x) * log(1 + |x|)``; any shape."""
    # One half is clamped and the other rectified, because their gradients at zero are 1 and 0: they add
    # up to the true one there, where sign(x) would give 0.
    return torch.log1p(x.clamp(min=0)) - torch.log1p(torch.relu(-x))


def symexp(x: Tensor) -> Tensor:
    """Return ``sign(x) * (exp(|x|) - 1)``, the inverse of :func:`symlog`; any shape.

    Float32 overflows beyond ``|x|`` of 88.
    """
    return torch.expm1(x.clamp(min=0)) - torch.expm1(torch.relu(-x))
