"""PopArt: running statistics of value targets (Hessel et al., 2018, arXiv:1809.04474).

Shape suffixes: N = timesteps, C = ensemble members, G = discounts.
"""

from __future__ import annotations

from torch import Tensor, nn

from amago_standard.layers.moments import MovingMoments


class PopArt(nn.Module):
    """PopArt statistics: moving averages of the targets' mean and spread, per discount.

    PopArt corrects an affine (w, b) behind the critic whenever the statistics move, so that
    predictions in the units of return stay as they were: sigma w and sigma b + mu never change. Where
    (w, b) is not trained either, as here, they keep the values they began with, so the pair is a
    constant: a raw output times ``initial_scale`` is a return, and only the *learning* scale moves.
    Hence predictions are preserved by construction, online and target critics agree without sharing
    anything, and the statistics enter only :meth:`normalize`.

    :meth:`observe` proposes statistics, which :meth:`normalize` uses at once; the commit adopts them.

    Args:
        discounts: G.
        rate: Step size once many targets have been seen; the start is bias-corrected.
        initial_scale: Return that a raw output of 1 stands for; the first spread.
    """

    def __init__(self, discounts: int, *, rate: float, initial_scale: float) -> None:
        super().__init__()
        self.initial_scale = initial_scale
        self.moments = MovingMoments(discounts, rate=rate, variance=initial_scale**2, steps=1)

    @property
    def mean_G(self) -> Tensor:
        """Mean of the targets, proposals included."""
        return self.moments.latest[0]

    @property
    def std_G(self) -> Tensor:
        """Spread of the targets, proposals included; between 1e-2 and 1e4."""
        return self.moments.latest[1].clamp(1e-4, 1e8).sqrt()

    def denormalize(self, raw: Tensor) -> Tensor:
        """Return raw outputs in the units of return."""
        return raw * self.initial_scale

    def normalize(self, value: Tensor) -> Tensor:
        """Return values ``(..., G)`` in the units of the targets' spread."""
        return (value - self.mean_G) / self.std_G

    def observe(self, target_NG: Tensor) -> None:
        """Propose statistics that include these targets, in the units of return."""
        self.moments.propose(target_NG)
