"""Trajectory indices: computed from shard names alone, and unchanged by eviction."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amago_core.replay.index import Index
from amago_core.replay.shard_name import MAX_TRAJECTORIES, ShardName

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.just("evict"), st.just(""), st.integers(0, 9)),
        st.tuples(st.just("quarantine"), st.just(""), st.integers(0, 20)),
    ),
    max_size=40,
)


class Folder:
    """Shards by name, and what their indices were when they were stored."""

    def __init__(self) -> None:
        self.truth: dict[ShardName, int] = {}
        self.present: set[ShardName] = set()
        self.quarantined: set[ShardName] = set()
        self.evicted_before = 0
        self.stored = 0
        self._numbers = count()
        self._of_writer: dict[str, int] = {}

    def store(self, writer: str, trajectories: int) -> None:
        number, first = next(self._numbers), self._of_writer.get(writer, 0)
        name = ShardName(number, writer, number, first, trajectories)
        self.truth[name] = self.stored
        self.present.add(name)
        self.stored += trajectories
        self._of_writer[writer] = name.end

    def evict(self, kept: int) -> None:
        """Evict all but the newest trajectories; keep each writer's newest shard."""
        self.evicted_before = max(self.evicted_before, self.stored - kept)
        newest = {name.writer: name for name in sorted(self.present)}
        self.present = {
            name
            for name in self.present
            if self.truth[name] + name.trajectories > self.evicted_before or name == newest[name.writer]
        }

    def quarantine(self, which: int) -> None:
        if self.present:
            name = sorted(self.present)[which % len(self.present)]
            self.present.remove(name)
            self.quarantined.add(name)


@given(events=EVENTS)
@example(
    events=[
        ("store", "a", 2),
        ("store", "b", 3),
        ("store", "a", 1),
        ("store", "b", 1),
        ("store", "a", 1),
        ("quarantine", "", 0),
        ("evict", "", 2),
    ]
)
def test_an_index_never_changes_once_it_is_assigned(events: list[tuple[str, str, int]]) -> None:
    folder = Folder()
    for what, writer, number in events:
        if what == "store":
            folder.store(writer, number)
        elif what == "evict":
            folder.evict(number)
        else:
            folder.quarantine(number)
        index = Index.build(folder.present, folder.quarantined)
        assert index.stored == folder.stored
        found = dict(zip(index.names, index.starts, strict=True))
        for name in folder.present:
            if folder.truth[name] >= folder.evicted_before:
                assert found[name] == folder.truth[name]
                assert index.locate(folder.truth[name]) == (name, 0)
            else:  # Part of it, or all of a writer's newest shard, is before the visible window.
                assert found[name] + name.trajectories <= max(
                    folder.truth[name] + name.trajectories, folder.evicted_before
                )


@given(events=EVENTS, more=st.lists(st.tuples(st.sampled_from("abd"), st.integers(1, 4)), max_size=4))
def test_an_extended_index_always_equals_the_one_that_is_built(
    events: list[tuple[str, str, int]], more: list[tuple[str, int]]
) -> None:
    folder = Folder()
    for what, writer, number in events:
        getattr(folder, what)(*(argument for argument in (writer, number) if argument != ""))
    index = Index.build(folder.present, folder.quarantined)
    before = set(folder.present)
    for writer, number in more:
        folder.store(writer, number)
    extended = index.extended(folder.present - before)
    assert extended in (None, Index.build(folder.present, folder.quarantined))
    if {name.writer for name in before} >= {writer for writer, _ in more}:
        assert extended is not None


def test_an_index_is_extended_only_by_the_next_shard_of_a_writer() -> None:
    index = Index.build([shard(3, "a", 0, 0, 2), shard(5, "b", 0, 0, 1)])
    assert index.extended([shard(4, "a", 1, 2, 1)]) is None  # It comes late.
    assert index.extended([shard(6, "a", 1, 1, 1)]) is None
    assert index.extended([shard(6, "a", 1, 3, 1)]) is None
    assert index.extended([shard(6, "c", 0, 4, 1)]) is None
    extended = index.extended([shard(6, "c", 0, 0, 4), shard(6, "a", 1, 2, 1)])
    assert extended is not None
    assert (extended.starts, extended.stored) == ([0, 2, 3, 4], 8)


