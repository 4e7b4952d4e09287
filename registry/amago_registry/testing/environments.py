"""Laws of environments: the promises that exact resuming, packing and evaluation build on."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

from amago_registry.component import Component
from amago_registry.errors import reason
from amago_registry.goals import ACHIEVED, GOALS
from amago_registry.recordings import recorded_fault
from amago_registry.testing.arrays import frozen, global_randomness, without_tensors
from amago_registry.testing.building import Law, require
from amago_registry.testing.other_goals import (
    OTHERS,
    Recorded,
    difference,
    other_goals,
    played,
    replayed,
)
from amago_registry.testing.playing import (
    STEPS,
    Moment,
    Player,
    Policy,
    allowed,
    at_random,
    corners,
    in_turn,
    players,
    step_budget,
)
from amago_registry.testing.spaces import (
    Space,
    action_fault,
    is_number,
    mask_fault,
    misfits,
    observation_fault,
    shows_mask,
)

SEEDS = (0, 1, 2)
RESETS = 20

LONGEST = 1_000
"""Most steps of a trajectory whose every moment is looked at."""

SOME = 4
"""Corners of the action space in which whole trajectories are spent."""

BEGINNING = 10
"""Steps by which trajectories of different tasks are told apart."""

ADVICE = (
    "different from the unwrapped version",  # A part may hand out a wrapped environment.
    "not having a spec",  # It is made by a part, not by an id.
    "is -infinity. This is probably too low",  # Encoders normalise what has no bounds.
    "is infinity. This is probably too high",
    "we recommend using a symmetric and normalized space",  # The engine rescales actions.
)
"""What gymnasium's checker warns of and agents do not mind."""


@without_tensors
def it_makes_a_new_environment_every_time(component: Component) -> None:
    """``make()`` returns a ``gymnasium.Env``, never the same: they are stepped side by side."""
    with players(component, 2) as (first, second):
        new = first.env.unwrapped is not second.env.unwrapped
        require(new, component, "make() returned the same environment twice.")


@without_tensors
def agents_can_take_its_spaces(component: Component) -> None:
    """Bounded actions, observations that are arrays, a mask that fits; alike in every environment."""
    with players(component, 2) as (player, other):
        seen, acted = player.env.observation_space, player.env.action_space
        alike = (other.env.observation_space, other.env.action_space) == (seen, acted)
        require(alike, component, "two environments that it made have different spaces.")
        for fault in (action_fault(acted), observation_fault(seen), mask_fault(seen, acted)):
            require(fault is None, component, f"{fault}.")


@without_tensors
def gymnasiums_own_check_passes_without_a_warning(component: Component) -> None:
    """``check_env`` neither raises nor warns, but for advice that agents do not need."""
    with players(component) as (player,):
        env = player.env
        env.action_space.seed(0)
        checked = _Obedient(env) if shows_mask(env.observation_space, env.action_space) else env
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                # Neither pictures nor whether an id makes it again: agents need neither.
                check_env(checked, skip_render_check=True, skip_close_check=True)
            except Exception as error:
                raise AssertionError(
                    f"{component.name}: gymnasium's check_env raised {reason(error)}"
                ) from error
        said = [re.sub(r"\x1b\[[0-9;]*m", "", str(warning.message)) for warning in caught]
        faults = [
            text.removeprefix("WARN: ")
            for text in said
            if text.startswith("WARN: ") and not any(advice in text for advice in ADVICE)
        ]
        require(not faults, component, f"gymnasium's check_env warns: {' '.join(faults)}")


@without_tensors
def observations_lie_in_their_space(component: Component) -> None:
    """Always: its structure, dtypes, shapes and bounds, and finite numbers."""
    with players(component) as (player,):
        for time, moment in _all_moments(player):
            wrong = next(misfits(moment.obs, player.env.observation_space), None)
            when = f"after {time} steps" if time else "after reset"
            require(wrong is None, component, f"{when}, {wrong}.")


@without_tensors
def rewards_are_finite_and_ends_are_flags(component: Component) -> None:
    """Rewards are real numbers, ``terminated`` and ``truncated`` bool, ``info`` a dictionary."""
    with players(component) as (player,):
        for time, moment in _all_moments(player):
            fault = _fault(moment)
            require(fault is None, component, f"after {time} steps, {fault}.")


