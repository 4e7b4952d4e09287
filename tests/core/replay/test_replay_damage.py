"""Damaged and malicious shards: refused and quarantined, and nothing worse."""

from __future__ import annotations

import json
import os
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import drawn, edit_shard, parse_shard, present, recording, same, store, write_shard

from amago_core.cli.replay import summary
from amago_core.replay import (
    DamagedShardError,
    Replay,
    ReplayError,
    ReplayWriter,
    TrajectoryGoneError,
    shard,
    shard_cache,
    verify,
)
from amago_core.replay.inspection import summarize_replay
from amago_core.replay.shard import Shard
from amago_core.replay.shard_name import ShardName


def flip(path: Path, wanted: bytes) -> None:
    """Change one bit of the first of some bytes."""
    content = bytearray(path.read_bytes())
    content[content.index(wanted)] ^= 1
    path.write_bytes(content)


def flip_trajectory(path: Path, number: int) -> None:
    flip(path, np.arange(100 * number, 100 * number + 4, dtype=np.float32).tobytes())


def reason(path: Path) -> str:
    """Return why a shard is refused."""
    name = ShardName.parse(path.name)
    assert name is not None
    with pytest.raises(DamagedShardError) as caught:
        Shard.open(path, name)
    start = f"{path} is not a shard of a replay: "
    message = str(caught.value)
    assert message.startswith(start)
    return message.removeprefix(start)


def test_a_flipped_bit_moves_the_shard_to_quarantine_and_is_reported_once(tmp_path: Path) -> None:
    writer, notes = ReplayWriter(tmp_path), list[str]()
    path = store(writer, range(3))
    store(writer, range(3, 5), 1)
    flip_trajectory(path, 1)
    replay = Replay(tmp_path, 9, note=notes.append)
    view = replay.view()
    assert view.trajectory(0).seed == 0
    for _ in range(2):
        with pytest.raises(TrajectoryGoneError) as caught:
            view.trajectory(1)
        assert str(caught.value) == f"trajectory 1 is not in {tmp_path}; it may have been evicted"
    assert notes == [
        f"{path} is damaged: trajectory 2 of its 3 does not have the checksum it was stored with; "
        f"its 3 trajectories are left out. The file was moved to {tmp_path}/quarantine/{path.name}."
    ]
    assert replay.quarantined == 1
    assert (tmp_path / "quarantine" / path.name).is_file()
    for opened in (replay, Replay(tmp_path, 9, note=notes.append)):
        assert (opened.refresh(), present(opened), opened.quarantined) == (5, {3: 3, 4: 4}, 1)
        assert opened.missing(5) == 3
    assert len(notes) == 1


def test_a_truncated_shard_is_found_when_it_is_first_read(tmp_path: Path) -> None:
    writer, notes = ReplayWriter(tmp_path), list[str]()
    path = store(writer, range(1))
    store(writer, range(1, 2), 1)
    size = path.stat().st_size
    os.truncate(path, size - 1)
    replay = Replay(tmp_path, 9, note=notes.append)
    assert (replay.stored, notes) == (2, [])
    assert drawn(replay) == [None, 1]
    assert notes == [
        f"{path} is not a shard of a replay: it has {size - 1} bytes, its header describes {size}; "
        f"its trajectory is left out. The file was moved to {tmp_path}/quarantine/{path.name}."
    ]


