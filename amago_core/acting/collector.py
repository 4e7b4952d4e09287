"""The rollout collector: steps vectorized environments with the agent and hands over trajectories.

Actions are chosen in :meth:`Collector._act`, by :meth:`amago_core.acting.agent.Agent.act`; many
environments are stepped together in :mod:`amago_core.environments`.

Shape suffixes: B = environments, A = action features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from amago_core.acting.action_masks import action_mask, shows_mask
from amago_core.acting.agent import Agent
from amago_core.acting.episode_stats import EpisodeStats
from amago_core.acting.policy_inputs import PolicyInputs
from amago_core.acting.recorder import RolloutRecorder, SegmentLengths
from amago_core.environments import EnvironmentCrashed, VectorEnvironments, check_finite
from amago_core.environments.environment_errors import MAX_FLOAT32, check_index, index_range
from amago_registry.protocols import Exploration, State
from amago_registry.spaces import action_to_environment, canonical_action, canonical_observation
from amago_registry.trajectories import Trajectory

if TYPE_CHECKING:
    from amago_core.acting.task_seeds import TaskSeeds


Sink = Callable[[Trajectory], None]


class Collector:
    """Steps vectorized environments with an agent and hands over finished trajectories.

    The collector resets environments where a task ended, each with its own seed, so that every
    trajectory can be replayed. Environments that reset by themselves (gymnasium's autoreset) are
    recorded from the first observation of the new task; the recorded seed is 0 where seeds do not
    determine the task.

    Args:
        agent: The policy.
        environments: The environments to step.
        name: What users call the environment.
        tasks: Source of task seeds.
        sample: Draw actions from the policy instead of taking its mode.
        exploration: Changes the policy's actions; None to leave them.
        rng: Randomness of the exploration.
        step_limit: Steps after which a trajectory is cut; None for no limit.
        segments: Lengths of the segments in which running trajectories are handed over; None hands
            over whole trajectories.
        max_restarts: How often crashed environments are restarted.
        repeats: Whether a restart begins the interrupted tasks again, instead of new ones.
        records: Whether trajectories hold the extra arrays that environments declare in
            ``recorded_space``.
        note: Notifies the user with one sentence.

    Attributes:
        steps: Steps of each environment.
        restarts: How often crashed environments were restarted.
        dropped: Unfinished trajectories that were discarded.
    """

    def __init__(
        self,
        agent: Agent,
        environments: VectorEnvironments,
        name: str,
        tasks: TaskSeeds,
        *,
        sample: bool,
        exploration: Exploration | None = None,
        rng: np.random.Generator | None = None,
        step_limit: int | None = None,
        segments: SegmentLengths | None = None,
        max_restarts: int = 0,
        repeats: bool = False,
        records: bool = True,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.agent, self.environments, self.name, self.tasks = agent, environments, name, tasks
        self.sample, self.exploration = sample, exploration
        self.rng = rng or np.random.default_rng(0)
        self.steps = self.restarts = self.dropped = 0
        self._step_limit, self._max_restarts, self._repeats = step_limit, max_restarts, repeats
        self._note = note or (lambda _: None)
        self._action_space = environments.action_space
        self._canonical = canonical_action(self._action_space)
        observed = canonical_observation(environments.observation_space)
        self._masked = shows_mask(observed, self._canonical)
        self._started_B = np.zeros(self.size, bool)
        self._whole = segments is None
        self._index_ranges = {
            key: (space, *index_range(space))
            for key, space in observed.items()
            if not isinstance(space, spaces.Box)
        }
        recorded = environments.recorded_space if records else spaces.Dict()
        self._float_keys = [key for key, leaf in recorded.items() if np.dtype(leaf.dtype).kind == "f"]
        self.recorder = RolloutRecorder(
            observed,
            self._canonical,
            self.size,
            segments,
            replayable=environments.reproducible,
            recorded_space=recorded,
        )
        self._device = agent.device
        self._inputs = PolicyInputs(self._canonical, self.size, self._device)
        self._state: State = {}

    @property
    def size(self) -> int:
        """B: environments."""
        return self.environments.count

    @property
    def started(self) -> int:
        """Number of unfinished trajectories of at least one step."""
        return int(np.count_nonzero(self._started_B & (self.recorder.time_B > 0)))

    def start(self) -> None:
        """Begin a task in every environment.

        Raises:
            EnvironmentFault: If an environment does not begin.
        """
        try:
            self._start()
        except EnvironmentCrashed as crash:
            self._recover(crash, 0)

    def restart(self, facts: Mapping[str, Any]) -> None:
        """Begin new tasks in every environment, with the counters of a checkpoint."""
        self._load_counters(facts)
        self.dropped += facts["started"]
        self.start()

    def run(self, steps: int, sink: Sink | None, episodes: list[EpisodeStats]) -> None:
        """Take ``steps`` steps in every environment.

        Args:
            steps: Per environment.
            sink: Receives each finished trajectory or segment, as views that the next step overwrites.
            episodes: Receives the statistics of each finished trajectory.

        Raises:
            EnvironmentFault: If an environment breaks its contract.
            EnvironmentCrashed: If environments crash more often than ``max_restarts``.
        """
        self.agent.eval()
        last = self.steps + steps
        while self.steps < last:
            try:
                ended_B = self._step()
                self._emit_segments(ended_B, sink)
                if ended_B.any():
                    self._finish(ended_B, sink, episodes)
                    self._begin(self.tasks.begin(ended_B))
            except EnvironmentCrashed as crash:
                self._recover(crash, self.started)

    def state(self) -> tuple[State, dict[str, Any]]:
        """Return the acting state as tensors, and counters, task numbers and generators for JSON."""
        tensors: State = {"backbone": self._state}
        if self.exploration is not None:
            stored = self.exploration.state()
            tensors["exploration"] = {key: torch.from_numpy(x.copy()) for key, x in stored.items()}
        for index in range(self.size):
            tensors[f"actions-{index}"] = torch.from_numpy(self.recorder.actions(index))
        facts = {
            "recorded": self._fingerprints(),
            "steps": self.steps,
            "begun": self.tasks.begun,
            "numbers": self.tasks.number_B.tolist(),
            "rng": self.rng.bit_generator.state,
            "pieces": self.recorder.segment_state(),
            "started": self.started,
            "restarts": self.restarts,
            "dropped": self.dropped,
        }
        return tensors, facts

    def load_state(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
        """Restore environments, acting state and counters from a checkpoint.

        Every environment is reset to its task and its actions are replayed. Where the replay differs
        from the recording, the environment is not reproducible: new tasks begin instead.

        Returns:
            Whether the environments were restored.
        """
        self._load_counters(facts)
        if self.exploration is not None:
            self.exploration.load_state({k: v.numpy() for k, v in tensors["exploration"].items()})
        actions = [tensors[f"actions-{index}"].numpy() for index in range(self.size)]
        try:
            replayed = self._restore(actions, facts)
        except EnvironmentCrashed as crash:
            self._recover(crash, facts["started"])
            return False
        if not replayed:
            self.restart(facts)
            return False
        self._state = _to(tensors["backbone"], self._device)
        return True

    def _restore(self, actions: Sequence[np.ndarray], facts: Mapping[str, Any]) -> bool:
        if not self.environments.reproducible:
            return False
        self._clear()
        replayed = self._replay(actions, facts["pieces"]["starts"])
        self.recorder.load_segment_state(facts["pieces"])
        return replayed and self._fingerprints() == facts["recorded"]

    def _fingerprints(self) -> list[int]:
        return [self.recorder.fingerprint(index) for index in range(self.size)]

    def _load_counters(self, facts: Mapping[str, Any]) -> None:
        self.steps, self.tasks.begun = facts["steps"], facts["begun"]
        self.restarts, self.dropped = facts["restarts"], facts["dropped"]
        self.tasks.number_B[:] = facts["numbers"]
        self.rng.bit_generator.state = facts["rng"]
        self.recorder.load_segment_state(facts["pieces"])

    def _start(self, *, repeat: bool = False) -> None:
        self._clear()
        all_B = np.ones(self.size, bool)
        self._begin(self.tasks.seeds() if repeat else self.tasks.begin(all_B))

    def _clear(self) -> None:
        self._started_B[:] = False
        self._device = self.agent.device  # Cached: a module searches its parameters for it.
        self._inputs = PolicyInputs(self._canonical, self.size, self._device)
        self._state = self.agent.initial_state(self.size)

    def _recover(self, crash: EnvironmentCrashed, dropped: int) -> None:
        """Restart crashed environments, discarding ``dropped`` trajectories; or raise the crash."""
        self.dropped += dropped
        while True:
            if self.restarts >= self._max_restarts:
                raise crash
            self.restarts += 1
            self._note(
                f"{crash} Restarting the environments (restart {self.restarts} of at most "
                f"{self._max_restarts}); unfinished trajectories discarded: {dropped}"
            )
            try:
                self.environments.restart()
                self._start(repeat=self._repeats)
            except EnvironmentCrashed as next_crash:
                crash, dropped = next_crash, 0
            else:
                return

    def _begin(self, seeds: Sequence[int | None]) -> None:
        self.environments.reset(seeds)
        if self.environments.began_B.any():
            self._begin_recording()

    def _begin_recording(self) -> None:
        """Reset recorder, policy inputs and acting state where a new task has begun."""
        began_B, obs = self.environments.began_B, self.environments.obs
        self._check_observed(began_B, np.zeros(self.size, np.int64))
        self.recorder.begin(obs, began_B, self.environments.recorded)
        self._inputs.reset(began_B)
        self._started_B |= began_B
        self._state = self.agent.reset(self._state, torch.from_numpy(began_B).to(self._device))

    def _step(self) -> np.ndarray:
        """Act once; return which environments ended."""
        action, environments = self._act(), self.environments
        environments.step(action_to_environment(action, self._action_space))
        self._record(action)
        self.steps += 1
        if environments.began_B.any():
            self._begin_recording()
        return self._ended_B(self._step_limit)

    def _ended_B(self, step_limit: int | None = None) -> np.ndarray:
        environments = self.environments
        ended_B: np.ndarray = np.logical_or(environments.terminated_B, environments.truncated_B)
        if step_limit is not None:
            ended_B |= self.recorder.time_B >= step_limit
        ended_B &= environments.played_B
        return ended_B

    def _act(self) -> np.ndarray:
        obs, time_B = self.environments.obs, self.recorder.time_B
        shown = self._inputs.tensors(obs, time_B)
        chosen_B, self._state = self.agent.act(*shown, self._state, sample=self.sample)
        chosen = chosen_B.cpu().numpy()
        if self.exploration is None:
            return chosen
        mask = (action_mask(obs),) if self._masked else ()
        explored = self.exploration(chosen, time_B, self.steps, self.rng, *mask)
        # The recorded action must be the executed one, to the bit, or a replay diverges.
        return explored.astype(chosen.dtype, copy=False)

    def _record(self, action: np.ndarray) -> None:
        """Append the last step to the recording, where environments have taken it."""
        environments = self.environments
        played_B, reward_B = environments.played_B, environments.reward_B
        step_B = self.recorder.time_B
        if not (np.abs(reward_B) <= MAX_FLOAT32).all():
            check_finite(self.name, step_B[played_B] + 1, reward=reward_B[played_B])
        self._check_observed(played_B, step_B, 1)
        self.recorder.step(
            environments.obs,
            played_B,
            environments.recorded,
            action=action,
            reward=reward_B,
            terminated=environments.terminated_B,
            truncated=environments.truncated_B,
            success=environments.success_B,
        )
        self._inputs.record(action, reward_B, played_B)

    def _check_observed(self, mask_B: np.ndarray, step_B: np.ndarray, later: int = 0) -> None:
        """Raise for non-finite values and out-of-range indices, where ``mask_B`` is true."""
        for key, values in self.environments.obs.items():
            if key in self._index_ranges:
                space, low, high = self._index_ranges[key]
                if not ((values >= low) & (values <= high)).all():
                    shown = f"observation {key!r}", values[mask_B]
                    check_index(self.name, step_B[mask_B] + later, *shown, space)
            elif values.dtype.kind == "f" and not np.isfinite(values).all():
                field = {f"observation {key!r}": values[mask_B]}
                check_finite(self.name, step_B[mask_B] + later, **field)
        for key in self._float_keys:
            values = self.environments.recorded[key]
            if not np.isfinite(values).all():
                field = {f"info[{key!r}]": values[mask_B]}
                check_finite(self.name, step_B[mask_B] + later, **field)

    def _emit_segments(self, ended_B: np.ndarray, sink: Sink | None) -> None:
        """Hand over complete segments of tasks that have not ended."""
        if self._whole:
            return
        due_B = self.recorder.due_B() & self._started_B & ~ended_B
        for index in np.flatnonzero(due_B).tolist():
            if sink is not None:
                seed, task = self._seed_and_task(index)
                sink(self.recorder.trajectory(index, seed, task, cut=True))
            self.recorder.start_segment(index)

    def _finish(self, ended_B: np.ndarray, sink: Sink | None, episodes: list[EpisodeStats]) -> None:
        for index in np.flatnonzero(ended_B).tolist():
            seed, task = self._seed_and_task(index)
            episodes.append(self.recorder.episode_stats(index, seed, task))
            if sink is not None:
                sink(self.recorder.trajectory(index, seed, task))
        self._started_B &= ~ended_B

    def _seed_and_task(self, index: int) -> tuple[int, str]:
        seed = self.tasks.seed(index) if self.environments.seeded else 0
        return seed, self.environments.task_B[index]

    def _replay(self, actions: Sequence[np.ndarray], starts: Sequence[int]) -> bool:
        """Reset every environment to its task and take the given actions.

        Args:
            actions: Of each environment, since its task began.
            starts: Steps of each task before the segment that was being recorded.

        Returns:
            False if a task ends in the replay that had not ended in the recording.
        """
        environments = self.environments
        self._begin(self.tasks.seeds())
        longest = max(len(taken) for taken in actions)
        for time in range(longest):
            active_B = np.array([time < len(taken) for taken in actions])
            action = np.stack(
                [
                    taken[min(time, len(taken) - 1)]
                    if len(taken)
                    else np.zeros(taken.shape[1:], taken.dtype)
                    for taken in actions
                ]
            )
            environments.step(action_to_environment(action, self._action_space), active_B)
            self._record(action)
            if self._ended_B().any():
                return False
            time_B = self.recorder.time_B
            # Earlier segments are stored already; they are cut here only to bound the memory.
            past_B = (time_B == starts) | (self.recorder.due_B() & (time_B < starts))
            for index in np.flatnonzero(active_B & past_B).tolist():
                self.recorder.start_segment(index)
        return True


def _to(state: Mapping[str, Any], device: torch.device) -> State:
    return {
        key: value.to(device) if isinstance(value, Tensor) else _to(value, device)
        for key, value in state.items()
    }
