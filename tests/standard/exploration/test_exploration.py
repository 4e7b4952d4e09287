"""Every exploration against its definition, one environment at a time.

Shape suffixes: B = environments acting side by side, A = action features.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_registry.contexts import ExplorationContext
from amago_standard.exploration import (
    Bilevel,
    Corridor,
    EpsilonGreedy,
    ExplorationError,
    NoExploration,
)
from amago_standard.exploration.options import (
    BilevelOptions,
    CorridorOptions,
    EpsilonGreedyOptions,
    NoExplorationOptions,
)

B = 6
MOVES = spaces.Discrete(5)
FORCES = spaces.Box(-1, 1, (2,), np.float32)
DIALS = spaces.MultiDiscrete([3, 300])
SWITCHES = spaces.MultiBinary(4)


def context(
    space: spaces.Space[Any] = MOVES, environments: int = B, horizon: int | None = None
) -> ExplorationContext:
    return ExplorationContext(action_space=space, environments=environments, horizon=horizon)


def everywhere(time: int, environments: int = B) -> np.ndarray:
    return np.full(environments, time)


def share_of_random_actions(part: Any, time: int, step: int, environments: int = 20_000) -> float:
    """Estimate epsilon: a random action differs from the policy's 4 times in 5."""
    action_B = np.zeros(environments, np.int64)
    explored_B = part(action_B, everywhere(time, environments), step, np.random.default_rng(0))
    return float(np.mean(explored_B != 0) * 5 / 4)


def slow_epsilon_greedy(
    epsilons: list[float], action: np.ndarray, scale: list[float], rng: np.random.Generator
) -> list[Any]:
    """The definition, with the same draws, environment by environment."""
    if action.ndim == 1:
        coins, others = rng.random(len(action)), rng.integers(5, size=len(action))
        return [
            others[i] if coins[i] < epsilons[i] * scale[i] else action[i] for i in range(len(action))
        ]
    noise = rng.standard_normal(action.shape)
    return [
        [min(max(action[i, a] + epsilons[i] * scale[i] * noise[i, a], -1.0), 1.0) for a in range(2)]
        for i in range(len(action))
    ]


@pytest.mark.parametrize("discrete", [True, False])
@given(
    seed=st.integers(0, 999),
    times=st.lists(st.lists(st.integers(0, 3), min_size=B, max_size=B), min_size=1, max_size=5),
    steps=st.integers(0, 300),
)
@settings(max_examples=25, deadline=None)
def test_epsilon_greedy_always_does_what_its_definition_says(
    discrete: bool, seed: int, times: list[list[int]], steps: int
) -> None:
    options = EpsilonGreedyOptions(anneal_steps=200)
    part = EpsilonGreedy(context(MOVES if discrete else FORCES), options)
    rng, slow_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    policy = np.random.default_rng(seed + 1)
    scale = [1.0] * B
    for round_, time in enumerate(times):
        action = policy.integers(5, size=B) if discrete else policy.uniform(-1, 1, (B, 2))
        drawn = slow_rng.random(B)
        scale = [drawn[i] if time[i] == 0 else scale[i] for i in range(B)]
        epsilon = 1.0 - 0.95 * min((steps + round_) / 200, 1.0)
        wanted = slow_epsilon_greedy([epsilon] * B, action, scale, slow_rng)
        given_ = part(action, np.array(time), steps + round_, rng)
        np.testing.assert_allclose(given_, wanted, rtol=1e-12)


@given(seed=st.integers(0, 999), time=st.lists(st.integers(0, 20), min_size=B, max_size=B))
@settings(max_examples=25, deadline=None)
def test_bilevel_always_does_what_its_definition_says(seed: int, time: list[int]) -> None:
    part = Bilevel(context(FORCES, horizon=10), BilevelOptions(anneal_steps=100, randomize=False))
    action = np.random.default_rng(seed).uniform(-1, 1, (B, 2))
    early, late = 1.0 - 0.95 * 0.25, 0.8 - 0.79 * 0.25  # a quarter of the way
    epsilons = [early + (late - early) * min(t / 10, 1.0) for t in time]
    wanted = slow_epsilon_greedy(epsilons, action, [1.0] * B, np.random.default_rng(seed + 1))
    given_ = part(action, np.array(time), 25, np.random.default_rng(seed + 1))
    np.testing.assert_allclose(given_, wanted, rtol=1e-12)


