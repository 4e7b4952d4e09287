"""Hindsight relabeling: which goals are replaced, and the resulting observations and rewards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from goal_walks import CONTEXT, asked, walk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from amago_registry import RelabelerContext
from amago_registry.goals import ABSENT, GOALS, with_goals
from amago_registry.testing.arrays import frozen
from amago_standard.relabelers import Hindsight, RelabelerError
from amago_standard.relabelers.options import HindsightOptions

Columns = Mapping[str, np.ndarray]


def hindsight(**options: Any) -> Hindsight:
    return Hindsight(CONTEXT, HindsightOptions(**options))


def relabelled(trajectory: Columns, seed: int = 0, **options: Any) -> Columns:
    return hindsight(**options)(trajectory, np.random.default_rng(seed))


def instructions(trajectory: Columns, seeds: int, **options: Any) -> Counter[tuple[int, ...]]:
    """Count each instruction over many draws."""
    relabeler = hindsight(**options)
    drawn = (relabeler(trajectory, np.random.default_rng(seed)) for seed in range(seeds))
    return Counter(tuple(asked(columns)) for columns in drawn)


def test_what_was_achieved_becomes_what_was_asked_for() -> None:
    columns = relabelled(walk([4, 5, 6, 7], goals=[0, 1]), goals="all", strategy="final")
    assert asked(columns) == [6, 7]
    assert columns["reward"].tolist() == [0, 1, 1]
    assert columns[GOALS][:, 1:, 0].tolist() == [[6, 7], [6, 7], [-1, 7], [-1, -1]]
    assert (columns["terminated"][-1], columns["truncated"][-1]) == (True, False)


def test_goals_that_were_reached_stay_where_their_timesteps_put_them() -> None:
    after = walk([4, 5, 6, 7, 8], goals=[6, 0, 1])
    assert asked(relabelled(after, goals="all", strategy="final")) == [6, 7, 8]
    before = walk([4, 5, 6], goals=[6, 0])
    assert asked(relabelled(before, goals="all", strategy="final")) == [5, 6]


def test_the_rest_of_the_instruction_stays() -> None:
    trajectory = walk([4, 5], goals=[1, 2, 3])
    assert instructions(trajectory, 100, goals="all").keys() == {(5, 2, 3)}
    reached = walk([4, 5, 6], goals=[6, 2, 3])
    assert instructions(reached, 100, goals="all").keys() == {(5, 6, 3)}


def test_it_ends_where_the_last_goal_is_reached() -> None:
    columns = relabelled(walk([4, 5, 6, 6, 6], goals=[0]), goals="all", strategy="final")
    assert columns["reward"].tolist() == [0, 1]
    assert columns["action"].tolist() == [0, 1]
    assert columns["obs.obs"][:, 0].tolist() == [0, 1, 2]


def test_some_is_any_number_of_the_goals_left_each_as_often() -> None:
    trajectory = walk([4, 5, 6, 7, 8], goals=[5, 1, 2])
    lengths = Counter[int]()
    for instruction, times in instructions(trajectory, 3000, strategy="final").items():
        lengths[sum(goal > 4 for goal in instruction)] += times
    assert sorted(lengths) == [1, 2, 3]
    assert [lengths[n] / 3000 for n in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.03)


def test_timesteps_are_drawn_alike_and_each_once() -> None:
    trajectory = walk([4, 5, 6, 7], goals=[1, 2])
    drawn = instructions(trajectory, 3000, goals="all")
    assert {pair: times / 3000 for pair, times in drawn.items()} == pytest.approx(
        {(5, 6): 1 / 3, (5, 7): 1 / 3, (6, 7): 1 / 3}, abs=0.03
    )


UNCHANGED = {
    "all its goals were reached": (walk([4, 5, 6], goals=[5, 6]), {"goals": "all"}),
    "nothing else was achieved": (walk([4, 5, -1], goals=[5, 6]), {"goals": "all"}),
    "only the beginning was": (walk([4, -1, -1], goals=[5]), {"goals": "all"}),
    "nothing changed": (walk([4, 4, 4], goals=[5]), {"goals": "all", "candidates": "changed"}),
}


@pytest.mark.parametrize("why", UNCHANGED)
def test_it_is_left_alone_where(why: str) -> None:
    trajectory, options = UNCHANGED[why]
    for seed in range(20):
        assert relabelled(trajectory, seed, **options) is trajectory


def test_it_is_left_alone_where_no_goal_is_to_come_true() -> None:
    trajectory = walk([4, 5, 6], goals=[0])
    kept = [relabelled(trajectory, seed) is trajectory for seed in range(1000)]
    assert np.mean(kept) == pytest.approx(0.5, abs=0.05)


def test_the_others_stay_with_a_probability() -> None:
    trajectory = walk([4, 5, 6], goals=[0])
    relabeler = hindsight(goals="all", probability=0.8)
    kept = [relabeler(trajectory, np.random.default_rng(n)) is trajectory for n in range(2000)]
    assert np.mean(kept) == pytest.approx(0.2, abs=0.03)


def textbook_her(trajectory: Columns, strategy: str, rng: np.random.Generator) -> list[int]:
    """Cells as goals of the transitions of one episode (Andrychowicz et al., 2017, section 4.5)."""
    cells = trajectory["achieved"][:, 0]
    last = len(cells) - 1
    transition = rng.integers(last)
    first = {"final": last, "future": transition + 1, "episode": 1}[strategy]
    goal = cells[rng.integers(first, last + 1)]
    return [int(goal)]


@pytest.mark.parametrize("strategy", ["final", "future", "episode"])
def test_one_goal_is_drawn_as_by_the_textbook(strategy: str) -> None:
    trajectory = walk([0, 1, 2, 3, 4], goals=[9], places=1)
    drawn = instructions(trajectory, 4000, goals="all", strategy=strategy)
    rng = np.random.default_rng(0)
    expected = Counter(tuple(textbook_her(trajectory, strategy, rng)) for _ in range(4000))
    assert {goal: n / 4000 for goal, n in drawn.items()} == pytest.approx(
        {goal: n / 4000 for goal, n in expected.items()}, abs=0.03
    )


def test_future_goals_of_a_sequence_all_lie_behind_one_timestep() -> None:
    trajectory = walk([0, 1, 2], goals=[8, 9])
    drawn = instructions(trajectory, 3000, goals="all", strategy="future")
    # After timestep 0 lie 1 and 2; after timestep 1 only 2.
    assert {pair: n / 3000 for pair, n in drawn.items()} == pytest.approx(
        {(1, 2): 1 / 2, (2, 9): 1 / 2}, abs=0.03
    )


@pytest.mark.parametrize(
    ("rarity", "share"),
    [
        (0, 1 / 10),
        (1, 1 / (1 + 9 * 0.045757)),  # -log10(0.9) against -log10(0.1) = 1
        (4, 1 / (1 + 9 * 1e-3)),  # 0.045757^4 = 4e-6, clipped
    ],
)
def test_rare_goals_are_preferred(rarity: float, share: float) -> None:
    trajectory = walk([0, *[1] * 5, 2, *[1] * 4], goals=[9], places=1)
    drawn = instructions(trajectory, 3000, goals="all", rarity=rarity)
    assert drawn[(2,)] / 3000 == pytest.approx(share, abs=0.03)


def test_preference_has_bounds() -> None:
    common = walk([0, *[1] * 9, 2], goals=[9], places=1)
    drawn = instructions(common, 3000, goals="all", rarity=4)
    # The weights are 1e-3, not 0.045757^4, of nine, and 1 of one.
    assert drawn[(1,)] / 3000 == pytest.approx(9e-3 / 1.009, abs=0.005)
    rare = walk([0, *[1] * 989, *[2] * 10, 3], goals=[9], places=1)
    drawn = instructions(rare, 1000, goals="all", rarity=16)
    # The weights are 2^16 of ten, and 1e5, not 3^16, of one.
    assert drawn[(3,)] / 1000 == pytest.approx(1e5 / (1e5 + 10 * 2**16), abs=0.04)


def test_the_only_goal_there_is_is_drawn_however_common() -> None:
    trajectory = walk([0, 1, 1, 1], goals=[9], places=1)
    assert instructions(trajectory, 20, goals="all", rarity=4).keys() == {(1,)}


def test_of_what_stays_the_same_the_first_alone_may_become_a_goal() -> None:
    trajectory = walk([4, 4, 5, 5, 4, 4], goals=[8, 9])
    drawn = instructions(trajectory, 200, goals="all", candidates="changed")
    assert drawn.keys() == {(5, 4)}
    assert (4, 4) in instructions(trajectory, 200, goals="all")


def test_unchanged_goals_are_found_among_several_achieved_ones() -> None:
    trajectory = walk([[1, 2], [2, 3], [3, -1]], goals=[9], places=1)
    drawn = instructions(trajectory, 100, goals="all", candidates="changed")
    assert drawn.keys() == {(3,)}
    assert instructions(trajectory, 100, goals="all").keys() == {(2,), (3,)}


def test_of_several_things_achieved_at_once_one_is_drawn() -> None:
    trajectory = walk([[0, 0], [1, 2], [3, -1]], goals=[8, 9])
    drawn = instructions(trajectory, 2000, goals="all")
    assert {pair: n / 2000 for pair, n in drawn.items()} == pytest.approx(
        {(1, 3): 1 / 2, (2, 3): 1 / 2}, abs=0.04
    )


def test_timesteps_that_achieved_more_are_not_drawn_more_often() -> None:
    trajectory = walk([[0, 0, 0], [1, 2, 3], [4, -1, -1]], goals=[9], places=1)
    drawn = instructions(trajectory, 2000, goals="all")
    assert drawn[(4,)] / 2000 == pytest.approx(1 / 2, abs=0.04)


def test_only_the_environments_with_goals_is_called() -> None:
    trajectory, calls = walk([4, 5], goals=[0]), []

    def with_other_goals(columns: Any, goals: Any) -> Any:
        calls.append((columns, goals.tolist()))
        return "what the environment says"

    context = RelabelerContext(with_goals=with_other_goals, environment="tests/walk")
    relabeler = Hindsight(context, HindsightOptions(goals="all"))
    returned: Any = relabeler(trajectory, np.random.default_rng(0))
    assert returned == "what the environment says"
    assert calls == [(trajectory, [[5]])]


@st.composite
def wanderings(draw: st.DrawFn) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    length, goals = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    shape = (length + 1, *draw(st.sampled_from([(), (2,)])))
    return walk(rng.integers(-1, 6, shape).tolist(), rng.integers(0, 6, goals).tolist(), places=4)


OPTIONS = st.fixed_dictionaries(
    {
        "goals": st.sampled_from(["some", "all"]),
        "strategy": st.sampled_from(["episode", "future", "final"]),
        "candidates": st.sampled_from(["other", "changed"]),
        "rarity": st.sampled_from([0.0, 0.5, 4.0]),
        "probability": st.sampled_from([0.5, 1.0]),
    }
)


@settings(max_examples=300, deadline=None)
@given(wanderings(), OPTIONS, st.integers(0, 2**32))
def test_the_return_never_falls_and_rises_by_the_goals_that_come_true(
    trajectory: Columns, options: dict[str, Any], seed: int
) -> None:
    before = frozen(trajectory)
    columns = relabelled(trajectory, seed, **options)
    assert frozen(trajectory) == before
    if columns is trajectory:
        return
    assert columns["reward"].sum() > trajectory["reward"].sum()
    assert frozen(columns) == frozen(with_goals(trajectory, columns[GOALS][0]))
    assert len(asked(columns)) == len(asked(trajectory))
    if options["goals"] == "all" and options["strategy"] != "future":
        candidates = _candidates(trajectory, changed=options["candidates"] == "changed")
        most = min(len(asked(trajectory)), trajectory["reward"].sum() + candidates)
        assert columns["reward"].sum() >= most


def _candidates(trajectory: Columns, changed: bool) -> int:
    """Timesteps that achieved something that is no goal that was reached; counted one by one."""
    achieved = [np.ravel(row).tolist() for row in trajectory["achieved"]]
    return sum(
        any(
            goal != ABSENT and not (changed and goal in achieved[t])
            for goal in achieved[t + 1]
            if not trajectory["reward"][t]
        )
        for t in range(len(achieved) - 1)
    )


def test_a_trajectory_of_250_steps_takes_no_time_worth_mentioning() -> None:
    rng = np.random.default_rng(0)
    trajectory = walk(rng.integers(0, 50, 251).tolist(), goals=[98, 97, 96])
    relabeler = hindsight(rarity=4)
    best = min(_seconds(relabeler, trajectory, rng) for _ in range(5))
    assert best < 3e-3


def _seconds(relabeler: Hindsight, trajectory: Columns, rng: np.random.Generator) -> float:
    start = time.process_time()
    for _ in range(20):
        relabeler(trajectory, rng)
    return (time.process_time() - start) / 20


@pytest.mark.parametrize(
    ("environment", "what_to_do"),
    [
        (
            "gymnasium (CartPole-v1)",
            "gymnasium (CartPole-v1) has no with_goals. maze-runner and package-delivery have one, but "
            "no mixture has. Write relabeler=none, or give the environment's part the method "
            "with_goals (a class of environments one that is static), a local function the attribute "
            "(make.with_goals = ...): see registry/README.md.",
        ),
        (
            "",
            "there is none. Name the environment that the dataset was recorded in, environment: "
            "{use: ...}, or write relabeler=none.",
        ),
    ],
    ids=["environment", "none"],
)
def test_an_environment_that_cannot_say_is_refused(environment: str, what_to_do: str) -> None:
    with pytest.raises(RelabelerError) as caught:
        Hindsight(RelabelerContext(environment=environment), HindsightOptions())
    assert str(caught.value) == (
        "hindsight asks the environment what its actions would have been paid under other goals, and "
        f"{what_to_do}"
    )


@pytest.mark.parametrize(
    ("lacking", "lack"),
    [
        (["achieved"], "no achieved, only action, obs.goals"),
        (["obs.goals", "achieved"], "no obs.goals and no achieved, only action"),
    ],
    ids=["one", "both"],
)
def test_a_trajectory_without_its_goals_is_refused(lacking: list[str], lack: str) -> None:
    trajectory = walk([4, 5], goals=[5])
    for name in lacking:
        del trajectory[name]
    with pytest.raises(RelabelerError) as caught:
        relabelled(trajectory)
    assert str(caught.value) == (
        f"hindsight reads the columns obs.goals and achieved, and a trajectory has {lack}, obs.obs, "
        "reward, terminated, truncated. Record it with an environment that shows 'goals' and has "
        "'achieved' in its recorded_space, or write relabeler=none."
    )


def test_hindsight_refuses_an_environment_that_records_no_achieved_goals() -> None:
    columns = {"obs.goals": (2, 1), "obs.obs": (3,)}
    context = RelabelerContext(with_goals=with_goals, environment="walk", columns=columns)
    with pytest.raises(RelabelerError) as caught:
        Hindsight(context, HindsightOptions())
    assert str(caught.value) == (
        "hindsight reads the columns obs.goals and achieved, and environment walk has no achieved, "
        "only obs.goals, obs.obs. Record it with an environment that shows 'goals' and has 'achieved' "
        "in its recorded_space, or write relabeler=none."
    )


def test_goals_of_another_form_are_refused() -> None:
    trajectory = walk([4, 5], goals=[5])
    trajectory["obs.goals"] = trajectory["obs.goals"][:, 0]
    with pytest.raises(RelabelerError) as caught:
        relabelled(trajectory)
    assert str(caught.value) == (
        "hindsight reads obs.goals of (places, coordinates) per timestep, and achieved of "
        "(coordinates) or (several, coordinates); a trajectory has (1,) and (1,). Goals of another "
        "form need a relabeler of their own: see registry/README.md."
    )


def test_a_share_of_none_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        HindsightOptions(probability=0.0)
    (problem,) = caught.value.errors()
    assert (problem["loc"], problem["msg"]) == (("probability",), "Input should be greater than 0")
