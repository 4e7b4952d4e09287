"""The standard backbones and attention kernels obey the laws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from amago_registry import Component, UnavailableError
from amago_registry.testing import ATTENTION_LAWS, BACKBONE_LAWS, Law, with_options
from amago_registry.testing.backbones import compiling_changes_nothing
from amago_standard.hooks import amago_register_attentions, amago_register_backbones

BACKBONES = {component.name: component for component in amago_register_backbones()}
ATTENTIONS = {component.name: component for component in amago_register_attentions()}
TRANSFORMER = BACKBONES["transformer"]
VARIANTS = {
    "window of 3": with_options(TRANSFORMER, window=3, layers=2, width=32, heads=4),
    "window beyond the context": with_options(TRANSFORMER, window=50, layers=2, width=32, heads=4),
    "reference attention": with_options(TRANSFORMER, attention="reference", width=32, heads=4),
    "a plain transformer": with_options(
        TRANSFORMER,
        norm="rms",
        activation="silu",
        positions="rotary",
        normformer=False,
        head_scale=False,
        reparametrize=False,
        kv_heads=1,
        sinks=1,
        layers=2,
        width=32,
        heads=4,
    ),
    "learned positions": with_options(TRANSFORMER, positions="learned", layers=1, width=32, heads=4),
    "sinks and a window": with_options(TRANSFORMER, sinks=2, window=3, layers=2, width=32, heads=4),
    "blocks computed again": with_options(TRANSFORMER, checkpoint=True, layers=2, width=32, heads=4),
    "wide values and no feed-forward": with_options(
        BACKBONES["gated-deltanet"], value_expansion=2, expansion=0, layers=2, width=12, heads=2
    ),
    "one layer": with_options(BACKBONES["gru"], layers=1, width=8),
    "one layer of two states": with_options(BACKBONES["lstm"], layers=1, width=8),
    "one number and a feed-forward": with_options(
        BACKBONES["lru"], layers=2, width=6, state_dim=1, expansion=1
    ),
    "one trace in one context": with_options(
        BACKBONES["ffm"], layers=2, width=6, traces=1, contexts=1, expansion=0
    ),
    "mamba with one layer": with_options(
        BACKBONES["mamba"], layers=1, width=6, heads=3, state_dim=2, expansion=1, kernel="torch"
    ),
    "one hidden layer": with_options(BACKBONES["mlp"], layers=1, width=8),
    "mingru and mlp": with_options(BACKBONES["hybrid"], width=6, blocks=["mingru", "mlp"]),
}
COMPILED = {
    "attention": "reference attention",
    "gated recurrence": "lstm",
    "linear recurrence": "lru",
    "state space": "mamba with one layer",
    "delta rule": "gated-deltanet",
    "hybrid": "mingru and mlp",
    "no memory": "mlp",
}
"""The cheapest backbone of each family, for which the law about ``torch.compile`` is not slow."""
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def cases(components: Mapping[str, Component]) -> list[Any]:
    """Every law for every component; compiling, which takes seconds, is fast once per family."""
    slow = {name: [] if name in COMPILED.values() else [pytest.mark.slow] for name in components}
    return [
        pytest.param(
            component,
            law,
            id=f"{name}-{law.__name__}",
            marks=slow[name] if law is compiling_changes_nothing else (),
        )
        for name, component in components.items()
        for law in BACKBONE_LAWS
    ]


def test_the_law_about_compiling_is_checked_once_per_family() -> None:
    assert set(COMPILED.values()) <= {*BACKBONES, *VARIANTS}
    assert compiling_changes_nothing in BACKBONE_LAWS


@pytest.mark.parametrize(("component", "law"), cases(BACKBONES))
def test_backbone_obeys(component: Component, law: Law) -> None:
    law(component)


@pytest.mark.parametrize(("component", "law"), cases(VARIANTS))
def test_backbone_with_other_options_obeys(component: Component, law: Law) -> None:
    law(component)


@pytest.mark.parametrize("law", ATTENTION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", ATTENTIONS.values(), ids=ATTENTIONS)
def test_attention_obeys(component: Component, law: Law) -> None:
    try:
        law(component)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("law", BACKBONE_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", BACKBONES.values(), ids=BACKBONES)
def test_backbone_obeys_on_the_gpu(component: Component, law: Law) -> None:
    law(component, device="cuda", dtype=torch.float32)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("law", ATTENTION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", ATTENTIONS.values(), ids=ATTENTIONS)
def test_attention_obeys_on_the_gpu(component: Component, law: Law) -> None:
    law(component, device="cuda", dtype=torch.float32)
