"""Correct and broken actors.

Shape suffixes: N = timesteps, G = discounts, A = features of an action vector.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import one_hot

from amago_registry import ActorContext, Options, UnsupportedSpaceError


class NoOptions(Options):
    """No options."""


class Choice:
    """A softmax over actions without a public ``probs``."""

    def __init__(self, raw_NGA: Tensor, mask: Tensor) -> None:
        allowed = self.allowed(mask)
        self._probs = raw_NGA.masked_fill(~allowed, -torch.inf).softmax(-1)

    def allowed(self, mask: Tensor) -> Tensor:
        return mask | ~mask.any(-1, keepdim=True)

    def sample(self) -> Tensor:
        return torch.multinomial(self._probs.flatten(0, 1), 1).view(self._probs.shape[:2])

    def rsample(self) -> Tensor:
        drawn = one_hot(self.sample(), self._probs.shape[-1])
        return drawn + self._probs - self._probs.detach()

    def mode(self) -> Tensor:
        return self._probs.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self._probs.gather(-1, action[..., None]).squeeze(-1).clamp_min(1e-30).log()

    def entropy(self) -> Any:
        return None


class OpenChoice(Choice):
    """A correct categorical distribution."""

    @property
    def probs(self) -> Tensor:
        return self._probs

    def entropy(self) -> Any:
        return torch.special.entr(self._probs).sum(-1)


class Choices:
    """Two categorical factors with three and two actions: correct."""

    def __init__(self, raw_NGA: Tensor, mask: Tensor) -> None:
        self.factors = [Choice(raw_NGA[..., s], mask[..., s]) for s in (slice(3), slice(3, 5))]

    def sample(self) -> Tensor:
        return torch.stack([factor.sample() for factor in self.factors], -1)

    def rsample(self) -> Tensor:
        return torch.cat([factor.rsample() for factor in self.factors], -1)

    def mode(self) -> Tensor:
        return torch.stack([factor.mode() for factor in self.factors], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        return sum(f.log_prob(a) for f, a in zip(self.factors, action.unbind(-1), strict=True))

    def entropy(self) -> Any:
        return None


class Coins:
    """Independent bits with the sum of their log-probabilities: correct."""

    def __init__(self, raw_NGA: Tensor, mask: Tensor) -> None:
        self._heads = raw_NGA.sigmoid()

    def sample(self) -> Tensor:
        return torch.bernoulli(self._heads.detach()).to(torch.int8)

    def rsample(self) -> Tensor:
        return self.sample() + self._heads - self._heads.detach()

    def mode(self) -> Tensor:
        return (self._heads > 0.5).to(torch.int8)

    def log_prob(self, action: Tensor) -> Tensor:
        return torch.where(action == 1, self._heads, 1 - self._heads).log().sum(-1)

    def entropy(self) -> Any:
        tails = 1 - self._heads
        return (torch.special.entr(self._heads) + torch.special.entr(tails)).sum(-1)


class Aim:
    """A narrow Gaussian in the box, with an unnormalized density and without ``rsample``."""

    def __init__(self, raw_NGA: Tensor, mask: Tensor) -> None:
        self.mean = raw_NGA.tanh() / 2

    def sample(self) -> Tensor:
        return (self.mean + 0.1 * torch.randn_like(self.mean)).clamp(-1, 1).detach()

    def mode(self) -> Tensor:
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        return -50 * (action - self.mean).square().sum(-1)

    def entropy(self) -> Any:
        return None


class SteadyAim(Aim):
    """A correct reparameterized Gaussian."""

    def rsample(self) -> Tensor:
        return (self.mean + 0.1 * torch.randn_like(self.mean)).clamp(-1, 1)


class Actor(nn.Module):
    """Obeys every law."""

    discrete: Any = OpenChoice
    multi_discrete: Any = Choices
    multi_binary: Any = Coins
    continuous: Any = SteadyAim

    def __init__(self, context: ActorContext, options: NoOptions) -> None:
        super().__init__()
        width, self.policy = self.family(context.action_space)
        self.shape = (len(context.discounts), width)
        self.net = nn.Linear(context.in_dim, self.shape[0] * self.shape[1])

    def family(self, space: spaces.Space[Any]) -> tuple[int, Any]:
        if isinstance(space, spaces.Discrete):
            return int(space.n), self.discrete
        if isinstance(space, spaces.MultiDiscrete):
            return 5, self.multi_discrete
        return 3, self.multi_binary if isinstance(space, spaces.MultiBinary) else self.continuous

    def forward(self, state_NE: Tensor, action_mask_NA: Tensor | None = None) -> Any:
        if action_mask_NA is None:
            action_mask_NA = torch.ones(len(state_NE), self.shape[1], dtype=torch.bool)
        return self.policy(self.net(state_NE).unflatten(-1, self.shape), action_mask_NA[:, None])


class AveragedCoins(Coins):
    """Bits with the mean of their log-probabilities."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob(action) / action.shape[-1]


