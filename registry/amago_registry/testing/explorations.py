"""Laws of exploration strategies, in every action space that they support, with and without a mask.

Shape suffixes: B = parallel environments, A = features of an action vector.
"""

from __future__ import annotations

import inspect
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from amago_registry.actions import choices
from amago_registry.component import Component
from amago_registry.contexts import ExplorationContext
from amago_registry.errors import AmagoError, UnsupportedSpaceError, reason
from amago_registry.protocols import Exploration
from amago_registry.testing.arrays import (
    frozen,
    global_randomness,
    make_part,
    without_tensors,
)
from amago_registry.testing.building import (
    Law,
    episode_lengths,
    require,
    require_protocol,
)
from amago_registry.testing.heads import ACTION_SPACES

ENVIRONMENTS = 5
HORIZON = 6
STEPS = 16
LATE = 10**7
"""Steps of one environment after which every schedule has ended."""

STORABLE = "biuf"
"""Numpy dtype kinds that a checkpoint stores: booleans, integers, floats."""

MANY = spaces.Discrete(300)
"""A space with more actions than a uint8 has values."""


@dataclass(frozen=True)
class Run:
    """Settings of a simulated run.

    Args:
        words: How this run differs, for error messages, as the end of a sentence about a space.
        environments: B.
        horizon: The context's horizon.
        first: Steps taken before the law's first step.
        longest: Most steps of a task; None for one task as long as the test.
    """

    words: str = ""
    environments: int = ENVIRONMENTS
    horizon: int | None = HORIZON
    first: int = 0
    longest: int | None = HORIZON


ORDINARY = Run()

Explorations: TypeAlias = list[tuple[spaces.Space[Any], Any]]


@dataclass(frozen=True)
class Call:
    """Arguments that a collector passes at one step.

    Args:
        action: The policy's actions in stored form; legal under the mask.
        time_B: Steps since each environment's task began; environments reset at different times.
        step: Steps each environment has taken.
        masks: The mask ``(B, A)``, or empty.
    """

    action: np.ndarray
    time_B: np.ndarray
    step: int
    masks: tuple[np.ndarray, ...] = field(default=())


@without_tensors
def an_exploration_offers_what_collectors_call(component: Component) -> None:
    """It is an ``Exploration``, in at least one action space."""
    _explorations(component)


@without_tensors
def it_acts_in_every_run(component: Component) -> None:
    """It works with any number of environments, beyond the horizon, and after every schedule has ended.

    Also without a horizon, because an environment may not declare one. A part that needs a horizon
    raises an ``AmagoError`` when it is built, with the option to set instead.
    """
    for space, _ in _explorations(component):
        for run in _RUNS:
            try:
                _actions(component, space, run)
            except Exception as error:
                sentence = f"in {space}{run.words}, it raised {reason(error)}."
                raise AssertionError(f"{component.name}: {sentence}") from error


@without_tensors
def actions_stay_in_the_space(component: Component) -> None:
    """Returned actions are legal and keep shape and dtype, whatever the policy's actions."""
    for space, _ in _explorations(component):
        for run in _RUNS:
            try:
                actions = _actions(component, space, run)
            except Exception:  # Reported by another law.
                continue
            for given, action in actions:
                _require_stored(action, given, space, component, run.words)


@without_tensors
def masked_actions_are_never_taken(component: Component) -> None:
    """Masked actions are never returned; a factor with all actions masked counts as unmasked."""
    for space, part in _explorations(component):
        if not _takes_mask(part, space):
            continue
        calls = _calls(space, masked=True)
        for call, action in zip(calls, _act(part, calls), strict=True):
            sentence = f"in {space}, it returns masked actions."
            require(_is_allowed(action, call.masks[0], space), component, sentence)


@without_tensors
def what_it_is_given_stays_as_it_was(component: Component) -> None:
    """The arguments, actions, times and mask, are not modified."""
    for space, part in _explorations(component):
        for calls in _histories(part, space):
            given = _values(calls)
            rng = _generator()
            for call in calls:
                _pass(part, call, rng)
            for name, before, after in zip(_ARGUMENTS, given, _values(calls), strict=True):
                require(after == before, component, f"in {space}, it modifies its argument {name}.")


