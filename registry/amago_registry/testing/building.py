"""Helpers for laws: build a part, compare tensors with a tolerance, draw episode lengths.

Shape suffixes: B = parallel environments, T = steps.
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
"""Relative tolerance of laws: a share of the largest number compared."""


class Law(Protocol):
    """A conformance test of one kind of part."""

    __name__: str

    def __call__(
        self, component: Component, *, device: str = "cpu", dtype: torch.dtype = torch.float64
    ) -> None:
        """Check the component.

        Raises:
            AssertionError: If the component breaks the law.
        """


def with_options(component: Component, **values: Any) -> Component:
    """Return the component with other default options, to run laws with them.

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
    """Seed torch's random generators inside the context and restore them after."""
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
    """Return the part with weights initialized from ``seed``; a module is in evaluation mode."""
    with seeded(seed):
        part = component.load()(context, options or component.options())
    return part.to(device=device, dtype=dtype).eval() if isinstance(part, nn.Module) else part


def require(condition: bool, component: Component, sentence: str) -> None:
    """Raise AssertionError with the component's name and the sentence unless the condition is true."""
    if not condition:
        raise AssertionError(f"{component.name}: {sentence}")


def require_protocol(part: object, protocol: Any, component: Component) -> None:
    """Raise AssertionError with the names that ``part`` lacks of a runtime-checkable protocol."""
    named = sorted({*dir(protocol), *getattr(protocol, "__annotations__", ())})
    public = [name for name in named if name == "__call__" or not name.startswith("_")]
    lacking = ", ".join(name for name in public if getattr(part, name, None) is None)
    sentence = f"it lacks {lacking}, which the protocol {protocol.__name__} requires."
    require(isinstance(part, protocol), component, sentence)


def require_close(
    actual: Tensor,
    expected: Tensor,
    component: Component,
    sentence: str,
    tolerance: float | None = None,
) -> None:
    """Raise AssertionError unless two tensors are equal up to a tolerance; NaN is never equal.

    Args:
        actual: The part's result.
        expected: The result that the law requires.
        component: The part.
        sentence: Error message if they differ.
        tolerance: Share of the largest expected number; by default that of ``actual``'s dtype.
    """
    require(
        actual.shape == expected.shape,
        component,
        f"{sentence} The shape is {tuple(actual.shape)} instead of {tuple(expected.shape)}.",
    )
    if not actual.numel():
        return
    allowed = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    bound = allowed * expected.detach().abs().max().item()
    gap = (actual.detach() - expected.detach()).abs().max().item()
    require(
        gap <= bound,
        component,
        f"{sentence} The largest difference is {gap:.1e}; the tolerance is {bound:.1e}.",
    )


def episode_lengths(environments: int, steps: int, longest: int, seed: int) -> list[list[int]]:
    """Split ``steps`` into random episodes of 1 to ``longest`` steps, separately per environment."""
    rng = random.Random(seed)
    episodes: list[list[int]] = []
    for _ in range(environments):
        lengths: list[int] = []
        while sum(lengths) < steps:
            lengths.append(min(rng.randint(1, longest), steps - sum(lengths)))
        episodes.append(lengths)
    return episodes


def require_finite_gradients(module: nn.Module, component: Component) -> None:
    """Raise AssertionError with the names of trained parameters without a finite gradient."""
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    missing = [name for name, parameter in trained.items() if parameter.grad is None]
    require(not missing, component, f"no gradient reaches {', '.join(missing)}.")
    broken = [n for n, p in trained.items() if p.grad is not None and not _is_finite(p.grad)]
    require(not broken, component, f"the gradient is not finite in {', '.join(broken)}.")


def _is_finite(gradient: Tensor) -> bool:
    """Return whether a gradient is finite; a sparse one (of an embedding) is made dense to test it."""
    dense = gradient.to_dense() if gradient.is_sparse else gradient
    return bool(dense.isfinite().all())
