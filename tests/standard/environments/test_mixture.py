from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from amago_registry.contexts import EnvironmentContext
from amago_registry.errors import UnsupportedSpaceError
from amago_standard.environments import Bandit, MixedTask, Mixture, TMaze
from amago_standard.environments.mixture import MixturePart
from amago_standard.environments.options import MixtureOptions

MAZE = {"use": "t-maze", "length": 2}
BANDIT = {"use": "bandit", "arms": 6, "pulls": 4}


def mixture(*tasks: Any, **options: Any) -> Mixture:
    """Make a mixture as a spec does."""
    model = MixtureOptions.model_validate({"tasks": list(tasks), **options})
    return MixturePart(EnvironmentContext(), model).make()


class Scripted(gymnasium.Env[Any, Any]):
    """Pays 3 and ends by time after one step; remembers what it was asked."""

    def __init__(self, action_space: Any, observation_space: Any, shown: Any = None) -> None:
        self.action_space, self.observation_space = action_space, observation_space
        self.shown = observation_space.sample() if shown is None else shown
        self.asked: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.asked.append((seed, options))
        return self.shown, {"from": "reset"}

    def step(self, action: Any) -> Any:
        self.asked.append(action)
        return self.shown, 3, False, True, {"success": 0.5}


ONE = spaces.Box(-1, 1, (1,), np.float32)


def test_observations_lie_under_the_names_of_their_tasks_and_absent_ones_are_zero() -> None:
    env = mixture(MAZE, BANDIT, weights=[1, 0])
    obs, _ = env.reset(seed=0)
    cue = env.present.env.unwrapped._goal  # type: ignore[attr-defined]
    assert {key: value.tolist() for key, value in obs.items()} == {
        "t-maze": [0, cue],
        "bandit": [0],
        "task": 0,
        "action_mask": [1, 1, 1, 1, 0, 0],
    }
    assert env.action_space == spaces.Discrete(6)


def test_the_widest_task_may_take_every_action() -> None:
    obs, _ = mixture(MAZE, BANDIT, weights=[0, 1]).reset(seed=0)
    assert obs["task"] == 1
    assert obs["action_mask"].tolist() == [1] * 6


def test_tasks_of_as_many_actions_need_no_mask_and_the_task_may_be_hidden() -> None:
    env = mixture(MAZE, {**BANDIT, "arms": 4}, show_task=False)
    assert sorted(env.reset(seed=0)[0]) == sorted(env.observation_space) == ["bandit", "t-maze"]


def test_a_task_that_shows_a_mask_keeps_it() -> None:
    shown = spaces.Dict({"action_mask": spaces.MultiBinary(2)})
    choosy = Scripted(spaces.Discrete(2), shown, {"action_mask": np.array([0, 1], np.int8)})
    env = Mixture(
        [MixedTask("choosy", choosy), MixedTask("free", Scripted(spaces.Discrete(3), ONE), 0)]
    )
    assert env.reset(seed=0)[0]["action_mask"].tolist() == [0, 1, 0]


def test_rewards_are_scaled_task_by_task() -> None:
    plain, scaled = (mixture(MAZE, reward_scales=[scale]) for scale in (1, 1000))
    rewards = []
    for env in (plain, scaled):
        env.reset(seed=0)
        rewards.append([env.step(2)[1] for _ in range(2)])
    assert rewards == [[-0.5, -0.5], [-500.0, -500.0]]


def test_the_end_and_the_info_are_the_tasks_own() -> None:
    env = Mixture([MixedTask("one", Scripted(spaces.Discrete(2), ONE), reward_scale=0.5)])
    assert env.reset(seed=0)[1] == {"from": "reset", "task": "one"}
    assert env.step(1)[1:] == (1.5, False, True, {"success": 0.5})


