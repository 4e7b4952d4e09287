"""Gymnasium vector environments (``VectorEnv``) as :class:`VectorEnvironments`.

A gymnasium vector environment resets by itself, in one of two ways, or leaves the reset to its caller
(``AutoresetMode``). This adapter gives all three the interface that the collector steps.

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
from amago_core.environments.environment_errors import (
    MAX_FLOAT32,
    EnvironmentFault,
    close_quietly,
    to_float,
)
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
    * ``SAME_STEP``: a step that ends a task returns the first observation of the next one. It is
      buffered until :meth:`reset`; ``obs`` holds the last observation of the ended task instead.
    * ``NEXT_STEP``: the step after the end ignores its action and returns the first observation of the
      next task. ``played_B`` is false for that step and ``began_B`` true.

    A reset of all environments at once is passed on in every mode, with a list of seeds; if the vector
    environment takes no list, with the first seed alone. Tasks are ``seeded`` if each begins with its
    own seed: under ``DISABLED``, where a list is taken; this is known after the first reset. One
    environment cannot be stepped without the others, so a task cannot be replayed: ``reproducible`` is
    false.

    The values that ``single_recorded_space`` declares are in the infos as arrays ``(B, ...)``, at every
    reset and step; under ``SAME_STEP`` those of the last step of a task are in ``final_info``. Where a
    call concerns some environments only, the values of the others are not read.

    Args:
        vector: A vector environment with ``metadata["autoreset_mode"]``.
        name: Name of the environment, for errors.

    Raises:
        EnvironmentFault: If the autoreset mode is not declared, or ``single_recorded_space`` cannot be
            recorded.
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
        arrays, buffered = allocate(columns), allocate(columns)
        self.obs, self.recorded = observations(arrays), recordings(arrays)
        self.reward_B = arrays["reward"]
        self.terminated_B, self.truncated_B = arrays["terminated"], arrays["truncated"]
        self.success_B = arrays["success"]
        self.task_B = [""] * self.count
        self.played_B = np.ones(self.count, bool)
        self.began_B = np.zeros(self.count, bool)
        self._ended_B = np.zeros(self.count, bool)
        self._next_obs, self._next_recorded = observations(buffered), recordings(buffered)
        self._next_task_B = [""] * self.count
        self._takes_seed_list, self.seeded = True, self._mode is AutoresetMode.DISABLED

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin new tasks where there is a seed; with autoreset, show the tasks that began."""
        fresh_B = np.array([seed is not None for seed in seeds])
        self.began_B[:] = fresh_B
        if not fresh_B.any():
            return
        if fresh_B.all():
            self._begin(self._reset(seeds, None), fresh_B)
        elif self._mode is AutoresetMode.DISABLED:
            self._begin(self._reset(seeds, fresh_B), fresh_B)
        else:
            self._show_autoreset(fresh_B)

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step in all environments; ``active_B`` must be None or true everywhere."""
        assert active_B is None or active_B.all(), (
            "a gymnasium vector environment steps all environments"
        )
        try:
            obs, reward, terminated, truncated, infos = self._vector.step(action)
        except Exception as error:
            raise self._fault(f"step raised {type(error).__name__}: {error}") from error
        self.reward_B[:] = self._one_each("reward", reward)
        self.terminated_B[:] = self._one_each("terminated", terminated)
        self.truncated_B[:] = self._one_each("truncated", truncated)
        autoreset_B = self._ended_B & (self._mode is AutoresetMode.NEXT_STEP)
        self.played_B[:] = ~autoreset_B
        self.began_B[:] = autoreset_B
        for array in (self.reward_B, self.terminated_B, self.truncated_B):
            array[autoreset_B] = 0
        self._ended_B = self.terminated_B | self.truncated_B
        self._show(self.obs, obs, np.ones(self.count, bool))
        self._copy_task_names(self.task_B, infos, autoreset_B)
        self.success_B.fill(np.nan)
        if self._mode is AutoresetMode.SAME_STEP and self._ended_B.any():
            self._buffer_next(infos)
        else:
            self._copy_success(infos, self.played_B)
            self._record(self.recorded, infos, np.ones(self.count, bool))

    def restart(self) -> None:
        """Raise: environments in this process cannot crash without it."""
        raise EnvironmentFault(
            f"environment {self._name} runs in this process and cannot be restarted; with "
            "collector.vectorization=async it can."
        )

    def close(self) -> None:
        """Close all environments."""
        close_quietly(self._name, self._vector.close)

    def _reset(self, seeds: Sequence[int | None], mask_B: np.ndarray | None) -> tuple[Any, Any]:
        if self._takes_seed_list:
            try:
                return self._vector_reset([seed or 0 for seed in seeds], mask_B)
            except Exception:
                # Gymnasium does not declare it. If the reason was another, the next call raises it.
                self._takes_seed_list = self.seeded = False
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
        self._copy_task_names(self.task_B, infos, fresh_B)
        self._record(self.recorded, infos, fresh_B)
        self._ended_B &= ~fresh_B

    def _show_autoreset(self, fresh_B: np.ndarray) -> None:
        """Show tasks that began by autoreset: now under ``SAME_STEP``, else with the next step."""
        if (fresh_B & ~self._ended_B).any():
            raise EnvironmentFault(
                f"environment {self._name}: its vector form resets by itself (autoreset), so a task "
                "cannot be cut before it ends. Leave out the limit on its steps, or write "
                "collector.vectorization=sync."
            )
        if self._mode is AutoresetMode.NEXT_STEP:
            self.began_B.fill(False)
            self.played_B[fresh_B] = False
            return
        for now, buffered in (self.obs, self._next_obs), (self.recorded, self._next_recorded):
            for key, rows in buffered.items():
                now[key][fresh_B] = rows[fresh_B]
        for index in np.flatnonzero(fresh_B):
            self.task_B[index] = self._next_task_B[index]
        self._ended_B &= ~fresh_B

    def _buffer_next(self, infos: Mapping[str, Any]) -> None:
        """Show the last observations of ended tasks; buffer the first ones of the next tasks."""
        if "final_obs" not in infos:
            raise self._fault("a task ended, and the info has no 'final_obs', its last observation")
        for key, rows in self.obs.items():
            self._next_obs[key][self._ended_B] = rows[self._ended_B]
        self._copy_task_names(self._next_task_B, infos, self._ended_B)
        final = infos["final_obs"]
        if isinstance(final, np.ndarray) and final.dtype == object:
            self._show_each(final)
        else:
            self._show(self.obs, final, self._ended_B)
        final_info = infos.get("final_info", {})
        self._copy_success(infos, ~self._ended_B)
        self._copy_success(final_info, self._ended_B)
        self._record(self._next_recorded, infos, self._ended_B)
        self._record(self.recorded, infos, ~self._ended_B)
        self._record(self.recorded, final_info, self._ended_B, "final_info")

    def _show_each(self, final_B: np.ndarray) -> None:
        for index in np.flatnonzero(self._ended_B):
            batch = {key: rows[None] for key, rows in self._arrays(final_B[index]).items()}
            self._check(batch, 1)
            for key, rows in self.obs.items():
                rows[index] = batch[key][0]

    def _show(self, rows: Arrays, obs: Any, mask_B: np.ndarray) -> None:
        batch = self._arrays(obs)
        self._check(batch, self.count)
        for key, target in rows.items():
            np.copyto(target, batch[key], "same_kind", where=_broadcast(mask_B, target))

    def _record(
        self, rows: Arrays, infos: Mapping[str, Any], mask_B: np.ndarray, where: str = "info"
    ) -> None:
        """Copy the recorded values from the infos, where ``mask_B`` is true."""
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
            np.copyto(target, values, "same_kind", where=_broadcast(mask_B, target))

    def _present(self, key: str, infos: Mapping[str, Any], mask_B: np.ndarray, where: str) -> Any:
        """Return a recorded value of all environments; the info may mask those that have one."""
        if not isinstance(infos, Mapping) or key not in infos:
            raise self._fault(f"the {where} has no {key!r}, which single_recorded_space declares")
        has_B = self._one_each(f"{where}['_{key}']", infos.get(f"_{key}", mask_B)).astype(bool)
        missing = np.flatnonzero(mask_B & ~has_B)
        if len(missing):
            raise self._fault(f"the {where} has no {key!r} of environment {missing[0]}")
        return infos[key]

    def _arrays(self, obs: Any) -> Arrays:
        given = flat_observation(obs, self.observation_space)
        return {key: self._array(f"the observation {key!r}", value) for key, value in given.items()}

    def _array(self, what: str, values: Any) -> np.ndarray:
        try:
            return np.asarray(values)
        except (TypeError, ValueError):
            raise self._fault(f"{what} is not an array: {values!r}") from None

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

    def _copy_success(self, infos: Mapping[str, Any], mask_B: np.ndarray) -> None:
        value_B, has_B = self._info_values(infos, "success", mask_B)
        if isinstance(value_B, np.ndarray) and value_B.dtype.kind in "biuf" and value_B.ndim == 1:
            given = value_B[has_B].astype(np.float64)
        else:
            given = np.array([self._one_success(value_B[index]) for index in np.flatnonzero(has_B)])
        large = given[np.abs(given) > MAX_FLOAT32]  # NaN means no success, and passes.
        if len(large):
            raise self._fault(f"info['success'] is {large[0]}, which is too large")
        self.success_B[has_B] = given

    def _one_success(self, value: Any) -> float:
        try:
            return to_float(value)
        except ValueError as error:
            raise self._fault(f"info['success'] {error}") from None

    def _copy_task_names(
        self, names_B: list[str], infos: Mapping[str, Any], mask_B: np.ndarray
    ) -> None:
        value_B, has_B = self._info_values(infos, "task", mask_B)
        for index in np.flatnonzero(has_B):
            names_B[index] = task_name(value_B[index])

    def _info_values(self, infos: Any, key: str, mask_B: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the values of an info, and where ``mask_B`` is true and the info has a value."""
        if not isinstance(infos, Mapping):
            raise self._fault(f"the info is {infos!r} instead of being a dictionary")
        if key not in infos:
            return (), np.zeros(self.count, bool)
        given_B, has_B = infos[key], self._one_each(f"info['_{key}']", infos.get(f"_{key}", mask_B))
        value_B = given_B if isinstance(given_B, list | tuple) else np.atleast_1d(np.asarray(given_B))
        if np.ndim(given_B) == 0 or len(value_B) != self.count:
            raise self._fault(f"info[{key!r}] is {given_B!r} instead of a value for each environment")
        return value_B, has_B.astype(bool) & mask_B

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(f"environment {self._name}, in its vector form: {what}.")


