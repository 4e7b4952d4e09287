"""Laws of timestep encoders, run on vectors, on vectors with an image, and on vectors with goals.

An encoder may raise :class:`~amago_registry.UnsupportedSpaceError` for some of these spaces, not for
all.

Shape suffixes: N = timesteps, A = action features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry.component import Component
from amago_registry.contexts import EncoderContext
from amago_registry.errors import UnsupportedSpaceError
from amago_registry.testing.building import (
    Law,
    build,
    require,
    require_close,
    require_finite_gradients,
)

Inputs: TypeAlias = tuple[Mapping[str, Tensor], Tensor, Tensor]

ROWS = 9
DOUBLE = torch.float64
VECTORS: dict[str, spaces.Space[Any]] = {
    "place": spaces.Box(-1.0, 1.0, (2,)),
    "sight": spaces.Box(-1.0, 1.0, (3,)),
}
TASKS = (
    EncoderContext(observation_space=spaces.Dict(VECTORS), action_space=spaces.Discrete(4)),
    EncoderContext(
        observation_space=spaces.Dict({**VECTORS, "image": spaces.Box(0, 255, (40, 44, 3), np.uint8)}),
        action_space=spaces.Box(-1.0, 1.0, (4,)),
    ),
    EncoderContext(
        observation_space=spaces.Dict({**VECTORS, "goals": spaces.Box(-1, 8, (3, 2), np.int64)}),
        action_space=spaces.Discrete(4),
    ),
)
"""Two vectors and four discrete actions; with a uint8 image and four continuous actions; with three
integer goals of two coordinates."""


def it_is_as_wide_as_it_says(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``out_dim`` is an integer; N rows are encoded as ``(N, out_dim)``, also for N = 1."""
    for encoder, task in _encoders(component, device, dtype):
        width = getattr(encoder, "out_dim", None)
        require(isinstance(width, int), component, f"its out_dim is {width!r}, not an integer.")
        for rows in (1, ROWS):
            shape = tuple(encoder(*_inputs(task, rows, device, dtype)).shape)
            wanted = (rows, width)
            require(
                shape == wanted, component, f"{rows} rows give the shape {shape} instead of {wanted}."
            )


def rows_are_independent(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """In evaluation mode, a row's output does not depend on the other rows."""
    for encoder, task in _encoders(component, device, dtype):
        inputs = _inputs(task, ROWS, device, dtype)
        with torch.no_grad():
            together = encoder(*inputs)
            alone = torch.cat([encoder(*_row(inputs, row)) for row in range(ROWS)])
        require_close(alone, together, component, "a row's vector depends on the other rows.")


def gradients_reach_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Every trained parameter receives a finite gradient."""
    for encoder, task in _encoders(component, device, dtype):
        y = encoder.train()(*_inputs(task, ROWS, device, dtype))
        # Random weights: a final LayerNorm makes the gradient of a plain sum vanish.
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
        (y * weights.to(y)).sum().backward()
        require_finite_gradients(encoder, component)


def only_a_commit_changes_what_is_saved(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A training forward pass does not change the state dict."""
    for encoder, task in _encoders(component, device, dtype):
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        encoder.train()(*_inputs(task, ROWS, device, dtype))
        after = encoder.state_dict()
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        require(
            not changed,
            component,
            f"a forward pass changed {', '.join(changed)}; "
            "propose statistics and adopt them in commit().",
        )


def a_state_dict_restores_it(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A new encoder with the loaded state dict has the same output."""
    restored_ones = _encoders(component, device, dtype, seed=1)
    for (encoder, task), (restored, _) in zip(
        _encoders(component, device, dtype), restored_ones, strict=True
    ):
        inputs = _inputs(task, ROWS, device, dtype)
        restored.load_state_dict(encoder.state_dict())
        with torch.no_grad():
            require_close(
                restored(*inputs),
                encoder(*inputs),
                component,
                "after load_state_dict its output differs: "
                "a weight is neither a parameter nor a buffer.",
            )


def safetensors_can_save_it(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Safetensors saves and loads the state dict: contiguous tensors that share no memory."""
    from safetensors.torch import load, save

    for encoder, _ in _encoders(component, device, dtype):
        state = encoder.state_dict()
        try:
            loaded = load(save(state))
        except (RuntimeError, ValueError) as error:
            raise AssertionError(f"{component.name}: safetensors cannot save it: {error}") from error
        same = loaded.keys() == state.keys() and all(
            torch.equal(loaded[name], tensor.cpu()) for name, tensor in state.items()
        )
        require(same, component, "safetensors loads other values than it saved.")


ENCODER_LAWS: tuple[Law, ...] = (
    it_is_as_wide_as_it_says,
    rows_are_independent,
    gradients_reach_every_parameter,
    only_a_commit_changes_what_is_saved,
    a_state_dict_restores_it,
    safetensors_can_save_it,
)
"""The laws that every encoder must pass on the spaces that it supports."""


def _encoders(
    component: Component, device: str, dtype: torch.dtype, seed: int = 0
) -> list[tuple[Any, EncoderContext]]:
    """Return an encoder for each task whose spaces the part supports, with the task."""
    built, errors = [], []
    for task in TASKS:
        try:
            built.append((build(component, task, device=device, dtype=dtype, seed=seed), task))
        except UnsupportedSpaceError as error:
            errors.append(str(error))
    require(bool(built), component, f"it supports none of the spaces of the laws. {' '.join(errors)}")
    return built


def _inputs(task: EncoderContext, rows: int, device: str, dtype: torch.dtype) -> Inputs:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=DOUBLE).to(device, dtype)

    def observed(space: spaces.Space[Any]) -> Tensor:
        shape = (rows, *(space.shape or ()))
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.integer):
            return random(*shape)
        low, high = int(space.low.min()), int(space.high.max()) + 1
        whole = torch.randint(low, high, shape, generator=generator)
        return whole.to(device, torch.uint8 if space.dtype == np.uint8 else torch.int64)

    obs = {key: observed(space) for key, space in sorted(task.observation_space.spaces.items())}
    return obs, random(rows, 4), random(rows)


def _row(inputs: Inputs, row: int) -> Inputs:
    obs, prev_action_NA, prev_reward_N = inputs
    one = slice(row, row + 1)
    return {key: value[one] for key, value in obs.items()}, prev_action_NA[one], prev_reward_N[one]
