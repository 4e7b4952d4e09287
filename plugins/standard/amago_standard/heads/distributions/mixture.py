"""Mixture of tanh-squashed Gaussians over continuous actions.

Shape suffixes: N = timesteps, G = discounts, K = components, A = action features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amago_standard.heads.distributions.drawing import draw
from amago_standard.heads.distributions.edges import clip_to_interior
from amago_standard.heads.distributions.gaussian import log_density, log_slope


class GaussianMixture:
    """Mixture of K diagonal Gaussians, squashed into (-1, 1) by tanh.

    For multimodal data, which one Gaussian would average. The choice of a component has no gradient,
    so there is no ``rsample``.

    Args:
        logits_NGK: Unnormalised log-probabilities of the components.
        mean_NGKA: Means before squashing.
        log_std_NGKA: Logs of the standard deviations before squashing.
    """

    def __init__(self, logits_NGK: Tensor, mean_NGKA: Tensor, log_std_NGKA: Tensor) -> None:
        self._log_weight = logits_NGK.log_softmax(-1)
        self._mean, self._log_std = mean_NGKA, log_std_NGKA

    def sample(self) -> Tensor:
        """Draw actions ``(N, G, A)``."""
        component_NG = draw(self._log_weight.exp())
        mean_NGA = _of(component_NG, self._mean).detach()
        std_NGA = _of(component_NG, self._log_std).detach().exp()
        return torch.tanh(mean_NGA + std_NGA * torch.randn_like(mean_NGA))

    def mode(self) -> Tensor:
        """Return the squashed mean of the likeliest component ``(N, G, A)``."""
        return torch.tanh(_of(self._log_weight.argmax(-1), self._mean))

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-densities ``(N, G)`` of actions ``(N, G, A)``, clipped to +-0.99 first."""
        action = clip_to_interior(action)
        x_NG1A = torch.atanh(action).unsqueeze(-2)
        density_NGK = log_density(x_NG1A, self._mean, self._log_std).sum(-1)
        mixed_NG = torch.logsumexp(self._log_weight + density_NGK, dim=-1)
        return mixed_NG - log_slope(action).sum(-1)

    def entropy(self) -> None:
        """Return None: a mixture's entropy has no closed form."""


def _of(component_NG: Tensor, each_NGKA: Tensor) -> Tensor:
    """Select one component per timestep and discount: ``(N, G, A)``."""
    index = component_NG[..., None, None].expand(*component_NG.shape, 1, each_NGKA.shape[-1])
    return each_NGKA.gather(-2, index).squeeze(-2)
