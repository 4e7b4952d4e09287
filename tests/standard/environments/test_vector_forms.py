"""Vectorised environments equal single ones, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_registry.contexts import EnvironmentContext
from amago_standard.environments.task import Factory
from amago_standard.hooks import amago_register_environments

PARTS = {component.name: component for component in amago_register_environments()}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "passive t-maze": ("t-maze", {"length": 3}),
    "shortest t-maze": ("t-maze", {"length": 1}),
    "active t-maze": ("t-maze", {"length": 3, "active": True}),
    "bandit": ("bandit", {"pulls": 7}),
    "skewed bandit": ("bandit", {"pulls": 7, "arms": 3, "skew": 2.5}),
    "gaussian bandit": ("bandit", {"pulls": 7, "gaussian": True}),
    "dark room": ("dark-room", {"size": 3, "attempts": 3, "attempt_limit": 5}),
    "dark room of even size": ("dark-room", {"size": 4, "attempts": 2, "attempt_limit": 1}),
    "key to door": ("dark-key-to-door", {"size": 2, "horizon": 40, "attempt_limit": 6}),
    "lit key to door": ("dark-key-to-door", {"size": 3, "horizon": 25, "light": True}),
    "shuffled": (
        "dark-key-to-door",
        {"size": 2, "horizon": 30, "attempt_limit": 4, "shuffle_actions": True},
    ),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def part(variant: str) -> Any:
    name, options = VARIANTS[variant]
    component = PARTS[name]
    return component.load()(EnvironmentContext(), component.options(**options))


def one_by_one(variant: str, count: int) -> SyncVectorEnv:
    return SyncVectorEnv([part(variant).make] * count, autoreset_mode=AutoresetMode.DISABLED)


def assert_same(found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    """Observations, rewards and ends, where there are any, and infos: values and types."""
    assert found[-1].keys() == expected[-1].keys()
    pairs = list(zip(found[:-1], expected[:-1], strict=True))
    pairs += [(found[-1][key], expected[-1][key]) for key in expected[-1]]
    for one, other in pairs:
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


@every_variant
@given(seed=st.integers(0, 2**31), count=st.integers(1, 4), cut=st.sampled_from([0, 0.05]))
@settings(max_examples=30, deadline=None)
def test_the_same_seeds_and_actions_always_lead_to_the_same_bits(
    variant: str, seed: int, count: int, cut: float
) -> None:
    together, alone = part(variant).make_vector(count), one_by_one(variant, count)
    rng = np.random.default_rng(seed)
    seeds: list[int | None] = rng.integers(2**32, size=count).tolist()
    assert_same(together.reset(seed=seeds), alone.reset(seed=seeds))
    ends = 0
    for _ in range(120):
        actions = rng.integers(together.single_action_space.n, size=count)
        found, expected = together.step(actions), alone.step(actions)
        assert_same(found, expected)
        # What has ended begins again, and what is cut before; not always with a seed.
        fresh_B = found[2] | (rng.random(count) < cut)
        ends += int(found[2].sum())
        if fresh_B.any():
            seeds = [None if rng.random() < 0.3 else int(rng.integers(2**32)) for _ in range(count)]
            begun, wanted = (
                side.reset(seed=seeds, options={"reset_mask": fresh_B.copy()})  # type: ignore[arg-type]
                for side in (together, alone)
            )
            assert_same(begun, wanted)
    assert cut or ends > 0


@every_variant
def test_spaces_and_mode_are_those_of_environments_one_by_one(variant: str) -> None:
    together, alone = part(variant).make_vector(3), one_by_one(variant, 3)
    assert together.num_envs == 3
    assert together.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    for name in ("", "single_"):
        for space in ("observation_space", "action_space"):
            assert getattr(together, name + space) == getattr(alone, name + space)


@every_variant
def test_returned_arrays_are_not_overwritten_by_later_steps(variant: str) -> None:
    vector = part(variant).make_vector(2)
    kept = list(vector.reset(seed=[1, 2])[:1])
    for _ in range(2):
        *arrays, infos = vector.step(np.array([1, 0]))
        kept += [*arrays, *infos.values()]
        over_B = arrays[2]
        if over_B.any():
            kept.append(vector.reset(options={"reset_mask": over_B})[0])
    before = [array.copy() for array in kept]
    for array in kept:
        assert array.base is None
    vector.reset()
    vector.step(np.array([0, 1]))
    vector.reset(seed=3)
    for array, was in zip(kept, before, strict=True):
        assert np.array_equal(array, was)


def test_one_seed_is_that_of_the_first_task_and_the_next_ones_follow() -> None:
    vector = part("key to door").make_vector(3)
    one = vector.reset(seed=7)[0]
    assert np.array_equal(one, vector.reset(seed=[7, 8, 9])[0])


def test_without_seeds_tasks_that_were_never_seeded_differ() -> None:
    obs, _ = part("lit key to door").make_vector(64).reset()
    assert len({row.tobytes() for row in obs}) > 16


def test_a_task_that_is_over_or_has_not_begun_is_not_stepped() -> None:
    vector = part("shortest t-maze").make_vector(2)
    sentence = (
        'tasks [0, 1] are over, or have not begun: reset them first, with options={"reset_mask": mask}'
    )
    for _ in range(2):
        with pytest.raises(ResetNeeded) as caught:
            vector.step(np.zeros(2, np.int64))
        assert str(caught.value) == sentence
        vector.reset(seed=0)
        for _ in range(2):
            vector.step(np.zeros(2, np.int64))
    vector.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded) as caught:
        vector.step(np.zeros(2, np.int64))
    assert str(caught.value) == sentence.replace("[0, 1]", "[1]")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"seed": [1, 2, 3]}, "got 3 seeds for 2 tasks"),
        (
            {"options": {"reset_mask": [True, False]}},
            "options['reset_mask'] is [True, False] instead of an array of 2 flags",
        ),
        (
            {"options": {"reset_mask": np.ones(3, bool)}},
            "options['reset_mask'] is array([ True,  True,  True]) instead of an array of 2 flags",
        ),
        (
            {"options": {"reset_mask": np.array([1, 0])}},
            "options['reset_mask'] is array([1, 0]) instead of an array of 2 flags",
        ),
    ],
)
def test_seeds_and_masks_that_do_not_fit_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        part("bandit").make_vector(2).reset(**words)
    assert str(caught.value) == message


def test_these_have_a_vector_form_and_the_others_none() -> None:
    having = {name for name, _ in VARIANTS.values()}
    assert having == {"t-maze", "bandit", "dark-room", "dark-key-to-door"}
    assert not hasattr(Factory, "make_vector")
