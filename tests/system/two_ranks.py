"""A program that trains, and writes gradient norm, batch size and weight checksum of every update."""

from __future__ import annotations

import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import torch

import amago_core
from amago_core.learning.learner import Learner

norms: list[tuple[float, float, int]] = []
original = Learner.update


def update(learner: Learner, *batches: Any) -> Any:
    metrics = original(learner, *batches)
    weights = torch.cat([parameter.detach().flatten() for parameter in learner.agent.parameters()])
    bits = zlib.crc32(weights.numpy().tobytes())
    norms.append((float(metrics["gradient_norm"]), float(metrics["valid_timesteps"]), bits))
    return metrics


if __name__ == "__main__":
    spec, run, *overrides = sys.argv[1:]
    resume = "resume" in overrides
    Learner.update = update  # type: ignore[method-assign]
    amago_core.train(spec, [word for word in overrides if word != "resume"], run=run, resume=resume)
    rank = os.environ.get("RANK", "alone")
    threads = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    assert not [name for name in threads if "gloo" in name], "the process group outlives the training"
    Path(f"{run}-{rank}.json").write_text(json.dumps(norms))
