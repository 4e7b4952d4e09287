"""Which trajectory has which index, from the names of shards alone.

The index of a trajectory is the number of trajectories stored before it, in the order of shards, since
the replay began. Each name says how many trajectories its writer stored before, so that indices do not
change when shards are evicted, and a shard that was moved to quarantine keeps its place.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from amago_core.replay.shard_name import ShardName


@dataclass(frozen=True, slots=True)
class Index:
    """Shards in order, and the index of each one's first trajectory.

    Args:
        names: All shards that have a place.
        starts: Index of the first trajectory of each.
        holes: Those that lie in quarantine.
        gaps: Shards before which others of the same writer are missing.
        ends: How many trajectories each writer has stored.
        stored: Trajectories stored since the replay began.
    """

    names: list[ShardName]
    starts: list[int]
    holes: frozenset[ShardName]
    gaps: frozenset[ShardName]
    ends: Mapping[str, int]
    stored: int

    @classmethod
    def build(cls, present: Iterable[ShardName], quarantined: Iterable[ShardName] = ()) -> Index:
        """Number the trajectories of shards.

        What one writer stored and is missing is numbered before its next shard, or before everything
        where all that is left of the writer is newer.

        Args:
            present: Shards that lie in the folder.
            quarantined: Shards that once did.
        """
        here = set(present)
        names = _with_places(here, set(quarantined) - here)
        ends: dict[str, int] = {}
        for name in names:
            ends.setdefault(name.writer, name.first)
        stored = sum(ends.values())
        starts, gaps = [], []
        for name in names:
            missing = name.first - ends[name.writer]
            if missing:
                gaps.append(name)
            starts.append(stored + missing)
            stored += missing + name.trajectories
            ends[name.writer] = name.end
        holes = frozenset(name for name in names if name not in here)
        return cls(names, starts, holes, frozenset(gaps), ends, stored)

    def extended(self, added: Iterable[ShardName]) -> Index | None:
        """Return the index with more shards; None unless each is just the next one of its writer.

        That is what `build` would return, in much less time.
        """
        names, starts, ends, stored = [*self.names], [*self.starts], {**self.ends}, self.stored
        for name in sorted(added):
            if ends.get(name.writer, 0) != name.first or (names and name < names[-1]):
                return None
            names.append(name)
            starts.append(stored)
            stored += name.trajectories
            ends[name.writer] = name.end
        return Index(names, starts, self.holes, self.gaps, ends, stored)

    def locate(self, index: int) -> tuple[ShardName, int] | None:
        """Return the shard of a trajectory and its place in it; None if there is none."""
        place = bisect_right(self.starts, index) - 1
        if place < 0:
            return None
        name, item = self.names[place], index - self.starts[place]
        return (name, item) if item < name.trajectories and name not in self.holes else None

    def between(self, start: int, stop: int) -> Iterable[tuple[int, ShardName]]:
        """Yield the shards in the folder with an index in a range, newest first, and their starts."""
        for place in range(bisect_right(self.starts, stop - 1) - 1, -1, -1):
            name, first = self.names[place], self.starts[place]
            if first + name.trajectories <= start:
                return
            if name not in self.holes:
                yield first, name


def _with_places(here: set[ShardName], quarantined: set[ShardName]) -> list[ShardName]:
    """Return the shards that can be numbered, in order.

    Of two shards that claim the same trajectories the newer one is right: the older one is just being
    set aside. A shard in quarantine has a place as long as what its writer stored next is there, or
    nothing newer; otherwise what came after it was evicted, and so would it have been.
    """
    names = []
    following: dict[str, int] = {}
    for name in sorted(here | quarantined, reverse=True):
        limit = following.get(name.writer)
        if limit is not None and (name.end > limit if name in here else name.end != limit):
            continue
        following[name.writer] = name.first
        names.append(name)
    return names[::-1]