@given(seed=st.integers(0, 999), time=st.lists(st.integers(0, 60), min_size=B, max_size=B))
@settings(max_examples=25, deadline=None)
def test_corridor_always_does_what_its_definition_says(seed: int, time: list[int]) -> None:
    part = Corridor(context(horizon=61), CorridorOptions(anneal_steps=100))
    action = np.random.default_rng(seed).integers(5, size=B)
    at_the_ends = 1.0 - 0.99 * 0.5
    epsilons = [at_the_ends if t in (0, 57, 58, 59, 60) else 0.5 / 60 for t in time]
    rng = np.random.default_rng(seed + 1)
    drawn = rng.random(B)  # the factors of the tasks that begin; the others still have their first, 1
    scale = [drawn[i] if t == 0 else 1.0 for i, t in enumerate(time)]
    wanted = slow_epsilon_greedy(epsilons, action, scale, rng)
    assert part(action, np.array(time), 50, np.random.default_rng(seed + 1)).tolist() == wanted


@pytest.mark.parametrize(
    ("step", "epsilon"), [(0, 1.0), (500_000, 0.525), (1_000_000, 0.05), (9_999_999, 0.05)]
)
def test_epsilon_falls_in_a_line_and_stays(step: int, epsilon: float) -> None:
    part = EpsilonGreedy(context(environments=20_000), EpsilonGreedyOptions(randomize=False))
    assert share_of_random_actions(part, time=7, step=step) == pytest.approx(epsilon, abs=0.02)


def test_randomize_halves_epsilon_on_average_and_spreads_it_evenly() -> None:
    part = EpsilonGreedy(context(environments=20_000), EpsilonGreedyOptions())
    assert share_of_random_actions(part, time=0, step=0) == pytest.approx(0.5, abs=0.02)
    scale_B = part.state()["scale"]
    assert np.histogram(scale_B, 4, (0, 1))[0] / 5000 == pytest.approx(np.ones(4), abs=0.05)


@pytest.mark.parametrize(
    ("time", "step", "epsilon"), [(0, 0, 1.0), (50, 0, 0.9), (500, 0, 0.8), (0, 10**6, 0.05)]
)
def test_bilevel_explores_less_late_in_a_trajectory(time: int, step: int, epsilon: float) -> None:
    options = BilevelOptions(horizon=100, randomize=False)
    part = Bilevel(context(environments=20_000, horizon=7), options)
    assert share_of_random_actions(part, time, step) == pytest.approx(epsilon, abs=0.02)


def test_half_a_random_step_is_expected_in_a_corridor_of_any_length() -> None:
    for length in (20, 60):
        part = Corridor(context(environments=20_000, horizon=length + 1), CorridorOptions())
        share = share_of_random_actions(part, time=5, step=0)
        assert share * length == pytest.approx(0.5, abs=0.1)


def test_the_length_of_a_corridor_replaces_an_unknown_horizon() -> None:
    given_, derived = (
        Corridor(context(environments=1000, horizon=horizon), CorridorOptions(length=length))
        for horizon, length in ((None, 30), (31, None))
    )
    for time in (0, 1, 26, 27, 30):
        assert share_of_random_actions(given_, time, 0, 1000) == share_of_random_actions(
            derived, time, 0, 1000
        )


def test_new_factors_are_drawn_only_where_a_task_begins() -> None:
    part, rng = EpsilonGreedy(context(), EpsilonGreedyOptions()), np.random.default_rng(0)
    action_B = np.zeros(B, np.int64)
    part(action_B, everywhere(0), 0, rng)
    before_B = part.state()["scale"]
    part(action_B, np.array([1, 0, 1, 1, 0, 1]), 1, rng)
    assert (part.state()["scale"] == before_B).tolist() == [True, False, True, True, False, True]