@without_tensors
def every_action_can_be_taken(component: Component) -> None:
    """Also the extremes of its space, in turn; and ``step`` does not write to its argument."""
    with players(component) as (player,):
        space = player.env.action_space
        for policy in (in_turn(space, corners(space)), *_policies(space)):
            moment = player.reset(0)
            for _ in range(STEPS):
                action = policy(moment.obs)
                before = frozen(action)
                moment = player.step(action)
                require(frozen(action) == before, component, "step writes to the action it is given.")
                if moment.over:
                    break


@without_tensors
def a_seed_and_actions_decide_the_trajectory(component: Component) -> None:
    """Bit by bit: in another environment, in one that was used, in one of a part built anew."""
    with players(component, 2) as (first, second), players(component) as (anew,):
        for seed in SEEDS:
            expected = first.play(seed)
            first.play(seed + 1)
            for which, player in (
                ("an environment that has been used", first),
                ("another environment", second),
                ("an environment of the part built anew", anew),
            ):
                _require_same(player.play(seed), expected, component, f"in {which}")


@without_tensors
def environments_side_by_side_do_not_see_each_other(component: Component) -> None:
    """Stepped in turn, each goes the way it goes alone."""
    with players(component, 2) as alone, players(component, 2) as together:
        expected = [player.play(seed) for seed, player in enumerate(alone)]
        found: list[list[Any]] = [[], []]
        with global_randomness(0):
            walks = [player.moments(seed) for seed, player in enumerate(together)]
            for pair in zip_longest(*walks):
                for seen, moment in zip(found, pair, strict=True):
                    seen += [] if moment is None else [moment.value()]
        for seen, wanted in zip(found, expected, strict=True):
            _require_same(seen, wanted, component, "beside another environment")


@without_tensors
def it_can_be_reset_at_any_time(component: Component) -> None:
    """Twice at once, in the middle of a trajectory, after its end: nothing of before is left."""
    with players(component) as (player,):
        expected = player.play(1)
        for when, steps in (("at once after another", 0), ("in mid-trajectory", 2), ("later", STEPS)):
            player.play(0, steps=steps)
            _require_same(player.play(1), expected, component, f"after a reset {when}")


@without_tensors
def a_reset_without_a_seed_draws_the_next_task(component: Component) -> None:
    """From the generator that the last seed began: reproducible, and not the same task forever."""
    with players(component) as (player,), players(component) as (other,):
        tasks = _tasks_after_a_seed(player)
        for first, second in zip(tasks, _tasks_after_a_seed(other), strict=True):
            _require_same(second, first, component, "after resets without a seed")
        seeded = [tuple(player.play(seed, steps=BEGINNING)) for seed in range(RESETS)]
        (_, commonest), *_ = Counter(seeded).most_common(1)
        stuck = all(task == tasks[0] for task in tasks)
        sentence = (
            f"{RESETS} resets without a seed all gave the same task; draw it from self.np_random, "
            "seeded by super().reset(seed=seed)."
        )
        # Where most seeds give one task, that the next is the same again says nothing.
        require(not stuck or 2 * commonest > RESETS, component, sentence)


@without_tensors
def global_random_numbers_play_no_part(component: Component) -> None:
    """The generators of Python's ``random``, of numpy and of torch are neither read nor changed."""
    runs = []
    for seed in (0, 1):
        with global_randomness(seed) as touched, players(component) as (player,):
            runs.append([moment.value() for moment in player.moments(0)])
            sentence = "it draws from a global generator, or seeds it; draw from self.np_random."
            require(not touched(), component, sentence)
    _require_same(runs[1], runs[0], component, "with other global generators")


@without_tensors
def what_was_seen_stays_as_it_was(component: Component) -> None:
    """An observation belongs to who received it: later steps do not change it."""
    with players(component) as (player,):
        kept = [(moment.obs, frozen(moment.obs)) for moment in player.moments(0)]
        player.play(1)
        for time, (obs, value) in enumerate(kept):
            sentence = (
                f"later steps changed the observation that it returned after {time}; return copies."
            )
            require(frozen(obs) == value, component, sentence)


