"""Laws of datasets: what is drawn is a function of its arguments, and as if the replay had stored it.

A dataset that reads files is told where they are by its options; one that knows no spaces of its own is
given those of an environment: ``law(component, context=DatasetContext(...))``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import Barrier
from typing import Any, Protocol

import numpy as np
import torch

from amago_registry.component import Component
from amago_registry.contexts import DatasetContext
from amago_registry.errors import reason
from amago_registry.protocols import Dataset
from amago_registry.recordings import end_fault, form_fault, number_fault
from amago_registry.spaces import canonical_action, stored_action_dtype
from amago_registry.testing.arrays import frozen, global_randomness, make_part
from amago_registry.testing.building import require, require_protocol
from amago_registry.testing.spaces import action_fault, mask_fault, observation_fault
from amago_registry.trajectories import Trajectory

SEEDS = range(8)
COUNT = 5
"""Trajectories that are drawn at a time, unless a law says otherwise."""

MANY = 40
"""Enough that a dataset of several trajectories hardly ever gives the same one every time."""

UPDATES = (0, 1, 1_000, 10**9)
THREADS = 4


class DatasetLaw(Protocol):
    """A law that can be tried with a context of the author's."""

    __name__: str

    def __call__(
        self,
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        context: DatasetContext | None = None,
    ) -> None:
        """Check the component.

        Args:
            component: The part.
            device: Ignored; datasets hold no tensors.
            dtype: Ignored.
            context: What it is built with; by default one without an environment.

        Raises:
            AssertionError: If the component breaks the law.
        """


class _Subject:
    """A dataset, and the component to blame.

    Args:
        component: The part.
        context: What it is built with.
    """

    def __init__(self, component: Component, context: DatasetContext) -> None:
        self.component, self._context = component, context
        self.dataset = self.another()

    def another(self) -> Any:
        dataset = make_part(self.component, self._context)
        require_protocol(dataset, Dataset, self.component)
        return dataset

    def draw(
        self, seed: int = 0, count: int = COUNT, update: int = 0, dataset: Any = None
    ) -> Sequence[Trajectory]:
        call = f"sample(rng, {count}, {update})"
        try:
            rng = np.random.default_rng(seed)
            drawn: Sequence[Trajectory] = (dataset or self.dataset).sample(rng, count, update)
        except Exception as error:
            raise AssertionError(f"{self.component.name}: {call} raised {reason(error)}") from error
        trajectories = isinstance(drawn, Sequence) and all(isinstance(t, Trajectory) for t in drawn)
        self.require(trajectories, f"{call} returned no sequence of trajectories.")
        return drawn

    def values(self, seed: int, *, update: int = 0, dataset: Any = None) -> Hashable:
        return tuple(map(_value, self.draw(seed, update=update, dataset=dataset)))

    def several(self) -> list[Trajectory]:
        """Return what is drawn for some seeds and updates."""
        return [t for seed, update in enumerate(UPDATES) for t in self.draw(seed, update=update)]

    def require(self, truth: bool, sentence: str) -> None:
        require(truth, self.component, sentence)


def _law(check: Callable[[_Subject], None]) -> DatasetLaw:
    @wraps(check)
    def law(
        component: Component,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        context: DatasetContext | None = None,
    ) -> None:
        del device, dtype
        check(_Subject(component, _CONTEXT if context is None else context))

    return law


def _build(part: Any, context: Any) -> Any:
    return part.build(context)


_CONTEXT = DatasetContext(context_length=4, observation_space=None, action_space=None, build=_build)


@_law
def a_dataset_offers_what_learners_call(subject: _Subject) -> None:
    """It is a ``Dataset`` with spaces that agents take, and says in one line what it holds."""
    seen, acted = subject.dataset.observation_space, subject.dataset.action_space
    for fault in (action_fault(acted), observation_fault(seen), mask_fault(seen, acted)):
        subject.require(fault is None, f"{fault}.")
    said = subject.dataset.describe()
    line = isinstance(said, str) and len(said.splitlines()) == 1
    subject.require(line, f"describe() returned {said!r}, not one line.")


@_law
def as_many_come_as_are_asked_for(subject: _Subject) -> None:
    """Also more than there are, at every update."""
    for update in UPDATES:
        for count in (1, COUNT, MANY):
            came = len(subject.draw(0, count, update))
            subject.require(came == count, f"asked for {count} at update {update}, it gave {came}.")


@_law
def columns_are_those_of_the_replay(subject: _Subject) -> None:
    """Names, rows, types and shapes are what the replay would have stored, given its spaces."""
    _require_faultless(subject, _form_fault)


@_law
def all_trajectories_have_the_same_columns(subject: _Subject) -> None:
    """Those that nothing asks for, too: a batch lays columns end to end."""
    first, *others = [_schema(trajectory) for trajectory in subject.several()]
    different = next((schema for schema in others if schema != first), None)
    subject.require(different is None, f"one has the columns {first}, another {different}.")


@_law
def its_numbers_are_finite_and_its_indices_exist(subject: _Subject) -> None:
    """No NaN and no infinity; actions, and observations that are indices, lie in their spaces."""

    def fault(trajectory: Trajectory, dataset: Any) -> str | None:
        if _form_fault(trajectory, dataset) is not None:  # Another law says so.
            return None
        return number_fault(trajectory, dataset.observation_space, dataset.action_space)

    _require_faultless(subject, fault)


@_law
def only_the_last_transition_ends_it(subject: _Subject) -> None:
    """No transition but the last is ``terminated`` or ``truncated``."""
    _require_faultless(
        subject,
        lambda trajectory, dataset: None if _form_fault(trajectory, dataset) else end_fault(trajectory),
    )


