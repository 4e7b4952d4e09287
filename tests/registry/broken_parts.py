"""Correct and broken attention kernels and critics.

Shape suffixes: N = timesteps, B = environments, H = query heads, K = key/value heads, F = features
per head, T = remembered timesteps, G = discounts, C = ensemble members, A = actions.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry import (
    AttentionContext,
    CriticContext,
    Options,
    SequenceLayout,
    UnavailableError,
    UnsupportedSpaceError,
)


class NoOptions(Options):
    """No options."""


class Kernel:
    """Attention with a list per environment for a cache: obeys every law."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        self.context = context
        self.window = context.window
        self.sinks = context.sinks
        self.slots = min(context.capacity, context.window or context.capacity)

    def spread(self, x_NKF: Tensor) -> Tensor:
        return x_NKF.repeat_interleave(self.context.heads // self.context.kv_heads, 1)

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        row_N = torch.arange(layout.timesteps)
        back_NN = row_N[:, None] - row_N
        sink_N = row_N - layout.offsets[layout.sequence_N] < self.sinks
        seen_NN = (back_NN < (self.window or layout.timesteps)) | sink_N
        seen_NN &= (back_NN >= 0) & (layout.sequence_N[:, None] == layout.sequence_N)
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
            del kept[self.sinks : -self.slots]
            keys, values = (torch.stack(x) for x in zip(*kept, strict=True))
            seen = torch.ones(1, len(kept), dtype=torch.bool)
            outputs.append(self.attend(q[b : b + 1], self.spread(keys), self.spread(values), seen))
        return torch.cat(outputs), cache

    def reset(self, cache: Any, mask_B: Tensor) -> Any:
        return {"kv": [[] if mask_B[b] else kept for b, kept in enumerate(cache["kv"])]}


class ForgetsToScale(Kernel):
    """Does not scale scores by the width of the heads."""

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        return super().packed(q * self.context.head_dim**0.5, k, v, layout)


class DetachesKeys(Kernel):
    """Detaches the keys: right values, wrong gradients."""

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        return super().packed(q, k.detach(), v, layout)


class LooksOneTooFarBack(Kernel):
    """Has a window that is one timestep too long."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.window = None if context.window is None else context.window + 1


class LosesTheBlockBefore(Kernel):
    """Computes in blocks of 128 rows, and its window does not reach into the previous block."""

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        if self.window is None or layout.timesteps <= 128:
            return super().packed(q, k, v, layout)
        ends = [end for end in layout.offsets.tolist() if end < 128]
        bounds = [*ends, 128, *(end for end in layout.offsets.tolist() if end > 128)]
        lengths = [after - before for before, after in pairwise(bounds)]
        return super().packed(q, k, v, SequenceLayout.build(lengths))


class InterleavesHeads(Kernel):
    """Query head h reads key/value head h % K."""

    def spread(self, x_NKF: Tensor) -> Tensor:
        return x_NKF.repeat(1, self.context.heads // self.context.kv_heads, 1)


class NeverResets(Kernel):
    """Never resets: environments attend to their previous task."""

    def reset(self, cache: Any, mask_B: Tensor) -> Any:
        return cache


class ForgetsNothing(Kernel):
    """Has a cache without a limit."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        super().__init__(context, options)
        if context.window is None:
            self.slots = 10**9


class IgnoresTheWindow(Kernel):
    """Steps ignore the window."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.slots = context.capacity


class HasNoSinks(Kernel):
    """Raises UnavailableError with sinks: obeys every law."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        if context.sinks:
            raise UnavailableError("it has no sinks.")
        super().__init__(context, options)


class IgnoresSinks(Kernel):
    """Accepts sinks and ignores them."""

    def __init__(self, context: AttentionContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.sinks = 0


class PacksWithoutSinks(Kernel):
    """Ignores sinks in packed attention."""

    def packed(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
        kernel = Kernel(replace(self.context, sinks=0), NoOptions())
        return kernel.packed(q, k, v, layout)


class OverwritesSinks(Kernel):
    """Ignores sinks in stepping."""

    def step(self, q: Tensor, k: Tensor, v: Tensor, cache: Any) -> tuple[Tensor, Any]:
        for kept in cache["kv"]:
            del kept[: -(self.slots + self.sinks - 1) or None]
        return super().step(q, k, v, cache)


class KeepsSinksForGood(Kernel):
    """A reset keeps the sinks."""

    def reset(self, cache: Any, mask_B: Tensor) -> Any:
        kv = cache["kv"]
        return {"kv": [kept[: self.sinks] if mask_B[b] else kept for b, kept in enumerate(kv)]}


class Critic(nn.Module):
    """Two linear critics that add up an action's features and scale targets: obeys every law."""

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
        if action.dim() == 4:
            return torch.stack([self.predict(state_NE, one) for one in action.unbind(1)], 2)
        worth_A = torch.arange(1, action.shape[-1] + 1).to(action)
        return self.net(state_NE).view(-1, *self.shape)[..., 0] + (action @ worth_A)[:, None]

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

    def forget(self) -> None:
        self.proposed_G = None

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return ((prediction - target_NG[:, None]) / self.latest_G()).square()


class CriticOfBoxes(Critic):
    """Supports only boxes: obeys every law."""

    def __init__(self, context: CriticContext, options: NoOptions) -> None:
        if not isinstance(context.action_space, spaces.Box):
            raise UnsupportedSpaceError("it takes boxes alone.")
        super().__init__(context, options)


class RefusesEverything(Critic):
    """Supports no action space."""

    def __init__(self, context: CriticContext, options: NoOptions) -> None:
        raise UnsupportedSpaceError("it takes nothing.")


class ValuesTheFirstAlone(Critic):
    """Returns the prediction of the first of several actions."""

    def predict(self, state_NE: Tensor, action: Tensor) -> Tensor:
        return super().predict(
            state_NE, action[:, :1].expand_as(action) if action.dim() == 4 else action
        )


class PutsActionsLast(Critic):
    """Puts the axis of actions after that of discounts."""

    def predict(self, state_NE: Tensor, action: Tensor) -> Tensor:
        prediction = super().predict(state_NE, action)
        return prediction.transpose(2, 3) if action.dim() == 4 else prediction


class HasNoScale(Critic):
    """Lacks ``normalize``."""

    normalize = None


class SelectsTheFirst(Critic):
    """Selects the first action's prediction."""

    def select(self, prediction: Tensor, action_N: Tensor) -> Tensor:
        return prediction[..., 0]


class AveragesItsLoss(Critic):
    """Averages its loss over discounts."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return super().loss(prediction, target_NG).mean()


class DetachesItsLoss(Critic):
    """Detaches its loss."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return super().loss(prediction.detach().requires_grad_(), target_NG)


class IgnoresTheTarget(Critic):
    """Ignores the target in its loss."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return (prediction / self.latest_G()).square()


class ClimbsItsLoss(Critic):
    """Has a loss of the wrong sign."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return -super().loss(prediction, target_NG)


class SwapsDiscounts(Critic):
    """Compares each discount with the target of the previous one."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return super().loss(prediction, target_NG.roll(1, -1))


class LearnsOneDiscount(Critic):
    """Uses the loss of the first discount for all."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        return super().loss(prediction, target_NG)[..., :1].expand_as(prediction)


class FlattensValues(Critic):
    """Flattens the axes of values."""

    def normalize(self, value: Tensor) -> Tensor:
        return super().normalize(value).flatten()


class TurnsValuesAround(Critic):
    """Reverses the order of values."""

    def normalize(self, value: Tensor) -> Tensor:
        return -super().normalize(value)


class TakesMembersForDiscounts(Critic):
    """Scales by the second axis, which is the axis of discounts only in ``(N, G)``."""

    def normalize(self, value: Tensor) -> Tensor:
        return value / self.latest_G().view(-1, *[1] * (value.dim() - 2))


class ObservesForGood(Critic):
    """Adopts statistics in ``observe``."""

    def observe(self, target_NG: Tensor) -> None:
        super().observe(target_NG)
        self.commit()


class NeverForgets(Critic):
    """Has a ``forget`` that keeps proposed statistics."""

    def forget(self) -> None:
        pass


class AdoptsLate(Critic):
    """Uses proposed statistics only after ``commit``."""

    def normalize(self, value: Tensor) -> Tensor:
        return value / self.scale_G


class RescalesItsPast(Critic):
    """New statistics change earlier predictions, which PopArt prevents."""

    def value(self, prediction: Tensor) -> Tensor:
        return prediction * self.latest_G().view(-1, *[1] * (prediction.dim() - 3))


class Doubling(nn.Module):
    """A factor that doubles with every commit."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def commit(self) -> None:
        self.factor.mul_(2)

    def forget(self) -> None:
        pass


class RescalesBelow(Critic):
    """Has a nested module whose statistics change earlier predictions."""

    def __init__(self, context: CriticContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.below = Doubling()

    def value(self, prediction: Tensor) -> Tensor:
        return prediction * self.below.factor