@given(events=EVENTS)
def test_two_trajectories_never_have_one_index(events: list[tuple[str, str, int]]) -> None:
    folder = Folder()
    for what, writer, number in events:
        getattr(folder, what)(*(argument for argument in (writer, number) if argument != ""))
    index = Index.build(folder.present, folder.quarantined)
    ends = [start + name.trajectories for name, start in zip(index.names, index.starts, strict=True)]
    assert all(end <= start for end, start in zip(ends, index.starts[1:], strict=False))
    assert all(end <= index.stored for end in ends)


def shard(update: int, writer: str, number: int, first: int, trajectories: int) -> ShardName:
    return ShardName(update, writer, number, first, trajectories)


def test_missing_trajectories_are_numbered_before_the_writers_next_shard() -> None:
    a0, b0, a2 = shard(0, "a", 0, 0, 2), shard(1, "b", 0, 0, 3), shard(2, "a", 2, 7, 1)
    index = Index.build([a2, b0, a0])
    assert (index.names, index.starts, index.stored) == ([a0, b0, a2], [0, 2, 10], 11)
    assert index.gaps == {a2}
    assert [index.locate(n) for n in (1, 2, 5, 9, 10, 11)] == [
        (a0, 1), (b0, 0), None, None, (a2, 0), None,
    ]  # fmt: skip


def test_missing_trajectories_come_first_or_directly_before_the_next_shard() -> None:
    """The example of the module's docstring."""
    a1, b0, a3 = shard(0, "a", 1, 2, 2), shard(1, "b", 0, 0, 3), shard(2, "a", 3, 7, 1)
    index = Index.build([a1, b0, a3])
    assert (index.names, index.starts, index.stored) == ([a1, b0, a3], [2, 4, 10], 11)
    assert index.gaps == {a3}


def test_a_quarantined_shard_keeps_its_indices() -> None:
    a0, a1, b0, a2 = (
        shard(0, "a", 0, 0, 2), shard(1, "a", 1, 2, 5), shard(2, "b", 0, 0, 3), shard(3, "a", 2, 7, 1),
    )  # fmt: skip
    index = Index.build([a0, b0, a2], [a1])
    assert (index.starts, index.stored) == ([0, 2, 7, 10], 11)
    assert index.locate(3) is None
    assert list(index.between(1, 8)) == [(7, b0), (0, a0)]


def test_of_two_overlapping_shards_the_newer_counts() -> None:
    old, new = shard(5, "a", 3, 2, 4), shard(5, "a", 4, 2, 1)
    index = Index.build([shard(0, "a", 0, 0, 2), old, new])
    assert (index.names[1:], index.stored) == ([new], 3)


def test_a_quarantined_shard_loses_its_indices_once_its_successor_is_evicted() -> None:
    lost, later = shard(0, "a", 0, 0, 2), shard(9, "a", 7, 10, 1)
    index = Index.build([later], [lost])
    assert (index.names, index.starts, index.stored) == ([later], [10], 11)


@given(
    update=st.integers(0, 10**10 - 1),
    writer=st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True),
    number=st.integers(0, 10**10 - 1),
    first=st.integers(0, 10**10 - 1),
    trajectories=st.integers(1, MAX_TRAJECTORIES),
)
def test_a_shard_name_is_always_parsed_back(
    update: int, writer: str, number: int, first: int, trajectories: int
) -> None:
    name = ShardName(update, writer, number, first, trajectories)
    assert ShardName.parse(name.file) == name
    assert ShardName.parse_temporary(name.temporary) == name
    assert ShardName.parse_moved(f"{name.file}.2") == ShardName.parse_moved(name.file) == name
    assert ShardName.parse_protected(f"0123abcd-{name.file}") == name
    assert ShardName.parse_protected(name.file) == name
    assert ShardName.parse(name.temporary) is None


@pytest.mark.parametrize(
    "file",
    [
        "0000000000-a-0000000000-0000000000-0000000000.safetensors",
        "0000000000-a-0000000000-0000000000-0001000001.safetensors",
        "0000000000-A-0000000000-0000000000-0000000001.safetensors",
        "0000000000-a-0000000000-0000000000-0000000001.safetensors\n",
        "00000000\u06600-a-0000000000-0000000000-0000000001.safetensors",
        "0000000000-a/b-0000000000-0000000000-0000000001.safetensors",
        "0000000000-a\0-0000000000-0000000000-0000000001.safetensors",
        "0000000000-" + "a" * 65 + "-0000000000-0000000000-0000000001.safetensors",
        "",
    ],
    ids=["none", "too-many", "capital", "newline", "digit", "slash", "nul", "long", "empty"],
)
def test_other_file_names_are_not_shards(file: str) -> None:
    assert ShardName.parse(file) is None
