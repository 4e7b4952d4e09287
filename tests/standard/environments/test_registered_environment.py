from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from pydantic import ValidationError

from amago_registry.contexts import EnvironmentContext
from amago_standard.environments import (
    EnvironmentMakeError,
    RegisteredEnvironment,
    UnknownEnvironmentError,
)
from amago_standard.environments.options import GymnasiumOptions


def make(name: str, **options: Any) -> Any:
    return RegisteredEnvironment(EnvironmentContext(), GymnasiumOptions(id=name, **options)).make()


@pytest.fixture
def needs_a_package() -> Iterator[str]:
    def entry_point() -> None:
        raise gymnasium.error.DependencyNotInstalled('run `pip install "gymnasium[box2d]"`')

    gymnasium.register("AmagoNeedsPackage-v0", entry_point=entry_point)
    yield "AmagoNeedsPackage-v0"
    gymnasium.registry.pop("AmagoNeedsPackage-v0")


def test_it_makes_what_gymnasium_registers_and_knows_the_step_budget() -> None:
    env = make("CartPole-v1")
    assert env.reset(seed=0)[0].shape == (4,)
    assert env.spec.max_episode_steps == 500


def test_keyword_arguments_reach_the_environment() -> None:
    assert make("CartPole-v1", kwargs={"render_mode": "rgb_array"}).render_mode == "rgb_array"


@pytest.mark.parametrize(("terminates", "end"), [(False, (False, True)), (True, (True, False))])
def test_a_time_limit_truncates_unless_it_is_set_to_terminate(
    terminates: bool, end: tuple[bool, bool]
) -> None:
    env = make("CartPole-v1", kwargs={"max_episode_steps": 2}, time_limit_terminates=terminates)
    env.reset(seed=0)
    assert env.step(0)[2:4] == (False, False)
    assert env.step(1)[2:4] == end
    assert env.spec.max_episode_steps == 2


def part(name: str, **options: Any) -> RegisteredEnvironment:
    return RegisteredEnvironment(EnvironmentContext(), GymnasiumOptions(id=name, **options))


def test_what_is_registered_with_a_vector_form_offers_it() -> None:
    vector = part("CartPole-v1", kwargs={"sutton_barto_reward": True}).make_vector(3)
    assert type(vector.unwrapped).__name__ == "CartPoleVectorEnv"
    vector.reset(seed=0)
    assert vector.step(np.zeros(3, np.int64))[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("terminates", "end"), [(False, (False, True)), (True, (True, False))])
def test_a_time_limit_of_the_vector_form_terminates_too(
    terminates: bool, end: tuple[bool, bool]
) -> None:
    limited = {"kwargs": {"max_episode_steps": 2}, "time_limit_terminates": terminates}
    vector = part("CartPole-v1", **limited).make_vector(2)
    vector.reset(seed=0)
    ends = [vector.step(np.array([0, 1]))[2:4] for _ in range(2)]
    assert [[flags.tolist() for flags in pair] for pair in ends] == [
        [[False] * 2, [False] * 2],
        [[flag] * 2 for flag in end],
    ]


def test_a_missing_vector_form_is_named_with_what_to_write() -> None:
    with pytest.raises(EnvironmentMakeError) as caught:
        part("Pendulum-v1").make_vector(2)
    assert str(caught.value) == (
        "the gymnasium environment 'Pendulum-v1' has no vector form of its own, which "
        "collector.vectorization=native needs: write collector.vectorization=sync, or async for slow "
        "ones"
    )


def test_an_unknown_id_has_no_vector_form_either() -> None:
    with pytest.raises(UnknownEnvironmentError, match="Did you mean 'CartPole-v1' or"):
        part("CartPole-v7").make_vector(2)


def test_an_id_that_would_import_is_refused_before_anything_happens() -> None:
    with pytest.raises(ValidationError) as caught:
        GymnasiumOptions(id="os:CartPole-v1")
    assert caught.value.errors()[0]["msg"] == (
        "'os:CartPole-v1' would import the module 'os', and a spec never imports. Name an id that an "
        "installed package registers, or pass the environment from Python: "
        "amago_core.train(spec, environment=make)"
    )


def test_an_id_is_required() -> None:
    with pytest.raises(ValidationError) as caught:
        GymnasiumOptions.model_validate({})
    assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == [
        (("id",), "Field required")
    ]


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("CartPole-v7", " Did you mean 'CartPole-v1' or 'CartPole-v0'?"),
        ("cartpole", " Did you mean 'CartPole-v1' or 'CartPole-v0'?"),
        ("Cart Pole", " Did you mean 'CartPole-v1' or 'CartPole-v0'?"),
        ("Acrobat-v1", " Did you mean 'Acrobot-v1'?"),
        ("zoo/qqqq-v0", ""),
    ],
)
def test_an_unknown_id_names_what_is_close_and_how_to_list_all(name: str, guess: str) -> None:
    with pytest.raises(UnknownEnvironmentError) as caught:
        make(name)
    assert str(caught.value) == (
        f"no installed package registers the gymnasium environment '{name}'.{guess} "
        f"To list all {len(gymnasium.registry)} that are registered, type: "
        'python -c "import gymnasium; gymnasium.pprint_registry()"'
    )
    assert isinstance(caught.value.__cause__, gymnasium.error.Error)


def test_a_missing_package_is_named(needs_a_package: str) -> None:
    with pytest.raises(EnvironmentMakeError) as caught:
        make(needs_a_package)
    assert str(caught.value) == (
        "the gymnasium environment 'AmagoNeedsPackage-v0' needs a package that is not installed: "
        'run `pip install "gymnasium[box2d]"`'
    )


def test_a_failing_constructor_is_quoted_with_what_it_was_given() -> None:
    with pytest.raises(EnvironmentMakeError) as caught:
        make("CartPole-v1", kwargs={"gravity": 3})
    assert str(caught.value).startswith(
        "the gymnasium environment 'CartPole-v1' could not be made with gravity=3: TypeError: "
    )
    assert "'gravity'" in str(caught.value)
    assert isinstance(caught.value.__cause__, TypeError)
