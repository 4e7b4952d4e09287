"""Honest and broken actors.

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
    """A softmax over actions that keeps its probabilities to itself."""

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
    """Honest."""

    @property
    def probs(self) -> Tensor:
        return self._probs

    def entropy(self) -> Any:
        return torch.special.entr(self._probs).sum(-1)


class Choices:
    """Three actions and two, one after the other: honest."""

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
    """Bits with the sum of their log-probabilities: honest."""

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
    """A narrow Gaussian inside the box, its density up to a factor, without ``rsample``."""

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
    """Honest."""

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
    """Obeys every law too: a mixture, say, has no such samples."""

    continuous = Aim


class ActorOfBoxes(Actor):
    """Obeys every law too: it need not take every space."""

    def family(self, space: spaces.Space[Any]) -> tuple[int, Any]:
        if not isinstance(space, spaces.Box):
            raise UnsupportedSpaceError(f"no {space}")
        return super().family(space)


class ActorWithoutMasks(Actor):
    """Obeys every law too: where the environment shows a mask, the composer refuses it."""

    def forward(self, state_NE: Tensor) -> Any:
        return super().forward(state_NE)


class TakesNothing(Actor):
    """No agent could have it."""

    def family(self, space: spaces.Space[Any]) -> tuple[int, Any]:
        raise UnsupportedSpaceError(f"no {space}")


class OvershootingAim(SteadyAim):
    """Draws outside the space."""

    def sample(self) -> Tensor:
        return super().sample() + 2


class Overshoots(Actor):
    """Acts outside the space."""

    continuous = OvershootingAim


class ByteChoice(OpenChoice):
    """The 257th action becomes the first."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob(action.to(torch.uint8).long())


class CountsInBytes(Actor):
    """More than 256 actions are too many."""

    discrete = ByteChoice


class NarrowAim(SteadyAim):
    """The inverse of a squashing is infinite at the edges."""

    def log_prob(self, action: Tensor) -> Tensor:
        return -50 * (torch.atanh(action) - self.mean).square().sum(-1)


class FearsTheEdges(Actor):
    """One action at the edge, and the update is lost."""

    continuous = NarrowAim


class ForgottenChoice(OpenChoice):
    """No gradient comes through."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob(action).detach().requires_grad_()


class LearnsNothing(Actor):
    """No gradient reaches the weights."""

    discrete = ForgottenChoice


class HidesItsProbabilities(Actor):
    """The objective could not sum over actions."""

    discrete = Choice


class GenerousChoice(OpenChoice):
    """More than certain."""

    @property
    def probs(self) -> Tensor:
        return 2 * self._probs

    def rsample(self) -> Tensor:
        drawn = one_hot(self.sample(), self._probs.shape[-1])
        return drawn + self.probs - self.probs.detach()


class PromisesTooMuch(Actor):
    """Every value would count twice."""

    discrete = GenerousChoice


class MistakenChoice(OpenChoice):
    """The likelihood of its neighbour."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob((action + 1) % self._probs.shape[-1])


class MistakesTheAction(Actor):
    """Imitates another action than the one stored."""

    discrete = MistakenChoice


class TiedChoices(Choices):
    """Counts the first factor twice and the second never."""

    def log_prob(self, action: Tensor) -> Tensor:
        return 2 * self.factors[0].log_prob(action[..., 0])


class ForgetsAFactor(Actor):
    """Its second axis learns nothing from what was done."""

    multi_discrete = TiedChoices


class UnmaskedChoice(OpenChoice):
    """Takes what it likes."""

    def allowed(self, mask: Tensor) -> Tensor:
        return torch.ones_like(mask)


class IgnoresTheMask(Actor):
    """Does what cannot be done."""

    discrete = UnmaskedChoice


class LeakyChoice(OpenChoice):
    """Masks what is drawn, not what is likely."""

    @property
    def probs(self) -> Tensor:
        return (self._probs + 1e-12) / (1 + 1e-12 * self._probs.shape[-1])


class LeaksProbability(Actor):
    """Values of impossible actions would count."""

    discrete = LeakyChoice


class EndlessChoice(OpenChoice):
    """The logarithm of 0."""

    def log_prob(self, action: Tensor) -> Tensor:
        return self._probs.gather(-1, action[..., None]).squeeze(-1).log()


class FearsTheImpossible(Actor):
    """One action that was masked, and the update is lost."""

    discrete = EndlessChoice


