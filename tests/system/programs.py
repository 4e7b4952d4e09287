"""Runs of the command line in subprocesses, and readers of their run folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SMALL = {
    "name": "small",
    "environment": {"use": "bandit", "arms": 3, "pulls": 30},
    "agent": {
        "context_length": 20,
        "auxiliary_discounts": [0.5, 0.9],
        "encoder": {"use": "mlp", "hidden_dims": [16], "out_dim": 16},
        "backbone": {"use": "transformer", "layers": 1, "width": 16, "heads": 2},
        "actor": {"use": "mlp", "hidden_dims": [16]},
        "critic": {"use": "ensemble", "hidden_dims": [16]},
    },
    "exploration": {"use": "epsilon-greedy", "anneal_steps": 300},
    "replay": {"capacity": 24},
    "collector": {"environments": 4},
    "training": {
        "batch": 6, "rounds": 20, "steps_per_round": 25, "updates_per_round": 5, "warmup": 5,
    },
    "evaluation": {"every": 0, "episodes": 4},
    "checkpoints": {"every": 3},
    "running": {"threads": 1, "device": "cpu"},
}  # fmt: skip
"""Trajectories of 30 steps straddle rounds of 25; trajectories and checkpoints are evicted."""


def write_spec(folder: Path, **changes: Any) -> Path:
    """Write the small spec, some of its top-level keys replaced; return its path."""
    path = folder / "small.yaml"
    path.write_text(json.dumps(SMALL | changes))  # JSON is YAML.
    return path


def amago(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(words), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300
    )


def start(*words: object) -> subprocess.Popen[str]:
    """Start a command whose standard error can be read while it runs."""
    return subprocess.Popen(command(words), env=environment(), stderr=subprocess.PIPE, text=True)


def command(words: Sequence[object]) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "amago_core", *map(str, words)]


def environment() -> dict[str, str]:
    """Return an environment for one thread and a terminal of fixed width."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "200"}


def newest_checkpoint(run: Path) -> Path | None:
    """Return the newest finished checkpoint."""
    found = sorted((run / "checkpoints").glob("round-*"))
    return found[-1] if found else None


def learned(run: Path) -> dict[str, bytes]:
    """Return every tensor of the newest checkpoint, as files: weights, targets, optimiser, acting."""
    newest = newest_checkpoint(run)
    assert newest is not None
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


def rounds(run: Path) -> list[int]:
    """Return the rounds that metrics.jsonl records."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["round"] for line in lines]
