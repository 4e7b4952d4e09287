"""Environments that come with a vector form of their own.

Gymnasium's vector environments begin the next task by themselves, in one of two ways, or leave that to
whoever steps them. All three are brought here to what the collector asks for.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from amago_core.environments.arrays import Arrays, allocate, observations, recordings, result_columns
from amago_core.environments.checked import MakeEnvironment, make_checked
from amago_core.environments.errors import LARGEST, EnvironmentFault, close_quietly, one_number
from amago_core.environments.sync import task_name
from amago_registry.errors import AmagoError
from amago_registry.recordings import recorded_fault
from amago_registry.spaces import canonical_observation, flat_observation

if TYPE_CHECKING:
    from amago_core.environments.interface import VectorEnvironments


GymnasiumVector: TypeAlias = VectorEnv[Any, Any, Any]


class GymnasiumVectorEnvironments:
    """Steps a gymnasium vector environment; see :class:`VectorEnvironments`.

    * ``DISABLED``: tasks begin with :meth:`reset`, by mask.
    * ``SAME_STEP``: a step that ends a task returns the next one's first observation. It is held back
      until :meth:`reset`; the last one of the task is shown in its place.
    * ``NEXT_STEP``: the step after the end ignores its action and returns the next task's first
      observation. The environment has not ``played`` that step; its task ``began`` with it.

    Where all environments are to begin at once, they are reset, whatever the mode. A list of seeds is
    given to those that take it; others take the first seed, and only then. Tasks are ``seeded`` where
    all of them begin with a seed of their own: under ``DISABLED``, where a list is taken; that is known
    after the first reset. Environments cannot be stepped one without the others, so the past of a task
    cannot be replayed: ``reproducible`` is false.

    What its ``single_recorded_space`` declares is in its infos as arrays ``(B, ...)``, at every reset
    and step. How a task ended under ``SAME_STEP`` is in ``final_info``. Where a call is about some
    environments alone, nothing is read of the others.

    Args:
        vector: A vector environment that says its ``metadata["autoreset_mode"]``.
        name: What users call it.

    Raises:
        EnvironmentFault: If it does not say how it resets, or cannot record what it says.
    """

    reproducible = False

    def __init__(self, vector: GymnasiumVector, name: str) -> None:
        self._vector, self._name, self.count = vector, name, vector.num_envs
        self._mode = _autoreset_mode(vector, name)
        self.observation_space = vector.single_observation_space
        self.action_space = vector.single_action_space
        self._spaces = canonical_observation(self.observation_space)
        self.recorded_space = _recorded_space(vector, name)
        columns = result_columns(self.observation_space, self.count, self.recorded_space)
        arrays, following = allocate(columns), allocate(columns)
        self.obs, self.recorded = observations(arrays), recordings(arrays)
        self.reward_B = arrays["reward"]
        self.terminated_B, self.truncated_B = arrays["terminated"], arrays["truncated"]
        self.success_B = arrays["success"]
        self.task_B = [""] * self.count
        self.played_B = np.ones(self.count, bool)
        self.began_B = np.zeros(self.count, bool)
        self._over_B = np.zeros(self.count, bool)
        self._next_obs, self._next_recorded = observations(following), recordings(following)
        self._next_task_B = [""] * self.count
        self._takes_seeds, self.seeded = True, self._mode is AutoresetMode.DISABLED

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin new tasks where there is a seed, or where the environment has begun one by itself."""
        fresh_B = np.array([seed is not None for seed in seeds])
        self.began_B[:] = fresh_B
        if not fresh_B.any():
            return
        if fresh_B.all():
            self._begin(self._reset(seeds, None), fresh_B)
        elif self._mode is AutoresetMode.DISABLED:
            self._begin(self._reset(seeds, fresh_B), fresh_B)
        else:
            self._wait_for(fresh_B)

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step in all environments; ``active_B`` must leave none out."""
        assert active_B is None or active_B.all(), "a vector environment is stepped as a whole"
        try:
            obs, reward, terminated, truncated, infos = self._vector.step(action)
        except Exception as error:
            raise self._fault(f"step raised {type(error).__name__}: {error}") from error
        self.reward_B[:] = self._one_each("reward", reward)
        self.terminated_B[:] = self._one_each("terminated", terminated)
        self.truncated_B[:] = self._one_each("truncated", truncated)
        phantom_B = self._over_B & (self._mode is AutoresetMode.NEXT_STEP)
        self.played_B[:] = ~phantom_B
        self.began_B[:] = phantom_B
        for array in (self.reward_B, self.terminated_B, self.truncated_B):
            array[phantom_B] = 0
        self._over_B = self.terminated_B | self.truncated_B
        self._show(self.obs, obs, np.ones(self.count, bool))
        self._name_tasks(self.task_B, infos, phantom_B)
        self.success_B.fill(np.nan)
        if self._mode is AutoresetMode.SAME_STEP and self._over_B.any():
            self._hold_back(infos)
        else:
            self._succeed(infos, self.played_B)
            self._record(self.recorded, infos, np.ones(self.count, bool))

    def restart(self) -> None:
        """Raise: what runs in this process cannot be lost without it."""
        raise EnvironmentFault(
            f"environment {self._name} runs in this process and cannot be started anew; with "
            "collector.vectorization=async it can."
        )

    def close(self) -> None:
        """Close all of them."""
        close_quietly(self._name, self._vector.close)

    def _reset(self, seeds: Sequence[int | None], mask_B: np.ndarray | None) -> tuple[Any, Any]:
        if self._takes_seeds:
            try:
                return self._vector_reset([seed or 0 for seed in seeds], mask_B)
            except Exception:
                # Gymnasium has no way to ask. Where this was not the reason, the next line says so.
                self._takes_seeds = self.seeded = False
        try:
            return self._vector_reset(seeds[0] if mask_B is None else None, mask_B)
        except Exception as error:
            raise self._fault(f"reset raised {type(error).__name__}: {error}") from error

    def _vector_reset(self, seed: Any, mask_B: np.ndarray | None) -> tuple[Any, Any]:
        options = None if mask_B is None else {"reset_mask": mask_B.copy()}
        obs, infos = self._vector.reset(seed=seed, options=options)
        return obs, infos

    def _begin(self, shown: tuple[Any, Any], fresh_B: np.ndarray) -> None:
        obs, infos = shown
        self._show(self.obs, obs, fresh_B)
        self._name_tasks(self.task_B, infos, fresh_B)
        self._record(self.recorded, infos, fresh_B)
        self._over_B &= ~fresh_B

    def _wait_for(self, fresh_B: np.ndarray) -> None:
        """Show what begins by itself: what has begun, now, and the rest with the next step."""
        if (fresh_B & ~self._over_B).any():
            raise EnvironmentFault(
                f"environment {self._name}: its vector form begins the next task by itself, and only "
                "where the last one ends; it cannot be cut before. Leave out the limit on its steps, "
                "or write collector.vectorization=sync."
            )
        if self._mode is AutoresetMode.NEXT_STEP:
            self.began_B.fill(False)
            self.played_B[fresh_B] = False
            return
        for now, following in (self.obs, self._next_obs), (self.recorded, self._next_recorded):
            for key, rows in following.items():
                now[key][fresh_B] = rows[fresh_B]
        for index in np.flatnonzero(fresh_B):
            self.task_B[index] = self._next_task_B[index]
        self._over_B &= ~fresh_B

    def _hold_back(self, infos: Mapping[str, Any]) -> None:
        """Show how tasks ended, and keep how the next ones begin."""
        if "final_obs" not in infos:
            raise self._fault("a task ended, and the info has no 'final_obs' that shows how")
        for key, rows in self.obs.items():
            self._next_obs[key][self._over_B] = rows[self._over_B]
        self._name_tasks(self._next_task_B, infos, self._over_B)
        final = infos["final_obs"]
        if isinstance(final, np.ndarray) and final.dtype == object:
            self._show_each(final)
        else:
            self._show(self.obs, final, self._over_B)
        final_info = infos.get("final_info", {})
        self._succeed(infos, ~self._over_B)
        self._succeed(final_info, self._over_B)
        self._record(self._next_recorded, infos, self._over_B)
        self._record(self.recorded, infos, ~self._over_B)
        self._record(self.recorded, final_info, self._over_B, "final_info")

    def _show_each(self, final_B: np.ndarray) -> None:
        for index in np.flatnonzero(self._over_B):
            batch = {key: rows[None] for key, rows in self._arrays(final_B[index]).items()}
            self._check(batch, 1)
            for key, rows in self.obs.items():
                rows[index] = batch[key][0]

    def _show(self, rows: Arrays, obs: Any, mask_B: np.ndarray) -> None:
        batch = self._arrays(obs)
        self._check(batch, self.count)
        for key, target in rows.items():
            np.copyto(target, batch[key], "same_kind", where=_as_wide(mask_B, target))

    def _record(
        self, rows: Arrays, infos: Mapping[str, Any], mask_B: np.ndarray, where: str = "info"
    ) -> None:
        """Copy what is recorded beside the observations, where ``mask_B`` is true."""
        if not rows or not mask_B.any():
            return
        for key, target in rows.items():
            what = f"{where}[{key!r}]"
            values = self._array(what, self._present(key, infos, mask_B, where))
            if values.shape != target.shape:
                raise self._fault(f"{what} has shape {values.shape}, not {target.shape}")
            wanted = self.recorded_space[key].dtype
            if not np.can_cast(values.dtype, cast(Any, wanted), "same_kind"):
                raise self._fault(f"{what} is of type {values.dtype}, its space of {wanted}")
            np.copyto(target, values, "same_kind", where=_as_wide(mask_B, target))

    def _present(self, key: str, infos: Mapping[str, Any], mask_B: np.ndarray, where: str) -> Any:
        """Return what an info says of all environments; it may have a mask of those it speaks of."""
        if not isinstance(infos, Mapping) or key not in infos:
            raise self._fault(f"the {where} has no {key!r}, which single_recorded_space says it has")
        said_B = self._one_each(f"{where}['_{key}']", infos.get(f"_{key}", mask_B)).astype(bool)
        silent = np.flatnonzero(mask_B & ~said_B)
        if len(silent):
            raise self._fault(f"the {where} has no {key!r} of environment {silent[0]}")
        return infos[key]

    def _arrays(self, obs: Any) -> Arrays:
        given = flat_observation(obs, self.observation_space)
        return {key: self._array(f"the observation {key!r}", value) for key, value in given.items()}

    def _array(self, what: str, values: Any) -> np.ndarray:
        try:
            return np.asarray(values)
        except (TypeError, ValueError):
            raise self._fault(f"{what} is no array: {values!r}") from None

    def _check(self, batch: Mapping[str, np.ndarray], count: int) -> None:
        if batch.keys() != self._spaces.keys():
            raise self._fault(
                f"the observation has the keys {sorted(batch)}, its space {sorted(self._spaces)}"
            )
        for key, space in self._spaces.items():
            values, shape = batch[key], (count, *(space.shape or ()))
            if values.shape != shape:
                raise self._fault(f"the observation {key!r} has shape {values.shape}, not {shape}")
            if not np.can_cast(values.dtype, cast(Any, space.dtype), "same_kind"):
                raise self._fault(
                    f"the observation {key!r} is of type {values.dtype}, its space of {space.dtype}"
                )

    def _one_each(self, what: str, values: Any) -> np.ndarray:
        array = self._array(what, values)
        if array.shape != (self.count,):
            raise self._fault(f"{what} has shape {array.shape}, not {(self.count,)}")
        if array.dtype.kind not in "biuf":
            raise self._fault(f"{what} is of type {array.dtype} instead of being numbers")
        return array

    def _succeed(self, infos: Mapping[str, Any], mask_B: np.ndarray) -> None:
        told_B, has_B = self._told(infos, "success", mask_B)
        if isinstance(told_B, np.ndarray) and told_B.dtype.kind in "biuf" and told_B.ndim == 1:
            given = told_B[has_B].astype(np.float64)
        else:
            given = np.array([self._one_success(told_B[index]) for index in np.flatnonzero(has_B)])
        large = given[np.abs(given) > LARGEST]  # NaN says that there is none.
        if len(large):
            raise self._fault(f"info['success'] is {large[0]}, which is too large")
        self.success_B[has_B] = given

    def _one_success(self, told: Any) -> float:
        try:
            return one_number(told)
        except ValueError as error:
            raise self._fault(f"info['success'] {error}") from None

    def _name_tasks(self, names_B: list[str], infos: Mapping[str, Any], mask_B: np.ndarray) -> None:
        told_B, has_B = self._told(infos, "task", mask_B)
        for index in np.flatnonzero(has_B):
            names_B[index] = task_name(told_B[index])

    def _told(self, infos: Any, key: str, mask_B: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return a value for each environment, and which of those asked about have it in their info."""
        if not isinstance(infos, Mapping):
            raise self._fault(f"the info is {infos!r} instead of being a dictionary")
        if key not in infos:
            return (), np.zeros(self.count, bool)
        told_B, has_B = infos[key], self._one_each(f"info['_{key}']", infos.get(f"_{key}", mask_B))
        values_B = told_B if isinstance(told_B, list | tuple) else np.atleast_1d(np.asarray(told_B))
        if np.ndim(told_B) == 0 or len(values_B) != self.count:
            raise self._fault(f"info[{key!r}] is {told_B!r} instead of a value for each environment")
        return values_B, has_B.astype(bool) & mask_B

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(f"environment {self._name}, in its vector form: {what}.")


