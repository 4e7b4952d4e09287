"""Laws of environments: determinism, spaces, horizon, attempts, recorded columns, goal relabeling."""

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
"""Most steps of a rollout of which every step is checked."""

SOME = 4
"""Number of extreme actions that are each repeated for a whole rollout."""

BEGINNING = 10
"""Steps after which rollouts of different tasks are expected to differ."""

ADVICE = (
    "different from the unwrapped version",  # A part may return a wrapped environment.
    "not having a spec",  # A part makes it, not an id.
    "is -infinity. This is probably too low",  # Encoders normalize unbounded observations.
    "is infinity. This is probably too high",
    "we recommend using a symmetric and normalized space",  # The engine rescales actions.
)
"""Warnings of gymnasium's checker that do not matter to agents."""


@without_tensors
def it_makes_a_new_environment_every_time(component: Component) -> None:
    """``make()`` returns a new ``gymnasium.Env`` at every call, for parallel environments."""
    with players(component, 2) as (first, second):
        new = first.env.unwrapped is not second.env.unwrapped
        require(new, component, "make() returned the same environment twice.")


@without_tensors
def agents_can_take_its_spaces(component: Component) -> None:
    """Spaces are supported: bounded actions, array observations, fitting masks; equal in all copies."""
    with players(component, 2) as (player, other):
        seen, acted = player.env.observation_space, player.env.action_space
        alike = (other.env.observation_space, other.env.action_space) == (seen, acted)
        require(alike, component, "two environments that it made have different spaces.")
        for fault in (action_fault(acted), observation_fault(seen), mask_fault(seen, acted)):
            require(fault is None, component, f"{fault}.")


@without_tensors
def gymnasiums_own_check_passes_without_a_warning(component: Component) -> None:
    """``check_env`` neither raises nor warns, except for advice that agents do not need."""
    with players(component) as (player,):
        env = player.env
        env.action_space.seed(0)
        checked = _MaskedActions(env) if shows_mask(env.observation_space, env.action_space) else env
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                # Agents need neither rendering nor making the environment again by its id.
                check_env(checked, skip_render_check=True, skip_close_check=True)
            except Exception as error:
                raise AssertionError(
                    f"{component.name}: gymnasium's check_env raised {reason(error)}"
                ) from error
        messages = [re.sub(r"\x1b\[[0-9;]*m", "", str(warning.message)) for warning in caught]
        faults = [
            text.removeprefix("WARN: ")
            for text in messages
            if text.startswith("WARN: ") and not any(advice in text for advice in ADVICE)
        ]
        require(not faults, component, f"gymnasium's check_env warns: {' '.join(faults)}")


@without_tensors
def observations_lie_in_their_space(component: Component) -> None:
    """Observations match their space: structure, dtypes, shapes, bounds, finite numbers."""
    with players(component) as (player,):
        for time, moment in _all_moments(player):
            wrong = next(misfits(moment.obs, player.env.observation_space), None)
            when = f"after {time} steps" if time else "after reset"
            require(wrong is None, component, f"{when}, {wrong}.")


@without_tensors
def rewards_are_finite_and_ends_are_flags(component: Component) -> None:
    """Rewards are finite numbers, ``terminated`` and ``truncated`` bools, ``info`` a dictionary."""
    with players(component) as (player,):
        for time, moment in _all_moments(player):
            fault = _step_fault(moment)
            require(fault is None, component, f"after {time} steps, {fault}.")


@without_tensors
def every_action_can_be_taken(component: Component) -> None:
    """All actions are accepted, including the extremes; ``step`` does not modify its argument."""
    with players(component) as (player,):
        space = player.env.action_space
        for policy in (in_turn(space, corners(space)), *_policies(space)):
            moment = player.reset(0)
            for _ in range(STEPS):
                action = policy(moment.obs)
                before = frozen(action)
                moment = player.step(action)
                require(
                    frozen(action) == before, component, "step modifies the action that it is given."
                )
                if moment.over:
                    break


@without_tensors
def a_seed_and_actions_decide_the_trajectory(component: Component) -> None:
    """Determinism, bit by bit: also in another environment, in a used one, and in a new part."""
    with players(component, 2) as (first, second), players(component) as (rebuilt,):
        for seed in SEEDS:
            expected = first.play(seed)
            first.play(seed + 1)
            for which, player in (
                ("an environment that has been used", first),
                ("another environment", second),
                ("an environment of a newly built part", rebuilt),
            ):
                _require_same(player.play(seed), expected, component, f"in {which}")


