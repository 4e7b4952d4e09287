"""The replay buffer: stored trajectories are read back in order, whatever happens to the files."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from replays import drawn, numbers, present, recording, same, store
from safetensors.numpy import load_file

import amago_core.replay
import amago_core.replay.writer
from amago_core.replay import (
    Replay,
    ReplayError,
    ReplayWriter,
    TrajectoryError,
    TrajectoryGoneError,
    verify,
)
from amago_core.replay import replay as replay_module
from amago_core.replay.inspection import summarize_replay
from amago_core.replay.shard_name import ShardName
from amago_registry.trajectories import Trajectory


@settings(max_examples=25, deadline=None)
@given(shards=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), max_size=5))
def test_what_is_stored_always_comes_back(
    shards: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    writer = ReplayWriter(folder)
    expected: list[Trajectory] = []
    for update, lengths in enumerate(shards):
        for length in lengths:
            expected.append(recording(len(expected), length))
            writer.append(expected[-1])
        writer.flush(update)
    replay = Replay(folder, capacity=100, open_files=2)
    assert replay.stored == len(expected)
    for index, trajectory in enumerate(expected):
        assert same(replay.trajectory(index), trajectory)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 9), data=st.data())
def test_a_slice_always_has_the_rows_of_the_whole_trajectory(length: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    whole = recording(3, length)
    sliced = whole.slice(start, stop)
    assert sliced.length == stop - start
    assert [row[0] for row in sliced.columns["obs.place"]] == [300 + t for t in range(start, stop + 1)]
    assert list(sliced.columns["reward"]) == [3 + t for t in range(start, stop)]
    assert sliced.start_time == 3 + start
    assert sliced.prev_reward == (3 + start - 1 if start else 0)
    assert sliced.prev_action == ((start - 1) % 5 if start else None)


def test_a_slice_of_a_stored_trajectory_has_the_previous_action_and_reward(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    sliced = Replay(tmp_path, 9).trajectory(1).slice(2, 3)
    assert sliced.columns["obs.place"].tolist() == [[102], [103]]
    assert sliced.columns["action"].tolist() == [2]
    assert sliced.prev_action == 1
    assert (sliced.start_time, sliced.prev_reward) == (3, 2.0)


def test_a_trajectory_without_pixels_can_be_stored(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    columns = {**recording(0).columns, "obs.image": np.zeros((4, 0), np.uint8)}
    writer.append(Trajectory(columns, 0))
    writer.flush(0)
    assert Replay(tmp_path, 9).trajectory(0).columns["obs.image"].shape == (4, 0)


def test_appended_trajectories_are_invisible_until_they_are_flushed(tmp_path: Path) -> None:
    writer, replay = ReplayWriter(tmp_path), Replay(tmp_path, 9)
    writer.append(recording(0))
    assert (writer.stored, replay.refresh()) == (0, 0)
    writer.flush(0)
    assert (writer.stored, replay.refresh()) == (1, 1)


def test_flushing_an_empty_writer_makes_no_shard(tmp_path: Path) -> None:
    assert ReplayWriter(tmp_path).flush(0) is None
    assert [path.name for path in tmp_path.iterdir()] == [".main.claim"]


def test_a_folder_that_does_not_exist_yet_is_an_empty_replay(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "later", 9)
    assert (replay.stored, list(replay.visible())) == (0, [])


def test_append_copies_the_trajectory(tmp_path: Path) -> None:
    writer, trajectory = ReplayWriter(tmp_path), recording(1)
    writer.append(trajectory)
    trajectory.columns["reward"][:] = -1
    writer.flush(0)
    assert same(Replay(tmp_path, 9).trajectory(0), recording(1))


def test_stored_trajectories_are_read_only(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(1))
    with pytest.raises(ValueError, match="read-only"):
        Replay(tmp_path, 9).trajectory(0).columns["reward"][:] = 0


def test_the_newest_capacity_of_the_first_limit_are_visible(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(10))
    replay = Replay(tmp_path, capacity=4)
    assert replay.visible() == range(6, 10)
    assert replay.visible(7) == range(3, 7)
    assert replay.visible(2) == range(2)


def test_a_limit_beyond_what_is_stored_is_refused(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(3))
    with pytest.raises(ReplayError) as caught:
        Replay(tmp_path, 4).visible(5)
    assert str(caught.value) == f"{tmp_path} holds 3 trajectories, and limit=5 is out of range"


def test_indices_never_change_while_shards_are_evicted(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    for update in range(4):
        store(writer, range(3 * update, 3 * update + 3), update)
    replay = Replay(tmp_path, capacity=4)
    assert replay.evict(7) == 2  # the third shard holds 6, 7 and 8
    assert replay.stored == 12
    assert present(replay) == {index: index for index in range(6, 12)}
    reopened = ReplayWriter(tmp_path)
    assert reopened.stored == 12
    store(reopened, range(12, 13), 4)
    assert Replay(tmp_path, 1).trajectory(12).seed == 12


def test_an_evicted_trajectory_is_gone(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2))
    store(writer, range(2, 4))
    replay = Replay(tmp_path, 4)
    replay.evict(2)
    with pytest.raises(TrajectoryGoneError) as caught:
        replay.trajectory(1)
    assert str(caught.value) == f"trajectory 1 is not in {tmp_path}; it may have been evicted"


def test_the_newest_shard_of_a_writer_is_never_evicted(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    replay = Replay(tmp_path, 4)
    assert replay.evict(100) == 0
    assert numbers(replay) == [0, 1]


def test_refreshing_survives_a_file_removed_by_another_process(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    gone = store(writer, range(2))
    store(writer, range(2, 4))
    replay = Replay(tmp_path, 4)
    gone.unlink()
    with pytest.raises(TrajectoryGoneError):
        replay.trajectory(0)
    assert replay.trajectory(2).seed == 2
    assert replay.refresh() == 4


def test_a_missing_shard_in_the_middle_changes_no_index(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    paths = [store(writer, range(n, n + 1), n) for n in range(3)]
    paths[1].unlink()
    replay = Replay(tmp_path, 4)
    assert replay.trajectory(2).seed == 2
    with pytest.raises(TrajectoryGoneError):
        replay.trajectory(1)


def test_a_folder_listing_that_misses_a_file_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is renamed while its folder is listed may be missing from the listing."""
    writer = ReplayWriter(tmp_path)
    replay = Replay(tmp_path, 9)
    paths = [store(writer, [number], number) for number in range(3)]
    listings = [[paths[0].name, paths[2].name], [path.name for path in paths]]

    def listed(folder: Path, known: object) -> dict[str, ShardName]:
        names = {file: ShardName.parse(file) for file in listings.pop(0)}
        return {file: name for file, name in names.items() if name is not None}

    monkeypatch.setattr(replay_module, "shards_in", listed)
    assert (replay.refresh(), numbers(replay), listings) == (3, [0, 1, 2], [])


