"""Laws of datasets: ``sample`` is a pure function of its arguments, in the format of the replay.

A dataset that reads files gets their path from its options. If it has no spaces of its own, pass those
of an environment: ``law(component, context=DatasetContext(...))``.
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
"""Trajectories per call of ``sample`` by default."""

MANY = 40
"""Trajectories per call, so many that a dataset of several hardly ever returns only one of them."""

UPDATES = (0, 1, 1_000, 10**9)
THREADS = 4


class DatasetLaw(Protocol):
    """A law that takes an optional context."""

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
            context: Context of the part; by default one without an environment.

        Raises:
            AssertionError: If the component breaks the law.
        """


class _Subject:
    """A dataset with its component, which error messages name.

    Args:
        component: The component.
        context: Context of the part.
    """

    def __init__(self, component: Component, context: DatasetContext) -> None:
        self.component, self._context = component, context
        self.dataset = self.build()

    def build(self) -> Any:
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
        self.require(trajectories, f"{call} did not return a sequence of trajectories.")
        return drawn

    def values(self, seed: int, *, update: int = 0, dataset: Any = None) -> Hashable:
        return tuple(map(_value, self.draw(seed, update=update, dataset=dataset)))

    def several(self) -> list[Trajectory]:
        """Return trajectories of several seeds and updates."""
        return [t for seed, update in enumerate(UPDATES) for t in self.draw(seed, update=update)]

    def require(self, condition: bool, sentence: str) -> None:
        require(condition, self.component, sentence)


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
    """It is a ``Dataset`` with supported spaces, and ``describe()`` returns one line."""
    seen, acted = subject.dataset.observation_space, subject.dataset.action_space
    for fault in (action_fault(acted), observation_fault(seen), mask_fault(seen, acted)):
        subject.require(fault is None, f"{fault}.")
    text = subject.dataset.describe()
    line = isinstance(text, str) and len(text.splitlines()) == 1
    subject.require(line, f"describe() returned {text!r}, not one line.")


@_law
def as_many_come_as_are_asked_for(subject: _Subject) -> None:
    """``sample`` returns ``count`` trajectories, also more than the dataset has, at every update."""
    for update in UPDATES:
        for count in (1, COUNT, MANY):
            drawn = len(subject.draw(0, count, update))
            sentence = (
                f"sample(rng, {count}, {update}) returned {drawn} trajectories instead of {count}."
            )
            subject.require(drawn == count, sentence)


@_law
def columns_are_those_of_the_replay(subject: _Subject) -> None:
    """Columns have the names, rows, dtypes and shapes of the replay for the dataset's spaces."""
    _require_faultless(subject, _form_fault)


@_law
def all_trajectories_have_the_same_columns(subject: _Subject) -> None:
    """All trajectories have the same columns, additional ones too: a batch concatenates columns."""
    first, *others = [_schema(trajectory) for trajectory in subject.several()]
    different = next((schema for schema in others if schema != first), None)
    subject.require(different is None, f"one trajectory has the columns {first}, another {different}.")


@_law
def its_numbers_are_finite_and_its_indices_exist(subject: _Subject) -> None:
    """Columns have neither NaN nor infinity; actions and discrete observations lie in their spaces."""

    def fault(trajectory: Trajectory, dataset: Any) -> str | None:
        if _form_fault(trajectory, dataset) is not None:  # Reported by another law.
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
    """``prev_action`` is an action in stored form if ``start_time`` is above 0, and None at 0."""
    _require_faultless(subject, _beginning_fault)


@_law
def equal_arguments_give_equal_trajectories(subject: _Subject) -> None:
    """``sample`` does not depend on earlier calls, nor on the instance: a resume samples again."""
    first = [subject.values(seed) for seed in SEEDS]
    again = [subject.values(seed) for seed in reversed(SEEDS)][::-1]
    other = subject.build()
    rebuilt = [subject.values(seed, dataset=other) for seed in SEEDS]
    sentence = "called again with an equal generator, it returns other trajectories; keep no state."
    subject.require(first == again, sentence)
    sentence = "built twice from equal options, it returns different trajectories for equal generators."
    subject.require(first == rebuilt, sentence)