@pytest.mark.parametrize(
    ("kind", "model"),
    [(EpsilonGreedy, EpsilonGreedyOptions), (Bilevel, BilevelOptions), (Corridor, CorridorOptions)],
)
def test_a_restored_state_continues_exactly(kind: Any, model: Any) -> None:
    first, second = (kind(context(FORCES, horizon=9), model()) for _ in range(2))
    action_BA = np.zeros((B, 2))
    first(action_BA, everywhere(0), 0, np.random.default_rng(0))
    second.load_state(first.state())
    # Step 6 of 9 is one of the corridor's last four.
    outcomes = [part(action_BA, everywhere(6), 1, np.random.default_rng(1)) for part in (first, second)]
    assert np.array_equal(*outcomes)
    assert outcomes[0].any()


def test_a_stored_state_is_not_changed_by_continuing() -> None:
    part, rng = EpsilonGreedy(context(), EpsilonGreedyOptions()), np.random.default_rng(0)
    stored = part.state()
    part(np.zeros(B, np.int64), everywhere(0), 0, rng)
    assert stored["scale"].tolist() == [1.0] * B


KINDS = ["epsilon-greedy", "bilevel", "corridor", "none"]


def build(kind: str, ctx: ExplorationContext) -> Any:
    return {
        "epsilon-greedy": lambda: EpsilonGreedy(ctx, EpsilonGreedyOptions()),
        "bilevel": lambda: Bilevel(ctx, BilevelOptions()),
        "corridor": lambda: Corridor(ctx, CorridorOptions()),
        "none": lambda: NoExploration(ctx, NoExplorationOptions()),
    }[kind]()


@pytest.mark.parametrize(
    ("space", "dtype"),
    [(MOVES, np.int32), (FORCES, np.float32), (DIALS, np.int64), (SWITCHES, np.int8)],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_actions_keep_shape_and_type_and_stay_in_the_space(kind: str, space: Any, dtype: Any) -> None:
    part = build(kind, context(space, horizon=9))
    action = np.array([space.sample() for _ in range(B)], dtype)
    before = action.copy()
    explored = part(action, everywhere(0), 0, np.random.default_rng(0))
    assert np.array_equal(action, before)
    assert (explored.dtype, explored.shape) == (action.dtype, action.shape)
    assert all(space.contains(one) for one in explored)


@pytest.mark.parametrize(("space", "sizes"), [(DIALS, [3, 300]), (SWITCHES, [2, 2, 2, 2])], ids=str)
@given(seed=st.integers(0, 999), step=st.integers(0, 300))
@settings(max_examples=10, deadline=None)
def test_a_random_action_always_replaces_all_factors_together(
    space: Any, sizes: list[int], seed: int, step: int
) -> None:
    part = EpsilonGreedy(context(space), EpsilonGreedyOptions(anneal_steps=200, randomize=False))
    action = np.random.default_rng(seed).integers(sizes, size=(B, len(sizes)))
    rng = np.random.default_rng(seed + 1)
    coins, others = rng.random(B), rng.integers(sizes, size=(B, len(sizes)))
    epsilon = 1.0 - 0.95 * min(step / 200, 1.0)
    wanted = [list(others[i] if coins[i] < epsilon else action[i]) for i in range(B)]
    assert part(action, everywhere(7), step, np.random.default_rng(seed + 1)).tolist() == wanted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("space", "sizes"), [(MOVES, [5]), (DIALS, [3, 300])], ids=str)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.02, 0.3, 0.9]), time=st.integers(0, 8))
@settings(max_examples=15, deadline=None)
def test_what_a_mask_forbids_is_never_done(
    kind: str, space: Any, sizes: list[int], seed: int, share: float, time: int
) -> None:
    """The policy is as careful, and a factor that may do nothing may do everything."""
    rng = np.random.default_rng(seed)
    mask_BA = rng.random((B, sum(sizes))) < share
    factors = np.split(mask_BA, np.cumsum(sizes)[:-1], axis=1)
    allowed = [
        [np.flatnonzero(row) if row.any() else np.arange(len(row)) for row in f] for f in factors
    ]
    action = np.array([[rng.choice(factor[i]) for factor in allowed] for i in range(B)])
    action = action[:, 0] if space is MOVES else action
    explored = build(kind, context(space, horizon=9))(action, everywhere(time), 0, rng, mask_BA)
    for i, row in enumerate(explored.reshape(B, -1)):
        assert all(index in factor[i] for index, factor in zip(row, allowed, strict=True))