@without_tensors
def a_trajectory_is_over_by_the_horizon(component: Component) -> None:
    """An environment that says how many steps a trajectory lasts at most keeps it, whatever is done."""
    with players(component) as (player,):
        horizon = getattr(player.env.unwrapped, "horizon", None)
        whole = horizon is None or (type(horizon) is int and horizon > 0)
        require(whole, component, f"its horizon is {horizon!r}, neither None nor a positive int.")
        budget = step_budget(player.env)
        for policy in _policies(player.env.action_space) if budget else ():
            *_, last = player.moments(0, policy, budget or 0)
            sentence = f"its horizon is {budget} steps, and a trajectory was not over after them."
            require(last.over, component, sentence)


@without_tensors
def attempts_are_counted_and_have_outcomes(component: Component) -> None:
    """``info["attempt"]`` counts from 0 in every trajectory and comes with ``info["success"]``.

    Both on the step that ends an attempt: a soft reset, after which the trajectory goes on.
    """
    with players(component) as (player,):
        for seed in SEEDS:
            expected = 0
            for moment in player.moments(seed, steps=step_budget(player.env) or STEPS):
                attempt, success = map(moment.outcome.get, ("attempt", "success"))
                sentence = f"info['success'] is {success!r}, no finite number."
                require(success is None or is_number(success), component, sentence)
                if attempt is None:
                    continue
                sentence = f"info['attempt'] is {attempt!r} where {expected} was the next."
                require(attempt == expected, component, sentence)
                sentence = f"attempt {attempt} ended without info['success']."
                require(success is not None, component, sentence)
                expected += 1


@without_tensors
def what_it_records_lies_in_its_space(component: Component) -> None:
    """Where it has a ``recorded_space``: every info has its keys, at reset too, with arrays of it."""
    with players(component) as (player,):
        space = player.recorded_space
        if space is None:
            return
        fault = recorded_fault(space)
        require(fault is None, component, f"{fault}.")
        for time, moment in _all_moments(player):
            when = f"after {time} steps" if time else "after reset"
            for key, leaf in space.items():
                sentence = f"{when}, the info has no {key!r}, which recorded_space says it has."
                require(key in moment.recorded, component, sentence)
                wrong = next(misfits(moment.recorded[key], leaf, f"info[{key!r}]"), None)
                require(wrong is None, component, f"{when}, {wrong}.")


@without_tensors
def with_goals_says_what_other_goals_lead_to(component: Component) -> None:
    """Where the part has ``with_goals``: to the bit what replaying the actions under them records.

    Of tasks played at random, up to 1,000 steps; the goals are what was achieved in them, in any order.
    Tasks that neither show ``goals`` nor record ``achieved`` have goals of another form: nothing is
    asked of them.
    """
    with players(component) as (player,):
        with_goals = getattr(player.part, "with_goals", None)
        for seed in SEEDS if with_goals is not None else ():
            walk, *others = [played(player, seed, LONGEST, walk) for walk in range(1 + OTHERS)]
            columns = walk.columns
            lacking = [name for name in (GOALS, ACHIEVED) if name not in columns]
            if len(lacking) == 2:
                return
            sentence = f"it offers with_goals, and its trajectories have no {''.join(lacking)}."
            require(not lacking, component, sentence)
            elsewhere = [other.columns for other in others]
            asked = columns[GOALS][0], *other_goals(columns, elsewhere, seed)
            replays = [_require_replay(player, with_goals, seed, walk, goals) for goals in asked]
            wrong = difference(_called(component, with_goals, columns, asked[0]), columns)
            sentence = f"with the goals that a task has, with_goals changes it: {wrong}."
            require(wrong is None, component, sentence)
            # Chance seldom ends a task by its last goal; in hindsight it does.
            done = [one for one in replays if one.over and len(one.actions) < len(walk.actions)]
            for replay in done[:1]:
                for goals in asked:
                    _require_replay(player, with_goals, seed, replay, goals)


@without_tensors
def it_can_be_closed(component: Component) -> None:
    """``close()`` raises nothing, neither after a trajectory nor before the first."""
    with players(component, 2) as (used, new):
        used.play(0)
        for player in (used, new):
            player.close()


