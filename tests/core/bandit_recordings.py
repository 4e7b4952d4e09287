"""Record trajectories of random actions into the replay of a run, for tests of datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium

from amago_core.compose.tasks import compose_task
from amago_core.replay import ReplayWriter
from amago_core.run_folder.spaces_json import space_to_json
from amago_core.spec import RunSpec
from amago_registry.recordings import recorded_trajectory
from amago_registry.trajectories import Trajectory


def record_run(spec: RunSpec, folder: Path, count: int = 6) -> Path:
    """Record a few tasks of a spec's environment into a run folder's replay; return the folder."""
    task = compose_task(spec.environment, 0)
    assert task.make is not None
    env, writer = task.make(), ReplayWriter(folder / "replay")
    env.action_space.seed(0)
    for seed in range(count):
        writer.append(record_task(env, seed))
    writer.flush(0)
    described = (space_to_json(task.observation_space), space_to_json(task.action_space))
    spaces = dict(zip(("observation", "action"), described, strict=True))
    (folder / "spaces.json").write_text(json.dumps(spaces))
    env.close()
    return folder


def record_task(env: gymnasium.Env[Any, Any], seed: int) -> Trajectory:
    """Return the trajectory of one task with random actions."""
    observations, steps, done = [env.reset(seed=seed)[0]], [], False
    while not done:
        action = env.action_space.sample()
        obs, *step, _ = env.step(action)
        observations.append(obs)
        steps.append((action, *step))
        done = step[1] or step[2]
    actions, rewards, terminated, truncated = zip(*steps, strict=True)
    spaces = (env.observation_space, env.action_space)
    return recorded_trajectory(
        observations, actions, rewards, terminated, truncated, *spaces, seed=seed
    )
