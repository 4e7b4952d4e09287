"""Build the parts of a resolved spec."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import Walk, tiny

from amago_core.compose.build import compose
from amago_core.compose.summary import Row, context_note, describe
from amago_core.compose.tasks import compose_task
from amago_core.environments import EnvironmentFault, make_environments
from amago_core.errors import AmagoError
from amago_core.spec import load_spec
from amago_registry.errors import UnsupportedSpaceError


class OtherSpace(Walk):
    """A walk that declares a given observation space."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        super().__init__()
        self.observation_space = space


def test_a_task_has_name_spaces_and_horizon() -> None:
    spec = load_spec(tiny())
    task = compose_task(spec.environment, 0)
    assert task.name == "standard/bandit"
    assert task.observed == spaces.Dict(observation=spaces.Box(-1, 1, (1,), np.float32))
    assert task.acted == spaces.Discrete(3)
    assert task.horizon == 10


def test_a_local_environment_is_named_after_its_function() -> None:
    def corridor() -> gymnasium.Env[Any, Any]:
        return Walk(named=True)

    task = compose_task(None, 0, corridor)
    assert task.name == "corridor"
    assert sorted(task.observed) == ["cell", "seen"]


def test_a_spec_without_an_environment_has_no_task() -> None:
    with pytest.raises(AmagoError) as caught:
        compose_task(None, 0)
    assert str(caught.value) == ("this spec has no environment: write environment: {use: some-name}.")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Discrete(2), None),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)]),
    ],
    ids=lambda space: type(space).__name__,
)
def test_observations_that_are_not_arrays_are_an_error(space: spaces.Space[Any]) -> None:
    def corridor() -> gymnasium.Env[Any, Any]:
        return OtherSpace(space)

    with pytest.raises(UnsupportedSpaceError) as caught:
        compose_task(None, 0, corridor)
    assert str(caught.value) == (
        f"environment corridor: observations of this kind are not supported: 'observation' {space}; "
        "use Box, Discrete, MultiBinary and MultiDiscrete, alone or in a Dict or Tuple, also nested."
    )


def test_an_environment_that_raises_is_an_error_that_names_it() -> None:
    def corridor() -> gymnasium.Env[Any, Any]:
        raise ValueError("length is 0")

    with pytest.raises(EnvironmentFault) as caught:
        compose_task(None, 0, corridor)
    assert str(caught.value) == (
        "environment corridor could not be constructed: ValueError: length is 0."
    )


def test_a_missing_vector_environment_is_an_error_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = load_spec(tiny(), ["collector.vectorization=native"])
    with pytest.raises(EnvironmentFault, match="has no vector form of its own"):
        compose(spec, Walk)
    compose(spec)
    made: list[Any] = []

    def spy(make: Any, *others: Any) -> Any:
        made.append(make)
        return make_environments(make, *others)

    monkeypatch.setattr("amago_core.compose.build.make_environments", spy)
    compose(spec)
    assert len(made) == 1
    made.clear()
    elsewhere = {"every": 0, "environment": {"use": "bandit", "arms": 3, "pulls": 20}}
    compose(load_spec(tiny(evaluation=elsewhere), ["collector.vectorization=native"]))
    assert [make().horizon for make in made] == [10, 20]


def test_the_table_has_a_row_per_part_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rows = describe(load_spec(tiny()))
    assert torch.equal(torch.get_rng_state(), before)
    assert rows[0] == Row("environment", "standard/bandit", "action 3 choices", "observation (1,)", 0)
    assert [row.part for row in rows[1:]] == [
        "agent.encoder", "agent.backbone", "agent.actor", "agent.critic", "agent.objective",
    ]  # fmt: skip
    encoder, backbone, actor, critic, objective = rows[1:]
    assert encoder.shape_in == "observation (1,), action (3,), reward ()"
    assert encoder.shape_out == backbone.shape_in == "(8,)"
    assert actor.shape_out == "2 discounts x 3 actions"
    assert critic.shape_out == "2 discounts of return"
    assert objective.parameters == 0
    # Hidden 8 and out 6 (2 discounts x 3 actions), each with a bias.
    assert actor.parameters == (8 * 8 + 8) + (8 * 6 + 6)


def test_a_context_shorter_than_a_trajectory_is_noted() -> None:
    short, whole = (load_spec(tiny(), [f"agent.context_length={length}"]) for length in (8, 10))
    task = compose_task(short.environment, 0)
    assert context_note(short, task) == (
        "agent.context_length is 8, and a trajectory of standard/bandit lasts up to 10 steps: "
        "the agent cannot learn from events that are further apart. To train on whole trajectories: "
        "agent.context_length=10"
    )
    assert context_note(whole, task) is None


def test_the_table_shows_the_choices_of_an_action() -> None:
    shown = {}
    for space in (spaces.MultiDiscrete([[3], [4]]), spaces.MultiBinary(5), spaces.Box(-2, 2, (3, 2))):
        spec = load_spec(tiny(environment=None), local_environment=True)
        environment, *_ = describe(spec, lambda space=space: Walk(action=space))
        shown[type(space).__name__] = environment.shape_in
    assert shown == {
        "MultiDiscrete": "action 3 x 4 choices", "MultiBinary": "action (5,)", "Box": "action (6,)"
    }  # fmt: skip


def test_the_same_seed_gives_the_same_weights() -> None:
    from amago_core.compose.networks import compose_agent

    spec = load_spec(tiny())
    task = compose_task(spec.environment, 0)
    agents = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        agents.append(torch.cat([p.flatten() for p in compose_agent(spec.agent, task).parameters()]))
    assert torch.equal(agents[0], agents[1])
    assert not torch.equal(agents[0], agents[2])