ENVIRONMENT_LAWS: tuple[Law, ...] = (
    it_makes_a_new_environment_every_time,
    agents_can_take_its_spaces,
    gymnasiums_own_check_passes_without_a_warning,
    observations_lie_in_their_space,
    rewards_are_finite_and_ends_are_flags,
    every_action_can_be_taken,
    a_seed_and_actions_decide_the_trajectory,
    environments_side_by_side_do_not_see_each_other,
    it_can_be_reset_at_any_time,
    a_reset_without_a_seed_draws_the_next_task,
    global_random_numbers_play_no_part,
    what_was_seen_stays_as_it_was,
    a_trajectory_is_over_by_the_horizon,
    attempts_are_counted_and_have_outcomes,
    what_it_records_lies_in_its_space,
    with_goals_says_what_other_goals_lead_to,
    it_can_be_closed,
)
"""What every environment obeys. One that shows an ``action_mask`` is not asked what it forbids."""


class _Obedient(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes, for an action that is masked, the next that is not: gymnasium's checker knows no masks."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._obs, info = self.env.reset(seed=seed, options=options)
        return self._obs, info

    def step(self, action: Any) -> Any:
        self._obs, *others = self.env.step(allowed(action, self.action_space, self._obs))
        return self._obs, *others


def _policies(space: Space) -> list[Policy]:
    """Return a policy that acts at random, and some that always do the same."""
    return [at_random(space), *(in_turn(space, [corner]) for corner in corners(space)[:SOME])]


def _all_moments(player: Player) -> Iterator[tuple[int, Moment]]:
    """Yield every moment of several trajectories, with the steps before it."""
    steps = min(max(step_budget(player.env) or 0, STEPS), LONGEST)
    for seed in SEEDS:
        for policy in _policies(player.env.action_space):
            yield from enumerate(player.moments(seed, policy, steps))


def _tasks_after_a_seed(player: Player) -> list[list[Any]]:
    """Return how trajectories begin after resets without a seed, the first after one with."""
    player.play(0)
    return [player.play(None, steps=BEGINNING) for _ in range(RESETS)]


def _require_replay(
    player: Player, with_goals: Any, seed: int, walk: Recorded, goals: np.ndarray
) -> Recorded:
    """Return a task replayed under other goals; ``with_goals`` must have said what that records."""
    replay = replayed(player, seed, walk.actions, goals)
    found = _called(player.component, with_goals, walk.columns, goals)
    wrong = difference(found, replay.columns)
    what = f"a replay of seed {seed} under {goals.tolist()}"
    sentence = f"with_goals is not what {what} records: {wrong}."
    require(wrong is None, player.component, sentence)
    return replay


def _called(component: Component, with_goals: Any, columns: Any, goals: np.ndarray) -> Any:
    """Return what ``with_goals`` says; it may write neither to the one nor to the other."""
    given, before = goals.copy(), frozen(columns)
    try:
        found = with_goals(columns, given)
    except Exception as error:
        raise AssertionError(f"{component.name}: with_goals raised {reason(error)}") from error
    same = {"columns": frozen(columns) == before, "goals": frozen(given) == frozen(goals)}
    for what, kept in same.items():
        require(kept, component, f"with_goals writes to the {what} that it is given.")
    return found


def _fault(moment: Moment) -> str | None:
    """Return what is wrong with all but the observation, None if nothing is."""
    if not is_number(moment.reward):
        return f"the reward is {moment.reward!r}, no finite number"
    for name in ("terminated", "truncated"):
        if not isinstance(flag := getattr(moment, name), bool | np.bool_):
            return f"{name} is {flag!r}, no bool"
    return None if isinstance(moment.info, dict) else f"info is {moment.info!r}, no dictionary"


def _require_same(found: list[Any], expected: list[Any], component: Component, where: str) -> None:
    """Raise AssertionError with the step at which two trajectories part."""
    pairs = enumerate(zip_longest(found, expected))
    parted = next((step for step, (one, other) in pairs if one != other), None)
    sentence = f"the same seed and actions lead elsewhere {where}, from step {parted} on."
    require(parted is None, component, sentence)