def test_a_shard_truncated_while_it_is_mapped_does_not_kill_the_process(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    path = store(writer, range(2), length=5000)
    store(writer, range(2, 3), 1)
    replay = Replay(tmp_path, 9)
    assert drawn(replay) == [0, 1, 2]
    os.truncate(path, 100)
    assert drawn(replay) == [None, None, 2]
    assert replay.quarantined == 1


def test_a_shard_that_changed_before_it_is_mapped_is_refused(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    name = ShardName.parse(path.name)
    assert name is not None
    shard = Shard.open(path, name)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DamagedShardError) as caught:
        shard.map()
    assert str(caught.value) == f"{path} is not a shard of a replay: its size has changed"


def test_one_of_several_readers_quarantines_a_damaged_shard(
    tmp_path: Path,
) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    notes: list[str] = []
    readers = [Replay(tmp_path, 9, note=notes.append) for _ in range(3)]
    assert [reader.trajectory(0).seed for reader in readers] == [0, 0, 0]
    flip_trajectory(path, 1)
    assert [drawn(reader) for reader in readers] == [[0, None], [None, None], [None, None]]
    assert len(notes) == 1
    assert [(reader.refresh(), reader.quarantined) for reader in readers] == [(2, 1)] * 3
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_a_shard_that_another_reader_quarantines_is_not_reported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_trajectory(store(ReplayWriter(tmp_path), range(2)), 0)
    notes: list[str] = []
    replay = Replay(tmp_path, 9, note=notes.append)

    def too_late(path: Path, folder: Path) -> Path:
        raise FileNotFoundError(path)

    monkeypatch.setattr(shard_cache, "set_aside", too_late)
    assert (drawn(replay), notes, replay.quarantined) == ([None, None], [], 0)


def test_a_damaged_shard_that_cannot_be_moved_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    flip_trajectory(path, 0)
    notes: list[str] = []
    replay = Replay(tmp_path, 9, note=notes.append)

    def refuse(path: Path, folder: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(shard_cache, "set_aside", refuse)
    for _ in range(2):
        assert (drawn(replay), replay.quarantined) == ([None, None], 1)
        replay.refresh()
    assert notes == [
        f"{path} is damaged: trajectory 1 of its 2 does not have the checksum it was stored with; "
        "its 2 trajectories are left out."
    ]


def test_a_read_only_replay_leaves_out_damaged_trajectories(tmp_path: Path) -> None:
    writer, notes = ReplayWriter(tmp_path), list[str]()
    path = store(writer, range(2))
    lost = store(writer, range(2, 4), 1)
    store(writer, range(4, 5), 2)
    flip_trajectory(path, 0)
    lost.write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    replay = Replay(tmp_path, None, note=notes.append, read_only=True)
    for _ in range(2):  # What stays visible does not depend on the order of reads.
        assert drawn(replay) == [None, 1, None, None, 4]
        replay.refresh()
    assert replay.view().lengths.tolist() == [3, 3, 0, 0, 3]
    assert (replay.quarantined, sorted(tmp_path.iterdir())) == (2, before)
    assert notes == [
        f"{path} is damaged: trajectory 1 of its 2 does not have the checksum it was stored with; "
        "the trajectory is left out.",
        f"{lost} is not a shard of a replay: it has 0 bytes and no valid header; "
        "its 2 trajectories are left out.",
    ]


def test_a_quarantine_that_is_a_symbolic_link_receives_nothing(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path / "replay"), range(1))
    (tmp_path / "elsewhere").mkdir()
    (path.parent / "quarantine").symlink_to(tmp_path / "elsewhere")
    path.write_bytes(b"")
    notes: list[str] = []
    replay = Replay(path.parent, 9, note=notes.append)
    assert (drawn(replay), replay.quarantined, path.exists()) == ([None], 1, True)
    assert notes == [
        f"{path} is not a shard of a replay: it has 0 bytes and no valid header; "
        "its trajectory is left out."
    ]


def test_a_reason_that_quotes_the_file_is_truncated(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(1))
    edit_shard(path, lambda header, described: header["obs.place"].update(dtype="x" * 9000))
    assert reason(path) == "'obs.place' has type '" + "x" * 278


def test_a_shard_larger_than_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    size = path.stat().st_size
    monkeypatch.setattr(shard, "memory_share", lambda parts: size)
    assert drawn(Replay(tmp_path, 9)) == [0, 1]
    monkeypatch.setattr(shard, "memory_share", lambda parts: size - 1)
    assert reason(path) == f"it has {size:,} bytes, too many for this machine"


def test_a_protected_file_too_small_for_its_name_takes_no_positions(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    (tmp_path / "protected").mkdir()
    path = tmp_path / "protected" / "0000000000-main-0000000000-0000000000-0001000000.safetensors"
    path.write_bytes(b"")
    for read_only in (True, False):
        notes: list[str] = []
        replay = Replay(tmp_path, 9, note=notes.append, read_only=read_only)
        replay.refresh()
        assert (drawn(replay), len(notes), replay.quarantined) == ([0, 1], 1, 1)
        assert path.exists() is read_only


def test_a_file_too_small_for_its_name_takes_no_positions_without_capacity(
    tmp_path: Path,
) -> None:
    store(ReplayWriter(tmp_path), range(2))
    claim = tmp_path / "0000000000-other-0000000000-0000000000-0001000000.safetensors"
    claim.write_bytes(b"")
    assert drawn(Replay(tmp_path, None, read_only=True)) == [0, 1]


def test_a_previous_action_where_there_is_none_is_damage(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    header, body = parse_shard(path)
    content = bytearray(body)
    content[header["prev_actions"]["data_offsets"][0] + 1] = 1
    write_shard(path, header, bytes(content))
    assert verify(tmp_path).problems == (
        f"{path} is damaged: 'prev_actions' is not zero for a trajectory that has no previous action",
    )


def test_shards_in_a_folder_without_read_permission_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(ReplayWriter(tmp_path), range(2))

    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "lstat", refuse)
    assert verify(tmp_path).problems == (f"{path} cannot be read: Permission denied",)


def test_the_indices_of_a_quarantined_shard_are_never_reused(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2), 3)
    path = store(writer, range(2, 5), 4)
    path.write_bytes(b"all of it is lost")
    assert present(Replay(tmp_path, 9)) == {0: 0, 1: 1}
    again = ReplayWriter(tmp_path)
    assert again.stored == 5
    assert store(again, range(5, 6), 4).name == (
        "0000000004-main-0000000002-0000000005-0000000001.safetensors"
    )
    assert present(Replay(tmp_path, 9)) == {0: 0, 1: 1, 5: 5}


def test_a_writer_continues_after_a_damaged_shard_that_was_not_read_yet(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2))
    store(writer, range(2, 4)).write_bytes(b"")
    again = ReplayWriter(tmp_path)
    assert again.stored == 4
    store(again, range(4, 5))
    assert present(Replay(tmp_path, 9)) == {0: 0, 1: 1, 4: 4}


