"""Previous actions and rewards as inputs of the policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from amago_core.acting.policy_inputs import PolicyInputs
from amago_registry.actions import action_vector

CPU = torch.device("cpu")
SPACES = [
    spaces.Discrete(3),
    spaces.MultiDiscrete([3, 2, 4]),
    spaces.MultiBinary(3),
    spaces.Box(-1, 1, (2,), np.float32),
]
BOTH = np.ones(2, bool)


@given(space=st.sampled_from(SPACES), seed=st.integers(0, 99))
def test_the_previous_action_is_always_the_vector_of_the_last_played_action(
    space: Any, seed: int
) -> None:
    space.seed(seed)
    rng, inputs = np.random.default_rng(seed), PolicyInputs(space, 4, CPU)
    shown = torch.zeros_like(torch.from_numpy(inputs.prev_action_BA))
    for _ in range(5):
        action = np.stack([space.sample() for _ in range(4)])
        played_B = rng.random(4) < 0.5
        inputs.record(action, np.zeros(4), played_B)
        shown[played_B] = action_vector(torch.from_numpy(action), space)[played_B]
        assert torch.equal(inputs.tensors({}, np.zeros(4, np.int64))[1], shown)


def test_the_previous_reward_is_that_of_the_last_played_step_in_float32() -> None:
    inputs = PolicyInputs(spaces.Discrete(2), 2, CPU)
    inputs.record(np.array([1, 1]), np.array([0.1, 2]), BOTH)
    inputs.record(np.array([0, 0]), np.array([7.0, 4]), np.array([False, True]))
    _, _, prev_reward_B, time_B = inputs.tensors({}, np.array([3, 5]))
    assert prev_reward_B.dtype == torch.float32
    assert prev_reward_B.tolist() == [np.float32(0.1), 4]
    assert time_B.tolist() == [3, 5]


def test_previous_action_and_reward_are_zero_where_a_task_begins() -> None:
    inputs = PolicyInputs(spaces.Discrete(2), 2, CPU)
    inputs.record(np.array([1, 1]), np.array([5.0, 5]), BOTH)
    inputs.reset(np.array([True, False]))
    _, prev_action_BA, prev_reward_B, _ = inputs.tensors({}, np.zeros(2, np.int64))
    assert prev_action_BA.tolist() == [[0, 0], [0, 1]]
    assert prev_reward_B.tolist() == [0, 5]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_inputs_on_a_gpu_equal_those_on_the_cpu() -> None:
    inputs = PolicyInputs(spaces.Discrete(2), 2, torch.device("cuda"))
    for step in range(3):
        inputs.record(np.array([step % 2, 1]), np.array([float(step), 2]), BOTH)
        seen = np.full((2, 3), step, np.float32)
        obs, *rest = inputs.tensors({"observation": seen}, np.array([step, 0]))
        torch.cuda.synchronize()
        assert obs["observation"].tolist() == seen.tolist()
        assert [x.tolist() for x in rest] == [[[1 - step % 2, step % 2], [0, 1]], [step, 2], [step, 0]]