class StubbornChoice(OpenChoice):
    """Where nothing is allowed, it does the first."""

    def allowed(self, mask: Tensor) -> Tensor:
        first = torch.arange(mask.shape[-1]) == 0
        return mask | (~mask.any(-1, keepdim=True) & first)


class StandsStill(Actor):
    """A timestep without a mask would force an action."""

    discrete = StubbornChoice


class DetachedAim(SteadyAim):
    """No gradient comes through."""

    def rsample(self) -> Tensor:
        return super().rsample().detach()


class DetachesItsSamples(Actor):
    """The policy gradient would be nothing."""

    continuous = DetachedAim


class SoftCoins(Coins):
    """Probabilities where bits should be."""

    def rsample(self) -> Tensor:
        return self._heads


class SamplesNoWholeBits(Actor):
    """The critic would see actions that nobody takes."""

    multi_binary = SoftCoins


class SteepCoins(Coins):
    """The gradient of the log-odds."""

    def __init__(self, raw_NGA: Tensor, mask: Tensor) -> None:
        super().__init__(raw_NGA, mask)
        self._raw = raw_NGA

    def rsample(self) -> Tensor:
        return self.sample() + (self._raw - self._raw.detach())


class PassesAnotherGradient(Actor):
    """Steps of another size than the probabilities ask for."""

    multi_binary = SteepCoins


class CarelessChoice(OpenChoice):
    """Every action is drawn as often as any other that is allowed."""

    def sample(self) -> Tensor:
        allowed = (self._probs > 0).to(self._probs.dtype)
        return torch.multinomial(allowed.flatten(0, 1), 1).view(self._probs.shape[:2])


class ActsAtRandom(Actor):
    """What it learns never shows."""

    discrete = CarelessChoice


class HastyChoice(OpenChoice):
    """Draws from the policy of another timestep where gradients are wanted."""

    def rsample(self) -> Tensor:
        drawn = one_hot(self.sample().roll(1, 0), self._probs.shape[-1])
        return drawn + self._probs - self._probs.detach()


class MixesTimesteps(Actor):
    """Gradients of what would have been done elsewhere."""

    discrete = HastyChoice


class SharedChoice(OpenChoice):
    """One random number for all."""

    def sample(self) -> Tensor:
        reached = self._probs.detach().cumsum(-1)
        return (reached > torch.rand(()) * reached[..., -1:]).byte().argmax(-1)


class ThrowsOneDie(Actor):
    """All environments explore the same."""

    discrete = SharedChoice


class ByteDraw(OpenChoice):
    """The 257th action is drawn as the first."""

    def sample(self) -> Tensor:
        return super().sample() % 256


class DrawsBytes(Actor):
    """Never does what comes late in a long list."""

    discrete = ByteDraw


class ContraryChoice(OpenChoice):
    """What is least likely, of what is allowed."""

    def mode(self) -> Tensor:
        return torch.where(self._probs > 0, self._probs, torch.inf).argmin(-1)


class EvaluatesItsWorst(Actor):
    """Learns well, and nobody notices."""

    discrete = ContraryChoice


class TailsUp(Coins):
    """The other side of every coin."""

    def mode(self) -> Tensor:
        return 1 - super().mode()


class EvaluatesTheOtherSide(Actor):
    """As bad, bit by bit."""

    multi_binary = TailsUp


class VagueChoice(OpenChoice):
    """One number per timestep, and no entropy."""

    def entropy(self) -> Tensor:
        return -torch.ones(len(self._probs))


class InventsItsEntropy(Actor):
    """A bonus for nothing."""

    discrete = VagueChoice


class BinaryChoice(OpenChoice):
    """Bits, not nats."""

    def entropy(self) -> Tensor:
        return super().entropy() / math.log(2)


class CountsBits(Actor):
    """Its entropy is in another unit than everybody's."""

    discrete = BinaryChoice


class UndefinedChoice(OpenChoice):
    """0 times minus infinity."""

    def entropy(self) -> Tensor:
        return -(self._probs * self._probs.log()).sum(-1)


class HasNoEntropyUnderMasks(Actor):
    """One action that was masked, and the metric is lost."""

    discrete = UndefinedChoice


class LooseAim(SteadyAim):
    """A density has no log at its edge."""

    def entropy(self) -> Tensor:
        return torch.full(self.mean.shape[:-1], torch.inf)


class HasEndlessEntropy(Actor):
    """Nothing can be said of it."""

    continuous = LooseAim