def test_setting_aside_deletes_nothing_and_indices_continue(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2), update=0)
    for again in (1, 2):
        writer = ReplayWriter(tmp_path)
        store(writer, range(10 * again, 10 * again + 3), update=1)
        assert Replay(tmp_path, 9).set_aside(2) == 3
    assert numbers(Replay(tmp_path, 9)) == [0, 1]
    assert sorted(path.name for path in (tmp_path / "set-aside").iterdir()) == [
        "0000000001-main-0000000001-0000000002-0000000003.safetensors",
        "0000000001-main-0000000002-0000000002-0000000003.safetensors",
    ]
    assert ReplayWriter(tmp_path).stored == 2


def test_setting_aside_never_overwrites_a_file_of_the_same_name(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(1))
    before = path.read_bytes()
    (tmp_path / "set-aside").mkdir()
    (tmp_path / "set-aside" / path.name).write_text("earlier")
    Replay(tmp_path, 9).set_aside(0)
    assert (tmp_path / "set-aside" / path.name).read_text() == "earlier"
    assert (tmp_path / "set-aside" / f"{path.name}.2").read_bytes() == before


def test_trajectories_set_aside_are_no_longer_read(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    replay = Replay(tmp_path, 9)
    replay.trajectory(1)
    replay.set_aside(0)
    store(ReplayWriter(tmp_path), range(5, 7))
    replay.refresh()
    assert numbers(replay) == [5, 6]


def test_setting_aside_never_splits_a_shard(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(4))
    with pytest.raises(ReplayError) as caught:
        Replay(tmp_path, 9).set_aside(2)
    assert str(caught.value) == f"{path} holds the trajectories 0 to 3 and cannot be split at 2"
    assert path.exists()


@settings(max_examples=25, deadline=None)
@given(
    task=st.text(max_size=9),
    success=st.none() | st.floats(0, 1),
    prev_reward=st.floats(allow_nan=False),
    prev_action=st.none() | st.integers(0, 4).map(np.uint8).map(np.asarray),
    start_time=st.integers(0, 2**62 - 1),
)
def test_the_facts_of_a_trajectory_always_come_back(
    tmp_path_factory: pytest.TempPathFactory, **facts: Any
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    writer = ReplayWriter(folder)
    expected = [recording(1), recording(2, 5, **facts)]
    for trajectory in expected:
        writer.append(trajectory)
    writer.flush(0)
    replay = Replay(folder, 9)
    assert [same(replay.trajectory(index), expected[index]) for index in range(2)] == [True, True]
    tasks = {found.task: found for found in summarize_replay(folder).tasks}
    assert tasks.keys() == {"", facts["task"]}
    found = tasks[facts["task"]]
    assert (found.returns[-1], found.lengths[-1]) == (0 + 1 + 2 + 3 + 4 + 5 * 2, 5)
    assert found.successes.tolist() == ([] if facts["success"] is None else [facts["success"]])


def test_a_stored_segment_keeps_its_previous_action_reward_and_start_time(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    moves = {"action": np.arange(6, dtype=np.float32).reshape(3, 2)}
    before = np.array([8, 9], np.float32)
    whole = recording(1, start_time=50, prev_action=before, prev_reward=0.5)
    writer.append(replace(whole, columns={**whole.columns, **moves}))
    writer.flush(0)
    segment = Replay(tmp_path, 9).trajectory(0)
    assert segment.prev_action is not None
    assert (segment.prev_action.tolist(), segment.prev_reward, segment.start_time) == ([8, 9], 0.5, 50)
    later = Replay(tmp_path, 9).view().slice(0, 2, 3)
    assert later.prev_action is not None
    assert (later.prev_action.tolist(), later.prev_reward, later.start_time) == ([2, 3], 2.0, 52)


def test_a_shard_is_a_safetensors_file(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    columns = load_file(path)
    assert columns["obs.place"].tolist() == [[place] for place in (0, 1, 2, 3, 100, 101, 102, 103)]
    assert columns["returns"].tolist() == [3, 6]


def test_a_view_does_not_change_when_a_late_shard_moves_the_indices(tmp_path: Path) -> None:
    a, b = ReplayWriter(tmp_path, "a"), ReplayWriter(tmp_path, "b")
    store(b, range(2), update=5)
    replay = Replay(tmp_path, 9)
    view = replay.view()
    store(a, range(10, 11), update=1)
    replay.refresh()
    assert [view.trajectory(position).seed for position in range(len(view))] == [0, 1]
    assert drawn(replay) == [10, 0, 1]


def test_a_view_is_cached_until_something_changes(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2))
    replay = Replay(tmp_path, 9)
    view = replay.view()
    replay.refresh()
    assert replay.view() is view
    assert replay.view(1) is not view
    store(writer, range(2, 3))
    assert len(replay.view()) == 2
    replay.refresh()
    assert len(replay.view()) == 3


def test_a_position_outside_a_view_raises(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    view = Replay(tmp_path, 9).view()
    for position in (-1, 2):
        with pytest.raises(IndexError) as caught:
            view.trajectory(position)
        assert str(caught.value) == f"position {position} of 2"


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 9), data=st.data())
def test_slicing_a_view_always_equals_slicing_the_whole_trajectory(
    length: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    writer = ReplayWriter(folder)
    for number in range(3):
        writer.append(recording(number, length))
    writer.flush(0)
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    view = Replay(folder, 9).view()
    assert same(view.slice(1, start, stop), recording(1, length).slice(start, stop))
    assert same(view.slice(1, start, None), recording(1, length).slice(start, length))


def test_trajectories_stay_valid_after_their_shards_are_unmapped(
    tmp_path: Path,
) -> None:
    writer = ReplayWriter(tmp_path)
    for number in range(6):
        store(writer, [number])
    replay = Replay(tmp_path, 9, open_files=2)
    found = [replay.trajectory(index) for index in range(6)]
    assert all(same(trajectory, recording(n)) for n, trajectory in enumerate(found))


def test_threads_can_sample_while_another_writes_and_evicts(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(4))
    replay = Replay(tmp_path, capacity=6, open_files=2)
    stop = Event()

    def draw() -> int:
        read = 0
        while not stop.is_set() or not read:
            view = replay.view()
            for position in range(len(view)):
                with suppress(TrajectoryGoneError):
                    trajectory = view.trajectory(position)
                    assert same(trajectory, recording(trajectory.seed))
                    read += 1
        return read

    with ThreadPoolExecutor(3) as threads:
        drawing = [threads.submit(draw) for _ in range(3)]
        for update in range(1, 40):
            store(writer, range(4 * update, 4 * update + 4), update)
            replay.refresh()
            replay.evict(before=replay.visible().start)
        stop.set()
        assert all(done.result() > 0 for done in drawing)


def test_a_replay_of_the_first_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0000000000-main-0000000000.safetensors"
    path.write_bytes(b"")
    for opened in (lambda: Replay(tmp_path, 9), lambda: ReplayWriter(tmp_path)):
        with pytest.raises(ReplayError) as caught:
            opened()
        assert str(caught.value) == (
            f"{path} has format 1, and this version of amago-core reads format 2. "
            "Move it out of the folder, or continue with the version that wrote it."
        )


def test_a_shard_has_a_maximum_number_of_trajectories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amago_core.replay.writer, "MAX_TRAJECTORIES", 1)
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0))
    with pytest.raises(ReplayError) as caught:
        writer.append(recording(1))
    assert str(caught.value) == "a shard holds 1 trajectories at most: call flush"