@_law
def what_came_before_is_known_where_something_did(subject: _Subject) -> None:
    """Above a ``start_time`` of 0 there is an action before, in stored form; at 0 there is none."""
    _require_faultless(subject, _beginning_fault)


@_law
def equal_arguments_give_equal_trajectories(subject: _Subject) -> None:
    """Whatever was drawn before, and also from another dataset built alike: batches are drawn again."""
    first = [subject.values(seed) for seed in SEEDS]
    again = [subject.values(seed) for seed in reversed(SEEDS)][::-1]
    other = subject.another()
    anew = [subject.values(seed, dataset=other) for seed in SEEDS]
    sentence = "it gives other trajectories when asked again with an equal generator; keep nothing."
    subject.require(first == again, sentence)
    sentence = "built alike twice, it gives different trajectories for equal generators."
    subject.require(first == anew, sentence)


@_law
def the_generator_decides_what_is_drawn(subject: _Subject) -> None:
    """Where several are held, different generators give different ones."""
    held = set(map(_value, subject.draw(0, MANY)))
    drawn = {subject.values(seed) for seed in SEEDS}
    subject.require(len(held) == 1 or len(drawn) > 1, "it gives the same trajectories for every rng.")


@_law
def no_other_generator_is_touched(subject: _Subject) -> None:
    """The global ones of Python, numpy and torch are neither read nor changed."""
    for world in (0, 1):
        with global_randomness(world) as touched:
            for seed in SEEDS:
                subject.draw(seed)
            sentence = "it draws from a global generator, or seeds it; draw from rng."
            subject.require(not touched(), sentence)


@_law
def what_it_gave_stays_as_it_was(subject: _Subject) -> None:
    """Drawing more does not change what was given: batches wait while others are drawn."""
    given = subject.draw(0)
    before = _values(given)
    for seed in SEEDS:
        subject.draw(seed, MANY, update=seed)
    sentence = "what it gave changes when more is drawn; give copies, or what nobody writes to."
    subject.require(_values(given) == before, sentence)


@_law
def what_it_holds_cannot_be_written_to(subject: _Subject) -> None:
    """Arrays that it gives are read-only, or copies."""
    before = subject.values(0)
    for trajectory in subject.draw(0):
        for column in trajectory.columns.values():
            if column.flags.writeable:
                column[...] = 1
    sentence = "who writes to what it gave changes what it gives next; give copies or read-only arrays."
    subject.require(subject.values(0) == before, sentence)


@_law
def several_threads_may_draw_at_once(subject: _Subject) -> None:
    """Each gets what it would have got alone."""
    start = Barrier(THREADS)
    other = subject.another()

    def draw(seed: int) -> list[Hashable]:
        start.wait()
        return [subject.values(seed, dataset=other) for _ in range(10)]

    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(draw, range(THREADS)))
    alone = [subject.values(seed, dataset=other) for seed in range(THREADS)]
    same = all(set(drawn) == {wanted} for drawn, wanted in zip(together, alone, strict=True))
    sentence = "what one thread draws depends on what others draw meanwhile."
    subject.require(same, sentence)


DATASET_LAWS: tuple[DatasetLaw, ...] = (
    a_dataset_offers_what_learners_call,
    as_many_come_as_are_asked_for,
    columns_are_those_of_the_replay,
    all_trajectories_have_the_same_columns,
    its_numbers_are_finite_and_its_indices_exist,
    only_the_last_transition_ends_it,
    what_came_before_is_known_where_something_did,
    equal_arguments_give_equal_trajectories,
    the_generator_decides_what_is_drawn,
    no_other_generator_is_touched,
    what_it_gave_stays_as_it_was,
    what_it_holds_cannot_be_written_to,
    several_threads_may_draw_at_once,
)
"""What every dataset obeys."""


def _require_faultless(subject: _Subject, find: Callable[[Trajectory, Any], str | None]) -> None:
    spaces = (subject.dataset.observation_space, subject.dataset.action_space)
    if observation_fault(spaces[0]) or action_fault(spaces[1]):
        return  # The first law says so; nothing can be asked of columns then.
    for trajectory in subject.several():
        fault = find(trajectory, subject.dataset)
        subject.require(fault is None, f"of a trajectory, {fault}.")


def _form_fault(trajectory: Trajectory, dataset: Any) -> str | None:
    return form_fault(trajectory, dataset.observation_space, dataset.action_space)


def _beginning_fault(trajectory: Trajectory, dataset: Any) -> str | None:
    acted = canonical_action(dataset.action_space)
    time, action, reward = trajectory.start_time, trajectory.prev_action, trajectory.prev_reward
    if time < 0:
        return f"start_time is {time}"
    if time == 0:
        nothing = action is None and reward == 0
        return None if nothing else "start_time is 0, and something is said of what came before"
    if action is None:
        return f"start_time is {time}, and prev_action is None"
    wanted = (stored_action_dtype(acted), acted.shape or ())
    array = np.asarray(action)
    if (array.dtype, array.shape) != wanted:
        return f"prev_action is {array.dtype} {array.shape} instead of {wanted[0]} {wanted[1]}"
    return None if np.isfinite(reward) else "prev_reward is not finite"


def _schema(trajectory: Trajectory) -> dict[str, str]:
    return {
        name: f"{column.dtype} {column.shape[1:]}"
        for name, column in sorted(trajectory.columns.items())
    }


def _value(trajectory: Trajectory) -> Hashable:
    """Return a trajectory by value."""
    before = None if trajectory.prev_action is None else frozen(trajectory.prev_action)
    facts = (trajectory.seed, trajectory.start_time, trajectory.prev_reward, trajectory.task)
    return frozen(trajectory.columns), before, facts, trajectory.success


def _values(trajectories: Sequence[Trajectory]) -> Hashable:
    """Return trajectories by value."""
    return tuple(map(_value, trajectories))
