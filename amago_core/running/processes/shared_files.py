"""Where a learner and its collectors meet, beside the replay: small files in the run's folder.

Each file has one writer and is replaced as a whole, so a reader sees the old state or the new one. None
is forced to the disk: after a power cut, what a file has lost comes back from the last checkpoint.
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
    """What one collector has done since the run began, over all of its lives.

    Args:
        pid: Process that wrote this.
        life: How many times the collector was started.
        steps: Steps that each of its environments took.
        begun: Tasks begun.
        started: Trajectories that were under way, or ended and not yet stored, when this was written.
        dropped: Such trajectories that were lost, with their process or with their environment.
        restarts: How often environments were started anew.
        cpu_seconds: Processor time.
        totals: How its trajectories went; see :class:`amago_core.acting.episode_stats.EpisodeTotals`.
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
        """Return what was stored, by this version or by anybody.

        Raises:
            ValueError: If it is something else.
        """
        try:
            told = cls(**stored)
            EpisodeTotals(told.totals).metrics()
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it says nothing of a collector: {reason(error)}") from None
        counts = (
            told.pid,
            told.life,
            told.steps,
            told.begun,
            told.started,
            told.dropped,
            told.restarts,
        )
        if not all(map(is_count, counts)) or not isinstance(told.cpu_seconds, int | float):
            raise ValueError("it says nothing of a collector: what should be a number is none")
        return told


class SharedFiles:
    """The files of a run in which processes tell each other how far they are.

    Args:
        folder: Where they lie; made by the learner.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "weights.safetensors"
        self._learner = folder / "learner.json"

    def collector(self, name: str) -> CollectorProgress | None:
        """Return what a collector has done; None if nothing is known of it."""
        stored = _read(self.folder / f"{name}.json")
        try:
            return None if stored is None else CollectorProgress.of(stored)
        except ValueError:
            return None

    def collectors(self) -> dict[str, CollectorProgress]:
        """Return what each collector has done, those of earlier trainings in this folder included."""
        names = (path.stem for path in self.folder.iterdir() if path.suffix == ".json")
        found = {name: self.collector(name) for name in names if _COLLECTOR.fullmatch(name)}
        return {name: known for name, known in sorted(found.items()) if known is not None}

    def write_progress(self, name: str, collected: CollectorProgress) -> None:
        """Replace what a collector says.

        Raises:
            ValueError: If no collector has such a name; it may come from a checkpoint.
        """
        if not _COLLECTOR.fullmatch(name):
            raise ValueError(f"{name!r:.60} is no name of a collector")
        _replace(self.folder / f"{name}.json", json.dumps(asdict(collected)).encode())

    def learned(self) -> float:
        """Return how far the learner is, in rounds."""
        stored = _read(self._learner)
        return 0.0 if stored is None else float(stored["learned"])

    def write_learned(self, learned: float, update: int) -> None:
        """Replace what the learner says."""
        told = {"pid": os.getpid(), "learned": learned, "update": update}
        _replace(self._learner, json.dumps(told).encode())

    def publish(self, agent: Agent, update: int) -> None:
        """Replace the weights that collectors act with."""
        import torch

        from amago_core.system.tensor_tree import encode_tree

        tree: TensorTree = {"model": dict(agent.state_dict()), "update": torch.tensor(update)}
        _replace(self.weights, encode_tree(tree))


class PublishedWeights:
    """The weights that are published, as bytes.

    Args:
        shared: Where.
    """

    def __init__(self, shared: SharedFiles) -> None:
        self._path = shared.weights
        self._seen: tuple[int, int, int] | None = None

    def news(self) -> bytes | None:
        """Return the weights; None if they are those that were returned last.

        Which file it is decides, not its update: a learner that was killed goes back to an earlier one.
        """
        found = self._path.stat()
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen == self._seen:
            return None
        data = self._path.read_bytes()
        self._seen = seen
        return data


class WeightFollower:
    """Keeps an agent's weights those that were published last.

    Args:
        shared: Where they are published.
        agent: Whose weights are replaced, in place.
    """

    def __init__(self, shared: SharedFiles, agent: Agent) -> None:
        self._published, self._agent = PublishedWeights(shared), agent
        self.update = 0

    def follow(self) -> bool:
        """Take over the published weights if they are not those taken over last."""
        news = self._published.news()
        if news is not None:
            self.update = load_published(self._agent, news)
        return news is not None


def load_published(agent: Agent, data: bytes) -> int:
    """Replace an agent's weights by published ones; return after which update they were published."""
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