def test_trajectories_are_ordered_by_update_then_writer_then_number(tmp_path: Path) -> None:
    b, a = ReplayWriter(tmp_path, "b"), ReplayWriter(tmp_path, "a")
    store(b, range(4, 6), update=7)
    store(b, range(6, 7), update=7)
    store(a, range(3, 4), update=7)
    store(a, range(7, 9), update=10)
    store(b, range(9, 10), update=10)
    store(ReplayWriter(tmp_path, "c"), range(3), update=0)
    assert numbers(Replay(tmp_path, 99)) == list(range(10))


def test_eviction_counts_what_other_writers_stored(tmp_path: Path) -> None:
    a, b = ReplayWriter(tmp_path, "a"), ReplayWriter(tmp_path, "b")
    for update in range(4):
        store(a, range(4 * update, 4 * update + 3), update)
        store(b, range(4 * update + 3, 4 * update + 4), update)
    replay = Replay(tmp_path, 99)
    replay.evict(10)
    reopened = Replay(tmp_path, 99)
    # The updates 0 and 1 stored 4 trajectories each.
    assert present(reopened) == {index: index for index in range(8, 16)}


def test_a_writer_whose_update_went_back_still_stores_after_what_it_stored(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2), update=20)
    writer = ReplayWriter(tmp_path)
    store(writer, range(2, 3), update=10)
    store(writer, range(3, 4), update=21)
    assert numbers(Replay(tmp_path, 99)) == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(
    shards=st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 3), st.booleans(), st.booleans()), max_size=7
    )
)
@example(shards=[(1, 1, False, False), (9, 1, True, False), (3, 1, False, True), (4, 1, False, False)])
def test_new_trajectories_are_always_visible_whatever_was_damaged(
    shards: list[tuple[int, int, bool, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    writer, expected = ReplayWriter(folder), list[int | None]()
    for update, count, damaged, opened in shards:
        if opened:
            writer = ReplayWriter(folder)
        numbers = range(len(expected), len(expected) + count)
        path = store(writer, numbers, update)
        expected += [None] * count if damaged else numbers
        if damaged:
            path.write_bytes(b"")
            drawn(Replay(folder, 99))
        replay = Replay(folder, 99)
        assert (replay.stored, drawn(replay)) == (writer.stored, expected)


def test_a_writers_shard_numbers_continue_after_those_set_aside(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2), update=20)
    Replay(tmp_path, 99).set_aside(0)
    assert store(ReplayWriter(tmp_path), range(2), update=10).name == (
        "0000000010-main-0000000001-0000000000-0000000002.safetensors"
    )


def test_a_writer_removes_only_its_own_temporary_file_after_a_crash(tmp_path: Path) -> None:
    rest = "0000000000-0000000000-0000000001.safetensors.tmp"
    mine, others = tmp_path / f".0000000001-main-{rest}", tmp_path / f".0000000001-other-{rest}"
    for path in (mine, others):
        path.write_bytes(b"half")
    assert Replay(tmp_path, 9).stored == 0
    ReplayWriter(tmp_path)
    assert (mine.exists(), others.exists()) == (False, True)


def test_a_full_disk_loses_no_trajectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0))

    def refuse(path: Path, data: bytes) -> None:
        path.write_bytes(data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(amago_core.replay.writer, "write_file", refuse)
        with pytest.raises(ReplayError) as caught:
            writer.flush(0)
    assert str(caught.value) == (
        f"1 trajectory cannot be stored in {tmp_path}: [Errno 28] No space left on device"
    )
    assert [path.name for path in tmp_path.iterdir()] == [".main.claim"]
    writer.flush(0)
    assert numbers(Replay(tmp_path, 9)) == [0]


def test_a_failed_folder_sync_does_not_store_the_shard_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0))

    def refuse(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(amago_core.replay.writer, "sync_folder", refuse)
        for update in range(2):
            with pytest.raises(ReplayError) as caught:
                writer.flush(update)
            assert str(caught.value) == (
                f"1 trajectory cannot be stored in {tmp_path}: [Errno 5] Input/output error"
            )
    assert writer.flush(2) == tmp_path / "0000000000-main-0000000000-0000000000-0000000001.safetensors"
    assert (writer.flush(2), writer.stored) == (None, 1)
    with monkeypatch.context() as patch:
        patch.setattr(amago_core.replay.writer, "sync_folder", refuse)
        with pytest.raises(ReplayError):
            store(writer, [1], 3)
    store(writer, [2], 4)
    assert (numbers(Replay(tmp_path, 9)), verify(tmp_path).problems) == ([0, 1, 2], ())


def test_a_writer_that_lost_its_name_while_writing_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ReplayWriter(tmp_path)
    store(first, [0])
    write_file = amago_core.replay.writer.write_file

    def slow(path: Path, data: bytes) -> None:
        monkeypatch.undo()
        write_file(path, data)
        store(ReplayWriter(tmp_path), [7, 8])

    monkeypatch.setattr(amago_core.replay.writer, "write_file", slow)
    with pytest.raises(ReplayError) as caught:
        store(first, [1])
    assert str(caught.value) == f"another process writes to {tmp_path} as 'main'"
    assert (first.stored, numbers(Replay(tmp_path, 9))) == (1, [0, 7, 8])


def test_a_writer_that_lost_its_name_after_the_check_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ReplayWriter(tmp_path)
    name_new = amago_core.replay.writer.name_new

    def slow(temporary: Path, final: Path) -> None:
        """Let another process open the writer after the last check of the claim."""
        monkeypatch.undo()
        data = temporary.read_bytes()
        store(ReplayWriter(tmp_path), [7])
        temporary.write_bytes(data)
        name_new(temporary, final)

    monkeypatch.setattr(amago_core.replay.writer, "name_new", slow)
    with pytest.raises(ReplayError) as caught:
        store(first, [1])
    assert str(caught.value) == f"another process writes to {tmp_path} as 'main'"
    assert numbers(Replay(tmp_path, 9)) == [7]


def test_an_unreadable_claim_is_not_mistaken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ReplayWriter(tmp_path)

    def refuse(path: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(ReplayError) as caught:
            store(writer, [0])
    assert str(caught.value) == (
        f"1 trajectory cannot be stored in {tmp_path}: [Errno 24] Too many open files"
    )
    writer.flush(0)
    assert numbers(Replay(tmp_path, 9)) == [0]


def test_an_update_of_more_than_10_digits_is_not_stored(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    with pytest.raises(ReplayError) as caught:
        store(writer, [0], 10**10)
    assert str(caught.value) == (
        f"1 trajectory cannot be stored in {tmp_path}: "
        "'10000000000-main-0000000000-0000000000-0000000001.safetensors' has a number of more than 10 "
        "digits"
    )
    writer.flush(10**10 - 1)
    assert numbers(Replay(tmp_path, 9)) == [0]


def test_task_names_too_long_for_the_header_are_not_stored(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0, task="x" * 2**20))
    with pytest.raises(ReplayError) as caught:
        writer.flush(0)
    assert str(caught.value) == (
        "the names of tasks and columns take 1,049,832 bytes of a shard, more than the 1,048,576 that "
        "are read: shorten them, or store fewer trajectories at a time"
    )
    assert ([path.name for path in tmp_path.iterdir()], writer.stored) == ([".main.claim"], 0)


def test_files_are_synced_before_they_get_their_names_and_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []

    def recorded(what: str, name: str) -> None:
        real = getattr(os, what)

        def call(*arguments: Any, **options: Any) -> Any:
            given = arguments[0]
            path = Path(f"/proc/self/fd/{given}").readlink() if isinstance(given, int) else given
            done.append((name, path.name))
            return real(*arguments, **options)

        monkeypatch.setattr(os, what, call)

    for what in ("fsync", "link", "rename", "unlink"):
        recorded(what, what)
    folder = tmp_path / "replay"
    writer = ReplayWriter(folder)
    assert done == [("fsync", tmp_path.name), ("unlink", ".main.claim")]
    done.clear()
    paths = [store(writer, [0], 0)]
    temporary = f".{paths[0].name}.tmp"
    assert done == [
        ("unlink", temporary),
        ("fsync", temporary),
        ("link", temporary),
        ("unlink", temporary),
        ("fsync", "replay"),
    ]
    paths += [store(writer, [number], number) for number in (1, 2)]
    replay = Replay(folder, 9)
    done.clear()
    replay.evict(1)
    assert done == [("unlink", paths[0].name), ("fsync", "replay")]
    done.clear()
    replay.set_aside(2)
    assert done == [("rename", paths[2].name), ("fsync", "set-aside"), ("fsync", "replay")]


def maps(folder: Path) -> int:
    """Return how many files of a folder are mapped, those that were removed included."""
    return Path("/proc/self/maps").read_text().count(f"{folder}/")


def test_mapped_files_are_limited_and_removed_files_are_unmapped(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    for number in range(6):
        store(writer, [number], number)
    replay = Replay(tmp_path, 9, open_files=4)
    assert (drawn(replay), maps(tmp_path)) == ([0, 1, 2, 3, 4, 5], 4)
    replay.evict(5)
    assert maps(tmp_path) == 1
    (tmp_path / "0000000005-main-0000000005-0000000005-0000000001.safetensors").unlink()
    replay.refresh()
    assert maps(tmp_path) == 0


def test_a_read_only_replay_changes_nothing(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    for number in range(3):
        store(writer, [number], number)
    before = sorted(tmp_path.iterdir())
    replay = Replay(tmp_path, 9, read_only=True)
    for change in (replay.evict, replay.set_aside):
        with pytest.raises(ReplayError) as caught:
            change(1)
        assert str(caught.value) == f"{tmp_path} was opened read-only: nothing in it may be changed"
    assert sorted(tmp_path.iterdir()) == before


def test_files_that_cannot_be_removed_or_moved_raise_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ReplayWriter(tmp_path)
    paths = [store(writer, [number], number) for number in range(3)]
    replay = Replay(tmp_path, 9)

    def refuse(*_: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(replay_module, "sync_folder", refuse)
    monkeypatch.setattr(replay_module, "set_aside", refuse)
    with pytest.raises(ReplayError) as caught:
        replay.evict(1)
    assert str(caught.value) == f"{tmp_path} cannot be synced: Permission denied"
    with pytest.raises(ReplayError) as caught:
        replay.set_aside(2)
    assert str(caught.value) == f"{paths[2]} cannot be moved to set-aside: Permission denied"


def test_a_writers_name_belongs_to_the_process_that_opened_it_last(tmp_path: Path) -> None:
    first, second = ReplayWriter(tmp_path), ReplayWriter(tmp_path)
    with pytest.raises(ReplayError) as caught:
        store(first, range(1))
    assert str(caught.value) == f"another process writes to {tmp_path} as 'main'"
    store(second, range(1))
    assert numbers(Replay(tmp_path, 9)) == [0]


def test_a_writer_needs_a_name_that_fits_in_a_file_name(tmp_path: Path) -> None:
    with pytest.raises(ReplayError) as caught:
        ReplayWriter(tmp_path, "../main")
    assert str(caught.value) == (
        "'../main' cannot name a writer of a replay; use up to 64 of a-z, 0-9 and _"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": None}, "a trajectory without reward cannot be stored"),
        (
            {"obs.place": None, "obs.image": None, "action": None},
            "a trajectory without action, obs.<key> cannot be stored",
        ),
        (
            {"action": np.zeros(4), "obs.place": np.zeros((3, 1))},
            "this trajectory cannot be stored: obs.place has 3 rows instead of 4; "
            "action has 4 rows instead of 3",
        ),
        (
            {"achieved": np.zeros(5)},
            "this trajectory cannot be stored: achieved has 5 rows, neither 3 nor 4",
        ),
        (
            {"obs.deep": np.zeros((4, *[1] * 16))},
            "this trajectory cannot be stored: obs.deep has 17 axes, more than 16",
        ),
        (
            {"obs.word": np.array(["a", "b", "c", "d"])},
            "this trajectory cannot be stored: obs.word has type <U1",
        ),
        (
            {"crc32": np.zeros(3), "checksum": np.zeros(3)},
            "a column cannot be called checksum or crc32: the replay uses the name",
        ),
    ],
)
def test_a_trajectory_with_inconsistent_columns_is_refused(
    changes: dict[str, np.ndarray | None], message: str, tmp_path: Path
) -> None:
    columns = {
        name: column
        for name, column in {**recording(0).columns, **changes}.items()
        if column is not None
    }
    with pytest.raises(TrajectoryError) as caught:
        ReplayWriter(tmp_path).append(Trajectory(columns, 0))
    assert str(caught.value) == message


def test_a_trajectory_without_transitions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError) as caught:
        ReplayWriter(tmp_path).append(recording(0, length=0))
    assert str(caught.value) == "this trajectory cannot be stored: it has no transition"


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (
            {"prev_action": np.zeros(2, np.uint8)},
            "its prev_action is uint8 (2,), its actions are uint8 ()",
        ),
        ({"prev_action": np.zeros((), int)}, "its prev_action is int64 (), its actions are uint8 ()"),
        ({"start_time": -1}, "it cannot begin at time -1"),
        ({"start_time": 2**62}, f"it cannot begin at time {2**62}"),
    ],
    ids=["shape", "type", "early", "late"],
)
def test_a_trajectory_with_impossible_facts_is_refused(
    facts: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(TrajectoryError) as caught:
        ReplayWriter(tmp_path).append(recording(0, **facts))
    assert str(caught.value) == f"this trajectory cannot be stored: {problem}"


def test_a_seed_fits_into_64_bits(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError) as caught:
        ReplayWriter(tmp_path).append(replace(recording(0), seed=2**63))
    assert str(caught.value) == (
        f"this trajectory cannot be stored: its seed {2**63} does not fit into 64 bits"
    )


def test_a_trajectory_with_another_schema_is_refused(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0))
    columns = {**recording(1).columns, "obs.place": np.zeros((4, 2), np.float64)}
    del columns["obs.image"]
    with pytest.raises(TrajectoryError) as caught:
        writer.append(Trajectory(columns, 1))
    assert str(caught.value) == (
        "this trajectory does not fit the ones before: "
        "obs.image is absent, it was uint8 (2, 2) per timestep; "
        "obs.place is float64 (2,) per timestep, it was float32 (1,) per timestep"
    )


def test_the_replay_is_imported_without_torch() -> None:
    code = (
        "import sys, amago_core.replay as replay\n"
        "for name in replay.__all__: getattr(replay, name)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_private_name_is_not_exported() -> None:
    with pytest.raises(AttributeError) as caught:
        amago_core.replay.Shard  # noqa: B018
    assert str(caught.value) == "module 'amago_core.replay' has no attribute 'Shard'"
