"""Sigma-reparametrised linear layers, whose spectral norm is a learned parameter.

Source: sigma-reparametrisation (Zhai et al., 2023, arXiv:2303.06296).

Shape suffixes: D = features in, E = features out.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class SigmaLinear(nn.Module):
    """Sigma-reparametrised linear layer: ``y = (gamma / sigma(W)) W x + b``.

    sigma(W) is the largest singular value of W. Keeps attention scores from growing without bound, the
    usual way a Transformer collapses under a non-stationary RL loss. sigma is estimated by one step of
    power iteration per training forward pass; the new vectors are proposed and adopted by
    :meth:`commit`. Outside training the effective weight is computed once per set of weights.

    Args:
        in_dim: D.
        out_dim: E.
    """

    left_E: Tensor
    right_D: Tensor

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        weight = nn.init.trunc_normal_(torch.empty(out_dim, in_dim), std=0.02)
        self.weight = nn.Parameter(weight)
        self.gamma = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        right_D = normalize(torch.randn(in_dim), dim=0)
        for _ in range(3):  # A fresh estimate would be far too small, and the layer far too large.
            left_E = normalize(weight @ right_D, dim=0)
            right_D = normalize(weight.T @ left_E, dim=0)
        self.register_buffer("left_E", left_E)
        self.register_buffer("right_D", right_D)
        self._proposed: tuple[Tensor, Tensor] | None = None
        self._cached: tuple[tuple[int, ...], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., D)`` to ``(..., E)``."""
        if self.training or torch.is_grad_enabled():
            # An optimiser step may follow, and a fused one leaves no trace in the version counters.
            self._cached = None
        return linear(x, self._training_weight() if self.training else self._acting_weight(), self.bias)

    def _training_weight(self) -> Tensor:
        with self._single_precision():
            weight = self.weight.detach()
            left_E = normalize(torch.mv(weight, self.right_D), dim=0)
            right_D = normalize(torch.mv(weight.T, left_E), dim=0)
        self._proposed = (left_E, right_D)
        return self._effective(left_E, right_D)

    def _acting_weight(self) -> Tensor:
        # Inference tensors have no version counters, so a stale cache could not be detected.
        if torch.is_grad_enabled() or self.weight.is_inference():
            return self._effective(self.left_E, self.right_D)
        key = self._versions()
        if self._cached is None or self._cached[0] != key:
            self._cached = (key, self._effective(self.left_E, self.right_D))
        return self._cached[1]

    def _versions(self) -> tuple[int, ...]:
        """Return a cache key that changes whenever an input of the effective weight changes."""
        # Written out to avoid nn.Module's slow attributes: it is called at every step of every layer.
        parameters, buffers = self._parameters, self._buffers
        w, g = cast(Tensor, parameters["weight"]), cast(Tensor, parameters["gamma"])
        u, v = cast(Tensor, buffers["left_E"]), cast(Tensor, buffers["right_D"])
        places = (w.data_ptr(), g.data_ptr(), u.data_ptr(), v.data_ptr())
        return (*places, w._version, g._version, u._version, v._version)

    def _effective(self, left_E: Tensor, right_D: Tensor) -> Tensor:
        with self._single_precision():
            sigma = torch.dot(left_E, torch.mv(self.weight, right_D))
            return (self.gamma / sigma) * self.weight

    def _single_precision(self) -> torch.autocast:
        """Disable autocast, which would iterate in half precision, where sigma never converges."""
        return torch.autocast(self.weight.device.type, enabled=False)

    def commit(self) -> None:
        """Apply the power iteration's vectors of the last training forward pass."""
        if self._proposed is not None:
            self.left_E.copy_(self._proposed[0])
            self.right_D.copy_(self._proposed[1])
        self.forget()

    def forget(self) -> None:
        """Discard the vectors of the last training forward pass."""
        self._proposed = None
