"""What is drawn from a replay: reproducible, uniform, relabelled as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from amago_core.replay import NothingStoredError, Replay, ReplayWriter, Sampler
from amago_registry.trajectories import Trajectory


def recording(number: int, length: int) -> Trajectory:
    return Trajectory(
        {
            "obs.place": 100 * number + np.arange(length + 1),
            "action": np.zeros(length, np.int64),
            "reward": np.full(length, number, np.float32),
            "terminated": np.zeros(length, bool),
            "truncated": np.zeros(length, bool),
        },
        seed=number,
    )


def stored(folder: Path, lengths: list[int], per_shard: int = 1) -> Path:
    writer = ReplayWriter(folder)
    for number, length in enumerate(lengths):
        writer.append(recording(number, length))
        if (number + 1) % per_shard == 0:
            writer.flush(number)
    writer.flush(len(lengths))
    return folder


def places(slices: list[Trajectory]) -> list[list[int]]:
    return [piece.columns["obs.place"].tolist() for piece in slices]


class Shorten:
    """A relabeler that ends every trajectory after two transitions and remembers what it saw."""

    def __init__(self, identity: bool) -> None:
        self.identity = identity
        self.seen: list[int] = []

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        length = len(trajectory["reward"])
        self.seen.append(length)
        return {name: column[: 2 + len(column) - length] for name, column in trajectory.items()}


def test_a_batch_is_what_the_slow_version_draws(tmp_path: Path) -> None:
    lengths = [3, 9, 4, 12, 1]
    replay = Replay(stored(tmp_path, lengths), capacity=4)
    rng = np.random.Generator(np.random.Philox(key=np.array([7, 30], np.uint64)))
    expected = []
    for _ in range(50):
        number = int(rng.integers(1, 5))
        latest = max(lengths[number] - 4, 0)
        start = min(max(int(rng.integers(-3, lengths[number])), 0), latest) if latest else 0
        stop = min(lengths[number], start + 4)
        expected.append([100 * number + time for time in range(start, stop + 1)])
    drawn = places(Sampler(replay, 7, context_length=4).sample(30, 50))
    # The longest first, those of equal length in the order they were drawn.
    assert drawn == [piece for rows in (5, 4, 2) for piece in expected if len(piece) == rows]
    assert {len(piece) for piece in drawn} == {5, 2}


def test_a_batch_depends_on_nothing_but_seed_update_and_what_is_visible(tmp_path: Path) -> None:
    folder = stored(tmp_path, [6] * 10)
    replay = Replay(folder, capacity=4)
    expected = places(Sampler(replay, 1, 3).sample(5, 20, limit=8))
    replay.evict(4)
    writer = ReplayWriter(folder)
    writer.append(recording(10, 50))
    writer.flush(99)
    later = Sampler(Replay(folder, capacity=4), 1, 3)
    later.sample(6, 7)
    assert places(later.sample(5, 20, limit=8)) == expected
    assert places(later.sample(6, 20, limit=8)) != expected
    assert places(Sampler(replay, 2, 3).sample(5, 20, limit=8)) != expected


def test_trajectories_are_drawn_alike(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 6]), capacity=9)
    drawn = Counter(piece[0] for piece in places(Sampler(replay, 0, context_length=4).sample(0, 6000)))
    assert drawn.keys() == {0, 100, 101, 102}
    assert abs(drawn[0] - 3000) < 160  # four standard deviations


def test_no_transition_is_drawn_more_rarely_than_the_others_the_last_least_of_all(
    tmp_path: Path,
) -> None:
    replay = Replay(stored(tmp_path, [20]), capacity=1)
    pieces = places(Sampler(replay, 0, context_length=5).sample(0, 6000))
    assert {len(piece) for piece in pieces} == {6}  # Timesteps: five transitions.
    drawn = Counter(place for piece in pieces for place in piece[:-1])
    # Of 24 places of the window, so many reach each transition; 5 standard deviations are 188.
    reached = [5, 6, 7, 8, 9, *[5] * 10, 9, 8, 7, 6, 5]
    assert all(abs(drawn[place] - 250 * reached[place]) < 188 for place in range(20))


def test_a_relabeler_sees_whole_trajectories_and_its_result_is_sliced(tmp_path: Path) -> None:
    relabeler = Shorten(identity=False)
    replay = Replay(stored(tmp_path, [7, 7]), capacity=9)
    slices = Sampler(replay, 0, context_length=1, relabeler=relabeler).sample(0, 100)
    assert relabeler.seen == [7] * 100
    assert {tuple(piece) for piece in places(slices)} == {(0, 1), (1, 2), (100, 101), (101, 102)}
    assert {(piece.start_time, piece.prev_reward) for piece in slices} == {(0, 0.0), (1, 0.0), (1, 1.0)}


def test_an_identity_relabeler_is_not_called(tmp_path: Path) -> None:
    relabeler = Shorten(identity=True)
    replay = Replay(stored(tmp_path, [7]), capacity=9)
    assert len(Sampler(replay, 0, 9, relabeler).sample(0, 1)[0].columns["reward"]) == 7
    assert relabeler.seen == []


def test_a_relabeler_cannot_change_what_is_stored(tmp_path: Path) -> None:
    class Careless(Shorten):
        def __call__(
            self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
        ) -> Mapping[str, np.ndarray]:
            trajectory["reward"][:] = 1
            return trajectory

    replay = Replay(stored(tmp_path, [7]), capacity=9)
    with pytest.raises(ValueError, match="read-only"):
        Sampler(replay, 0, 9, Careless(identity=False)).sample(0, 1)


def test_a_trajectory_evicted_by_another_process_is_drawn_again(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 2, 2, 2]), capacity=9)
    for path in sorted(tmp_path.iterdir())[:3]:
        path.unlink()
    assert {piece[0] for piece in places(Sampler(replay, 0, 9).sample(0, 20))} == {300}


def test_an_empty_replay_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingStoredError) as caught:
        Sampler(Replay(tmp_path, 9), 0, 9).sample(0, 1)
    assert str(caught.value) == f"{tmp_path} holds no trajectory to learn from"


def test_a_replay_whose_files_all_disappeared_says_so(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 2]), capacity=9)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(NothingStoredError) as caught:
        Sampler(replay, 0, 9).sample(0, 1)
    assert str(caught.value) == f"the trajectories 0 to 1 are no longer in {tmp_path}"