def make_gymnasium_vector(
    make_vector: Callable[[int], GymnasiumVector], make: MakeEnvironment, name: str, count: int
) -> GymnasiumVector:
    """Return the vector form of an environment, of ``count`` environments.

    Raises:
        EnvironmentFault: If it cannot be constructed, or differs from one environment alone.
    """
    (one,) = make_checked(make, name, 1)
    one.close()
    try:
        vector = make_vector(count)
    except AmagoError:
        raise
    except Exception as error:
        raise EnvironmentFault(
            f"environment {name}: its vector form could not be constructed: "
            f"{type(error).__name__}: {error}."
        ) from error
    try:
        recorded = _recorded_space(vector, name)
    except EnvironmentFault:
        close_quietly(name, vector.close)
        raise
    for what, alone, together in (
        ("number", count, vector.num_envs),
        ("observation space", one.observation_space, vector.single_observation_space),
        ("action space", one.action_space, vector.single_action_space),
        ("recorded space", one.recorded_space, recorded),
    ):
        if alone != together:
            close_quietly(name, vector.close)
            raise EnvironmentFault(
                f"environment {name}: the {what} of its vector form is {together} instead of {alone}."
            )
    return vector


def _recorded_space(vector: GymnasiumVector, name: str) -> spaces.Dict:
    """Return what a vector form records of each environment; empty where it does not say."""
    space = getattr(vector, "single_recorded_space", None)
    if space is None:  # Gymnasium's wrappers do not pass on what they do not know.
        space = getattr(vector.unwrapped, "single_recorded_space", None)
    if space is None:
        return spaces.Dict()
    fault = recorded_fault(space, "single_recorded_space")
    if fault is not None:
        raise EnvironmentFault(f"environment {name}, in its vector form: {fault}.")
    found: spaces.Dict = space
    return found


def _autoreset_mode(vector: GymnasiumVector, name: str) -> AutoresetMode:
    said = vector.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(said)
    except ValueError:
        raise EnvironmentFault(
            f"environment {name}: its vector form must say how it begins the next task: set "
            f"metadata['autoreset_mode'] to a gymnasium.vector.AutoresetMode, it is {said!r}."
        ) from None


def _as_wide(mask_B: np.ndarray, like: np.ndarray) -> np.ndarray:
    return mask_B.reshape(-1, *(1,) * (like.ndim - 1))


if TYPE_CHECKING:

    def _satisfies_the_protocol(environments: GymnasiumVectorEnvironments) -> VectorEnvironments:
        return environments