@without_tensors
def environments_side_by_side_do_not_see_each_other(component: Component) -> None:
    """Environments stepped alternately give the same trajectories as alone."""
    with players(component, 2) as alone, players(component, 2) as together:
        expected = [player.play(seed) for seed, player in enumerate(alone)]
        found: list[list[Any]] = [[], []]
        with global_randomness(0):
            rollouts = [player.moments(seed) for seed, player in enumerate(together)]
            for pair in zip_longest(*rollouts):
                for seen, moment in zip(found, pair, strict=True):
                    seen += [] if moment is None else [moment.value()]
        for seen, wanted in zip(found, expected, strict=True):
            _require_same(seen, wanted, component, "beside another environment")


@without_tensors
def it_can_be_reset_at_any_time(component: Component) -> None:
    """A reset removes all state: repeated, in the middle of a trajectory, and after its end."""
    with players(component) as (player,):
        expected = player.play(1)
        for when, steps in (
            ("right after another", 0),
            ("in mid-trajectory", 2),
            ("at its end", STEPS),
        ):
            player.play(0, steps=steps)
            _require_same(player.play(1), expected, component, f"after a reset {when}")


@without_tensors
def a_reset_without_a_seed_draws_the_next_task(component: Component) -> None:
    """It draws from the generator of the last seed: reproducible, and not always the same task."""
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
        # If most seeds give the same task, equal tasks after a reset prove nothing.
        require(not stuck or 2 * commonest > RESETS, component, sentence)


@without_tensors
def global_random_numbers_play_no_part(component: Component) -> None:
    """The global random generators of Python, numpy and torch are neither used nor seeded."""
    runs = []
    for seed in (0, 1):
        with global_randomness(seed) as touched, players(component) as (player,):
            runs.append([moment.value() for moment in player.moments(0)])
            sentence = "it uses or seeds a global random generator; use self.np_random."
            require(not touched(), component, sentence)
    _require_same(runs[1], runs[0], component, "with another seed of the global generators")


@without_tensors
def what_was_seen_stays_as_it_was(component: Component) -> None:
    """Later steps do not modify an observation that was returned earlier."""
    with players(component) as (player,):
        kept = [(moment.obs, frozen(moment.obs)) for moment in player.moments(0)]
        player.play(1)
        for time, (obs, value) in enumerate(kept):
            sentence = f"later steps modify the observation returned after {time} steps; return copies."
            require(frozen(obs) == value, component, sentence)


@without_tensors
def a_trajectory_is_over_by_the_horizon(component: Component) -> None:
    """If the environment declares a horizon, no trajectory is longer, whatever the actions."""
    with players(component) as (player,):
        horizon = getattr(player.env.unwrapped, "horizon", None)
        whole = horizon is None or (type(horizon) is int and horizon > 0)
        require(whole, component, f"its horizon is {horizon!r}, neither None nor a positive int.")
        budget = step_budget(player.env)
        for policy in _policies(player.env.action_space) if budget else ():
            *_, last = player.moments(0, policy, budget or 0)
            sentence = f"its horizon is {budget} steps, but a trajectory was longer."
            require(last.over, component, sentence)


@without_tensors
def attempts_are_counted_and_have_outcomes(component: Component) -> None:
    """``info["attempt"]`` counts from 0 in every trajectory and comes with ``info["success"]``.

    Both are in the info of the step that ends an attempt: a soft reset, after which the trajectory
    continues.
    """
    with players(component) as (player,):
        for seed in SEEDS:
            expected = 0
            for moment in player.moments(seed, steps=step_budget(player.env) or STEPS):
                attempt, success = map(moment.attempt_info.get, ("attempt", "success"))
                sentence = f"info['success'] is {success!r}, not a finite number."
                require(success is None or is_number(success), component, sentence)
                if attempt is None:
                    continue
                sentence = f"info['attempt'] is {attempt!r} instead of {expected}."
                require(attempt == expected, component, sentence)
                sentence = f"attempt {attempt} ended without info['success']."
                require(success is not None, component, sentence)
                expected += 1


@without_tensors
def what_it_records_lies_in_its_space(component: Component) -> None:
    """If there is a ``recorded_space``, every info has its keys, with values in it, at reset too."""
    with players(component) as (player,):
        space = player.recorded_space
        if space is None:
            return
        fault = recorded_fault(space)
        require(fault is None, component, f"{fault}.")
        for time, moment in _all_moments(player):
            when = f"after {time} steps" if time else "after reset"
            for key, leaf in space.items():
                sentence = f"{when}, the info has no {key!r}, which recorded_space declares."
                require(key in moment.recorded, component, sentence)
                wrong = next(misfits(moment.recorded[key], leaf, f"info[{key!r}]"), None)
                require(wrong is None, component, f"{when}, {wrong}.")


