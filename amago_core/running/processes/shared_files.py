"""Files that a learner and its collectors share: published weights, and the progress of each process.

Weights reach a collector here: the learner's :meth:`SharedFiles.publish` replaces
``weights.safetensors``, and the collector's :class:`WeightFollower` loads it before a chunk of steps.
Trajectories take the other way, as shards in the replay.

Each file has one writer and is replaced atomically, so a reader sees the old state or the new one. They
are not synced to the disk: progress that a power cut loses is restored from the last checkpoint.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amago_core.acting.episode_stats import EpisodeSums, EpisodeTotals
from amago_core.run_folder.checkpoints import is_count
from amago_registry.errors import reason

if TYPE_CHECKING:
    from amago_core.acting.agent import Agent
    from amago_core.system.tensor_tree import TensorTree


_COLLECTOR = re.compile(r"collector_[0-9]+")


@dataclass
class CollectorProgress:
    """Progress of one collector since the run began, over all of its restarts.

    Args:
        pid: Process that wrote this.
        life: How many times the collector was started, restarts included.
        steps: Steps that each of its environments took.
        begun: Tasks begun.
        started: Trajectories that were unfinished, or ended and not yet stored, when this was written.
        dropped: Such trajectories that were lost when their process or environment ended.
        restarts: Restarts of its environments.
        cpu_seconds: Processor time.
        totals: Sums over its trajectories; see :class:`amago_core.acting.episode_stats.EpisodeTotals`.
    """

    pid: int = 0
    life: int = 0
    steps: int = 0
    begun: int = 0
    started: int = 0
    dropped: int = 0
    restarts: int = 0
    cpu_seconds: float = 0.0
    totals: EpisodeSums = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> CollectorProgress:
        """Return the progress in stored JSON, which may be of another version or damaged.

        Raises:
            ValueError: If it is not a collector's progress.
        """
        try:
            progress = cls(**stored)
            EpisodeTotals(progress.totals).metrics()
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it is not the progress of a collector: {reason(error)}") from None
        counts = (
            progress.pid,
            progress.life,
            progress.steps,
            progress.begun,
            progress.started,
            progress.dropped,
            progress.restarts,
        )
        if not all(map(is_count, counts)) or not isinstance(progress.cpu_seconds, int | float):
            raise ValueError("it is not the progress of a collector: a count is not a whole number")
        return progress


class SharedFiles:
    """The shared files of a run: published weights, and the progress of learner and collectors.

    Args:
        folder: Their folder, ``exchange/`` in the run's; made by the learner.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "weights.safetensors"
        self._learner = folder / "learner.json"

    def read_progress(self, name: str) -> CollectorProgress | None:
        """Return a collector's progress; None if its file is missing or damaged."""
        stored = _read(self.folder / f"{name}.json")
        try:
            return None if stored is None else CollectorProgress.of(stored)
        except ValueError:
            return None

    def read_all_progress(self) -> dict[str, CollectorProgress]:
        """Return the progress of every collector, also of earlier trainings in this folder."""
        names = (path.stem for path in self.folder.iterdir() if path.suffix == ".json")
        found = {name: self.read_progress(name) for name in names if _COLLECTOR.fullmatch(name)}
        return {name: progress for name, progress in sorted(found.items()) if progress is not None}

    def write_progress(self, name: str, progress: CollectorProgress) -> None:
        """Replace the progress of a collector.

        Raises:
            ValueError: If it is not the name of a collector; names may come from a damaged checkpoint.
        """
        if not _COLLECTOR.fullmatch(name):
            raise ValueError(f"{name!r:.60} is not the name of a collector")
        _replace(self.folder / f"{name}.json", json.dumps(asdict(progress)).encode())

    def rounds_learned(self) -> float:
        """Return the learner's progress, in rounds."""
        stored = _read(self._learner)
        return 0.0 if stored is None else float(stored["learned"])

    def write_rounds_learned(self, learned: float, update: int) -> None:
        """Replace the learner's progress: rounds, and updates."""
        progress = {"pid": os.getpid(), "learned": learned, "update": update}
        _replace(self._learner, json.dumps(progress).encode())

    def publish(self, agent: Agent, update: int) -> None:
        """Replace the weights that collectors act with: ``weights.safetensors``, atomically."""
        import torch

        from amago_core.system.tensor_tree import encode_tree

        tree: TensorTree = {"model": dict(agent.state_dict()), "update": torch.tensor(update)}
        _replace(self.weights, encode_tree(tree))


class PublishedWeights:
    """Reads the published weights, as bytes.

    Args:
        shared: The shared files.
    """

    def __init__(self, shared: SharedFiles) -> None:
        self._path = shared.weights
        self._last_read: tuple[int, int, int] | None = None

    def read_if_new(self) -> bytes | None:
        """Return the weights; None if they are those that the last call returned.

        The file's identity is compared, not its update: a restarted learner repeats earlier updates.
        """
        stat = self._path.stat()
        identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if identity == self._last_read:
            return None
        data = self._path.read_bytes()
        self._last_read = identity
        return data


class WeightFollower:
    """Loads the latest published weights into a collector's agent.

    Args:
        shared: The shared files.
        agent: Its weights are replaced in place.

    Attributes:
        update: Updates after which the loaded weights were published.
    """

    def __init__(self, shared: SharedFiles, agent: Agent) -> None:
        self._published, self._agent = PublishedWeights(shared), agent
        self.update = 0

    def refresh(self) -> bool:
        """Load the published weights if they are new; return whether they were."""
        data = self._published.read_if_new()
        if data is not None:
            self.update = load_published(self._agent, data)
        return data is not None


def load_published(agent: Agent, data: bytes) -> int:
    """Load published weights into an agent; return after how many updates they were published."""
    from amago_core.system.tensor_tree import decode_tree

    tree: dict[str, Any] = decode_tree(data)
    agent.load_state_dict(tree["model"])
    return int(tree["update"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) else None


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