class ActorThatAverages(Actor):
    """Obeys every law too."""

    multi_binary = AveragedCoins


class ActorWithoutReparameterisation(Actor):
    """Obeys every law: ``rsample`` is optional."""

    continuous = Aim


class ActorOfBoxes(Actor):
    """Obeys every law: an actor need not support every space."""

    def family(self, space: spaces.Space[Any]) -> tuple[int, Any]:
        if not isinstance(space, spaces.Box):
            raise UnsupportedSpaceError(f"no {space}")
        return super().family(space)


class ActorWithoutMasks(Actor):
    """Obeys every law: it accepts no mask, so the engine raises an error where there is one."""

    def forward(self, state_NE: Tensor) -> Any:
        return super().forward(state_NE)


class TakesNothing(Actor):
    """Supports no action space."""

    def family(self, space: spaces.Space[Any]) -> tuple[int, Any]:
        raise UnsupportedSpaceError(f"no {space}")


class OvershootingAim(SteadyAim):
    """Samples actions outside the space."""

    def sample(self) -> Tensor:
        return super().sample() + 2


class Overshoots(Actor):
    """Has a policy that acts outside the space."""

    continuous = OvershootingAim


class ByteChoice(OpenChoice):
    """Wraps the 257th action to the first."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob(action.to(torch.uint8).long())


class CountsInBytes(Actor):
    """Fails for more than 256 actions."""

    discrete = ByteChoice


class NarrowAim(SteadyAim):
    """Has an infinite ``log_prob`` at the bounds, as the inverse of tanh has."""

    def log_prob(self, action: Tensor) -> Tensor:
        return -50 * (torch.atanh(action) - self.mean).square().sum(-1)


class FearsTheEdges(Actor):
    """Has an infinite ``log_prob`` for an action at the bound."""

    continuous = NarrowAim


class ForgottenChoice(OpenChoice):
    """Detaches the log-probability."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob(action).detach().requires_grad_()


class LearnsNothing(Actor):
    """No gradient reaches its weights."""

    discrete = ForgottenChoice


class HidesItsProbabilities(Actor):
    """Hides ``probs``, so an objective could not sum over actions."""

    discrete = Choice


class GenerousChoice(OpenChoice):
    """Has probabilities above 1."""

    @property
    def probs(self) -> Tensor:
        return 2 * self._probs

    def rsample(self) -> Tensor:
        drawn = one_hot(self.sample(), self._probs.shape[-1])
        return drawn + self.probs - self.probs.detach()


class PromisesTooMuch(Actor):
    """Has probabilities that sum to 2."""

    discrete = GenerousChoice


