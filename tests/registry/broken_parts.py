"""Honest and broken attention kernels, encoders, actors and critics.

Shape suffixes: N = timesteps, B = environments, H = query heads, K = key/value heads, F = features
per head, T = remembered timesteps, G = discounts, C = ensemble members, A = actions.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry import (
    ActorContext,
    AttentionContext,
    CriticContext,
    EncoderContext,
    Options,
    SequenceLayout,
)


class NoOptions(Options):
    """No options."""


class Kernel:
    """Attention with a list per environment for a cache: obeys every law."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        self.context = context
        self.window = context.window
        self.slots = min(context.capacity, context.window or context.capacity)

    def spread(self, x_NKF: Tensor) -> Tensor:
        return x_NKF.repeat_interleave(self.context.heads // self.context.kv_heads, 1)

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        row_N = torch.arange(layout.timesteps)
        back_NN = row_N[:, None] - row_N
        seen_NN = (back_NN >= 0) & (back_NN < (self.window or layout.timesteps))
        seen_NN &= layout.sequence_N[:, None] == layout.sequence_N
        return self.attend(q, self.spread(k), self.spread(v), seen_NN)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        score = torch.einsum("nhf,mhf->hnm", q, k) * self.context.head_dim**-0.5
        weight = score.masked_fill(~seen, -torch.inf).softmax(-1)
        return torch.einsum("hnm,mhf->nhf", weight, v)

    def cache(self, batch: int, like: Tensor) -> Any:
        return {"kv": [[] for _ in range(batch)]}

    def step(self, q: Tensor, k: Tensor, v: Tensor, cache: Any) -> tuple[Tensor, Any]:
        outputs = []
        for b, kept in enumerate(cache["kv"]):
            kept.append((k[b], v[b]))
            del kept[: -self.slots]
            keys, values = (torch.stack(x) for x in zip(*kept, strict=True))
            seen = torch.ones(1, len(kept), dtype=torch.bool)
            outputs.append(self.attend(q[b : b + 1], self.spread(keys), self.spread(values), seen))
        return torch.cat(outputs), cache

    def reset(self, cache: Any, mask_B: Tensor) -> Any:
        return {"kv": [[] if mask_B[b] else kept for b, kept in enumerate(cache["kv"])]}


class ForgetsToScale(Kernel):
    """Scores grow with the width of the heads."""

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        return super().packed(q * self.context.head_dim**0.5, k, v, layout)


class DetachesKeys(Kernel):
    """Right values, wrong gradients."""

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        return super().packed(q, k.detach(), v, layout)


class LooksOneTooFarBack(Kernel):
    """The window leaves out the present timestep in its count."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.window = None if context.window is None else context.window + 1


class InterleavesHeads(Kernel):
    """Query head h reads key/value head h % K."""

    def spread(self, x_NKF: Tensor) -> Tensor:
        return x_NKF.repeat(1, self.context.heads // self.context.kv_heads, 1)


class NeverResets(Kernel):
    """Environments carry what they saw into their next task."""

    def reset(self, cache: Any, mask_B: Tensor) -> Any:
        return cache


class ForgetsNothing(Kernel):
    """The cache grows without bound."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        super().__init__(context, options)
        if context.window is None:
            self.slots = 10**9


class IgnoresTheWindow(Kernel):
    """Steps see all of the cache."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.slots = context.capacity


class Encoder(nn.Module):
    """One linear layer: obeys every law."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__()
        self.out_dim = 3
        self.net = nn.Linear(10, 3)
        self.register_buffer("mean", torch.zeros(10))

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        x = torch.cat([obs["place"], obs["sight"], prev_action, prev_reward[:, None]], -1)
        return self.net(x - self.mean)


class LiesAboutItsWidth(Encoder):
    """The backbone would be built for another width."""

    def __init__(self, context: EncoderContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.out_dim = 4


class CentresOverRows(Encoder):
    """What one environment sees changes how another acts."""

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        y = super().forward(obs, prev_action, prev_reward)
        return y - y.mean(0) if len(y) > 1 else y


class FreezesItself(Encoder):
    """No gradient reaches the weights."""

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        self.net.requires_grad_(True)
        y = super().forward(obs, prev_action, prev_reward)
        return y.detach().requires_grad_()


class AdoptsAtOnce(Encoder):
    """Statistics move with every training forward pass."""

    def forward(self, obs: Any, prev_action: Tensor, prev_reward: Tensor) -> Tensor:
        if self.training:
            self.mean += 0.1
        return super().forward(obs, prev_action, prev_reward)


class Choice:
    """A softmax over four actions that keeps its probabilities to itself."""

    def __init__(self, raw_NGA: Tensor) -> None:
        self._probs = raw_NGA.softmax(-1)

    def sample(self) -> Tensor:
        return torch.multinomial(self._probs.flatten(0, 1), 1).view(self._probs.shape[:2])

    def mode(self) -> Tensor:
        return self._probs.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self._probs.gather(-1, action[..., None]).squeeze(-1).log()

    def entropy(self) -> None:
        return None


class OpenChoice(Choice):
    """Honest."""

    @property
    def probs(self) -> Tensor:
        return self._probs


class Aim:
    """A narrow Gaussian inside the box, its density up to a factor, without ``rsample``."""

    def __init__(self, raw_NGA: Tensor) -> None:
        self.mean = raw_NGA.tanh() / 2

    def sample(self) -> Tensor:
        return (self.mean + 0.1 * torch.randn_like(self.mean)).clamp(-1, 1).detach()

    def mode(self) -> Tensor:
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        return -50 * (action - self.mean).square().sum(-1)

    def entropy(self) -> None:
        return None


class SteadyAim(Aim):
    """Honest."""

    def rsample(self) -> Tensor:
        return (self.mean + 0.1 * torch.randn_like(self.mean)).clamp(-1, 1)


class Actor(nn.Module):
    """Obeys every law."""

    discrete: type[Choice] = OpenChoice
    continuous: type[Aim] = SteadyAim

    def __init__(self, context: ActorContext, options: NoOptions) -> None:
        super().__init__()
        is_discrete = isinstance(context.action_space, spaces.Discrete)
        self.shape = (len(context.discounts), 4 if is_discrete else 3)
        self.net = nn.Linear(context.in_dim, self.shape[0] * self.shape[1])
        self.policy = self.discrete if is_discrete else self.continuous

    def forward(self, state_NE: Tensor) -> Choice | Aim:
        return self.policy(self.net(state_NE).unflatten(-1, self.shape))


class ActorWithoutReparameterisation(Actor):
    """Obeys every law too: a mixture, say, has no such samples."""

    continuous = Aim


class OvershootingAim(SteadyAim):
    """Draws outside the space."""

    def sample(self) -> Tensor:
        return super().sample() + 2


class Overshoots(Actor):
    """Acts outside the space."""

    continuous = OvershootingAim


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


class PromisesTooMuch(Actor):
    """Every value would count twice."""

    discrete = GenerousChoice


class MistakenChoice(OpenChoice):
    """The likelihood of its neighbour."""

    def log_prob(self, action: Tensor) -> Tensor:
        return super().log_prob((action + 1) % 4)


class MistakesTheAction(Actor):
    """Imitates another action than the one stored."""

    discrete = MistakenChoice


class DetachedAim(SteadyAim):
    """No gradient comes through."""

    def rsample(self) -> Tensor:
        return super().rsample().detach()


class DetachesItsSamples(Actor):
    """The policy gradient would be nothing."""

    continuous = DetachedAim


class Critic(nn.Module):
    """Two linear critics that ignore continuous actions and scale targets: obeys every law."""

    def __init__(self, context: CriticContext, options: NoOptions) -> None:
        super().__init__()
        self.enumerates = isinstance(context.action_space, spaces.Discrete)
        self.shape = (2, len(context.discounts), 4 if self.enumerates else 1)
        self.net = nn.Linear(context.in_dim, 2 * self.shape[1] * self.shape[2])
        self.register_buffer("scale_G", torch.ones(len(context.discounts)))
        self.proposed_G: Tensor | None = None

    def latest_G(self) -> Tensor:
        return self.scale_G if self.proposed_G is None else self.proposed_G

    def predict(self, state_NE: Tensor, action: Tensor) -> Tensor:
        return self.net(state_NE).view(-1, *self.shape)[..., 0]

    def predict_all(self, state_NE: Tensor) -> Tensor:
        return self.net(state_NE).view(-1, *self.shape)

    def select(self, prediction: Tensor, action_N: Tensor) -> Tensor:
        return torch.stack([row[..., a] for row, a in zip(prediction, action_N, strict=True)])

    def value(self, prediction: Tensor) -> Tensor:
        return prediction

    def normalize(self, value: Tensor) -> Tensor:
        return value / self.latest_G()

    def observe(self, target_NG: Tensor) -> None:
        self.proposed_G = 1 + target_NG.abs().mean(0)

    def commit(self) -> None:
        if self.proposed_G is not None:
            self.scale_G.copy_(self.proposed_G)
            self.proposed_G = None

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return ((prediction - target_NG[:, None]) / self.latest_G()).square()


class HasNoScale(Critic):
    """The objective could not compare discounts."""

    normalize = None


class SelectsTheFirst(Critic):
    """Learns the value of another action than the one taken."""

    def select(self, prediction: Tensor, action_N: Tensor) -> Tensor:
        return prediction[..., 0]


class AveragesItsLoss(Critic):
    """The objective cannot weigh what is already averaged."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return super().loss(prediction, target_NG).mean()


class DetachesItsLoss(Critic):
    """Never learns."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return super().loss(prediction.detach().requires_grad_(), target_NG)


class FlattensValues(Critic):
    """Rows and discounts in one heap."""

    def normalize(self, value: Tensor) -> Tensor:
        return super().normalize(value).flatten()


class TurnsValuesAround(Critic):
    """The policy would climb down."""

    def normalize(self, value: Tensor) -> Tensor:
        return -super().normalize(value)


class TakesMembersForDiscounts(Critic):
    """Scales by the second axis, which is that of discounts only in ``(N, G)``."""

    def normalize(self, value: Tensor) -> Tensor:
        return value / self.latest_G().view(-1, *[1] * (value.dim() - 2))


class ObservesForGood(Critic):
    """A skipped update would leave its statistics behind."""

    def observe(self, target_NG: Tensor) -> None:
        super().observe(target_NG)
        self.commit()


class AdoptsLate(Critic):
    """The update that proposes statistics does not use them."""

    def normalize(self, value: Tensor) -> Tensor:
        return value / self.scale_G


class RescalesItsPast(Critic):
    """New statistics change what was predicted before: what PopArt is there to prevent."""

    def value(self, prediction: Tensor) -> Tensor:
        return prediction * self.latest_G().view(-1, *[1] * (prediction.dim() - 3))


class Doubling(nn.Module):
    """A factor that every commit doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def commit(self) -> None:
        self.factor.mul_(2)


class RescalesBelow(Critic):
    """As bad, in a part of a part."""

    def __init__(self, context: CriticContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.below = Doubling()

    def value(self, prediction: Tensor) -> Tensor:
        return prediction * self.below.factor
