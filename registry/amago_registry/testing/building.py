"""What laws share: building a part, comparing numbers, drawing episodes.

Shape suffixes: B = environments acting side by side, T = steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from pydantic import model_validator
from torch import Tensor, nn

from amago_registry.component import Component
from amago_registry.options import Options

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}
"""Rounding that a law allows, in shares of the largest number compared."""


class Law(Protocol):
    """A sentence about a kind of part, and the check of it."""

    __name__: str

    def __call__(
        self, component: Component, *, device: str = "cpu", dtype: torch.dtype = torch.float64
    ) -> None:
        """Check the component.

        Raises:
            AssertionError: If the component breaks the law.
        """


def with_options(component: Component, **values: Any) -> Component:
    """Return the component with other default options, so that laws can try it with them.

    Args:
        component: The part.
        **values: Options as a spec would write them: ``layers=1, attention="reference"``.
    """

    class Preset(component.options):  # type: ignore[misc, name-defined]
        @model_validator(mode="before")
        @classmethod
        def _preset(cls, data: Any) -> Any:
            return {**values, **data} if isinstance(data, Mapping) else data

    Preset.__name__ = component.options.__name__
    return Component(component.name, component.target, Preset, component.summary)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers inside from ``seed``, and leave the generators as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def build(
    component: Component,
    context: Any,
    *,
    options: Options | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Any:
    """Return the part with weights drawn from ``seed``, evaluating, where it is a module."""
    with seeded(seed):
        part = component.load()(context, options or component.options())
    return part.to(device=device, dtype=dtype).eval() if isinstance(part, nn.Module) else part


def require(truth: bool, component: Component, sentence: str) -> None:
    """Raise AssertionError with the component's name and the sentence unless it is true."""
    if not truth:
        raise AssertionError(f"{component.name}: {sentence}")


def require_protocol(part: object, protocol: Any, component: Component) -> None:
    """Raise AssertionError naming what ``part`` lacks of a runtime-checkable protocol."""
    named = sorted({*dir(protocol), *getattr(protocol, "__annotations__", ())})
    public = [name for name in named if name == "__call__" or not name.startswith("_")]
    lacking = ", ".join(name for name in public if getattr(part, name, None) is None)
    article = "an" if protocol.__name__[0] in "AEIOU" else "a"
    sentence = f"for {article} {protocol.__name__} it lacks {lacking}."
    require(isinstance(part, protocol), component, sentence)


def require_close(
    actual: Tensor,
    expected: Tensor,
    component: Component,
    sentence: str,
    tolerance: float | None = None,
) -> None:
    """Raise AssertionError unless two tensors agree up to rounding; NaN never agrees.

    Args:
        actual: What the part computed.
        expected: What the law says it should be.
        component: The part.
        sentence: What is wrong if they differ.
        tolerance: Share of the largest expected number; by default that of ``actual``'s dtype.
    """
    require(
        actual.shape == expected.shape,
        component,
        f"{sentence} The shapes are {tuple(actual.shape)} and {tuple(expected.shape)}.",
    )
    if not actual.numel():
        return
    allowed = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    bound = allowed * expected.detach().abs().max().item()
    gap = (actual.detach() - expected.detach()).abs().max().item()
    require(
        gap <= bound,
        component,
        f"{sentence} The largest difference is {gap:.1e}; rounding explains {bound:.1e}.",
    )


def episode_lengths(environments: int, steps: int, longest: int, seed: int) -> list[list[int]]:
    """Cut ``steps`` into random episodes of 1 to ``longest`` steps, for each environment by itself."""
    rng = random.Random(seed)
    episodes: list[list[int]] = []
    for _ in range(environments):
        lengths: list[int] = []
        while sum(lengths) < steps:
            lengths.append(min(rng.randint(1, longest), steps - sum(lengths)))
        episodes.append(lengths)
    return episodes


def require_finite_gradients(module: nn.Module, component: Component) -> None:
    """Raise AssertionError naming the trained parameters without a finite gradient."""
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    missing = [name for name, parameter in trained.items() if parameter.grad is None]
    require(not missing, component, f"no gradient reaches {', '.join(missing)}.")
    broken = [n for n, p in trained.items() if p.grad is not None and not _is_finite(p.grad)]
    require(not broken, component, f"the gradient is not finite in {', '.join(broken)}.")


def _is_finite(gradient: Tensor) -> bool:
    """Return whether all of a gradient is finite; that of a sparse embedding cannot be asked itself."""
    dense = gradient.to_dense() if gradient.is_sparse else gradient
    return bool(dense.isfinite().all())