@without_tensors
def with_goals_says_what_other_goals_lead_to(component: Component) -> None:
    """If the part has ``with_goals``, it equals, bit by bit, a replay of the actions with those goals.

    Rollouts have random actions and up to 1,000 steps; the goals are achieved values, in any order.
    Tasks with neither ``obs.goals`` nor ``achieved`` have goals of another form and are skipped.
    """
    with players(component) as (player,):
        with_goals = getattr(player.part, "with_goals", None)
        for seed in SEEDS if with_goals is not None else ():
            walk, *others = [played(player, seed, LONGEST, walk) for walk in range(1 + OTHERS)]
            columns = walk.columns
            lacking = [name for name in (GOALS, ACHIEVED) if name not in columns]
            if len(lacking) == 2:
                return
            sentence = f"it has with_goals, but its trajectories have no column {''.join(lacking)}."
            require(not lacking, component, sentence)
            tried = columns[GOALS][0], *other_goals(columns, [other.columns for other in others], seed)
            replays = [_require_replay(player, with_goals, seed, walk, goals) for goals in tried]
            wrong = difference(_call_with_goals(component, with_goals, columns, tried[0]), columns)
            sentence = f"with_goals changes a trajectory whose goals stay the same: {wrong}."
            require(wrong is None, component, sentence)
            # Random actions seldom reach the last goal of a task; relabeled goals are reached.
            done = [one for one in replays if one.over and len(one.actions) < len(walk.actions)]
            for replay in done[:1]:
                for goals in tried:
                    _require_replay(player, with_goals, seed, replay, goals)


@without_tensors
def it_can_be_closed(component: Component) -> None:
    """``close()`` raises no exception, neither after a trajectory nor before the first one."""
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
"""The laws that every environment must pass. Masked actions are never taken."""


class _MaskedActions(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Replaces a masked action by the next allowed one: gymnasium's checker ignores masks."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._obs, info = self.env.reset(seed=seed, options=options)
        return self._obs, info

    def step(self, action: Any) -> Any:
        self._obs, *others = self.env.step(allowed(action, self.action_space, self._obs))
        return self._obs, *others


def _policies(space: Space) -> list[Policy]:
    """Return a random policy, and some constant ones."""
    return [at_random(space), *(in_turn(space, [corner]) for corner in corners(space)[:SOME])]


def _all_moments(player: Player) -> Iterator[tuple[int, Moment]]:
    """Yield every moment of several rollouts, with the number of steps before it."""
    steps = min(max(step_budget(player.env) or 0, STEPS), LONGEST)
    for seed in SEEDS:
        for policy in _policies(player.env.action_space):
            yield from enumerate(player.moments(seed, policy, steps))


def _tasks_after_a_seed(player: Player) -> list[list[Any]]:
    """Return the beginnings of rollouts after resets without a seed, which follow one with a seed."""
    player.play(0)
    return [player.play(None, steps=BEGINNING) for _ in range(RESETS)]


def _require_replay(
    player: Player, with_goals: Any, seed: int, walk: Recorded, goals: np.ndarray
) -> Recorded:
    """Return a replay of a task with other goals; ``with_goals`` must return the same columns."""
    replay = replayed(player, seed, walk.actions, goals)
    found = _call_with_goals(player.component, with_goals, walk.columns, goals)
    wrong = difference(found, replay.columns)
    what = f"a replay of seed {seed} with the goals {goals.tolist()}"
    sentence = f"with_goals differs from {what}: {wrong}."
    require(wrong is None, player.component, sentence)
    return replay


def _call_with_goals(component: Component, with_goals: Any, columns: Any, goals: np.ndarray) -> Any:
    """Return the result of ``with_goals``, which must modify neither the columns nor the goals."""
    given, before = goals.copy(), frozen(columns)
    try:
        found = with_goals(columns, given)
    except Exception as error:
        raise AssertionError(f"{component.name}: with_goals raised {reason(error)}") from error
    unchanged = {"columns": frozen(columns) == before, "goals": frozen(given) == frozen(goals)}
    for what, same in unchanged.items():
        require(same, component, f"with_goals modifies the {what} that it is given.")
    return found


def _step_fault(moment: Moment) -> str | None:
    """Return what is wrong with the reward, the flags or the info; None if nothing is."""
    if not is_number(moment.reward):
        return f"the reward is {moment.reward!r}, not a finite number"
    for name in ("terminated", "truncated"):
        if not isinstance(flag := getattr(moment, name), bool | np.bool_):
            return f"{name} is {flag!r}, not a bool"
    return None if isinstance(moment.info, dict) else f"info is {moment.info!r}, not a dictionary"


def _require_same(found: list[Any], expected: list[Any], component: Component, where: str) -> None:
    """Raise AssertionError with the first step at which two trajectories differ."""
    pairs = enumerate(zip_longest(found, expected))
    first = next((step for step, (one, other) in pairs if one != other), None)
    sentence = f"the same seed and actions give another trajectory {where}, from step {first} on."
    require(first is None, component, sentence)