def test_the_info_of_a_reset_names_the_task_also_one_of_a_mixture_within() -> None:
    env = mixture(MAZE, {"use": "mixture", "tasks": [BANDIT, MAZE], "show_task": False})
    named = {env.reset(seed=seed)[1]["task"] for seed in range(40)}
    assert named == {"t-maze", "mixture/bandit", "mixture/t-maze"}


def test_actions_are_renumbered_for_the_task_and_options_passed_unchanged() -> None:
    inner = Scripted(spaces.Discrete(3, start=5), ONE)
    env = Mixture([MixedTask("one", inner)])
    env.reset(seed=0, options={"goals": 2})
    env.step(2)
    assert inner.asked[0][1] == {"goals": 2}
    assert inner.asked[1] == 7


def test_the_same_boxes_are_passed_through() -> None:
    box = spaces.Box(-2, 2, (3,), np.float32)
    inner = Scripted(box, ONE)
    env = Mixture([MixedTask("one", inner), MixedTask("two", Scripted(box, ONE), weight=0)])
    env.reset(seed=0)
    env.step(box.high)
    assert env.action_space == box
    assert inner.asked[1] is box.high
    assert "action_mask" not in env.observation_space.spaces


def test_the_horizon_is_that_of_the_longest_task() -> None:
    assert mixture(MAZE, BANDIT).horizon == 4
    assert mixture(MAZE, {"use": "gymnasium", "id": "CartPole-v1"}).horizon == 500
    endless = Scripted(spaces.Discrete(4), ONE)
    assert Mixture([MixedTask("maze", TMaze()), MixedTask("endless", endless)]).horizon is None


def test_a_second_task_of_a_name_is_counted() -> None:
    env = mixture(BANDIT, MAZE, {**BANDIT, "arms": 3}, BANDIT)
    assert [task.name for task in env.tasks] == ["bandit", "t-maze", "bandit-2", "bandit-3"]


def test_each_task_is_drawn_as_often_as_its_weight_says() -> None:
    env = mixture(MAZE, BANDIT, {**BANDIT, "arms": 2}, weights=[3, 0, 1])
    drawn = np.bincount([int(env.reset(seed=seed)[0]["task"]) for seed in range(2000)], minlength=3)
    assert drawn[1] == 0
    assert abs(drawn[0] / 2000 - 0.75) < 0.03


@pytest.mark.parametrize("weight", [1e308, 5e-324])
def test_only_the_ratio_of_weights_matters(weight: float) -> None:
    drawn = [
        mixture(MAZE, BANDIT, weights=weights).reset(seed=seed)[1]["task"]
        for weights in ([weight, weight], [1, 1])
        for seed in range(20)
    ]
    assert drawn[:20] == drawn[20:]


def test_weights_change_no_space() -> None:
    one, other = (mixture(MAZE, BANDIT, weights=weights) for weights in ([1, 1], [0, 1]))
    assert one.observation_space == other.observation_space
    assert one.action_space == other.action_space


def played(env: Mixture, seed: int | None, choices: list[int]) -> list[Any]:
    """Everything seen on one trajectory, whose actions repeat ``choices``."""
    obs, _ = env.reset(seed=seed)
    seen: list[Any] = [obs]
    over = False
    while not over:
        action = choices[len(seen) % len(choices)] % int(obs["action_mask"].sum())
        obs, reward, over, truncated, info = env.step(action)
        assert obs in env.observation_space
        assert not truncated
        seen.append((reward, info, {key: value.tolist() for key, value in obs.items()}))
    return [str(item) for item in seen]


@given(seed=st.integers(0, 2**31), choices=st.lists(st.integers(0, 9), min_size=1, max_size=9))
@settings(max_examples=20, deadline=None)
def test_seed_and_actions_always_decide_the_trajectory(seed: int, choices: list[int]) -> None:
    used = mixture(MAZE, BANDIT)
    played(used, seed + 1, choices)
    assert played(used, seed, choices) == played(mixture(MAZE, BANDIT), seed, choices)