@without_tensors
def all_randomness_comes_from_the_generator(component: Component) -> None:
    """Equal generators give equal actions; global random generators are neither used nor seeded."""
    runs: list[list[Any]] = []
    for seed in (0, 1):
        with global_randomness(seed) as touched:
            explorations = _explorations(component)
            runs.append([_act(part, _calls(space)) for space, part in explorations])
            sentence = "it uses or seeds a global random generator; use rng."
            require(not touched(), component, sentence)
    for (space, _), first, second in zip(explorations, *runs, strict=True):
        sentence = f"in {space}, equal generators give different actions; use rng alone."
        require(frozen(first) == frozen(second), component, sentence)


@without_tensors
def its_state_is_made_of_arrays(component: Component) -> None:
    """``state()`` always returns a dictionary of numpy arrays of numbers."""
    for space, part in _explorations(component):
        for call in [None, *_calls(space)]:
            if call is not None:
                _act(part, [call])
            state = part.state()
            sentence = f"its state is of type {type(state).__name__}, not a dictionary."
            require(isinstance(state, dict), component, sentence)
            for name, value in state.items():
                storable = isinstance(value, np.ndarray) and value.dtype.kind in STORABLE
                sentence = f"its state's {name!r} is {value!r}, not a numpy array of numbers."
                require(storable, component, sentence)


@without_tensors
def a_stored_state_goes_on_exactly(component: Component) -> None:
    """Exact resume: a new part with the loaded state returns the same actions from then on."""
    for space, _ in _explorations(component):
        calls = _calls(space)
        for split in range(STEPS):
            first, second, rng = _build(component, space), _build(component, space), _generator()
            _act(first, calls[:split], rng)
            second.load_state(deepcopy(first.state()))
            expected = _act(first, calls[split:], deepcopy(rng))
            sentence = (
                f"in {space}, a new part with the state stored after {split} steps returns other "
                "actions."
            )
            same = frozen(_act(second, calls[split:], rng)) == frozen(expected)
            require(same, component, sentence)


@without_tensors
def a_stored_state_stays_as_it_was(component: Component) -> None:
    """Later calls modify neither the result of ``state()`` nor the argument of ``load_state``."""
    for space, part in _explorations(component):
        calls = _calls(space)
        for split in range(STEPS):
            rng = _generator()
            _act(part, calls[:split], rng)
            stored = part.state()
            before, given = frozen(stored), deepcopy(stored)
            restored = _build(component, space)
            restored.load_state(given)
            _act(part, calls[split:], deepcopy(rng))
            _act(restored, calls[split:], rng)
            sentence = "later calls modify the state that state() returned; return copies."
            require(frozen(stored) == before, component, sentence)
            sentence = "later calls modify the state that load_state was given; keep copies."
            require(frozen(given) == before, component, sentence)


EXPLORATION_LAWS: tuple[Law, ...] = (
    an_exploration_offers_what_collectors_call,
    it_acts_in_every_run,
    actions_stay_in_the_space,
    masked_actions_are_never_taken,
    what_it_is_given_stays_as_it_was,
    all_randomness_comes_from_the_generator,
    its_state_is_made_of_arrays,
    a_stored_state_goes_on_exactly,
    a_stored_state_stays_as_it_was,
)
"""The laws that every exploration strategy must pass, in each action space that it supports."""

_ARGUMENTS = ("action", "time_B", "action_mask_BA")
_RUNS = (
    ORDINARY,
    Run(" with 1 environment", environments=1),
    Run(" with 11 environments", environments=11),
    Run(" without a horizon", horizon=None),
    Run(" beyond the horizon", longest=None),
    Run(f" after {LATE} steps", first=LATE),
)


def _build(component: Component, space: spaces.Space[Any], run: Run = ORDINARY) -> Any:
    context = ExplorationContext(action_space=space, environments=run.environments, horizon=run.horizon)
    return make_part(component, context)


def _explorations(component: Component) -> Explorations:
    """Return every action space that the part supports, with the part built for it."""
    supported: Explorations = []
    for space in (*ACTION_SPACES, MANY):
        try:
            part = _build(component, space)
        except UnsupportedSpaceError:
            continue
        require_protocol(part, Exploration, component)
        supported.append((space, part))
    tried = ", ".join(map(str, (*ACTION_SPACES, MANY)))
    require(bool(supported), component, f"it supports none of the action spaces {tried}.")
    return supported


def _takes_mask(part: Any, space: spaces.Space[Any]) -> bool:
    """Return whether the part accepts a mask; if not, it raises an error where there are masks."""
    if not choices(space):
        return False
    try:
        inspect.signature(part).bind("action", "time_B", "step", "rng", "action_mask_BA")
    except TypeError:
        return False
    return True


