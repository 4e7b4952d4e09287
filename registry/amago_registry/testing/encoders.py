"""Laws of timestep encoders, on a task with two vector observations and four discrete actions.

Shape suffixes: N = timesteps, A = action features.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry.component import Component
from amago_registry.contexts import EncoderContext
from amago_registry.testing.building import (
    Law,
    build,
    require,
    require_close,
    require_finite_gradients,
)

ROWS = 9
DOUBLE = torch.float64
CONTEXT = EncoderContext(
    observation_space=spaces.Dict(
        {"place": spaces.Box(-1.0, 1.0, (2,)), "sight": spaces.Box(-1.0, 1.0, (3,))}
    ),
    action_space=spaces.Discrete(4),
)


def it_is_as_wide_as_it_says(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """N rows in, ``(N, out_dim)`` out, also for one row."""
    encoder = build(component, CONTEXT, device=device, dtype=dtype)
    for rows in (1, ROWS):
        shape = tuple(encoder(*_inputs(rows, device, dtype)).shape)
        wanted = (rows, encoder.out_dim)
        require(shape == wanted, component, f"{rows} rows gave the shape {shape}, not {wanted}.")


def rows_are_independent(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """While acting, a row encoded alone is what it is among others."""
    encoder = build(component, CONTEXT, device=device, dtype=dtype)
    inputs = _inputs(ROWS, device, dtype)
    with torch.no_grad():
        together = encoder(*inputs)
        alone = torch.cat([encoder(*_row(inputs, row)) for row in range(ROWS)])
    require_close(alone, together, component, "a row's vector depends on the other rows.")


def gradients_reach_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Every trained parameter receives a finite gradient."""
    encoder = build(component, CONTEXT, device=device, dtype=dtype).train()
    y = encoder(*_inputs(ROWS, device, dtype))
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    (y * weights.to(y)).sum().backward()
    require_finite_gradients(encoder, component)


def only_a_commit_changes_what_is_saved(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A training forward pass leaves every saved bit as it was."""
    encoder = build(component, CONTEXT, device=device, dtype=dtype).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder(*_inputs(ROWS, device, dtype))
    after = encoder.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    require(
        not changed,
        component,
        f"a forward pass changed {', '.join(changed)}; propose statistics and adopt them in commit().",
    )


ENCODER_LAWS: tuple[Law, ...] = (
    it_is_as_wide_as_it_says,
    rows_are_independent,
    gradients_reach_every_parameter,
    only_a_commit_changes_what_is_saved,
)
"""What every encoder of vectors obeys."""


def _inputs(rows: int, device: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=DOUBLE).to(device, dtype)

    return {"place": random(rows, 2), "sight": random(rows, 3)}, random(rows, 4), random(rows)


def _row(inputs: tuple[dict[str, Tensor], Tensor, Tensor], row: int) -> tuple[Any, Tensor, Tensor]:
    obs, prev_action_NA, prev_reward_N = inputs
    one = slice(row, row + 1)
    return (
        cast(Any, {key: value[one] for key, value in obs.items()}),
        prev_action_NA[one],
        prev_reward_N[one],
    )
