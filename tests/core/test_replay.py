"""Trajectories on disk: what is stored comes back, in order, whatever happens to the files."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import amago_core.replay
import amago_core.replay.writer
from amago_core.replay import (
    DamagedShardError,
    Replay,
    ReplayError,
    ReplayWriter,
    TrajectoryError,
    TrajectoryGoneError,
)
from amago_core.replay.shards import _facts_checksum
from amago_registry.trajectories import Trajectory


def recording(number: int, length: int = 3) -> Trajectory:
    """Return a trajectory in which every observation says where it belongs: 100 * number + time."""
    return Trajectory(
        {
            "obs.place": np.arange(length + 1, dtype=np.float32)[:, None] + 100 * number,
            "obs.image": np.full((length + 1, 2, 2), number % 256, np.uint8),
            "action": np.arange(length, dtype=np.uint8) % 5,
            "reward": np.arange(length, dtype=np.float32) + number,
            "terminated": np.arange(length) == length - 1,
            "truncated": np.zeros(length, bool),
        },
        seed=number,
        start_time=number % 7,
    )


def store(writer: ReplayWriter, numbers: range, update: int = 0) -> Path:
    for number in numbers:
        writer.append(recording(number))
    path = writer.flush(update)
    assert path is not None
    return path


def described(columns: dict[str, np.ndarray], first: int | None, crc32: int | None = None) -> bytes:
    """Return a shard that says of itself what a shard must say."""
    if crc32 is None:
        crc32 = _facts_checksum(first, columns)  # type: ignore[arg-type]
    return save(columns, {"shard": json.dumps({"format": 1, "first": first, "crc32": crc32})})


def numbers(replay: Replay) -> list[int]:
    """Return the seeds of everything visible: those of `recording` are its numbers."""
    return [replay.trajectory(index).seed for index in replay.visible()]


def present(replay: Replay) -> dict[int, int]:
    """Return the seed of every trajectory that is still there, by index."""
    found = {}
    for index in range(replay.stored):
        with suppress(TrajectoryGoneError):
            found[index] = replay.trajectory(index).seed
    return found


def same(left: Trajectory, right: Trajectory) -> bool:
    return (
        (left.seed, left.start_time) == (right.seed, right.start_time)
        and left.columns.keys() == right.columns.keys()
        and all(
            column.dtype == right.columns[name].dtype and np.array_equal(column, right.columns[name])
            for name, column in left.columns.items()
        )
    )


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
def test_a_slice_is_always_the_rows_of_the_whole(length: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    whole = recording(3, length)
    piece = whole.slice(start, stop)
    assert piece.length == stop - start
    assert [row[0] for row in piece.columns["obs.place"]] == [300 + t for t in range(start, stop + 1)]
    assert list(piece.columns["reward"]) == [3 + t for t in range(start, stop)]
    assert piece.start_time == 3 + start
    assert piece.prev_reward == (3 + start - 1 if start else 0)
    assert piece.prev_action == ((start - 1) % 5 if start else None)


def test_slices_of_the_disk_know_what_led_to_them(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    piece = Replay(tmp_path, 9).trajectory(1).slice(2, 3)
    assert piece.columns["obs.place"].tolist() == [[102], [103]]
    assert piece.columns["action"].tolist() == [2]
    assert piece.prev_action == 1
    assert (piece.start_time, piece.prev_reward) == (3, 2.0)


def test_a_trajectory_without_pixels_can_be_stored(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    columns = {**recording(0).columns, "obs.image": np.zeros((4, 0), np.uint8)}
    writer.append(Trajectory(columns, 0))
    writer.flush(0)
    assert Replay(tmp_path, 9).trajectory(0).columns["obs.image"].shape == (4, 0)


def test_nothing_is_seen_before_it_is_stored(tmp_path: Path) -> None:
    writer, replay = ReplayWriter(tmp_path), Replay(tmp_path, 9)
    writer.append(recording(0))
    assert (writer.stored, replay.refresh()) == (0, 0)
    writer.flush(0)
    assert (writer.stored, replay.refresh()) == (1, 1)


def test_nothing_appended_makes_no_shard(tmp_path: Path) -> None:
    assert ReplayWriter(tmp_path).flush(0) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_yet_is_an_empty_replay(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "later", 9)
    assert (replay.stored, list(replay.visible())) == (0, [])


def test_what_is_appended_is_copied(tmp_path: Path) -> None:
    writer, trajectory = ReplayWriter(tmp_path), recording(1)
    writer.append(trajectory)
    trajectory.columns["reward"][:] = -1
    writer.flush(0)
    assert same(Replay(tmp_path, 9).trajectory(0), recording(1))


def test_what_is_read_cannot_be_changed(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(1))
    with pytest.raises(ValueError, match="read-only"):
        Replay(tmp_path, 9).trajectory(0).columns["reward"][:] = 0


def test_readers_see_the_newest_of_the_first(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(10))
    replay = Replay(tmp_path, capacity=4)
    assert replay.visible() == range(6, 10)
    assert replay.visible(7) == range(3, 7)
    assert replay.visible(2) == range(2)


def test_a_limit_beyond_what_is_stored_is_refused(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(3))
    with pytest.raises(ReplayError) as caught:
        Replay(tmp_path, 4).visible(5)
    assert str(caught.value) == f"{tmp_path} holds 3 trajectories, 5 were asked for"


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


def test_a_file_removed_by_another_process_is_no_error(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    gone = store(writer, range(2))
    store(writer, range(2, 4))
    replay = Replay(tmp_path, 4)
    gone.unlink()
    with pytest.raises(TrajectoryGoneError):
        replay.trajectory(0)
    assert replay.trajectory(2).seed == 2
    assert replay.refresh() == 4


def test_a_gap_in_the_middle_moves_no_index(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    paths = [store(writer, range(n, n + 1), n) for n in range(3)]
    paths[1].unlink()
    replay = Replay(tmp_path, 4)
    assert replay.trajectory(2).seed == 2
    with pytest.raises(TrajectoryGoneError):
        replay.trajectory(1)


def test_setting_aside_deletes_nothing_and_indices_go_on(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2), update=0)
    for again in (1, 2):
        writer = ReplayWriter(tmp_path)
        store(writer, range(10 * again, 10 * again + 3), update=1)
        assert Replay(tmp_path, 9).set_aside(2) == 3
    assert numbers(Replay(tmp_path, 9)) == [0, 1]
    assert sorted(path.name for path in (tmp_path / "set-aside").iterdir()) == [
        "0000000001-main-0000000001.safetensors",
        "0000000001-main-0000000002.safetensors",
    ]
    assert ReplayWriter(tmp_path).stored == 2


def test_a_name_taken_in_the_folder_of_what_was_set_aside_is_not_overwritten(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(1))
    before = path.read_bytes()
    (tmp_path / "set-aside").mkdir()
    (tmp_path / "set-aside" / path.name).write_text("earlier")
    Replay(tmp_path, 9).set_aside(0)
    assert (tmp_path / "set-aside" / path.name).read_text() == "earlier"
    assert (tmp_path / "set-aside" / f"{path.name}.2").read_bytes() == before


def test_readers_forget_what_was_set_aside(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    replay = Replay(tmp_path, 9)
    replay.trajectory(1)
    replay.set_aside(0)
    store(ReplayWriter(tmp_path), range(5, 7))
    replay.refresh()
    assert numbers(replay) == [5, 6]


def test_a_shard_is_never_divided(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(4))
    with pytest.raises(ReplayError) as caught:
        Replay(tmp_path, 9).set_aside(2)
    assert str(caught.value) == f"{path} holds the trajectories 0 to 3 and cannot be divided at 2"
    assert path.exists()


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


def test_the_last_of_a_writer_is_found_beside_what_was_set_aside(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2), update=20)
    Replay(tmp_path, 99).set_aside(0)
    assert store(ReplayWriter(tmp_path), range(2), update=10).name == (
        "0000000010-main-0000000001.safetensors"
    )


def test_a_writer_removes_what_its_own_crash_left(tmp_path: Path) -> None:
    own = tmp_path / ".0000000001-main-0000000000.safetensors.tmp"
    others = tmp_path / ".0000000001-other-0000000000.safetensors.tmp"
    for path in (own, others):
        path.write_bytes(b"half")
    assert Replay(tmp_path, 9).stored == 0
    ReplayWriter(tmp_path)
    assert (own.exists(), others.exists()) == (False, True)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        f"1 trajectories cannot be stored in {tmp_path}: [Errno 28] No space left on device"
    )
    assert list(tmp_path.iterdir()) == []
    writer.flush(0)
    assert numbers(Replay(tmp_path, 9)) == [0]


def test_two_processes_cannot_write_under_one_name(tmp_path: Path) -> None:
    first, second = ReplayWriter(tmp_path), ReplayWriter(tmp_path)
    path = store(first, range(1))
    with pytest.raises(ReplayError) as caught:
        store(second, range(1))
    assert str(caught.value) == f"{path} exists: another process writes to this replay as 'main'"


def test_a_writer_needs_a_name_that_fits_in_a_file_name(tmp_path: Path) -> None:
    with pytest.raises(ReplayError) as caught:
        ReplayWriter(tmp_path, "../main")
    assert str(caught.value) == "'../main' cannot name a writer of a replay; use a-z, 0-9 and _"


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
            {"obs.word": np.array(["a", "b", "c", "d"])},
            "this trajectory cannot be stored: obs.word has type <U1",
        ),
        ({"crc32": np.zeros(3)}, "a column cannot be called crc32: the replay uses the name"),
    ],
)
def test_a_trajectory_that_does_not_fit_together_is_refused(
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


def test_a_trajectory_that_does_not_fit_the_ones_before_is_refused(tmp_path: Path) -> None:
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


def test_a_damaged_trajectory_is_named_and_its_neighbours_are_not_lost(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(3))
    content = path.read_bytes()
    place = content.index(np.array([102, 103], np.float32).tobytes())
    path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    replay = Replay(tmp_path, 9)
    assert [replay.trajectory(index).seed for index in (0, 2)] == [0, 2]
    for _ in range(2):
        with pytest.raises(DamagedShardError) as caught:
            replay.trajectory(1)
        assert str(caught.value) == (
            f"{path} is damaged: trajectory 2 of its 3 does not have the checksum it was stored with. "
            "Move the file out of the folder to go on without its trajectories."
        )


def test_a_shard_whose_columns_do_not_match_its_lengths_is_refused(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    columns = {**load(path.read_bytes()), "action": np.zeros(5, np.uint8)}
    path.write_bytes(described(columns, first=0))
    with pytest.raises(DamagedShardError) as caught:
        Replay(tmp_path, 9)
    assert str(caught.value) == (
        f"{path} is not a shard of a replay: action has shape (5,), its lengths add up to 6. "
        "Move the file out of the folder to go on without its trajectories."
    )


@pytest.mark.parametrize(
    ("changes", "first", "reason"),
    [
        ({"lengths": np.array([3, 0])}, 0, "it has a trajectory without transitions, or none at all"),
        ({"seeds": np.zeros(3, np.int64)}, 0, "seeds is int64 (3,)"),
        ({"crc32": np.zeros(2, np.int64)}, 0, "crc32 is int64 (2,)"),
        ({"reward": np.zeros(8, np.float32)}, 0, "it has no reward for each transition"),
        ({}, -1, "its first trajectory cannot be -1"),
        ({}, None, "its first trajectory cannot be None"),
    ],
)
def test_a_hostile_shard_is_refused(
    changes: dict[str, np.ndarray], first: int | None, reason: str, tmp_path: Path
) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    columns = {**load(path.read_bytes()), **changes}
    path.write_bytes(described(columns, first))
    with pytest.raises(DamagedShardError) as caught:
        Replay(tmp_path, 9)
    assert str(caught.value) == (
        f"{path} is not a shard of a replay: {reason}. "
        "Move the file out of the folder to go on without its trajectories."
    )


def test_a_shard_that_moved_its_trajectories_is_refused(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    path.write_bytes(described(load(path.read_bytes()), first=1, crc32=0))
    with pytest.raises(DamagedShardError) as caught:
        Replay(tmp_path, 9)
    assert str(caught.value) == (
        f"{path} is not a shard of a replay: its facts do not have the checksum they were stored with. "
        "Move the file out of the folder to go on without its trajectories."
    )


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedShardError):
        Replay(tmp_path, 9)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_changed_byte_never_changes_what_is_read(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    path = store(ReplayWriter(folder), range(2))
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    try:
        replay = Replay(folder, 9)
        read = [replay.trajectory(index) for index in replay.visible()]
    except DamagedShardError:
        return
    assert len(read) == 2
    assert all(same(trajectory, recording(number)) for number, trajectory in enumerate(read))


def test_the_replay_is_imported_without_torch() -> None:
    code = (
        "import sys, amago_core.replay as replay\n"
        "for name in replay.__all__: getattr(replay, name)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_names_are_refused_as_usual() -> None:
    with pytest.raises(AttributeError) as caught:
        amago_core.replay.Shard  # noqa: B018
    assert str(caught.value) == "module 'amago_core.replay' has no attribute 'Shard'"
