"""One correct backbone, small enough to read, and one way of breaking each law.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width,
T = slots.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from amago_registry import BackboneContext, Field, Options, SequenceLayout

WIDTH = 4


class MovingSumOptions(Options):
    """Options of every backbone in this file."""

    window: int | None = Field(None, ge=1, description="Timesteps that are summed.")


class MovingSum(nn.Module):
    """The sum of the last timesteps' projections, plus a share of the time: obeys every law."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__()
        self.out_dim = WIDTH
        self.window = options.window
        remembered = context.context_length + 1
        self.slots = min(remembered, options.window or remembered)
        self.project = nn.Linear(context.in_dim, WIDTH)
        self.per_step = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        row_N = torch.arange(layout.timesteps)
        back_NN = row_N[:, None] - row_N[None, :]
        seen_NN = (back_NN >= 0) & (layout.sequence_N[:, None] == layout.sequence_N)
        if self.window is not None:
            seen_NN &= back_NN < self.window
        return seen_NN.to(x_ND.dtype) @ self.project(x_ND) + self.timed(x_ND, layout.time_N)

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        return time_N[:, None].to(x_ND.dtype) * self.per_step

    def initial_state(self, batch: int) -> Any:
        ring = self.per_step.detach().new_zeros(batch, self.slots, WIDTH)
        return {"ring": ring, "seen": torch.zeros(batch, dtype=torch.int64)}

    def step(self, x_BD: Tensor, time_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        rows = torch.arange(x_BD.shape[0])
        state["ring"][rows, self.slot(state["seen"])] = self.project(x_BD)
        state["seen"] += 1
        kept_BT = torch.arange(self.slots) < state["seen"][:, None]
        return (state["ring"] * kept_BT[..., None]).sum(1) + self.timed(x_BD, time_B), state

    def slot(self, seen_B: Tensor) -> Tensor:
        return seen_B % self.slots

    def reset(self, state: Any, mask_B: Tensor) -> Any:
        state["seen"].masked_fill_(mask_B, 0)
        state["ring"].masked_fill_(mask_B[:, None, None], 0)  # What was infinite stays so times zero.
        return state


class LiesAboutItsWidth(MovingSum):
    """Declares a wrong ``out_dim``."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__(context, options)
        self.out_dim = WIDTH + 1


class CountsInWords(MovingSum):
    """Declares ``out_dim`` as a float."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__(context, options)
        self.out_dim = float(WIDTH)


class CentresOverTheSequence(MovingSum):
    """Normalizes over the whole sequence in training: not causal."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        y_NE = super().forward(x_ND, layout)
        if not self.training:
            return y_NE
        parts = y_NE.split(layout.lengths)
        return torch.cat([part - part.mean(0) for part in parts])


class SumsOverTheWholePack(MovingSum):
    """Ignores sequence boundaries in training."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        if self.training:
            layout = SequenceLayout.build([layout.timesteps], layout.time_N)
        return super().forward(x_ND, layout)


class LosesTheCarryBetweenChunks(MovingSum):
    """Computes in chunks of 128 rows and loses the carry between chunks."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        chunks = zip(
            x_ND.split(128), layout.sequence_N.split(128), layout.time_N.split(128), strict=True
        )
        return torch.cat([self.chunk(*chunk) for chunk in chunks])

    def chunk(self, x_ND: Tensor, sequence_N: Tensor, time_N: Tensor) -> Tensor:
        lengths = torch.unique_consecutive(sequence_N, return_counts=True)[1].tolist()
        return super().forward(x_ND, SequenceLayout.build(lengths, time_N))


class StartsWhereTimeIsZero(MovingSum):
    """Takes time 0 for the start of a sequence."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        return super().forward(x_ND, replace(layout, sequence_N=(layout.time_N == 0).cumsum(0)))


class CountsRowsInsteadOfTime(MovingSum):
    """Takes a row's position in its sequence for its time."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        return super().forward(x_ND, SequenceLayout.build(layout.lengths))


class SqueezesOneEnvironment(MovingSum):
    """Squeezes the axis of environments if there is only one."""

    def step(self, x_BD: Tensor, time_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BE, state = super().step(x_BD, time_B, state)
        return y_BE.squeeze(0), state


class TakesTheLongestTime(MovingSum):
    """Steps as if all environments had reset at the same time."""

    def step(self, x_BD: Tensor, time_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x_BD, time_B.max().expand_as(time_B), state)


class OverwritesTheNewest(MovingSum):
    """Overwrites the last slot of a full ring buffer."""

    def slot(self, seen_B: Tensor) -> Tensor:
        return seen_B.clamp(max=self.slots - 1)


class StaysFull(MovingSum):
    """A reset does not clear a ring buffer that has overflowed."""

    def reset(self, state: Any, mask_B: Tensor) -> Any:
        state["seen"].masked_fill_(mask_B & (state["seen"] <= self.slots), 0)
        return state


class KeepsWhatWasInfinite(MovingSum):
    """A reset multiplies by zero, which turns infinity into nan."""

    def reset(self, state: Any, mask_B: Tensor) -> Any:
        state["seen"].masked_fill_(mask_B, 0)
        return state


class RemembersInItself(MovingSum):
    """Keeps the acting state in the module."""

    def initial_state(self, batch: int) -> Any:
        self.hidden = super().initial_state(batch)
        return {}

    def step(self, x_BD: Tensor, time_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BE, self.hidden = super().step(x_BD, time_B, self.hidden)
        return y_BE, state

    def reset(self, state: Any, mask_B: Tensor) -> Any:
        self.hidden = super().reset(self.hidden, mask_B)
        return state


class CarriesANumber(MovingSum):
    """Has a number in the acting state."""

    def initial_state(self, batch: int) -> Any:
        return super().initial_state(batch) | {"steps": 0}


class KeepsEveryStep(MovingSum):
    """Has an acting state that grows with every step."""

    def step(self, x_BD: Tensor, time_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        history = state.get("history", x_BD[:, :0])
        y_BE, state = super().step(x_BD, time_B, state)
        return y_BE, state | {"history": torch.cat([history, x_BD[:, :1]], 1)}


class ClaimsAConstantState(MovingSum):
    """Claims ``constant_state``, but its ring buffer is as long as the context."""

    constant_state = True


class DrawsItsOwnWeights(MovingSum):
    """Initializes weights with its own seed."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__(context, options)
        with torch.no_grad():
            self.per_step.mul_(random.random())


class CountsItsPasses(MovingSum):
    """Changes the last bits with every forward pass."""

    passes = 0

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        self.passes += 1
        return super().forward(x_ND, layout) * (1 + 1e-13 * self.passes)


class ForgetsTimeWhenCompiled(MovingSum):
    """Computes something else under torch.compile."""

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        return super().timed(x_ND, time_N) * (0.0 if torch.compiler.is_compiling() else 1.0)


class SaysItDoesNotCompile(ForgetsTimeWhenCompiled):
    """Obeys every law: it differs under torch.compile, but sets ``compiles = False``."""

    compiles = False


class DetachesWhenCompiled(MovingSum):
    """Detaches its output under torch.compile."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        return super().forward(x_ND.detach() if torch.compiler.is_compiling() else x_ND, layout)


class TrainsInVain(MovingSum):
    """Has an unused parameter."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__(context, options)
        self.unused = nn.Parameter(torch.zeros(1))


class ExplodesAtZero(MovingSum):
    """Has a square root, whose gradient at zero is infinite."""

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        return super().timed(x_ND, time_N) + (0 * self.per_step).sqrt()


class StopsTheGradient(MovingSum):
    """Detaches its input."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        return super().forward(x_ND.detach(), layout)


class DetachesTheCarry(MovingSum):
    """Detaches the carry: no backpropagation through time."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        whole_NE = super().forward(x_ND, layout)
        own_NE = self.project(x_ND) + self.timed(x_ND, layout.time_N)
        return own_NE + (whole_NE - own_NE).detach()


class DoublesTheGradient(MovingSum):
    """Has a wrong custom backward pass."""

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        y_NE = super().timed(x_ND, time_N)
        return 2 * y_NE - y_NE.detach()


class KeepsWhatItComputedWhileActing(MovingSum):
    """Caches a tensor created in inference mode, which training cannot use."""

    doubled: Tensor | None = None

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        if self.doubled is None:
            self.doubled = torch.full((WIDTH,), 2.0, dtype=x_ND.dtype)
        return super().timed(x_ND, time_N) * self.doubled


class KeepsItsGradientsSmallOnceItActed(MovingSum):
    """Scales its gradients once it has been stepped."""

    acted = False

    def step(self, x_BD: Tensor, time_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.acted = True
        return super().step(x_BD, time_B, state)

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        y_NE = super().timed(x_ND, time_N)
        return (y_NE + y_NE.detach()) / 2 if self.acted else y_NE


class ForgetsTimeWhileTraining(MovingSum):
    """Ignores time in training mode."""

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        return super().timed(x_ND, time_N) * (0.0 if self.training else 1.0)


class CountsItsForwards(MovingSum):
    """Updates saved statistics in every training forward pass."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__(context, options)
        self.register_buffer("forwards", torch.zeros(()))

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        if self.training:
            self.forwards += 1
        return super().forward(x_ND, layout)


class HidesAWeight(MovingSum):
    """Has a random tensor that is not in the state dict."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__(context, options)
        self.hidden_weight = torch.randn(WIDTH)

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        return super().timed(x_ND, time_N) + self.hidden_weight.to(x_ND.dtype)


class TiesItsWeights(MovingSum):
    """One tensor under two names."""

    def __init__(self, context: BackboneContext, options: MovingSumOptions) -> None:
        super().__init__(context, options)
        self.same = self.project


class ComputesInHalf(MovingSum):
    """Computes float32 inputs in bfloat16."""

    def timed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        y_NE = super().timed(x_ND, time_N)
        return y_NE.bfloat16().float() if y_NE.dtype == torch.float32 else y_NE
