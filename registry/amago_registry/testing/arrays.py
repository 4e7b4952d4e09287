"""Helpers for laws of parts without tensors: comparison by value, global random generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch

from amago_registry.component import Component
from amago_registry.testing.building import Law


def without_tensors(check: Callable[[Component], None]) -> Law:
    """Decorate a check without ``device`` and ``dtype`` as a law."""

    @wraps(check)
    def law(component: Component, *, device: str = "cpu", dtype: torch.dtype = torch.float64) -> None:
        del device, dtype
        check(component)

    return law


def make_part(component: Component, context: Any) -> Any:
    """Return the part with its default options, without seeding torch: there are no weights."""
    return component.load()(context, component.options())


def frozen(value: Any) -> Hashable:
    """Return a hashable value of nested arrays: equal if names, dtypes, shapes and bits are equal."""
    if isinstance(value, Mapping):
        return tuple((key, frozen(value[key])) for key in sorted(value, key=str))
    if isinstance(value, tuple | list):
        return tuple(frozen(member) for member in value)
    array = np.asarray(value)
    return array.dtype.str, array.shape, repr(value) if array.dtype.hasobject else array.tobytes()


@contextmanager
def global_randomness(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed the global random generators of Python, numpy and torch in the context; restore them after.

    Yields:
        A function that returns whether one of them has been used or seeded since.
    """
    # Not torch.manual_seed: before CUDA is initialized, each call stores a stack trace for every GPU.
    python, legacy, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        before = _global_state()
        yield lambda: _global_state() != before
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(tensors)


def _global_state() -> Hashable:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return random.getstate(), frozen(legacy), torch.get_rng_state().numpy().tobytes()