@pytest.mark.parametrize(
    ("mask", "shares"),
    [
        ([1, 1, 1, 1, 1], [0.2, 0.2, 0.2, 0.2, 0.2]),
        ([0, 1, 0, 0, 1], [0, 0.5, 0, 0, 0.5]),
        ([0, 0, 1, 0, 0], [0, 0, 1, 0, 0]),
        ([0, 0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_random_actions_are_uniform_over_those_allowed(mask: list[int], shares: list[float]) -> None:
    part = EpsilonGreedy(context(environments=20_000), EpsilonGreedyOptions(randomize=False))
    action_B, mask_BA = np.full(20_000, 2), np.tile(np.array(mask, bool), (20_000, 1))
    explored_B = part(action_B, everywhere(1, 20_000), 0, np.random.default_rng(0), mask_BA)
    found = np.bincount(explored_B, minlength=5) / 20_000
    assert found == pytest.approx(np.array(shares), abs=0.02)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("space", "sizes"), [(MOVES, [5]), (DIALS, [3, 300]), (SWITCHES, [4])], ids=str
)
def test_as_much_is_drawn_with_little_exploration_as_with_much(
    space: Any, sizes: list[int], masked: bool
) -> None:
    mask = (np.ones((B, sum(sizes)), bool),) if masked and space is not SWITCHES else ()
    after = []
    for step in (0, 10**9):
        part, rng = EpsilonGreedy(context(space), EpsilonGreedyOptions()), np.random.default_rng(0)
        action = np.zeros((B, *(space.shape or ())), np.int64)
        part(action, everywhere(0), step, rng, *mask)
        after.append(rng.bit_generator.state)
    assert after[0] == after[1]


def test_none_changes_and_stores_nothing() -> None:
    part, rng = NoExploration(context(), NoExplorationOptions()), np.random.default_rng(0)
    action_B = np.arange(B)
    assert part(action_B, everywhere(0), 0, rng) is action_B
    assert rng.random() == np.random.default_rng(0).random()
    assert part.state() == {}
    part.load_state({})


def test_bilevel_without_a_horizon_says_what_to_type() -> None:
    with pytest.raises(ExplorationError) as caught:
        Bilevel(context(), BilevelOptions())
    assert str(caught.value) == (
        "exploration 'bilevel' explores less towards the end of a trajectory, but this environment "
        "does not say how many steps one has. Set exploration.horizon=<steps>, or choose "
        "exploration=epsilon-greedy"
    )


def test_corridor_without_a_horizon_says_what_to_type() -> None:
    with pytest.raises(ExplorationError) as caught:
        Corridor(context(), CorridorOptions())
    assert str(caught.value) == (
        "exploration 'corridor' explores on the first and last steps of a trajectory, but this "
        "environment does not say how many steps one has. Set exploration.length=<steps - 1>, or "
        "choose exploration=epsilon-greedy"
    )


def test_a_state_of_another_number_of_environments_is_refused() -> None:
    part = EpsilonGreedy(context(environments=3), EpsilonGreedyOptions())
    with pytest.raises(ExplorationError) as caught:
        part.load_state({"scale": np.ones(4)})
    assert str(caught.value) == (
        "the stored exploration is that of 4 environments, this run has 3; "
        "to resume, set collector.environments=4"
    )


def test_a_state_stored_with_another_randomize_is_refused() -> None:
    part = EpsilonGreedy(context(), EpsilonGreedyOptions(randomize=False))
    with pytest.raises(ExplorationError) as caught:
        part.load_state({"scale": np.ones(B)})
    assert str(caught.value) == (
        "the stored exploration has randomize=true; to resume, set exploration.randomize to that"
    )


def test_the_room_loads_neither_torch_nor_gymnasium() -> None:
    code = (
        "import sys, amago_standard.exploration, amago_standard.exploration.options;"
        "print([m for m in ('torch', 'gymnasium') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