def test_without_a_seed_the_next_task_is_another() -> None:
    env = mixture(MAZE, BANDIT)
    env.reset(seed=0)
    assert {int(env.reset()[0]["task"]) for _ in range(20)} == {0, 1}


def test_absent_observations_are_the_least_that_a_space_without_zero_has() -> None:
    strange = spaces.Dict(
        {
            "box": spaces.Box(2, 5, (2,), np.float32),
            "index": spaces.Discrete(3, start=4),
            "indices": spaces.MultiDiscrete([2, 2], start=[1, 3]),
            "pair": spaces.Tuple((spaces.MultiBinary(2), spaces.Box(-9, -1, (), np.float64))),
        }
    )
    strange.seed(0)
    env = Mixture(
        [MixedTask("strange", Scripted(spaces.Discrete(4), strange), 0), MixedTask("m", TMaze())]
    )
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    assert str(obs["strange"]) == str(
        {
            "box": np.full(2, 2, np.float32),
            "index": np.int64(4),
            "indices": np.array([1, 3]),
            "pair": (np.zeros(2, np.int8), np.array(-1.0)),
        }
    )


@pytest.mark.filterwarnings("ignore:.*not having a spec:UserWarning")  # It is made from parts, no id.
@pytest.mark.parametrize("weights", [(1, 0), (0, 1)])
def test_gymnasiums_own_check_passes(weights: tuple[float, float]) -> None:
    tasks = zip(("maze", "bandit"), (TMaze(length=4), Bandit(arms=4, pulls=7)), weights, strict=True)
    check_env(Mixture([MixedTask(*row) for row in tasks]), skip_render_check=True)


def test_the_present_task_is_drawn_and_all_are_closed() -> None:
    made = {"render_mode": "rgb_array"}
    env = Mixture([MixedTask("maze", TMaze(length=3, **made)), MixedTask("m", TMaze(**made), weight=0)])
    env.reset(seed=0)
    assert env.render_mode == "rgb_array"
    assert env.render().shape == (3 * 8, 4 * 8, 3)
    env.close()


def test_an_action_that_the_task_lacks_is_refused() -> None:
    env = mixture(MAZE, BANDIT, weights=[1, 0])
    env.reset(seed=0)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        env.step(5)
    assert str(caught.value) == (
        "action 5 was taken in the task t-maze, whose actions are 0 to 3; the observation "
        "'action_mask' says which there are"
    )


@pytest.mark.parametrize("other", [spaces.MultiBinary(4), spaces.Box(0, 1, (1,), np.float32)])
def test_actions_that_do_not_go_together_are_refused(other: Any) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        Mixture([MixedTask("maze", TMaze()), MixedTask("other", Scripted(other, ONE))])
    assert str(caught.value) == (
        "a mixture takes tasks that all have Discrete actions, or all the same Box; these have: "
        f"maze Discrete(4), other {other}. Leave out those that do not go together."
    )


def test_an_observation_that_cannot_be_absent_is_refused() -> None:
    text = spaces.Text(3)
    with pytest.raises(UnsupportedSpaceError) as caught:
        Mixture([MixedTask("reader", Scripted(spaces.Discrete(2), text))])
    assert str(caught.value) == (
        "a mixture takes observations of Box, Discrete, MultiBinary and MultiDiscrete, also in a Dict "
        f"or Tuple; the task reader shows {text}."
    )


@pytest.mark.parametrize(
    ("options", "place", "message"),
    [
        ({"weights": [1]}, "weights", "has 1 numbers for 2 tasks; write one for each, in their order"),
        (
            {"reward_scales": [1, 2, 3]},
            "reward_scales",
            "has 3 numbers for 2 tasks; write one for each, in their order",
        ),
        ({"weights": [0, 0]}, "weights", "leaves no task to draw; let one be above 0"),
        ({"show_task": 1}, "show_task", "Input should be a valid boolean"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], place: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        mixture(MAZE, BANDIT, **options)
    assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == [((place,), message)]


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        mixture()
