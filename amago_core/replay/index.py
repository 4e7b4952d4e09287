"""Trajectory indices, computed from the names of shards alone.

The index of a trajectory is the number of trajectories stored before it, in the order of shards, since
the replay began. A shard's name holds the number of trajectories that its writer stored before it. So
trajectories whose shards are missing (evicted, or deleted by hand) still take up indices, and the
indices of the others do not change. Missing trajectories are numbered by two cases:

1. Trajectories that a writer stored before its oldest remaining shard come first of all: they get the
   lowest indices, before every remaining shard of any writer. Eviction removes the oldest shards, so
   this is where they were.
2. Trajectories missing between two remaining shards of one writer come directly before the later one.

Example: of the writers ``a`` and ``b``, three shards remain, in this order::

    shard   its writer stored before   holds   indices
    a-1     2                          2       2, 3        a's first two are missing: 0 and 1 (case 1)
    b-0     0                          3       4, 5, 6
    a-3     7                          1       10          a's three in between: 7, 8, 9 (case 2)

A shard in quarantine is numbered like one that is present, as long as it can be placed: see
`_numbered_shards`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from amago_core.replay.shard_name import ShardName


@dataclass(frozen=True, slots=True)
class Index:
    """Mapping between trajectory indices and shards: shards in order, and each one's first index.

    Args:
        names: All shards that are numbered, oldest first.
        starts: Index of the first trajectory of each.
        quarantined: Those of them that were moved to quarantine.
        gaps: Shards directly before which trajectories of the same writer are missing (case 2).
        ends: How many trajectories each writer has stored.
        stored: Trajectories stored since the replay began, missing ones included.
    """

    names: list[ShardName]
    starts: list[int]
    quarantined: frozenset[ShardName]
    gaps: frozenset[ShardName]
    ends: Mapping[str, int]
    stored: int

    @classmethod
    def build(cls, present: Iterable[ShardName], quarantined: Iterable[ShardName] = ()) -> Index:
        """Number the trajectories of shards; missing ones by the two cases of the module's docstring.

        Args:
            present: Shards in the folder.
            quarantined: Shards that were moved to quarantine.
        """
        in_folder = set(present)
        names = _numbered_shards(in_folder, set(quarantined) - in_folder)
        ends: dict[str, int] = {}
        for name in names:
            ends.setdefault(name.writer, name.first)
        stored = sum(ends.values())  # Case 1.
        starts, gaps = [], []
        for name in names:
            missing = name.first - ends[name.writer]
            if missing:  # Case 2.
                gaps.append(name)
            starts.append(stored + missing)
            stored += missing + name.trajectories
            ends[name.writer] = name.end
        in_quarantine = frozenset(name for name in names if name not in in_folder)
        return cls(names, starts, in_quarantine, frozenset(gaps), ends, stored)

    def extended(self, added: Iterable[ShardName]) -> Index | None:
        """Return the index with shards appended; None unless each is the next one of its writer.

        Equal to what `build` would return, in much less time.
        """
        names, starts, ends, stored = [*self.names], [*self.starts], {**self.ends}, self.stored
        for name in sorted(added):
            if ends.get(name.writer, 0) != name.first or (names and name < names[-1]):
                return None
            names.append(name)
            starts.append(stored)
            stored += name.trajectories
            ends[name.writer] = name.end
        return Index(names, starts, self.quarantined, self.gaps, ends, stored)

    def locate(self, index: int) -> tuple[ShardName, int] | None:
        """Return the shard of a trajectory and its position in the shard; None if it is missing."""
        position = bisect_right(self.starts, index) - 1
        if position < 0:
            return None
        name, item = self.names[position], index - self.starts[position]
        found = item < name.trajectories and name not in self.quarantined
        return (name, item) if found else None

    def between(self, start: int, stop: int) -> Iterable[tuple[int, ShardName]]:
        """Yield first index and name of each present shard in a range of indices, newest first."""
        for position in range(bisect_right(self.starts, stop - 1) - 1, -1, -1):
            name, first = self.names[position], self.starts[position]
            if first + name.trajectories <= start:
                return
            if name not in self.quarantined:
                yield first, name


def _numbered_shards(present: set[ShardName], quarantined: set[ShardName]) -> list[ShardName]:
    """Return the shards that are numbered, oldest first.

    Left out are:

    1. A present shard whose trajectories overlap those of a newer shard of its writer: the newer one
       counts, the older one is just being set aside.
    2. A quarantined shard where its writer has a newer numbered shard that does not directly follow
       it: the shards in between were evicted, and it would have been evicted with them.
    """
    names = []
    next_first: dict[str, int] = {}
    for name in sorted(present | quarantined, reverse=True):
        limit = next_first.get(name.writer)
        if limit is not None and (name.end > limit if name in present else name.end != limit):
            continue
        next_first[name.writer] = name.first
        names.append(name)
    return names[::-1]