def make_gymnasium_vector(
    make_vector: Callable[[int], GymnasiumVector], make: MakeEnvironment, name: str, count: int
) -> GymnasiumVector:
    """Make the vector form of an environment and check its spaces.

    Raises:
        EnvironmentFault: If it cannot be constructed, or differs from a single environment.
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
    for what, single, of_vector in (
        ("number", count, vector.num_envs),
        ("observation space", one.observation_space, vector.single_observation_space),
        ("action space", one.action_space, vector.single_action_space),
        ("recorded space", one.recorded_space, recorded),
    ):
        if single != of_vector:
            close_quietly(name, vector.close)
            raise EnvironmentFault(
                f"environment {name}: the {what} of its vector form is {of_vector} instead of {single}."
            )
    return vector


def _recorded_space(vector: GymnasiumVector, name: str) -> spaces.Dict:
    """Return the recorded space of each environment; empty if the vector form declares none."""
    space = getattr(vector, "single_recorded_space", None)
    if space is None:  # Gymnasium's wrappers do not forward unknown attributes.
        space = getattr(vector.unwrapped, "single_recorded_space", None)
    if space is None:
        return spaces.Dict()
    fault = recorded_fault(space, "single_recorded_space")
    if fault is not None:
        raise EnvironmentFault(f"environment {name}, in its vector form: {fault}.")
    found: spaces.Dict = space
    return found


def _autoreset_mode(vector: GymnasiumVector, name: str) -> AutoresetMode:
    mode = vector.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise EnvironmentFault(
            f"environment {name}: its vector form does not declare its autoreset mode: set "
            f"metadata['autoreset_mode'] to a gymnasium.vector.AutoresetMode, it is {mode!r}."
        ) from None


def _broadcast(mask_B: np.ndarray, like: np.ndarray) -> np.ndarray:
    return mask_B.reshape(-1, *(1,) * (like.ndim - 1))


if TYPE_CHECKING:

    def _satisfies_the_protocol(environments: GymnasiumVectorEnvironments) -> VectorEnvironments:
        return environments