def _histories(part: Any, space: spaces.Space[Any], run: Run = ORDINARY) -> list[list[Call]]:
    """Return the calls of a run, and those of a run with masks if the part accepts them."""
    return [_calls(space, masked, run) for masked in (False, True)[: 1 + _takes_mask(part, space)]]


def _calls(space: spaces.Space[Any], masked: bool = False, run: Run = ORDINARY) -> list[Call]:
    """Return calls of a run, the same ones every time."""
    rng = np.random.default_rng(0)
    episodes = [[STEPS]] * run.environments
    if run.longest is not None:
        episodes = episode_lengths(run.environments, STEPS, run.longest, seed=0)
    time_BT = np.array([np.concatenate([np.arange(n) for n in lengths]) for lengths in episodes])
    calls = []
    for step in range(STEPS):
        masks = (_mask(space, rng, run.environments),) if masked else ()
        action = _policy(space, rng, run.environments, *masks)
        calls.append(Call(action, time_BT[:, step].copy(), run.first + step, masks))
    return calls


def _mask(space: spaces.Space[Any], rng: np.random.Generator, count: int) -> np.ndarray:
    """Return a mask ``(B, A)`` that allows about a third of the actions, and none in some rows."""
    return rng.random((count, sum(choices(space)))) < 0.3


def _policy(
    space: spaces.Space[Any], rng: np.random.Generator, count: int, *masks: np.ndarray
) -> np.ndarray:
    """Return random legal actions of a policy, some of them at the bounds of a box."""
    if isinstance(space, spaces.Box):
        return np.clip(rng.normal(size=(count, *space.shape)), -1, 1).astype(np.float32)
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(2, size=(count, *space.shape), dtype=np.int8)
    width = sum(choices(space))
    mask_BA = masks[0] if masks else np.ones((count, width), bool)
    picked = [[rng.choice(np.flatnonzero(one)) for one in row] for row in _by_factor(mask_BA, space)]
    action = np.array(picked, np.int64)
    return action[:, 0] if isinstance(space, spaces.Discrete) else action


def _by_factor(mask_BA: np.ndarray, space: spaces.Space[Any]) -> list[list[np.ndarray]]:
    """Return the mask of each factor, for every row."""
    ends = np.cumsum(choices(space))[:-1]
    return [[one | ~one.any() for one in np.split(mask_A, ends)] for mask_A in mask_BA]


def _is_allowed(action: np.ndarray, mask_BA: np.ndarray, space: spaces.Space[Any]) -> bool:
    rows = zip(np.reshape(action, (len(mask_BA), -1)), _by_factor(mask_BA, space), strict=True)
    return all(one[index] for taken, allowed in rows for index, one in zip(taken, allowed, strict=True))


def _generator() -> np.random.Generator:
    return np.random.default_rng(0)


def _pass(part: Any, call: Call, rng: np.random.Generator) -> Any:
    """Return the actions of one call."""
    return part(call.action, call.time_B, call.step, rng, *call.masks)


def _act(part: Any, calls: list[Call], rng: np.random.Generator | None = None) -> list[Any]:
    """Return copies of the actions of each call; the arguments are copied too."""
    rng = rng or _generator()
    return [deepcopy(_pass(part, deepcopy(call), rng)) for call in calls]


def _values(calls: list[Call]) -> list[Any]:
    """Return hashable values of the arguments of the calls."""
    columns = [(call.action, call.time_B, call.masks) for call in calls]
    return [frozen(column) for column in zip(*columns, strict=True)]


def _actions(component: Component, space: spaces.Space[Any], run: Run) -> list[tuple[np.ndarray, Any]]:
    """Return given and returned actions; empty if the part raises an AmagoError without a horizon."""
    try:
        part = _build(component, space, run)
    except AmagoError:
        if run.horizon is None:
            return []
        raise
    return [
        (call.action, action)
        for calls in _histories(part, space, run)
        for call, action in zip(calls, _act(part, calls), strict=True)
    ]


def _require_stored(
    action: Any, given: np.ndarray, space: spaces.Space[Any], component: Component, words: str
) -> None:
    array = isinstance(action, np.ndarray)
    sentence = f"in {space}{words}, it returns {type(action).__name__}, not a numpy array."
    require(array, component, sentence)
    same = action.dtype == given.dtype and action.shape == given.shape
    sentence = (
        f"in {space}{words}, it returns actions of {action.dtype} {action.shape} instead of "
        f"{given.dtype} {given.shape}."
    )
    require(same, component, sentence)
    legal = all(space.contains(one) for one in action)
    require(legal, component, f"in {space}{words}, it returns actions outside the space.")