@_law
def the_generator_decides_what_is_drawn(subject: _Subject) -> None:
    """Different generators give different trajectories, if the dataset has several."""
    held = set(map(_value, subject.draw(0, MANY)))
    drawn = {subject.values(seed) for seed in SEEDS}
    subject.require(len(held) == 1 or len(drawn) > 1, "it returns the same trajectories for every rng.")


@_law
def no_other_generator_is_touched(subject: _Subject) -> None:
    """The global random generators of Python, numpy and torch are neither used nor seeded."""
    for global_seed in (0, 1):
        with global_randomness(global_seed) as touched:
            for seed in SEEDS:
                subject.draw(seed)
            sentence = "it uses or seeds a global random generator; use rng."
            subject.require(not touched(), sentence)


@_law
def what_it_gave_stays_as_it_was(subject: _Subject) -> None:
    """Later calls do not modify trajectories returned earlier, which a prefetched batch still holds."""
    given = subject.draw(0)
    before = _values(given)
    for seed in SEEDS:
        subject.draw(seed, MANY, update=seed)
    sentence = "later calls modify trajectories returned earlier; return copies or constant arrays."
    subject.require(_values(given) == before, sentence)


@_law
def what_it_holds_cannot_be_written_to(subject: _Subject) -> None:
    """Returned arrays are read-only, or copies."""
    before = subject.values(0)
    for trajectory in subject.draw(0):
        for column in trajectory.columns.values():
            if column.flags.writeable:
                column[...] = 1
    sentence = "writing to a returned array changes later results; return copies or read-only arrays."
    subject.require(subject.values(0) == before, sentence)


@_law
def several_threads_may_draw_at_once(subject: _Subject) -> None:
    """Concurrent calls from several threads return the same as calls from one thread."""
    start = Barrier(THREADS)
    other = subject.build()

    def draw(seed: int) -> list[Hashable]:
        start.wait()
        return [subject.values(seed, dataset=other) for _ in range(10)]

    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(draw, range(THREADS)))
    alone = [subject.values(seed, dataset=other) for seed in range(THREADS)]
    same = all(set(drawn) == {wanted} for drawn, wanted in zip(together, alone, strict=True))
    sentence = "results in one thread depend on concurrent calls in other threads."
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
"""The laws that every dataset must pass."""


def _require_faultless(subject: _Subject, find: Callable[[Trajectory, Any], str | None]) -> None:
    spaces = (subject.dataset.observation_space, subject.dataset.action_space)
    if observation_fault(spaces[0]) or action_fault(spaces[1]):
        return  # Reported by the first law; columns cannot be checked without spaces.
    for trajectory in subject.several():
        fault = find(trajectory, subject.dataset)
        subject.require(fault is None, f"a trajectory is invalid: {fault}.")


def _form_fault(trajectory: Trajectory, dataset: Any) -> str | None:
    return form_fault(trajectory, dataset.observation_space, dataset.action_space)


def _beginning_fault(trajectory: Trajectory, dataset: Any) -> str | None:
    acted = canonical_action(dataset.action_space)
    time, action, reward = trajectory.start_time, trajectory.prev_action, trajectory.prev_reward
    if time < 0:
        return f"start_time is {time}"
    if time == 0:
        nothing = action is None and reward == 0
        return None if nothing else "start_time is 0, but prev_action or prev_reward is set"
    if action is None:
        return f"start_time is {time}, but prev_action is None"
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
    """Return a hashable value of a trajectory."""
    before = None if trajectory.prev_action is None else frozen(trajectory.prev_action)
    facts = (trajectory.seed, trajectory.start_time, trajectory.prev_reward, trajectory.task)
    return frozen(trajectory.columns), before, facts, trajectory.success


def _values(trajectories: Sequence[Trajectory]) -> Hashable:
    """Return a hashable value of trajectories."""
    return tuple(map(_value, trajectories))
