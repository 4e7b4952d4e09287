"""Distributions over actions, one per timestep and discount.

A module per family. All follow :class:`amago_registry.protocols.Distribution`; those with ``rsample``
also :class:`~amago_registry.protocols.ReparameterizedDistribution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.heads.distributions.bernoulli import Bernoulli
    from amago_standard.heads.distributions.beta import ShiftedBeta
    from amago_standard.heads.distributions.categorical import ClippedCategorical
    from amago_standard.heads.distributions.factored import FactoredCategorical
    from amago_standard.heads.distributions.gaussian import TanhGaussian
    from amago_standard.heads.distributions.mixture import GaussianMixture

__all__ = [
    "Bernoulli",
    "ClippedCategorical",
    "FactoredCategorical",
    "GaussianMixture",
    "ShiftedBeta",
    "TanhGaussian",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Bernoulli": "bernoulli",
        "ClippedCategorical": "categorical",
        "FactoredCategorical": "factored",
        "GaussianMixture": "mixture",
        "ShiftedBeta": "beta",
        "TanhGaussian": "gaussian",
    },
)