def test_setting_aside_includes_quarantined_shards(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2))
    flip_trajectory(store(writer, range(2, 4), 1), 2)
    store(writer, range(4, 5), 2)
    replay = Replay(tmp_path, 9)
    drawn(replay)
    assert replay.set_aside(2) == 3
    assert (replay.stored, replay.quarantined) == (2, 0)
    assert ReplayWriter(tmp_path).stored == 2


def test_limits_count_quarantined_shards(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    paths = [store(writer, [number], number, length=4) for number in range(6)]
    flip_trajectory(paths[4], 4)
    replay = Replay(tmp_path, 9, timesteps=12)
    assert drawn(replay) == [3, None, 5]
    replay.refresh()
    assert replay.visible() == range(3, 6)


def test_a_damaged_protected_shard_is_quarantined_too(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    (tmp_path / "protected").mkdir()
    path.rename(tmp_path / "protected" / path.name)
    flip_trajectory(tmp_path / "protected" / path.name, 1)
    replay = Replay(tmp_path, 9)
    assert drawn(replay) == [0, None]
    replay.refresh()
    assert (drawn(replay), replay.quarantined, replay.stored) == ([], 1, 0)


def test_verifying_finds_every_damaged_shard_and_moves_nothing(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    paths = [store(writer, range(2 * n, 2 * n + 2), n) for n in range(4)]
    flip_trajectory(paths[1], 3)
    paths[2].write_bytes(b"")
    (tmp_path / "protected").mkdir()
    copy = tmp_path / "protected" / paths[0].name
    copy.write_bytes(paths[0].read_bytes())
    flip_trajectory(copy, 0)
    before = sorted(tmp_path.rglob("*"))
    result = verify(tmp_path)
    checksums = "does not have the checksum it was stored with"
    assert result.problems == (
        f"{paths[1]} is damaged: trajectory 2 of its 2 {checksums}",
        f"{paths[2]} is not a shard of a replay: it has 0 bytes and no valid header",
        f"{copy} is damaged: trajectory 1 of its 2 {checksums}",
    )
    assert (result.shards, result.trajectories) == (5, 4)
    assert sorted(tmp_path.rglob("*")) == before


def test_verifying_finds_overlapping_shards(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    store(ReplayWriter(tmp_path / "other"), range(1)).rename(
        other := tmp_path / "0000000007-main-0000000009-0000000001-0000000001.safetensors"
    )
    assert verify(tmp_path).problems == (
        f"{path} holds trajectories that a newer shard holds too",
        f"{other} is not a shard of a replay: it was stored under another name",
    )


@cache
def content(directory: str) -> tuple[str, bytes]:
    """Return the name and the content of a shard of two trajectories; the same ones every time."""
    with TemporaryDirectory(dir=directory) as folder:
        path = store(ReplayWriter(Path(folder)), range(2))
        return path.name, path.read_bytes()


def placed(factory: pytest.TempPathFactory) -> Path:
    """Return such a shard in a new replay."""
    name, data = content(str(factory.getbasetemp()))
    path = factory.mktemp("replay") / name
    path.write_bytes(data)
    return path


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_changed_byte_never_changes_a_trajectory(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = placed(tmp_path_factory)
    changed = bytearray(path.read_bytes())
    changed[place % len(changed)] = value
    path.write_bytes(changed)
    replay = Replay(path.parent, 9)
    for index in replay.visible():
        with suppress(TrajectoryGoneError):
            assert same(replay.trajectory(index), recording(index))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 10**6))
def test_a_truncated_file_is_never_read(size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = placed(tmp_path_factory)
    os.truncate(path, size % path.stat().st_size)
    assert drawn(Replay(path.parent, 9)) == [None, None]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["I64", "F32", "BOOL", "U8", "../../x", "\0", "\n"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value within JSON."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    found = [path] if path else []
    for key, inner in items:
        found += places_in(inner, (*path, key))
    return found


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_manipulated_header_never_does_worse_than_be_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Checksums are recomputed, as an attacker would: only sizes and types reveal the change."""
    path = placed(tmp_path_factory)
    header, body = parse_shard(path)
    described = json.loads(header["__metadata__"]["shard"])
    tree = {"header": header, "described": described}
    for _ in range(data.draw(st.integers(1, 2))):
        where = data.draw(st.sampled_from([place for place in places_in(tree) if len(place) > 1]))
        parent: Any = tree
        for key in where[:-1]:
            parent = parent[key] if isinstance(parent, list) or key in parent else {}
        if not isinstance(parent, dict | list) or not parent:
            continue
        if isinstance(parent, dict) and data.draw(st.booleans()):
            parent.pop(where[-1], None)
        elif isinstance(parent, dict) or where[-1] < len(parent):
            near = st.integers(-3, 30) if type(parent[where[-1]]) is int else st.nothing()
            parent[where[-1]] = data.draw(JSON | near)
    changed: Any = tree["header"]
    metadata = changed.get("__metadata__") if isinstance(changed, dict) else None
    if isinstance(metadata, dict) and "shard" in metadata:
        metadata["shard"] = json.dumps(tree["described"])
    write_shard(path, changed, body)
    read_all(path.parent)


FACT = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 9)


@settings(max_examples=60, deadline=None)
@given(
    fact=st.sampled_from(["lengths", "seeds", "start_times", "tasks", "leads", "crc32"]),
    values=st.tuples(FACT, FACT),
)
def test_manipulated_facts_never_do_worse_than_be_refused(
    fact: str, values: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = placed(tmp_path_factory)
    edit_shard(path, lambda header, described: None, {fact: list(values)})
    read_all(path.parent)


def read_all(folder: Path) -> None:
    """Do everything that a reader does; results must be consistent and take little memory."""
    tracemalloc.start()
    try:
        replay = Replay(folder, 9, timesteps=100, bytes=10**6)
        view = replay.view()
        assert view.lengths.sum() <= 6
        for position in range(len(view)):
            with suppress(TrajectoryGoneError):
                trajectory = view.trajectory(position)
                assert trajectory.length == view.lengths[position]
                for name, column in trajectory.columns.items():
                    rows = trajectory.length + (len(column) != trajectory.length)
                    assert len(column) == rows, name
                    column.tobytes()
        summary(summarize_replay(folder))
        verify(folder)
        ReplayWriter(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


MALICIOUS: dict[str, tuple[Callable[[Any, Any], None], dict[str, list[float]], str]] = {
    "no transitions": (
        lambda header, described: None,
        {"lengths": [6, 0]},
        "it has a trajectory without transitions",
    ),
    "negative length": (
        lambda header, described: None,
        {"lengths": [7, -1]},
        f"its lengths are not all from 0 to {2**62 - 1}",
    ),
    "lengths that add up to more": (
        lambda header, described: None,
        {"lengths": [2**61, 2**61]},
        f"'obs.place' has shape (8, 1), its lengths add up to {2**62}",
    ),
    "time before the beginning": (
        lambda header, described: None,
        {"start_times": [0, -1]},
        f"its start_times are not all from 0 to {2**62 - 1}",
    ),
    "task without a name": (
        lambda header, described: None,
        {"tasks": [0, 1]},
        "its tasks are not all from 0 to 0",
    ),
    "tasks that are no names": (
        lambda header, described: described.update(tasks=[3]),
        {},
        "its tasks are not a list of names",
    ),
    "another format": (
        lambda header, described: described.update(format=3),
        {},
        "its metadata does not declare format 2",
    ),
    "another name": (
        lambda header, described: described.update(name="../../other"),
        {},
        "it was stored under another name",
    ),
    "negative totals": (
        lambda header, described: described.update(before={"timesteps": -1, "bytes": 0}),
        {},
        "its metadata has impossible totals of what was stored before",
    ),
    "no totals": (
        lambda header, described: described.update(before={"timesteps": 1}),
        {},
        "its metadata lacks the totals of what was stored before",
    ),
    "negative axis": (
        lambda header, described: header["obs.image"].update(shape=[8, -2, -2]),
        {},
        "'obs.image' has an impossible shape",
    ),
    "an axis that overflows": (
        lambda header, described: header["obs.image"].update(shape=[8, 0, 2**62]),
        {},
        "'obs.image' has an impossible shape",
    ),
    "an axis that is no number": (
        lambda header, described: header["obs.image"].update(shape=[8, True, 4]),
        {},
        "'obs.image' has an impossible shape",
    ),
    "overlapping columns": (
        lambda header, described: header["action"].update(data_offsets=[0, 6]),
        {},
        "'action' does not begin where the tensor before it ends",
    ),
    "a wider type": (
        lambda header, described: header["reward"].update(dtype="F64"),
        {},
        "'reward' does not begin where the tensor before it ends",
    ),
    "an unknown type": (
        lambda header, described: header["reward"].update(dtype="O"),
        {},
        "'reward' has type 'O'",
    ),
    "a missing column": (
        lambda header, described: header.update({"obs.extra": header.pop("terminated")}),
        {},
        "'truncated' does not begin where the tensor before it ends",
    ),
    "another column": (
        lambda header, described: rename(header, "terminated", "ended"),
        {},
        "it has no terminated",
    ),
    "no observation": (
        lambda header, described: [rename(header, f"obs.{n}", n) for n in ("place", "image")],
        {},
        "it has no observation",
    ),
    "another previous action": (
        lambda header, described: header["prev_actions"].update(dtype="I8"),
        {},
        "'prev_actions' does not have the type and shape of its actions",
    ),
    "rewards in columns": (
        lambda header, described: header["reward"].update(shape=[6, 1]),
        {},
        "'reward' does not have one number per transition",
    ),
    "facts in another order": (
        lambda header, described: swap(header, "lengths", "seeds"),
        {},
        "it does not hold the facts of 2 trajectories",
    ),
    "no metadata": (
        lambda header, described: header.pop("__metadata__"),
        {},
        "its header has no metadata",
    ),
}


def rename(header: dict[str, Any], name: str, other: str) -> None:
    items = [(other if key == name else key, value) for key, value in header.items()]
    header.clear()
    header.update(items)


def swap(header: dict[str, Any], one: str, other: str) -> None:
    names = {one: other, other: one}
    items = [(names.get(key, key), value) for key, value in header.items()]
    header.clear()
    header.update(items)


@pytest.mark.parametrize("case", MALICIOUS)
def test_a_malicious_shard_is_refused(case: str, tmp_path: Path) -> None:
    change, facts, expected = MALICIOUS[case]
    path = store(ReplayWriter(tmp_path), range(2))
    edit_shard(path, change, facts)
    assert reason(path) == expected


def test_a_boolean_that_is_neither_true_nor_false_is_refused(tmp_path: Path) -> None:
    """Its checksum is valid, and numpy would compute with a boolean of 2."""
    path = store(ReplayWriter(tmp_path), range(1))
    ended = np.array([0, 0, 2], np.uint8).view(np.bool_)
    writer = ReplayWriter(tmp_path / "other")
    trajectory = recording(0)
    assert isinstance(trajectory.columns, dict)
    trajectory.columns["terminated"] = ended
    writer.append(trajectory)
    other = writer.flush(0)
    assert other is not None
    other.rename(path)
    notes: list[str] = []
    assert drawn(Replay(tmp_path, 9, note=notes.append)) == [None]
    assert notes[0].startswith(
        f"{path} is damaged: 'terminated' has a value that is neither true nor false; "
    )


def test_a_header_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    body = parse_shard(path)[1]
    write_shard(path, b"[" * 100_000, body)
    assert reason(path) == "its header is nested too deeply"
    header = parse_shard(store(ReplayWriter(tmp_path / "other"), range(2)))[0]
    header["__metadata__"]["shard"] = "[" * 100_000
    write_shard(path, header, body)
    assert reason(path) == "its header is nested too deeply"


def test_a_header_over_the_maximum_length_is_not_read(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    with path.open("r+b") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)  # A sparse file: it takes no space on the disk.
    assert reason(path) == f"it has {2**41} bytes and no valid header"


@contextmanager
def at_once() -> Iterator[None]:
    """Fail if the block takes 5 seconds, such as for a read from a pipe."""

    def fail(*_: object) -> None:
        pytest.fail("it waited")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(5)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "socket"])
def test_a_shard_that_is_not_a_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    import socket

    writer = ReplayWriter(tmp_path)
    path = store(writer, range(2))
    store(writer, range(2, 3))
    elsewhere = path.rename(tmp_path / "elsewhere")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(elsewhere)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(tmp_path)  # The path of a socket may not be long.
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)
    notes: list[str] = []
    replay = Replay(tmp_path, 9, note=notes.append)
    with at_once():
        assert reason(path) == "it is not a regular file"
        assert verify(tmp_path).problems == (
            f"{path} is not a shard of a replay: it is not a regular file",
        )
        assert drawn(replay) == [None, None, 2]
    assert (len(notes), path.exists(), replay.refresh()) == (1, False, 3)


def test_a_folder_named_like_a_shard_is_quarantined_instead_of_evicted(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    path = store(writer, range(2))
    store(writer, range(2, 3))
    path.unlink()
    path.mkdir()
    replay = Replay(tmp_path, 9)
    assert (replay.evict(2), replay.quarantined) == (1, 1)


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    for name in ("notes.txt", "x.safetensors", "0-main-0.safetensors", "quarantine.txt"):
        (tmp_path / name).write_text("mine")
    assert present(Replay(tmp_path, 9)) == {0: 0, 1: 1}
    assert verify(tmp_path).problems == ()


def test_an_unreadable_file_is_not_mistaken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    replay = Replay(tmp_path, 9)

    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ReplayError) as caught:
        replay.trajectory(0)
    monkeypatch.undo()
    assert type(caught.value) is ReplayError
    assert str(caught.value) == f"{path} cannot be read: Too many open files"
    assert replay.trajectory(0).seed == 0
