"""The dry run of all parts on random timesteps before training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from toys import Choosy, tiny

from amago_core.acting.agent import Agent
from amago_core.acting.task import Task
from amago_core.compose.dry_run import dry_run
from amago_core.compose.networks import compose_agent, compose_objective
from amago_core.compose.tasks import compose_task
from amago_core.errors import AmagoError
from amago_core.spec import RunSpec, load_spec

Composed = tuple[RunSpec, Task, Agent, nn.Module]


def composed(**changes: Any) -> Composed:
    spec = load_spec(tiny(**changes))
    task = compose_task(spec.environment, 0)
    agent = compose_agent(spec.agent, task)
    return spec, task, agent, compose_objective(spec.agent, agent, task)


def run_dry(spec: RunSpec, task: Task, agent: Agent, objective: nn.Module) -> None:
    dry_run(agent, objective, task, spec.agent)


def test_a_dry_run_changes_neither_weights_nor_random_state() -> None:
    parts = composed()
    _, _, agent, objective = parts
    torch.manual_seed(3)
    before = torch.get_rng_state()
    states = [{k: v.clone() for k, v in module.state_dict().items()} for module in (agent, objective)]
    run_dry(*parts)
    for module in agent.modules():
        if hasattr(module, "commit"):
            module.commit()
    assert torch.equal(torch.get_rng_state(), before)
    for module, state in zip((agent, objective), states, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **settings: Any) -> Any:
        raise error

    return fail


TOO_NARROW = RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x8 and 9x9)\nmore of it")


@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        ("encoder", "forward", "encoder standard/mlp"),
        ("backbone", "forward", "backbone standard/gru"),
        ("backbone", "step", "backbone standard/gru"),
        ("backbone", "initial_state", "backbone standard/gru"),
        ("backbone", "reset", "backbone standard/gru"),
        ("actor", "forward", "actor standard/mlp"),
        ("critic", "predict_all", "critic standard/ensemble"),
        ("critic", "value", "critic standard/ensemble"),
        ("objective", "loss", "objective standard/amago"),
    ],
)
def test_an_exception_of_a_part_becomes_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, part: str, method: str, name: str
) -> None:
    parts = composed()
    target = parts[3] if part == "objective" else getattr(parts[2], part)
    monkeypatch.setattr(target, method, raising(TOO_NARROW))
    with pytest.raises(AmagoError) as caught:
        run_dry(*parts)
    assert str(caught.value) == (
        f"the {name} cannot be used: a dry run on two random timesteps raised "
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x8 and 9x9)"
    )
    assert caught.value.__cause__ is TOO_NARROW


def test_an_amago_error_of_a_part_is_passed_on_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = composed()
    monkeypatch.setattr(parts[2].backbone, "forward", raising(AmagoError("not on this machine.")))
    with pytest.raises(AmagoError) as caught:
        run_dry(*parts)
    assert str(caught.value) == "not on this machine."


def test_an_exception_while_building_a_part_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amago_standard.backbones.gru.GRU.__init__", raising(TypeError("no width")))
    with pytest.raises(AmagoError) as caught:
        composed()
    assert str(caught.value) == (
        "the backbone standard/gru cannot be used: building it raised TypeError: no width"
    )


@pytest.mark.parametrize(("part", "use"), [("encoder", "standard/mlp"), ("backbone", "standard/gru")])
def test_a_part_whose_output_is_not_out_dim_wide_is_an_error(
    monkeypatch: pytest.MonkeyPatch, part: str, use: str
) -> None:
    parts = composed()
    monkeypatch.setattr(getattr(parts[2], part), "forward", lambda *seen: torch.zeros(2, 5))
    with pytest.raises(AmagoError) as caught:
        run_dry(*parts)
    assert str(caught.value) == (
        f"the {part} {use} returned the shape (2, 5) for two timesteps; its out_dim says (2, 8)."
    )


class Flat:
    """A distribution without a dimension for discounts."""

    def sample(self) -> Tensor:
        return torch.zeros(2, dtype=torch.int64)

    mode = sample


def test_an_actor_without_the_discount_dimension_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = composed()
    monkeypatch.setattr(parts[2].actor, "forward", lambda state_NE: Flat())
    with pytest.raises(AmagoError) as caught:
        run_dry(*parts)
    assert str(caught.value) == (
        "the actor standard/mlp sampled actions of shape (2,) for two timesteps under 2 discounts; "
        "for Discrete(3) it must be (2, 2)."
    )


def test_the_actor_gets_the_action_mask_in_the_loss_and_when_acting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = load_spec(tiny(environment=None), local_environment=True)
    task = compose_task(None, 0, lambda: Choosy(spaces.Discrete(4)))
    agent = compose_agent(spec.agent, task)
    objective = compose_objective(spec.agent, agent, task)
    shown: list[Tensor] = []
    forward = agent.actor.forward
    monkeypatch.setattr(
        agent.actor, "forward", lambda state, mask: (shown.append(mask), forward(state, mask))[1]
    )
    dry_run(agent, objective, task, spec.agent)
    assert len(shown) >= 3  # Alone, in the loss, and when acting.
    assert all(mask.dtype == torch.bool and mask.shape[-1] == 4 for mask in shown)