class MistakenChoice(OpenChoice):
    """Returns the log-probability of the next action."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob((action + 1) % self._probs.shape[-1])


class MistakesTheAction(Actor):
    """Has a policy with the log-probability of another action."""

    discrete = MistakenChoice


class TiedChoices(Choices):
    """Counts the first factor twice and ignores the second."""

    def log_prob(self, action: Tensor) -> Tensor:
        return 2 * self.factors[0].log_prob(action[..., 0])


class ForgetsAFactor(Actor):
    """Has a policy whose second factor gets no gradient."""

    multi_discrete = TiedChoices


class UnmaskedChoice(OpenChoice):
    """Ignores the mask."""

    def allowed(self, mask: Tensor) -> Tensor:
        return torch.ones_like(mask)


class IgnoresTheMask(Actor):
    """Has a policy that takes masked actions."""

    discrete = UnmaskedChoice


class LeakyChoice(OpenChoice):
    """Masks samples, but not probabilities."""

    @property
    def probs(self) -> Tensor:
        return (self._probs + 1e-12) / (1 + 1e-12 * self._probs.shape[-1])


class LeaksProbability(Actor):
    """Has a policy with probability for masked actions."""

    discrete = LeakyChoice


class EndlessChoice(OpenChoice):
    """Has log-probabilities of minus infinity for masked actions."""

    def log_prob(self, action: Tensor) -> Tensor:
        return self._probs.gather(-1, action[..., None]).squeeze(-1).log()


class FearsTheImpossible(Actor):
    """Has a policy with an infinite ``log_prob`` for masked actions."""

    discrete = EndlessChoice


class StubbornChoice(OpenChoice):
    """Takes the first action if all are masked."""

    def allowed(self, mask: Tensor) -> Tensor:
        first = torch.arange(mask.shape[-1]) == 0
        return mask | (~mask.any(-1, keepdim=True) & first)


class StandsStill(Actor):
    """Has a policy that is forced to one action if all are masked."""

    discrete = StubbornChoice


class DetachedAim(SteadyAim):
    """Detaches ``rsample``."""

    def rsample(self) -> Tensor:
        return super().rsample().detach()


class DetachesItsSamples(Actor):
    """Has a policy without gradient through ``rsample``."""

    continuous = DetachedAim


class SoftCoins(Coins):
    """Returns probabilities from ``rsample`` instead of bits."""

    def rsample(self) -> Tensor:
        return self._heads


class SamplesNoWholeBits(Actor):
    """Has a policy with relaxed samples of bits."""

    multi_binary = SoftCoins


class SteepCoins(Coins):
    """Has the gradient of the logits in ``rsample``."""

    def __init__(self, raw_NGA: Tensor, mask: Tensor) -> None:
        super().__init__(raw_NGA, mask)
        self._raw = raw_NGA

    def rsample(self) -> Tensor:
        return self.sample() + (self._raw - self._raw.detach())


class PassesAnotherGradient(Actor):
    """Has a policy with a straight-through gradient of the wrong scale."""

    multi_binary = SteepCoins


class CarelessChoice(OpenChoice):
    """Samples uniformly from the allowed actions."""

    def sample(self) -> Tensor:
        allowed = (self._probs > 0).to(self._probs.dtype)
        return torch.multinomial(allowed.flatten(0, 1), 1).view(self._probs.shape[:2])


class ActsAtRandom(Actor):
    """Has a policy that samples uniformly."""

    discrete = CarelessChoice


class HastyChoice(OpenChoice):
    """``rsample`` samples from the policy of another timestep."""

    def rsample(self) -> Tensor:
        drawn = one_hot(self.sample().roll(1, 0), self._probs.shape[-1])
        return drawn + self._probs - self._probs.detach()


class MixesTimesteps(Actor):
    """Has a policy whose ``rsample`` mixes timesteps."""

    discrete = HastyChoice


class SharedChoice(OpenChoice):
    """Uses one random number for all samples."""

    def sample(self) -> Tensor:
        reached = self._probs.detach().cumsum(-1)
        return (reached > torch.rand(()) * reached[..., -1:]).byte().argmax(-1)


class ThrowsOneDie(Actor):
    """Has a policy with equal randomness in all environments."""

    discrete = SharedChoice


class ByteDraw(OpenChoice):
    """Samples the 257th action as the first."""

    def sample(self) -> Tensor:
        return super().sample() % 256


class DrawsBytes(Actor):
    """Has a policy that never samples actions beyond the 256th."""

    discrete = ByteDraw


class ContraryChoice(OpenChoice):
    """Returns the least likely allowed action as the mode."""

    def mode(self) -> Tensor:
        return torch.where(self._probs > 0, self._probs, torch.inf).argmin(-1)


class EvaluatesItsWorst(Actor):
    """Has a policy with the wrong mode."""

    discrete = ContraryChoice


class TailsUp(Coins):
    """Returns inverted bits as the mode."""

    def mode(self) -> Tensor:
        return 1 - super().mode()


class EvaluatesTheOtherSide(Actor):
    """Has a policy over bits with an inverted mode."""

    multi_binary = TailsUp


class VagueChoice(OpenChoice):
    """Returns an entropy without the axis of discounts."""

    def entropy(self) -> Tensor:
        return -torch.ones(len(self._probs))


class InventsItsEntropy(Actor):
    """Has a policy with an entropy of the wrong shape."""

    discrete = VagueChoice


class BinaryChoice(OpenChoice):
    """Returns entropy in bits instead of nats."""

    def entropy(self) -> Tensor:
        return super().entropy() / math.log(2)


class CountsBits(Actor):
    """Has a policy with entropy in bits."""

    discrete = BinaryChoice


class UndefinedChoice(OpenChoice):
    """Computes 0 log 0 as nan."""

    def entropy(self) -> Tensor:
        return -(self._probs * self._probs.log()).sum(-1)


class HasNoEntropyUnderMasks(Actor):
    """Has a policy with a nan entropy under a mask."""

    discrete = UndefinedChoice


class LooseAim(SteadyAim):
    """Has an infinite entropy."""

    def entropy(self) -> Tensor:
        return torch.full(self.mean.shape[:-1], torch.inf)


class HasEndlessEntropy(Actor):
    """Has a policy with an infinite entropy."""

    continuous = LooseAim
