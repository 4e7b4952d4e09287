"""Laws of attention kernels: each must equal a masked softmax, computed one row at a time.

A kernel without support for sinks raises ``UnavailableError`` when it is *built* with
``context.sinks``, so that the error appears before the run starts; the laws of sinks then skip it.

Shape suffixes: N = timesteps of a packed batch, B = environments, T = steps, H = query heads,
K = key/value heads, F = features per head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from amago_registry.component import Component
from amago_registry.contexts import AttentionContext
from amago_registry.errors import UnavailableError
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_registry.testing.building import Law, build, episode_lengths, require_close

CAPACITY = 7
HEADS = 4
HEAD_DIM = 8
LENGTHS = (3, 1, 7, 7, 2, 1)
LONG = (3, 150)
DOUBLE = torch.float64
FULL = AttentionContext(heads=HEADS, kv_heads=HEADS, head_dim=HEAD_DIM, capacity=CAPACITY)


def packed_rows_attend_to_their_past(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Causal packed attention: a row attends to its own sequence up to itself; gradients too."""
    _check_packed(component, device, dtype, FULL)


def a_window_limits_what_packed_rows_see(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """With a window of w, a row attends to itself and the w - 1 rows before it."""
    for window in (1, 3, CAPACITY):
        _check_packed(component, device, dtype, replace(FULL, window=window))
    _check_packed(component, device, dtype, replace(FULL, window=20, capacity=max(LONG)), LONG)


def query_heads_share_key_value_heads(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """With K key/value heads, query head h reads head h * K // H, packed and stepping."""
    for kv_heads in (1, 2):
        context = replace(FULL, kv_heads=kv_heads)
        _check_packed(component, device, dtype, context)
        _check_stepping(component, device, dtype, context, steps=12, longest=CAPACITY)


def stepping_attends_to_what_each_environment_saw(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Stepping attends to the environment's own steps since its last reset."""
    _check_stepping(component, device, dtype, FULL, steps=20, longest=CAPACITY)


def a_full_cache_forgets_the_oldest(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Beyond its capacity the cache holds the last timesteps, whatever the times of resets."""
    _check_stepping(component, device, dtype, FULL, steps=40, longest=4 * CAPACITY)


def a_window_limits_what_steps_see(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """With a window of w, stepping attends to the current timestep and the w - 1 before it."""
    for window in (1, 3, 2 * CAPACITY):
        _check_stepping(component, device, dtype, replace(FULL, window=window), steps=20, longest=15)


def packed_rows_see_their_sinks(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """With s sinks, a row also attends to the first s rows of its sequence, outside its window."""
    context = replace(FULL, sinks=2)
    if _lacks_support(component, context):
        return
    for window, sinks in ((1, 1), (3, 2), (2, 4)):
        _check_packed(component, device, dtype, replace(context, window=window, sinks=sinks))
    long = replace(context, window=20, sinks=3, capacity=max(LONG), kv_heads=2)
    _check_packed(component, device, dtype, long, LONG)
    _check_packed(component, device, dtype, context)  # Without a window, sinks make no difference.


def a_full_cache_keeps_its_sinks(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Beyond capacity and window, stepping still attends to the first s steps of the task."""
    context = replace(FULL, sinks=2)
    if _lacks_support(component, context):
        return
    for changed in (context, replace(context, window=3), replace(context, window=1, sinks=4)):
        _check_stepping(component, device, dtype, changed, steps=3 * CAPACITY, longest=None)


def a_reset_forgets_the_sinks(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """After a reset the sinks are the first steps of the new task."""
    context = replace(FULL, sinks=2)
    if _lacks_support(component, context):
        return
    _check_stepping(component, device, dtype, context, steps=20, longest=CAPACITY)


ATTENTION_LAWS: tuple[Law, ...] = (
    packed_rows_attend_to_their_past,
    a_window_limits_what_packed_rows_see,
    query_heads_share_key_value_heads,
    stepping_attends_to_what_each_environment_saw,
    a_full_cache_forgets_the_oldest,
    a_window_limits_what_steps_see,
    packed_rows_see_their_sinks,
    a_full_cache_keeps_its_sinks,
    a_reset_forgets_the_sinks,
)
"""The laws that every attention kernel must pass."""


def masked_softmax(
    q_NHF: Tensor,
    k_NKF: Tensor,
    v_NKF: Tensor,
    lengths: tuple[int, ...],
    window: int | None,
    sinks: int = 0,
) -> Tensor:
    """Return attention ``(N, H, F)``, computed row by row from the formula."""
    groups = q_NHF.shape[1] // k_NKF.shape[1]
    k_NHF, v_NHF = k_NKF.repeat_interleave(groups, 1), v_NKF.repeat_interleave(groups, 1)
    rows: list[Tensor] = []
    for length in lengths:
        start = len(rows)
        for row in range(start, start + length):
            first = start if window is None else max(start, row - window + 1)
            seen = [*range(start, min(start + sinks, first)), *range(first, row + 1)]
            score_HT = torch.einsum("hf,thf->ht", q_NHF[row], k_NHF[seen]) / q_NHF.shape[-1] ** 0.5
            rows.append(torch.einsum("ht,thf->hf", score_HT.softmax(-1), v_NHF[seen]))
    return torch.stack(rows)


def _lacks_support(component: Component, context: AttentionContext) -> bool:
    """Return whether the kernel raises ``UnavailableError`` when it is built with the context."""
    try:
        build(component, context)
    except UnavailableError:
        return True
    return False


def _describe(context: AttentionContext) -> str:
    heads = f"{context.kv_heads} key/value heads for {context.heads} query heads"
    window = "no window" if context.window is None else f"a window of {context.window}"
    return f"with {heads}, {window} and {context.sinks} sinks"


def _inputs(rows: int, kv_heads: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(rows, heads, HEAD_DIM, generator=generator, dtype=DOUBLE).to(device, dtype)
        for heads in (HEADS, kv_heads, kv_heads)
    ]


def _check_packed(
    component: Component,
    device: str,
    dtype: torch.dtype,
    context: AttentionContext,
    lengths: tuple[int, ...] = LENGTHS,
) -> None:
    layout = SequenceLayout.build(lengths, device=device)
    inputs = [x.requires_grad_() for x in _inputs(layout.timesteps, context.kv_heads, device, dtype)]
    actual = build(component, context).packed(*inputs, layout)
    q_NHF, k_NKF, v_NKF = inputs
    expected = masked_softmax(q_NHF, k_NKF, v_NKF, lengths, context.window, context.sinks)
    which = _describe(context)
    require_close(
        actual, expected, component, f"packed attention {which} differs from the masked softmax."
    )
    (toward,) = _inputs(layout.timesteps, HEADS, device, dtype)[:1]
    gradients = torch.autograd.grad(actual, inputs, toward, allow_unused=True)
    exact = torch.autograd.grad(expected, inputs, toward)
    # With a window of 1 the softmax is constant: the gradients of q and k are rounding around zero.
    scale = max(gradient.abs().max().item() for gradient in exact)
    for name, gradient, wanted in zip("qkv", gradients, exact, strict=True):
        got = torch.zeros_like(wanted) if gradient is None else gradient
        sentence = f"the gradient of {name} in packed attention {which} is wrong."
        require_close(got / scale + 1, wanted / scale + 1, component, sentence)


@torch.no_grad()
def _check_stepping(
    component: Component,
    device: str,
    dtype: torch.dtype,
    context: AttentionContext,
    *,
    steps: int,
    longest: int | None,
) -> None:
    """Compare stepping through episodes of up to ``longest`` steps; None for one without resets."""
    episodes = [[steps]] * 3
    if longest is not None:
        episodes = episode_lengths(environments=3, steps=steps, longest=longest, seed=1)
    lengths = tuple(length for of_one in episodes for length in of_one)
    time_BT = SequenceLayout.build(lengths, device=device).time_N.view(3, steps)
    inputs = _inputs(3 * steps, context.kv_heads, device, dtype)
    seen = min(context.window or CAPACITY, CAPACITY)
    expected = masked_softmax(inputs[0], inputs[1], inputs[2], lengths, seen, context.sinks)
    kernel = build(component, context)
    stepped = _step_through(kernel, [x.view(3, steps, *x.shape[1:]) for x in inputs], time_BT)
    require_close(
        stepped.flatten(0, 1),
        expected,
        component,
        f"stepping through episodes of up to {longest or steps} steps {_describe(context)}, at a "
        f"capacity of {CAPACITY}, differs from the masked softmax.",
    )


def _step_through(kernel: Any, inputs_BTHF: list[Tensor], time_BT: Tensor) -> Tensor:
    batch, steps = time_BT.shape
    cache: State = kernel.cache(batch, inputs_BTHF[0])
    outputs = []
    for step in range(steps):
        starts_B = time_BT[:, step] == 0
        if step and starts_B.any():
            cache = kernel.reset(cache, starts_B)
        y_BHF, cache = kernel.step(*(x[:, step] for x in inputs_BTHF), cache)
        outputs.append(y_BHF.clone())
    return torch.stack(outputs, dim=1)
