"""Scalar ensemble critic with PopArt normalisation.

Shape suffixes: N = timesteps, C = ensemble members, G = discounts.
"""

from __future__ import annotations

from torch import Tensor

from amago_registry.contexts import CriticContext
from amago_standard.heads.critic_body import CriticBody
from amago_standard.heads.options import EnsembleCriticOptions
from amago_standard.layers.popart import PopArt


class EnsembleCritic(CriticBody):
    """Ensemble of C independent scalar critics whose targets are normalised by PopArt.

    Discrete actions: all values at once, unless ``enumerate_actions`` is off. Else the action is an
    input.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes and scales; see :class:`EnsembleCriticOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    def __init__(self, context: CriticContext, options: EnsembleCriticOptions) -> None:
        super().__init__(context, options)
        self.discounts = context.discounts
        self.popart = PopArt(
            len(self.discounts), rate=options.popart_rate, initial_scale=options.initial_scale
        )

    def value(self, prediction: Tensor) -> Tensor:
        """Return predictions in the units of return."""
        return self.popart.denormalize(prediction)

    def normalize(self, value: Tensor) -> Tensor:
        """Return values ``(..., G)`` in the units of the targets' spread."""
        return self.popart.normalize(value)

    def observe(self, target_NG: Tensor) -> None:
        """Propose statistics that include these targets."""
        self.popart.observe(target_NG)

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        """Return squared errors ``(N, C, G)`` in normalised units."""
        # The mean cancels: the difference of two normalised values.
        error = (self.value(prediction) - target_NG[:, None]) / self.popart.std_G
        return error.square()

    def metrics(self) -> dict[str, Tensor]:
        """Return mean and spread of the targets for every discount, as in ``popart_mean/0.99``."""
        mean_G, std_G = self.popart.mean_G, self.popart.std_G
        named = {"popart_mean": mean_G, "popart_std": std_G}
        return {
            f"{name}/{discount}": statistic_G[g].detach()
            for name, statistic_G in named.items()
            for g, discount in enumerate(self.discounts)
        }
