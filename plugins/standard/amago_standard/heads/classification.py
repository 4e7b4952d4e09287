"""Classification critics (two-hot and HL-Gauss): they classify returns instead of regressing them.

Shape suffixes: N = timesteps, C = ensemble members, G = discounts, K = bins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from amago_registry.contexts import CriticContext
from amago_standard.heads.critic_body import CriticBody
from amago_standard.heads.options import ClassificationOptions, HLGaussOptions, TwoHotOptions
from amago_standard.layers.bins import bin_positions, gaussian_label, sharpened_values, two_hot
from amago_standard.layers.symlog import symexp, symlog


class ClassificationCritic(CriticBody, ABC):
    """Base class of classification critics: C independent critics with logits over K bins of return.

    Cross-entropy has gradients of the same size whatever the scale of the returns, so one critic learns
    tasks whose rewards differ by orders of magnitude (AMAGO-2; arXiv:2411.11188). Subclasses define
    the target distribution of a return.

    ``normalize`` changes nothing: advantages stay in units of return. The sign of an advantage is all
    that a binary filter reads; an exponential or ramp filter and a policy gradient weigh tasks by their
    returns' scale, so give those a scalar critic under PopArt.

    Every value starts at 0: the last layer is zero, so the bins are equally likely, and those of either
    sign cancel. Noise in that layer would be worth hundreds, so far out do the bins lie; logits that
    favour small returns from the start would slow the learning of large ones. Only where the limits
    are not each other's opposites do logits start at ``-2 |symlog|``, which reads as about 1 or less.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes, bins and limits; see :class:`ClassificationOptions`.
        position_K: Where the bins lie in symlog space.
        value_K: What each bin counts for in the expectation.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    position_K: Tensor
    value_K: Tensor

    def __init__(
        self,
        context: CriticContext,
        options: ClassificationOptions,
        position_K: Tensor,
        value_K: Tensor,
    ) -> None:
        super().__init__(context, options, (options.bins,))
        self.low, self.high = options.low, options.high
        self.in_symlog = options.expectation == "symlog"
        precision = torch.get_default_dtype()
        self.register_buffer("position_K", position_K.to(precision), persistent=False)
        self.register_buffer("value_K", value_K.to(precision), persistent=False)
        tilt = 0.0 if self.low == -self.high else 2.0
        self.start_at(-tilt * position_K.abs())
        self._beyond_limits: Tensor | None = None

    @abstractmethod
    def label(self, target_NG: Tensor) -> Tensor:
        """Return the distributions ``(N, G, K)`` that stand for returns."""

    def value(self, prediction: Tensor) -> Tensor:
        """Return the expectation of logits ``(N, C, ..., K)``, in the units of return."""
        # Members first, as their products left them: softmax would copy any other order. A product and
        # a sum, because a matrix product might run in half precision.
        mean = (prediction.transpose(0, 1).softmax(-1) * self.value_K).sum(-1).transpose(0, 1)
        return symexp(mean) if self.in_symlog else mean

    def normalize(self, value: Tensor) -> Tensor:
        """Return the values as they are."""
        return value

    def observe(self, target_NG: Tensor) -> None:
        """Count the targets beyond the limits, where the loss sees the limit instead."""
        beyond_NG = (target_NG < self.low) | (target_NG > self.high)
        self._beyond_limits = beyond_NG.float().mean().detach()

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        """Return cross-entropies ``(N, C, G)`` in nats; targets beyond the limits count as these."""
        log_probs_CNGK = prediction.transpose(0, 1).log_softmax(-1)
        return -(self.label(target_NG) * log_probs_CNGK).sum(-1).transpose(0, 1)

    def metrics(self) -> dict[str, Tensor]:
        """Return ``beyond_limits``, the share of the last observed targets beyond the limits."""
        return {} if self._beyond_limits is None else {"beyond_limits": self._beyond_limits}


class TwoHotCritic(ClassificationCritic):
    """Two-hot critic: a return is two neighbouring bins (Hafner et al., 2023, arXiv:2301.04104).

    Weights interpolate between the returns that the bins stand for, so the expectation is exact for one
    return within the limits and unbiased for a mixture. With ``expectation: symlog`` they interpolate,
    and the expectation is taken, in symlog space, as in AMAGO-2's released code: exact for one return,
    far too little for a mixture of unlike ones.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes, bins and limits; see :class:`TwoHotOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    def __init__(self, context: CriticContext, options: TwoHotOptions) -> None:
        position_K = bin_positions(options.bins, options.low, options.high)
        in_symlog = options.expectation == "symlog"
        super().__init__(context, options, position_K, position_K if in_symlog else symexp(position_K))

    def label(self, target_NG: Tensor) -> Tensor:
        """Return two-hot distributions ``(N, G, K)`` over the bins."""
        return two_hot(symlog(target_NG) if self.in_symlog else target_NG, self.value_K)


class HLGaussCritic(ClassificationCritic):
    """HL-Gauss critic: a return is a Gaussian in symlog space (Farebrother et al., 2024; 2403.03950).

    Neighbouring bins learn together, which smooths noisy targets. The expectation runs over numbers
    that undo the skew of these labels (:func:`sharpened_values`), so that a mixture of returns reads as
    their mean. With the default bins, one return y reads as itself within 0.5 % of ``1 + |y|`` up to
    2, within 0.01 % up to 3,000 and within 3 % up to the limits. With ``expectation: symlog``, it does
    so within 0.001 % up to 20,000, where the limits begin to cut labels off, and a mixture of unlike
    returns reads as far too little.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes, bins, limits and smoothing; see :class:`HLGaussOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    def __init__(self, context: CriticContext, options: HLGaussOptions) -> None:
        position_K = bin_positions(options.bins, options.low, options.high)
        in_symlog = options.expectation == "symlog"
        value_K = position_K if in_symlog else sharpened_values(position_K, options.sigma)
        super().__init__(context, options, position_K, value_K)
        self.sigma = options.sigma

    def label(self, target_NG: Tensor) -> Tensor:
        """Return Gaussian histograms ``(N, G, K)`` over the bins."""
        return gaussian_label(symlog(target_NG), self.position_K, self.sigma)
