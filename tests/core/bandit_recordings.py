"""What somebody who pulls at random has recorded of a task."""

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
    """Store a few tasks of a spec's environment as a run would have; return the run's folder."""
    task = compose_task(spec.environment, 0)
    assert task.make is not None
    env, writer = task.make(), ReplayWriter(folder / "replay")
    env.action_space.seed(0)
    for seed in range(count):
        writer.append(play(env, seed))
    writer.flush(0)
    described = (space_to_json(task.observation_space), space_to_json(task.action_space))
    spaces = dict(zip(("observation", "action"), described, strict=True))
    (folder / "spaces.json").write_text(json.dumps(spaces))
    env.close()
    return folder


def play(env: gymnasium.Env[Any, Any], seed: int) -> Trajectory:
    """Return one task, played at random."""
    seen, moments, over = [env.reset(seed=seed)[0]], [], False
    while not over:
        action = env.action_space.sample()
        obs, *moment, _ = env.step(action)
        seen.append(obs)
        moments.append((action, *moment))
        over = moment[1] or moment[2]
    actions, rewards, terminated, truncated = zip(*moments, strict=True)
    spaces = (env.observation_space, env.action_space)
    return recorded_trajectory(seen, actions, rewards, terminated, truncated, *spaces, seed=seed)
