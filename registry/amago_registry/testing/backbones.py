"""Laws of sequence backbones.

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
    """``out_dim`` is an integer; rows and steps come out that wide."""
    backbone = _backbone(component, device, dtype)
    width = getattr(backbone, "out_dim", None)
    require(isinstance(width, int), component, f"its out_dim is {width!r}, no integer.")
    layout = SequenceLayout.build([3, 1], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    stepped_BTE = _step_through(backbone, x_ND[:, None], layout.time_N[:, None])
    for y_NE in (_forward(backbone, x_ND, layout), stepped_BTE[:, 0]):
        shape, wanted = tuple(y_NE.shape), (layout.timesteps, width)
        require(shape == wanted, component, f"its vectors have the shape {shape}, not {wanted}.")


def the_future_does_not_matter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A row stays as it is when later rows of its sequence change, in training too."""
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
                f"the packed forward {_mode(training)} lets timestep {present} see its future.",
            )


def sequences_of_a_pack_do_not_see_each_other(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A sequence's rows stay as they are when the others change or go, in training too."""
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([3, 1, CONTEXT_LENGTH + 1, 2, 2], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    for training in (False, True):
        before_NE = _forward(backbone, x_ND, layout, training)
        for sequence, length in enumerate(layout.lengths):
            own_N = layout.sequence_N == sequence
            changed_ND = torch.where(own_N[:, None], x_ND, x_ND + 3.0)
            sentence = f"in a pack {_mode(training)}, sequence {sequence} sees its neighbours."
            after_NE = _forward(backbone, changed_ND, layout, training)
            require_close(after_NE[own_N], before_NE[own_N], component, sentence)
            if not training:  # Dropout would fall on other rows.
                alone = SequenceLayout.build([length], device=device)
                alone_NE = _forward(backbone, x_ND[own_N], alone, training)
                require_close(alone_NE, before_NE[own_N], component, sentence)


def long_sequences_of_a_pack_do_not_see_each_other(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Hundreds of rows long, which kernels take in chunks, a sequence is in a pack what it is alone."""
    backbone = _backbone(component, device, dtype, stretch=50)
    lengths = [5, 300, 1, 130, 260]
    layout = SequenceLayout.build(lengths, device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    packed_NE = _forward(backbone, x_ND, layout)
    for length, own_ND, own_NE in zip(
        lengths, torch.split(x_ND, lengths), torch.split(packed_NE, lengths), strict=True
    ):
        alone_NE = _forward(backbone, own_ND, SequenceLayout.build([length], device=device))
        sentence = f"in a pack, a sequence of {length} timesteps is not what it is alone."
        require_close(own_NE, alone_NE, component, sentence)


def stepping_equals_the_packed_forward(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Acting computes what training computes, while every environment resets at its own time.

    How many environments act side by side, one included, does not matter.
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
        "stepping, with resets at each environment's own time, is not the packed forward.",
    )
    require_close(
        _step_through(backbone, x_BTD[:1], time_BT[:1]),
        stepped_BTE[:1],
        component,
        "one environment, stepped alone, is not what it is among several.",
    )


def slices_may_begin_in_the_middle_of_a_task(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A slice is the same in a pack, alone, and stepped with its times from a new state.

    Training cuts slices out of longer trajectories, so their first time is any number.
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
        sentence = f"a slice that begins in the middle of its task is not {way} what it is in a pack."
        require_close(y_NE, packed_NE, component, sentence)


def stepping_beyond_the_context_equals_a_window(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Longer than the context, acting equals the packed forward under a window in every layer.

    A backbone whose options have ``window`` is compared with itself under a window of
    ``context_length + 1`` (or its own, if that is smaller), and so are parts nested in its options.
    Any other is taken to remember without bound: it is compared with its packed forward of the whole
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
        f"stepping beyond the context of {CONTEXT_LENGTH + 1} timesteps is not the packed forward of "
        "the whole trajectory under a causal window of that size (or, where the options have no "
        "`window`, under none).",
    )


def a_reset_forgets(component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE) -> None:
    """What an environment saw before its reset changes nothing after it: neither long nor infinite."""
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
    for what, seen_BTD in (("", past_BTD), ("infinite ", infinite_BTD)):
        with torch.no_grad():
            used = _walk(backbone, seen_BTD, time_BT[:, :steps], backbone.initial_state(3))[1]
            used = backbone.reset(used, mask_B)
            after_BTE = _walk(backbone, future_BTD, time_BT[:, steps:], used)[0]
        require_close(
            after_BTE[mask_B],
            expected_BTE[mask_B],
            component,
            f"after {steps} {what}steps and a reset, an environment does not act like a new one.",
        )


def the_state_holds_everything(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Acting goes on from a stored state exactly: nothing is remembered anywhere else."""
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([CONTEXT_LENGTH] * 2, device=device)
    x_BTD = _random(2, CONTEXT_LENGTH, IN_DIM, like=layout, dtype=dtype)
    time_BT = layout.time_N.view(2, -1)
    half = CONTEXT_LENGTH // 2
    with torch.no_grad():
        state = _walk(backbone, x_BTD[:, :half], time_BT[:, :half], backbone.initial_state(2))[1]
        stored = _copy(state, component)
        first = _walk(backbone, x_BTD[:, half:], time_BT[:, half:], state)[0]
        again = _walk(backbone, x_BTD[:, half:], time_BT[:, half:], stored)[0]
    require_close(
        again, first, component, "going on from a stored acting state gives other representations."
    )


def the_state_does_not_grow(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The acting state has its final size from the start; a constant one at any context length."""
    backbone = _backbone(component, device, dtype)
    before = backbone.initial_state(2)
    steps = 3 * CONTEXT_LENGTH
    layout = SequenceLayout.build([steps] * 2, device=device)
    x_BTD = _random(2, steps, IN_DIM, like=layout, dtype=dtype)
    sizes = _shapes(before)
    with torch.no_grad():
        after = _shapes(_walk(backbone, x_BTD, layout.time_N.view(2, -1), before)[1])
    require(
        after == sizes,
        component,
        f"its acting state does not keep its size over {steps} steps: {_differences(sizes, after)}.",
    )
    if getattr(backbone, "constant_state", False):
        longer = _shapes(_backbone(component, device, dtype, stretch=10).initial_state(2))
        require(
            longer == sizes,
            component,
            "it claims constant_state, and a context ten times as long changes its acting state: "
            f"{_differences(sizes, longer)}.",
        )


def it_is_deterministic(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Torch's seed and the inputs decide every bit, whatever was computed before."""
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
        require(same, component, f"the same forward pass {_mode(training)}, run twice, has other bits.")


def compiling_changes_nothing(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """It computes the same under ``torch.compile``, or says ``compiles = False``."""
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
            sentence = f"torch.compile changes its {what}; mend that, or say compiles = False."
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
    """Along random directions of input and parameters, the output changes as its gradient says.

    It is computed in float64 whatever ``dtype`` is, and while training, with equal dropout; a backbone
    that proposes statistics is taken while evaluating, where they stand still.
    """
    del dtype  # Finite differences of anything shorter are noise.
    backbone = _backbone(component, device, DOUBLE)
    backbone.train(not _proposes_statistics(backbone))
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 1, 3], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=DOUBLE).requires_grad_()
    point = [x_ND, *(p for p in backbone.parameters() if p.requires_grad)]
    with torch.no_grad():
        for tensor, noise in zip(point, _direction(point, layout, seed=0), strict=True):
            tensor += 0.05 * noise  # A layer that begins as zeros would hide what lies behind it.
    gradients = _gradients(backbone, x_ND, layout)
    claimed, measured = [], []
    for seed in (1, 2, 3):
        direction = _direction(point, layout, seed)
        products = (g * d for g, d in zip(gradients, direction, strict=True))
        claimed.append(torch.stack([product.sum() for product in products]).sum())
        measured.append(_difference(lambda: _loss(backbone, x_ND, layout), point, direction))
    sentence = "its gradients are not those of its output, which finite differences measure."
    require_close(torch.stack(claimed), torch.stack(measured), component, sentence, tolerance=1e-4)


def acting_does_not_disturb_training(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """After acting under ``torch.inference_mode``, gradients are those of one that never acted."""
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
    sentence = "after acting under torch.inference_mode it has other gradients."
    require_close(actual, wanted, component, sentence)


def training_computes_what_evaluating_computes(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Training and evaluating give the same output, unless dropout or statistics set them apart.

    A backbone that draws random numbers while training, or proposes statistics, is not compared.
    """
    backbone = _backbone(component, device, dtype)
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 2], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    trained_NE, again_NE = (_forward(backbone, x_ND, layout, True, seed) for seed in (2, 3))
    if _proposes_statistics(backbone) or not torch.equal(trained_NE, again_NE):
        return
    sentence = "without dropout or statistics, training computes something else than evaluating."
    require_close(trained_NE, _forward(backbone, x_ND, layout), component, sentence)


def only_a_commit_changes_what_is_saved(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A training forward and backward pass leaves every saved bit as it was."""
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
    """A backbone built anew computes the same once it has loaded the state dict."""
    backbone = _backbone(component, device, dtype)
    restored = _backbone(component, device, dtype, seed=1)
    layout = SequenceLayout.build([CONTEXT_LENGTH + 1, 2], device=device)
    x_ND = _random(layout.timesteps, IN_DIM, like=layout, dtype=dtype)
    _forward(restored, x_ND, layout)  # So that what it may keep from its own weights is kept.
    restored.load_state_dict(backbone.state_dict())
    require_close(
        _forward(restored, x_ND, layout),
        _forward(backbone, x_ND, layout),
        component,
        "after load_state_dict it computes something else: a weight is neither parameter nor buffer.",
    )


def safetensors_can_save_it(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The state dict holds contiguous tensors that share no memory, and comes back bit by bit."""
    from safetensors.torch import load, save

    state = _backbone(component, device, dtype).state_dict()
    try:
        loaded = load(save(state))
    except (RuntimeError, ValueError) as error:
        raise AssertionError(f"{component.name}: safetensors cannot save it: {error}") from error
    same = loaded.keys() == state.keys() and all(
        torch.equal(loaded[name], tensor.cpu()) for name, tensor in state.items()
    )
    require(same, component, "safetensors reads back something else than it saved.")


def single_precision_is_enough(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> None:
    """Computed in ``dtype``, packed and stepped, it agrees with float64 on the CPU."""
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
        sentence = f"{way} in {dtype} strays from float64 by more than rounding."
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
"""What every backbone obeys."""


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
    """Return the backbone under a window in every layer, that of its nested parts too."""
    options = _within(component.options())
    windowed = build(component, _context(1), options=options, device=device, dtype=dtype)
    windowed.load_state_dict(backbone.state_dict())
    return windowed


def _within(value: Any) -> Any:
    """Return options, or one option's value, whose windows are no wider than what acting remembers."""
    if isinstance(value, Part):
        return Part(value.kind, value.entry, _within(value.options))
    if isinstance(value, tuple | list):
        return type(value)(_within(item) for item in value)
    if not isinstance(value, Options):
        return value
    fields = type(value).model_fields
    update = {name: _within(getattr(value, name)) for name in fields if name != "window"}
    if "window" in fields:
        remembered = CONTEXT_LENGTH + 1
        update["window"] = min(getattr(value, "window", None) or remembered, remembered)
    return value.model_copy(update=update)


def _random(*shape: int, like: SequenceLayout, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(like.offsets.device, dtype)


@torch.no_grad()
def _forward(
    backbone: Any, x_ND: Tensor, layout: SequenceLayout, training: bool = False, seed: int = 2
) -> Tensor:
    backbone.train(training)
    with seeded(seed):  # Dropout falls alike on equally many rows.
        y_NE = cast(Tensor, backbone(x_ND, layout))
    backbone.eval()
    return y_NE


def _quiet(compiled: Any) -> Callable[..., Tensor]:
    """Return the call without torch's own warnings, which name nothing that an author could mend."""

    def call(x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cast(Tensor, compiled(x_ND, layout))

    return call


def _trained(backbone: Any, x_ND: Tensor, layout: SequenceLayout) -> tuple[Tensor, Tensor]:
    """Return the output of a training pass, and the gradient of a random sum of it."""
    x_ND = x_ND.clone().requires_grad_()
    with seeded(2):
        y_NE = backbone(x_ND, layout)
    weights_NE = _random(*y_NE.shape, like=layout, dtype=x_ND.dtype, seed=1)
    loss = (y_NE * weights_NE).sum()
    (gradient_ND,) = torch.autograd.grad(loss, x_ND, materialize_grads=True)
    return y_NE.detach(), gradient_ND


def _loss(backbone: Any, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
    """Return a random sum of the output, in the mode the backbone is in."""
    with seeded(2):
        y_NE = backbone(x_ND, layout)
    weights_NE = _random(*y_NE.shape, like=layout, dtype=x_ND.dtype, seed=1)
    return cast(Tensor, (y_NE * weights_NE).sum())


def _gradients(backbone: Any, x_ND: Tensor, layout: SequenceLayout) -> tuple[Tensor, ...]:
    """Return the gradient of a random sum of the output: of the input, then of each parameter."""
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
    """Return the central difference of a loss along a direction, and leave the point as it was."""
    step = 1e-8  # Longer ones step over kinks of leaky rectifiers, shorter ones are lost to rounding.
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
    return _walk(backbone, x_BTD, time_BT, backbone.initial_state(x_BTD.shape[0]))[0]


def _walk(backbone: Any, x_BTD: Tensor, time_BT: Tensor, state: State) -> tuple[Tensor, State]:
    """Step along T, with a reset before every step at time 0 but the first."""
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
            f"the acting state's {name!r} is of the type {type(value).__name__}, "
            "neither tensor nor dictionary.",
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
