"""Limits of a replay: visible trajectories, timesteps and bytes; protected trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from replays import drawn, numbers, recording, same, store

from amago_core.replay import Replay, ReplayError, ReplayWriter, protect, protected
from amago_registry.trajectories import Trajectory


def stored(folder: Path, lengths: list[int], per_shard: int = 1, writers: int = 1) -> list[int]:
    """Store trajectories of given lengths, and return the bytes of each."""
    opened = [ReplayWriter(folder, f"w{number}") for number in range(writers)]
    sizes: list[int] = []
    for update, first in enumerate(range(0, len(lengths), per_shard)):
        shard = lengths[first : first + per_shard]
        writer = opened[update % writers]
        for number, length in enumerate(shard, start=first):
            writer.append(recording(number, length))
        path = writer.flush(update)
        assert path is not None
        # A timestep has 4 bytes of place and 4 of image; a transition 1 + 4 + 1 + 1; the facts are 9
        # words, and each trajectory has a previous action.
        sizes_here = [8 * (length + 1) + 7 * length + 72 + 1 for length in shard]
        sizes += [path.stat().st_size - sum(sizes_here[1:]), *sizes_here[1:]]
    return sizes


def newest(values: list[int], limit: int | None) -> int:
    """Return how many of the last values add up to at most the limit; at least one."""
    fits = 0
    while fits < len(values) and (limit is None or sum(values[len(values) - fits - 1 :]) <= limit):
        fits += 1
    return max(fits, 1) if values else 0


def test_timesteps_are_a_limit_too(tmp_path: Path) -> None:
    stored(tmp_path, [5, 1, 4, 2, 3], per_shard=2)
    assert Replay(tmp_path, 9, timesteps=9).visible() == range(2, 5)
    assert Replay(tmp_path, 9, timesteps=8).visible() == range(3, 5)
    assert Replay(tmp_path, 2, timesteps=9).visible() == range(3, 5)
    assert Replay(tmp_path, 9, timesteps=9).visible(3) == range(1, 3)


def test_bytes_are_a_limit_too(tmp_path: Path) -> None:
    sizes = stored(tmp_path, [5, 1, 4, 2, 3], per_shard=2)
    assert Replay(tmp_path, 9, bytes=sum(sizes[2:])).visible() == range(2, 5)
    assert Replay(tmp_path, 9, bytes=sum(sizes[2:]) - 1).visible() == range(3, 5)


def test_the_newest_trajectory_is_always_visible(tmp_path: Path) -> None:
    stored(tmp_path, [5, 6], per_shard=2)
    assert Replay(tmp_path, 9, timesteps=1).visible() == range(1, 2)
    assert Replay(tmp_path, 9, bytes=1).visible(1) == range(1)
    assert Replay(tmp_path / "empty", 9, timesteps=1).visible() == range(0)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    per_shard=st.integers(1, 3),
    writers=st.integers(1, 3),
    timesteps=st.none() | st.integers(1, 40),
    size_limit=st.none() | st.integers(1, 6000),
    capacity=st.integers(1, 9),
    oldest=st.integers(1, 12),
)
@example(lengths=[1] * 3, per_shard=1, writers=2, timesteps=1, size_limit=None, capacity=2, oldest=2)
def test_eviction_never_changes_which_trajectories_are_visible(
    lengths: list[int],
    per_shard: int,
    writers: int,
    timesteps: int | None,
    size_limit: int | None,
    capacity: int,
    oldest: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    sizes = stored(folder, lengths, per_shard, writers)
    replay = Replay(folder, capacity, timesteps, size_limit)
    expected = {}
    for limit in range(1, len(lengths) + 1):
        steps, size = newest(lengths[:limit], timesteps), newest(sizes[:limit], size_limit)
        expected[limit] = range(limit - min(limit, capacity, steps, size), limit)
    assert {limit: replay.visible(limit) for limit in expected} == expected
    oldest = min(oldest, len(lengths))
    replay.evict(before=replay.visible(oldest).start)
    for opened in (replay, Replay(folder, capacity, timesteps, size_limit)):
        for limit in range(oldest, len(lengths) + 1):
            assert opened.visible(limit) == expected[limit]
            assert drawn(opened, limit) == list(expected[limit])
            assert opened.missing(limit) == 0


def test_a_missing_shard_does_not_make_older_ones_visible_again(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    paths = [store(writer, [number], number, length=4) for number in range(6)]
    paths[4].unlink()
    replay = Replay(tmp_path, 9, timesteps=12)
    assert replay.visible() == range(3, 6)  # 4 transitions each, missing ones included.
    assert drawn(replay) == [3, None, 5]
    assert replay.missing(6) == 1


def test_the_length_of_a_missing_trajectory_is_zero(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2), length=5)
    gone = store(writer, range(2, 4), length=7)
    store(writer, range(4, 6), length=2)
    gone.unlink()
    view = Replay(tmp_path, 5).view()
    assert view.lengths.tolist() == [5, 0, 0, 2, 2]
    assert view.ends.tolist() == [5, 5, 5, 7, 9]
    assert view.lengths.dtype == view.ends.dtype == np.int64
    transitions = [int(np.searchsorted(view.ends, place, "right")) for place in range(9)]
    assert transitions == [0, 0, 0, 0, 0, 3, 3, 4, 4]


def test_without_a_capacity_every_stored_trajectory_is_visible(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    paths = [store(writer, [number], number) for number in range(5)]
    paths[2].unlink()
    replay = Replay(tmp_path, None)
    assert drawn(replay) == [0, 1, 3, 4]
    assert replay.visible() == range(5)


def test_protected_trajectories_come_first_and_count_toward_no_limit(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "target"
    writer = ReplayWriter(source)
    store(writer, range(100, 102))
    store(writer, range(102, 103))
    assert protect(source, folder).trajectories == 3
    target_writer = ReplayWriter(folder)
    for number in range(4):
        store(target_writer, [number], number)
    replay = Replay(folder, 2, timesteps=6)
    view = replay.view()
    assert (drawn(replay), view.protected, len(view)) == ([100, 101, 102, 2, 3], 3, 5)
    assert view.lengths.tolist() == [3] * 5
    assert (replay.stored, replay.visible(), replay.missing(4)) == (4, range(2, 4), 0)
    assert (view.name(1), view.name(3)) == ("protected trajectory 1", "trajectory 2")
    replay.evict(4)
    replay.set_aside(0)
    assert drawn(replay) == [100, 101, 102]
    assert same(replay.view().slice(1, 1, 3), recording(101).slice(1, 3))


def test_protecting_twice_changes_nothing(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "target"
    writer = ReplayWriter(source)
    store(writer, range(2))
    assert vars(protect(source, folder)) == {
        "shards": 1, "trajectories": 2, "already": 0, "problems": (),
    }  # fmt: skip
    store(writer, range(2, 5))
    again = protect(source, folder)
    assert (again.shards, again.trajectories, again.already) == (1, 3, 1)
    assert len(drawn(Replay(folder, 9))) == 5


def test_two_sources_with_equal_names_are_both_kept(tmp_path: Path) -> None:
    for name, number in (("one", 1), ("two", 2)):
        store(ReplayWriter(tmp_path / name), [number])
        protect(tmp_path / name, tmp_path / "target")
    assert sorted(n for n in drawn(Replay(tmp_path / "target", 9)) if n is not None) == [1, 2]


def test_the_replay_of_a_run_can_be_protected(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path / "run" / "replay"), range(2))
    protect(tmp_path / "run", tmp_path / "target")
    assert drawn(Replay(tmp_path / "target", 9)) == [0, 1]


def test_a_damaged_shard_is_not_protected(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path / "source")
    path = store(writer, range(2))
    store(writer, range(2, 3))
    path.write_bytes(path.read_bytes()[:-1])
    done = protect(tmp_path / "source", tmp_path / "target")
    size = path.stat().st_size
    assert done.problems == (
        f"{path} is not a shard of a replay: it has {size} bytes, its header describes {size + 1}",
    )
    assert drawn(Replay(tmp_path / "target", 9)) == [2]
    assert path.exists()


def test_a_corrupt_copy_gets_no_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(ReplayWriter(tmp_path / "source"), range(2))
    monkeypatch.setattr(
        protected, "copy_file", lambda source, copy: copy.write_bytes(source.read_bytes()[:-1] + b"?")
    )
    with pytest.raises(ReplayError) as caught:
        protect(tmp_path / "source", tmp_path / "target")
    folder = tmp_path / "target" / "protected"
    assert str(caught.value) == f"{path} changed while it was copied to {folder}."
    assert list(folder.iterdir()) == []


def other(**changes: Any) -> Trajectory:
    return Trajectory({**recording(0).columns, **changes}, 0)


def test_trajectories_with_another_schema_are_not_protected(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path / "target"), range(1))
    writer = ReplayWriter(tmp_path / "source")
    writer.append(other(action=np.zeros((3, 2), np.float32)))
    path = writer.flush(0)
    with pytest.raises(ReplayError) as caught:
        protect(tmp_path / "source", tmp_path / "target")
    assert str(caught.value) == (
        f"the trajectories of {path} do not fit those of {tmp_path / 'target'}: "
        "action is float32 (2,) per transition, it was uint8 () per transition"
    )


def test_nothing_is_protected_if_a_later_shard_has_another_schema(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path / "source")
    store(writer, range(1))
    writer = ReplayWriter(tmp_path / "source")
    writer.append(other(action=np.zeros((3, 2), np.float32)))
    writer.flush(1)
    with pytest.raises(ReplayError):
        protect(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_two_processes_can_protect_the_same_replay_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(ReplayWriter(tmp_path / "source"), range(2))
    copy = protected.copy_file

    def slow(source: Path, path: Path) -> None:
        copy(source, path)
        monkeypatch.undo()
        protect(tmp_path / "source", tmp_path / "target")

    monkeypatch.setattr(protected, "copy_file", slow)
    protect(tmp_path / "source", tmp_path / "target")
    assert drawn(Replay(tmp_path / "target", 9)) == [0, 1]
    assert len(list((tmp_path / "target" / "protected").iterdir())) == 1


def test_protecting_needs_a_source_with_trajectories(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    store(ReplayWriter(folder), range(1))
    ReplayWriter(tmp_path / "empty")
    cases = {
        folder: f"{folder} is both source and target: every trajectory would be drawn twice.",
        tmp_path / "empty": f"{tmp_path / 'empty'} holds no trajectory to protect.",
        tmp_path / "emtpy": f"{tmp_path / 'emtpy'} does not exist. Did you mean 'empty'?",
    }
    for source, message in cases.items():
        with pytest.raises(ReplayError) as caught:
            protect(source, folder)
        assert str(caught.value) == message
    assert numbers(Replay(folder, 9)) == [0]


@pytest.mark.parametrize("option", ["capacity", "timesteps", "bytes", "open_files"])
def test_a_limit_is_at_least_one(option: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be at least 1, it is 0$"):
        Replay(tmp_path, **{"capacity": 1, option: 0})
