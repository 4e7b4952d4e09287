"""What all collectors in a cluster have in common, on the learner's machine.

No collector reads or writes a file of the run. Here is who does it for them: a thread for each, all in
one process. So the learner, and whoever looks at the run's folder, sees the files that collectors on
this machine write themselves.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from amago_core.running.exchange import Collected, Exchange, Published
from amago_core.running.pace import Pace
from amago_core.running.shelf import Shelf

if TYPE_CHECKING:
    from amago_core.run_dir import RunDir
    from amago_core.running.cluster import Cluster
    from amago_core.spec import RunSpec


class Edition(NamedTuple):
    """Published weights in the cluster's object store.

    Args:
        number: Tells it from the ones before.
        weights: Refers to their bytes.
    """

    number: int
    weights: Any


class Board:
    """Progress and weights, shared by the threads that collectors have here.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        cluster: Holds the weights: one copy of each edition, however many collectors there are.
    """

    def __init__(self, spec: RunSpec, folder: RunDir, cluster: Cluster) -> None:
        self._replay, self._exchange = folder.replay, Exchange(folder.exchange)
        self._pace, self._cluster = Pace.of(spec), cluster
        self._published = Published(self._exchange)
        self._lock = threading.Lock()
        self._known: dict[str, Collected] = {}
        self._edition = Edition(0, None)

    def open(self, name: str) -> tuple[Collected | None, Shelf]:
        """Return what a collector has done in its lives before, and where its trajectories go."""
        with self._lock:
            if not self._known:  # Those of an earlier training are here before the first one begins.
                self._known = self._exchange.collectors()
            before = self._known.get(name)
        return before, Shelf(self._replay, name, self._pace, before.steps if before else 0)

    def tell(self, name: str, collected: Collected) -> None:
        """Replace what is known of a collector; to be called once that is stored."""
        with self._lock:
            self._known[name] = collected
        self._exchange.tell_collected(name, collected)

    def may_collect(self) -> bool:
        """Whether collectors may take their next chunk of steps."""
        with self._lock:
            steps = sum(each.steps for each in self._known.values())
        return self._pace.may_collect(self._exchange.learned(), self._pace.collected(steps))

    def edition(self) -> Edition:
        """Return the weights that were published last."""
        with self._lock:
            news = self._published.news()
            if news is not None:
                # An array, because Ray puts arrays into its store without pickling them.
                weights = self._cluster.put(np.frombuffer(news, np.uint8))
                self._edition = Edition(self._edition.number + 1, weights)
            return self._edition
