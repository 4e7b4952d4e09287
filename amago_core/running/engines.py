"""Where collectors are: processes beside the learner, or actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from amago_core.running.worker import Worker

if TYPE_CHECKING:
    from amago_core.run_dir import RunDir
    from amago_core.running.actors import ActorWorker
    from amago_core.spec import RunSpec


Member: TypeAlias = "Worker | ActorWorker"
"""A learner or collector, over all of its lives, as the supervisor sees it."""


@dataclass(frozen=True)
class Crew:
    """The collectors of a run.

    Args:
        collectors: In the order of their numbers.
        beside: How many of them take a core of the learner's machine.
    """

    collectors: Sequence[Member]
    beside: int


@contextmanager
def hire(spec: RunSpec, folder: RunDir) -> Iterator[Crew]:
    """Give the collectors that a spec asks for; none is started yet.

    Raises:
        ClusterError: If they are to be Ray actors, and there is no Ray or no cluster.
    """
    names = [f"collector_{number}" for number in range(spec.running.collectors)]
    if spec.running.engine == "local":
        yield Crew([Worker(name, 1) for name in names], beside=len(names))
        return
    from amago_core.running.actors import ActorWorker
    from amago_core.running.board import Board
    from amago_core.running.cluster import joined

    with joined(spec.running.ray_address) as cluster:
        board = Board(spec, folder, cluster)
        collectors = [ActorWorker(name, board, cluster) for name in names]
        yield Crew(collectors, beside=-(-len(names) // cluster.machines))
