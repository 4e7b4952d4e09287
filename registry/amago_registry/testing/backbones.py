"""Laws of sequence backbones: causality, packing, stepping, state, gradients, saving.

Shape suffixes: N = timesteps of a packed batch, B = environments, T = steps, D = features in,
E = state features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from amago_registry.component import Component
from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.options import Options, Part
from amago_registry.protocols import State
from amago_registry.testing.building import (
    Law,
    build,
    episode_lengths,
    require,
    require_close,
    require_finite_gradients,
    seeded,
)

CONTEXT_LENGTH = 6
IN_DIM = 5
DOUBLE = torch.float64


def it_is_as_wide_as_it_says(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``out_dim`` is an integer: the width of the output, packed and stepped."""
    backbone = _backbone(component, device, dtype)
    width = getattr(backbone, "out_dim", None)
    require(isinstance(width, int), component, f"its out_dim is {width!r}, not an integer.")
    layout = SequenceLayout.build([3, 1], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    stepped_BTE = _step_through(backbone, x_ND[:, None], layout.time_N[:, None])
    for y_NE in (_forward(backbone, x_ND, layout), stepped_BTE[:, 0]):
        shape, wanted = tuple(y_NE.shape), (layout.timesteps, width)
        require(shape == wanted, component, f"its output has the shape {shape} instead of {wanted}.")


def the_future_does_not_matter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Causality: a row's output does not depend on later rows of its sequence, in training mode too."""
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    for training in (False, True):
        before_NE = _forward(backbone, x_ND, layout, training)
        for present in (0, 2, CONTEXT_LENGTH - 1):
            changed_ND = x_ND.clone()
            changed_ND[present + 1 :] += 3.0
            after_NE = _forward(backbone, changed_ND, layout, training)
            require_close(
                after_NE[: present + 1],
                before_NE[: present + 1],
                component,
                f"the packed forward pass {_mode(training)} is not causal: timestep {present} depends "
                "on later timesteps.",
            )


def sequences_of_a_pack_do_not_see_each_other(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A sequence's output does not depend on other sequences of a pack, in training mode too."""
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([3, 1, CONTEXT_LENGTH + 1, 2, 2], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    for training in (False, True):
        before_NE = _forward(backbone, x_ND, layout, training)
        for sequence, length in enumerate(layout.lengths):
            own_N = layout.sequence_N == sequence
            changed_ND = torch.where(own_N[:, None], x_ND, x_ND + 3.0)
            sentence = (
                f"in a packed stream {_mode(training)}, sequence {sequence} depends on other sequences."
            )
            after_NE = _forward(backbone, changed_ND, layout, training)
            require_close(after_NE[own_N], before_NE[own_N], component, sentence)
            if not training:  # Dropout would mask other elements.
                alone = SequenceLayout.build([length], device=device)
                alone_NE = _forward(backbone, x_ND[own_N], alone, training)
                require_close(alone_NE, before_NE[own_N], component, sentence)


def long_sequences_of_a_pack_do_not_see_each_other(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Sequences of hundreds of rows, which kernels process in chunks, are independent too."""
    backbone = _backbone(component, device, dtype, stretch=50)
    lengths = [5, 300, 1, 130, 260]
    layout = SequenceLayout.build(lengths, device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    packed_NE = _forward(backbone, x_ND, layout)
    for length, own_ND, own_NE in zip(
        lengths, torch.split(x_ND, lengths), torch.split(packed_NE, lengths), strict=True
    ):
        alone_NE = _forward(backbone, own_ND, SequenceLayout.build([length], device=device))
        sentence = f"in a packed stream, a sequence of {length} timesteps has other outputs than alone."
        require_close(own_NE, alone_NE, component, sentence)


def stepping_equals_the_packed_forward(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Stepping equals the packed forward pass, with resets at different times per environment.

    The number of parallel environments, including one, makes no difference.
    """
    backbone = _backbone(component, device, dtype)
    episodes = episode_lengths(environments=4, steps=20, longest=CONTEXT_LENGTH + 1, seed=0)
    lengths = [length for of_one in episodes for length in of_one]
    layout = SequenceLayout.build(lengths, device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    packed_NE = _forward(backbone, x_ND, layout)
    x_BTD, time_BT = x_ND.view(4, 20, -1), layout.time_N.view(4, 20)
    stepped_BTE = _step_through(backbone, x_BTD, time_BT)
    require_close(
        stepped_BTE.flatten(0, 1),
        packed_NE,
        component,
        "stepping, with resets at different times per environment, differs from the packed forward "
        "pass.",
    )
    require_close(
        _step_through(backbone, x_BTD[:1], time_BT[:1]),
        stepped_BTE[:1],
        component,
        "one environment, stepped alone, has other outputs than among several.",
    )


def slices_may_begin_in_the_middle_of_a_task(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A slice has the same output packed, alone, and stepped with its times from an initial state.

    Training samples slices of longer trajectories, so their first time can be any number.
    """
    backbone = _backbone(component, device, dtype)
    lengths, starts = [3, 1, CONTEXT_LENGTH + 1, 2], [50, 0, 1000, 3]
    step_T = torch.arange(max(lengths), device=device)
    own_BT = step_T < torch.tensor(lengths, device=device)[:, None]
    time_BT = step_T + torch.tensor(starts, device=device)[:, None]
    layout = SequenceLayout.build(lengths, time_BT[own_BT])
    x_BTD = _random(*own_BT.shape, IN_DIM, like=layout, dtype=dtype)
    packed_NE = _forward(backbone, x_BTD[own_BT], layout)
    alone = [
        _forward(backbone, x_TD[own_T], SequenceLayout.build([length], time_T[own_T]))
        for x_TD, time_T, own_T, length in zip(x_BTD, time_BT, own_BT, lengths, strict=True)
    ]
    stepped_BTE = _step_through(backbone, x_BTD, time_BT)
    for way, y_NE in (("alone", torch.cat(alone)), ("stepped with its times", stepped_BTE[own_BT])):
        sentence = (
            f"a slice that begins in the middle of its task has other outputs {way} than in a packed "
            "stream."
        )
        require_close(y_NE, packed_NE, component, sentence)


def stepping_beyond_the_context_equals_a_window(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Stepping beyond the context length equals the packed forward pass with a sliding window.

    If its options have ``window``, the backbone is compared with a copy whose window is
    ``context_length + 1`` (or its own, if that is smaller); nested parts likewise. Any other backbone
    is expected to have unbounded memory: it is compared with its packed forward pass of the whole
    trajectory.
    """
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([4 * CONTEXT_LENGTH] * 2, device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    packed_NE = _forward(_windowed(component, backbone, device, dtype), x_ND, layout)
    stepped_BTE = _step_through(
        backbone, x_ND.view(2, 4 * CONTEXT_LENGTH, -1), layout.time_N.view(2, -1)
    )
    require_close(
        stepped_BTE.flatten(0, 1),
        packed_NE,
        component,
        f"stepping beyond the context of {CONTEXT_LENGTH + 1} timesteps differs from the packed "
        "forward pass of the whole trajectory with a causal window of that size (without a window, if "
        "the options have no `window`).",
    )


def a_reset_forgets(component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE) -> None:
    """Input before a reset does not affect the output after it, even if it was infinite."""
    backbone = _backbone(component, device, dtype)
    steps = 2 * CONTEXT_LENGTH
    layout = SequenceLayout.build([2 * steps] * 3, device=device)
    x_BTD = _random(3, 2 * steps, IN_DIM, like=layout, dtype=dtype)
    time_BT = layout.time_N.view(3, 2 * steps).clone()
    mask_B = torch.tensor([True, False, True], device=device)
    time_BT[mask_B, steps:] -= steps
    past_BTD, future_BTD = 10 * x_BTD[:, :steps], x_BTD[:, steps:]
    infinite_BTD = past_BTD.clone()
    infinite_BTD[0] = torch.inf
    expected_BTE = _step_through(backbone, future_BTD, time_BT[:, steps:])
    for what, before_BTD in (("", past_BTD), (" of infinite input", infinite_BTD)):
        with torch.no_grad():
            used = _steps(backbone, before_BTD, time_BT[:, :steps], backbone.initial_state(3))[1]
            used = backbone.reset(used, mask_B)
            after_BTE = _steps(backbone, future_BTD, time_BT[:, steps:], used)[0]
        require_close(
            after_BTE[mask_B],
            expected_BTE[mask_B],
            component,
            f"after {steps} steps{what} and a reset, the output is not that of an initial state.",
        )


def the_state_holds_everything(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Stepping resumes exactly from a stored state: there is no memory outside of it."""
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([CONTEXT_LENGTH] * 2, device=device)
    x_BTD = _random(2, CONTEXT_LENGTH, IN_DIM, like=layout, dtype=dtype)
    time_BT = layout.time_N.view(2, -1)
    half = CONTEXT_LENGTH // 2
    with torch.no_grad():
        state = _steps(backbone, x_BTD[:, :half], time_BT[:, :half], backbone.initial_state(2))[1]
        stored = _copy(state, component)
        first = _steps(backbone, x_BTD[:, half:], time_BT[:, half:], state)[0]
        again = _steps(backbone, x_BTD[:, half:], time_BT[:, half:], stored)[0]
    require_close(
        again,
        first,
        component,
        "stepping from a stored acting state gives other outputs: it has memory outside the state.",
    )


def the_state_does_not_grow(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The acting state has a fixed size; with ``constant_state``, the same for every context length."""
    backbone = _backbone(component, device, dtype)
    before = backbone.initial_state(2)
    steps = 3 * CONTEXT_LENGTH
    layout = SequenceLayout.build([steps] * 2, device=device)
    x_BTD = _random(2, steps, IN_DIM, like=layout, dtype=dtype)
    sizes = _shapes(before)
    with torch.no_grad():
        after = _shapes(_steps(backbone, x_BTD, layout.time_N.view(2, -1), before)[1])
    require(
        after == sizes,
        component,
        f"the size of its acting state changes over {steps} steps: {_differences(sizes, after)}.",
    )
    if getattr(backbone, "constant_state", False):
        longer = _shapes(_backbone(component, device, dtype, stretch=10).initial_state(2))
        require(
            longer == sizes,
            component,
            "constant_state is True, but a context ten times as long changes its acting state: "
            f"{_differences(sizes, longer)}.",
        )


def it_is_deterministic(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Torch's seed and the inputs determine every bit, whatever was computed before."""
    backbone, again = (_backbone(component, device, dtype) for _ in range(2))
    different = [
        name
        for name, tensor in backbone.state_dict().items()
        if not torch.equal(tensor, again.state_dict()[name])
    ]
    built = f"built twice from one seed, it differs in {', '.join(different)}."
    require(not different, component, built)
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 2], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    for training in (False, True):
        first_NE = _forward(backbone, x_ND, layout, training)
        _forward(backbone, 1 - x_ND, layout, training)
        same = torch.equal(_forward(backbone, x_ND, layout, training), first_NE)
        require(same, component, f"the same forward pass {_mode(training)} gives different bits twice.")


def compiling_changes_nothing(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``torch.compile`` changes neither output nor gradient, unless ``compiles = False``."""
    backbone = _backbone(component, device, dtype).train()
    if not getattr(backbone, "compiles", True):
        return
    torch.compiler.reset()
    compiled = torch.compile(backbone, backend="eager", dynamic=True)
    for lengths in ([CONTEXT_LENGTH + 1, 2], [1, 4, 4]):
        layout = SequenceLayout.build(lengths, device=device)
        x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
        for what, actual, expected in zip(
            ("output", "gradient"),
            _trained(_quiet(compiled), x_ND, layout),
            _trained(backbone, x_ND, layout),
            strict=True,
        ):
            sentence = f"torch.compile changes its {what}; fix that, or set compiles = False."
            require_close(actual, expected, component, sentence)
    torch.compiler.reset()


def gradients_reach_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Every trained parameter, and the encoder before the backbone, receives a finite gradient."""
    backbone = _backbone(component, device, dtype).train()
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 1, 3], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype).requires_grad_()
    y_NE = backbone(x_ND, layout)
    # Random weights: a final LayerNorm makes the gradient of a plain sum vanish.
    (y_NE * _random(*y_NE.shape, like=layout, dtype=dtype, seed=1)).sum().backward()
    require_finite_gradients(backbone, component)
    reached = x_ND.grad is not None and bool(x_ND.grad.isfinite().all() and x_ND.grad.any())
    require(reached, component, "no finite gradient reaches the encoder through the backbone's input.")


def gradients_are_those_of_the_output(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Gradient check: gradients equal finite differences along random directions.

    Directions are of input and parameters. The check runs in float64 whatever ``dtype`` is, and in
    training mode with equal dropout. A backbone that proposes statistics is checked in evaluation mode,
    in which they do not change.
    """
    del dtype  # Finite differences in lower precision are noise.
    backbone = _backbone(component, device, DOUBLE)
    backbone.train(not _proposes_statistics(backbone))
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 1, 3], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=DOUBLE).requires_grad_()
    point = [x_ND, *(p for p in backbone.parameters() if p.requires_grad)]
    with torch.no_grad():
        for tensor, noise in zip(point, _direction(point, layout, seed=0), strict=True):
            tensor += 0.05 * noise  # A layer of zeros would hide the gradients of earlier ones.
    gradients = _gradients(backbone, x_ND, layout)
    analytic, numeric = [], []
    for seed in (1, 2, 3):
        direction = _direction(point, layout, seed)
        products = (g * d for g, d in zip(gradients, direction, strict=True))
        analytic.append(torch.stack([product.sum() for product in products]).sum())
        numeric.append(_difference(lambda: _loss(backbone, x_ND, layout), point, direction))
    sentence = "its gradients differ from finite differences of its output."
    require_close(torch.stack(analytic), torch.stack(numeric), component, sentence, tolerance=1e-4)


def acting_does_not_disturb_training(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Gradients are the same after stepping under ``torch.inference_mode`` as without stepping."""
    acted, fresh = (_backbone(component, device, dtype) for _ in range(2))
    fresh.load_state_dict(acted.state_dict())
    layout = SequenceLayout.build([3] * 4, device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype).requires_grad_()
    expected = _gradients(fresh.train(), x_ND, layout)
    with torch.inference_mode():
        _step_through(acted, x_ND.view(2, 6, -1), layout.time_N.view(2, 6))
    try:
        gradients = _gradients(acted.train(), x_ND, layout)
    except RuntimeError as error:
        sentence = "after acting under torch.inference_mode it cannot be trained"
        raise AssertionError(f"{component.name}: {sentence}: {error}") from error
    actual, wanted = (torch.cat([g.flatten() for g in of_one]) for of_one in (gradients, expected))
    sentence = "after acting under torch.inference_mode its gradients differ from a fresh backbone's."
    require_close(actual, wanted, component, sentence)


def training_computes_what_evaluating_computes(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Training and evaluation mode give the same output, except for dropout and statistics.

    A backbone that draws random numbers in training mode, or proposes statistics, is skipped.
    """
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 2], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    trained_NE, again_NE = (_forward(backbone, x_ND, layout, True, seed) for seed in (2, 3))
    if _proposes_statistics(backbone) or not torch.equal(trained_NE, again_NE):
        return
    sentence = "without dropout or statistics, training mode gives another output than evaluation mode."
    require_close(trained_NE, _forward(backbone, x_ND, layout), component, sentence)


def only_a_commit_changes_what_is_saved(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A training forward and backward pass does not change the state dict."""
    backbone = _backbone(component, device, dtype).train()
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 2], device=device)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone(_random(layout.timesteps, IN_DIM, like=layout, dtype=dtype), layout).sum().backward()
    after = backbone.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    require(
        not changed,
        component,
        f"a forward pass changed {', '.join(changed)}; propose statistics and adopt them in commit().",
    )


def a_state_dict_restores_it(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A new backbone with the loaded state dict has the same output."""
    backbone = _backbone(component, device, dtype)
    restored = _backbone(component, device, dtype, seed=1)
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 2], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    _forward(restored, x_ND, layout)  # Fills caches of values derived from its own weights.
    restored.load_state_dict(backbone.state_dict())
    require_close(
        _forward(restored, x_ND, layout),
        _forward(backbone, x_ND, layout),
        component,
        "after load_state_dict its output differs: a weight is neither a parameter nor a buffer.",
    )


def safetensors_can_save_it(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Safetensors saves and loads the state dict: contiguous tensors that share no memory."""
    from safetensors.torch import load, save

    state = _backbone(component, device, dtype).state_dict()
    try:
        loaded = load(save(state))
    except (RuntimeError, ValueError) as error:
        raise AssertionError(f"{component.name}: safetensors cannot save it: {error}") from error
    same = loaded.keys() == state.keys() and all(
        torch.equal(loaded[name], tensor.cpu()) for name, tensor in state.items()
    )
    require(same, component, "safetensors loads other values than it saved.")


def single_precision_is_enough(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> None:
    """The output in ``dtype``, packed and stepped, agrees with float64 on the CPU."""
    exact, rounded = (
        _backbone(component, "cpu", torch.float32).double(),
        _backbone(component, device, dtype),
    )
    rounded.load_state_dict(exact.state_dict())
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1] * 3)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=torch.float32)
    packed_NE = _forward(exact, x_ND.double(), layout)
    there = SequenceLayout.build(layout.lengths, device=device)
    x_ND = x_ND.to(device, dtype)
    forward_NE = _forward(rounded, x_ND, there)
    stepped_BTE = _step_through(rounded, x_ND.view(3, CONTEXT_LENGTH + 1, -1), there.time_N.view(3, -1))
    for way, y_NE in (("forward", forward_NE), ("stepping", stepped_BTE.flatten(0, 1))):
        sentence = f"{way} in {dtype} differs from float64 by more than rounding."
        require_close(y_NE.cpu().double(), packed_NE, component, sentence, tolerance=2e-5)


BACKBONE_LAWS: tuple[Law, ...] = (
    it_is_as_wide_as_it_says,
    the_future_does_not_matter,
    sequences_of_a_pack_do_not_see_each_other,
    long_sequences_of_a_pack_do_not_see_each_other,
    stepping_equals_the_packed_forward,
    slices_may_begin_in_the_middle_of_a_task,
    stepping_beyond_the_context_equals_a_window,
    a_reset_forgets,
    the_state_holds_everything,
    the_state_does_not_grow,
    it_is_deterministic,
    compiling_changes_nothing,
    gradients_reach_every_parameter,
    gradients_are_those_of_the_output,
    acting_does_not_disturb_training,
    training_computes_what_evaluating_computes,
    only_a_commit_changes_what_is_saved,
    a_state_dict_restores_it,
    safetensors_can_save_it,
    single_precision_is_enough,
)
"""The laws that every backbone must pass."""


def _context(stretch: int) -> BackboneContext:
    return BackboneContext(
        in_dim=IN_DIM,
        context_length=stretch * CONTEXT_LENGTH,
        build=lambda part, context: part.build(context),
    )


def _backbone(
    component: Component, device: str, dtype: torch.dtype, seed: int = 0, stretch: int = 1
) -> Any:
    return build(component, _context(stretch), device=device, dtype=dtype, seed=seed)


def _windowed(component: Component, backbone: Any, device: str, dtype: torch.dtype) -> Any:
    """Return a copy of the backbone with a window in every layer and nested part."""
    options = _with_window(component.options())
    windowed = build(component, _context(1), options=options, device=device, dtype=dtype)
    windowed.load_state_dict(backbone.state_dict())
    return windowed


def _with_window(value: Any) -> Any:
    """Return options, or one option's value, with windows at most as wide as the acting state."""
    if isinstance(value, Part):
        return Part(value.kind, value.entry, _with_window(value.options))
    if isinstance(value, tuple | list):
        return type(value)(_with_window(item) for item in value)
    if not isinstance(value, Options):
        return value
    fields = type(value).model_fields
    update = {name: _with_window(getattr(value, name)) for name in fields if name != "window"}
    if "window" in fields:
        widest = CONTEXT_LENGTH + 1
        update["window"] = min(getattr(value, "window", None) or widest, widest)
    return value.model_copy(update=update)


def _random(*shape: int, like: SequenceLayout, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(like.offsets.device, dtype)


@torch.no_grad()
def _forward(
    backbone: Any, x_ND: Tensor, layout: SequenceLayout, training: bool = False, seed: int = 2
) -> Tensor:
    backbone.train(training)
    with seeded(seed):  # Equal numbers of rows get equal dropout masks.
        y_NE = cast(Tensor, backbone(x_ND, layout))
    backbone.eval()
    return y_NE


def _quiet(compiled: Any) -> Callable[..., Tensor]:
    """Return the call with torch's own warnings suppressed: plugin authors cannot fix them."""

    def call(x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cast(Tensor, compiled(x_ND, layout))

    return call


def _trained(backbone: Any, x_ND: Tensor, layout: SequenceLayout) -> tuple[Tensor, Tensor]:
    """Return the output in training mode, and the gradient of a randomly weighted sum of it."""
    x_ND = x_ND.clone().requires_grad_()
    with seeded(2):
        y_NE = backbone(x_ND, layout)
    weights_NE = _random(*y_NE.shape, like=layout, dtype=x_ND.dtype, seed=1)
    loss = (y_NE * weights_NE).sum()
    (gradient_ND,) = torch.autograd.grad(loss, x_ND, materialize_grads=True)
    return y_NE.detach(), gradient_ND


def _loss(backbone: Any, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
    """Return a randomly weighted sum of the output, in the backbone's current mode."""
    with seeded(2):
        y_NE = backbone(x_ND, layout)
    weights_NE = _random(*y_NE.shape, like=layout, dtype=x_ND.dtype, seed=1)
    return cast(Tensor, (y_NE * weights_NE).sum())


def _gradients(backbone: Any, x_ND: Tensor, layout: SequenceLayout) -> tuple[Tensor, ...]:
    """Return gradients of a randomly weighted sum of the output: input, then each parameter."""
    point = [x_ND, *(p for p in backbone.parameters() if p.requires_grad)]
    return torch.autograd.grad(_loss(backbone, x_ND, layout), point, materialize_grads=True)


def _direction(point: list[Tensor], layout: SequenceLayout, seed: int) -> list[Tensor]:
    first = (seed + 1) * len(point)
    return [
        _random(*tensor.shape, like=layout, dtype=tensor.dtype, seed=first + index)
        for index, tensor in enumerate(point)
    ]


@torch.no_grad()
def _difference(loss: Callable[[], Tensor], point: list[Tensor], direction: list[Tensor]) -> Tensor:
    """Return the central difference of a loss along a direction; the point is restored."""
    step = 1e-8  # Longer steps cross kinks of leaky rectifiers, shorter ones are lost to rounding.
    origin = [tensor.clone() for tensor in point]
    ends = []
    for sign in (1, -1, 0):
        for tensor, start, along in zip(point, origin, direction, strict=True):
            tensor.copy_(start + sign * step * along)
        if sign:
            ends.append(loss())
    return (ends[0] - ends[1]) / (2 * step)


def _proposes_statistics(backbone: Any) -> bool:
    return any(hasattr(module, "commit") for module in backbone.modules())


@torch.no_grad()
def _step_through(backbone: Any, x_BTD: Tensor, time_BT: Tensor) -> Tensor:
    return _steps(backbone, x_BTD, time_BT, backbone.initial_state(x_BTD.shape[0]))[0]


def _steps(backbone: Any, x_BTD: Tensor, time_BT: Tensor, state: State) -> tuple[Tensor, State]:
    """Step through T timesteps, with a reset before every step at time 0 except the first."""
    outputs = []
    for step in range(x_BTD.shape[1]):
        starts_B = time_BT[:, step] == 0
        if step and starts_B.any():
            state = backbone.reset(state, starts_B)
        y_BE, state = backbone.step(x_BTD[:, step], time_BT[:, step], state)
        outputs.append(y_BE.clone())
    return torch.stack(outputs, dim=1), state


def _copy(state: State, component: Component) -> State:
    copied: State = {}
    for name, value in state.items():
        require(
            isinstance(value, Tensor | dict),
            component,
            f"the acting state's {name!r} is of type {type(value).__name__}, "
            "neither a tensor nor a dictionary.",
        )
        copied[name] = value.clone() if isinstance(value, Tensor) else _copy(value, component)
    return copied


def _shapes(state: State, prefix: str = "") -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            shapes |= _shapes(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            shapes[prefix + name] = tuple(value.shape)
    return shapes


def _differences(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> str:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name} from {before.get(name)} to {after.get(name)}" for name in names)


def _mode(training: bool) -> str:
    return "while training" if training else "while evaluating"
