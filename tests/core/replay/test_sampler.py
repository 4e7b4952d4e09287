"""Sampling from a replay: reproducible, uniform, relabelled as whole trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_core.learning.batch import pack
from amago_core.replay import NothingStoredError, Replay, ReplayWriter, Sampler, slicing
from amago_core.replay.sampler import dataset_share
from amago_core.replay.slicing import Slices, slice_bounds
from amago_core.spec.schema import SamplingSpec
from amago_registry.errors import RecordingError
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


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def places(slices: list[Trajectory]) -> list[list[int]]:
    return [each.columns["obs.place"].tolist() for each in slices]


class Shorten:
    """A relabeler that truncates trajectories to two transitions and records their lengths."""

    def __init__(self, identity: bool) -> None:
        self.identity = identity
        self.seen: list[int] = []

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        length = len(trajectory["reward"])
        self.seen.append(length)
        return {name: column[: 2 + len(column) - length] for name, column in trajectory.items()}


def numbers(seed: int, update: int, count: int) -> list[int]:
    """Return the first random numbers of an update's stream."""
    philox = np.random.Philox(key=np.array([seed, update], np.uint64))
    return [int(philox.random_raw()) for _ in range(count)]


class RandomRelabeler:
    """A relabeler with random rewards that keeps a random number of transitions."""

    identity = False

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        length = len(trajectory["reward"])
        kept = int(rng.integers(1, length + 1))
        rows = {name: column[: kept + len(column) - length] for name, column in trajectory.items()}
        return {**rows, "reward": np.full(kept, rng.integers(10**6), np.float32)}


def test_a_batch_equals_that_of_an_obvious_loop(tmp_path: Path) -> None:
    lengths = [3, 9, 4, 12, 1]
    replay = Replay(stored(tmp_path, lengths), capacity=4)
    drawn = numbers(7, 30, 101)
    expected = []
    for which, where in zip(drawn[:50], drawn[50:100], strict=True):
        number = 1 + int(4 * Fraction(which, 2**64))
        length, start = lengths[number], 0
        if length > 4:
            start = int((length + 3) * Fraction(where, 2**64)) - 3
            start = min(max(start, 0), length - 4)
        stop = min(length, start + 4)
        expected.append([100 * number + time for time in range(start, stop + 1)])
    batch = places(Sampler(replay, 7, context_length=4).sample(30, 50))
    # The longest first, those of equal length in the order they were drawn.
    assert batch == [each for rows in (5, 4, 2) for each in expected if len(each) == rows]
    assert {len(each) for each in batch} == {5, 2}


def test_a_batch_depends_only_on_seed_update_and_visible_trajectories(tmp_path: Path) -> None:
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


def test_trajectories_are_drawn_uniformly(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 6]), capacity=9)
    drawn = Counter(each[0] for each in places(Sampler(replay, 0, context_length=4).sample(0, 6000)))
    assert drawn.keys() == {0, 100, 101, 102}
    assert abs(drawn[0] - 3000) < 160  # four standard deviations


# How many positions of a window of 5 transitions include each of 20 transitions, by hand.
REACHED: dict[Slices, list[int]] = {
    "inside": [1, 2, 3, 4, *[5] * 12, 4, 3, 2, 1],
    "even": [5, 6, 7, 8, 9, *[5] * 10, 9, 8, 7, 6, 5],
    "right": [1, 2, 3, 4, *[5] * 16],
    "left": [*[5] * 16, 4, 3, 2, 1],
    "both": [5] * 20,
}


def reached(slices: Slices, length: int, window: int) -> list[int]:
    spans = [
        slice_bounds(slices, n, length, window)
        for n in range(slicing.count_positions(slices, length, window))
    ]
    return [sum(start <= time < stop for start, stop in spans) for time in range(length)]


@pytest.mark.parametrize("slices", REACHED)
def test_each_slicing_mode_draws_each_transition_as_often_as_documented(slices: Slices) -> None:
    assert reached(slices, 20, 5) == REACHED[slices]


@pytest.mark.parametrize("slices", REACHED)
@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 30), window=st.integers(1, 30))
def test_a_slice_is_always_inside_and_never_longer_than_the_context(
    slices: Slices, length: int, window: int
) -> None:
    for position in range(slicing.count_positions(slices, length, window)):
        start, stop = slice_bounds(slices, position, length, window)
        assert 0 <= start < stop <= length
        assert stop - start <= window
        if slices in ("even", "inside"):
            assert stop - start == min(length, window)
    times = reached(slices, length, window)
    assert min(times) >= 1
    assert slices != "even" or max(times) < 3 * min(times)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 30), window=st.integers(1, 30))
def test_with_both_every_transition_is_always_drawn_equally_often(length: int, window: int) -> None:
    assert len(set(reached("both", length, window))) == 1


@pytest.mark.parametrize("slices", REACHED)
def test_positions_are_drawn_uniformly(slices: Slices, tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [7]), capacity=1)
    spec = SamplingSpec(slices=slices)
    sampled = places(Sampler(replay, 0, context_length=3, spec=spec).sample(0, 6000))
    drawn = Counter((each[0], each[-1]) for each in sampled)
    count = slicing.count_positions(slices, 7, 3)
    likely = Counter(slice_bounds(slices, position, 7, 3) for position in range(count))
    assert drawn.keys() == likely.keys()
    # Five standard deviations of 6000 draws are at most 194.
    assert all(abs(drawn[span] - 6000 * times / count) < 194 for span, times in likely.items())


def test_by_timesteps_trajectories_are_drawn_in_proportion_to_their_length(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 1, 6, 1], per_shard=2), capacity=3)
    spec = SamplingSpec(by="timesteps")
    drawn = Counter(each[0] for each in places(Sampler(replay, 0, 9, spec=spec).sample(0, 8000)))
    # Of 8 visible transitions; 5 standard deviations are 194.
    assert drawn.keys() == {100, 200, 300}
    assert abs(drawn[200] - 6000) < 194
    assert abs(drawn[100] - 1000) < 148
    assert abs(drawn[300] - 1000) < 148


def test_by_timesteps_a_missing_trajectory_is_not_drawn(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 1, 6]), capacity=3)
    shards(tmp_path)[2].unlink()
    drawn = places(Sampler(replay, 0, 9, spec=SamplingSpec(by="timesteps")).sample(0, 50))
    assert {each[0] for each in drawn} == {0, 100}


def test_segments_keep_their_start_time_and_previous_action_and_reward(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    segment = replace(
        recording(3, 4), start_time=20, prev_action=np.array(2, np.int64), prev_reward=0.5
    )
    writer.append(segment)
    writer.flush(0)
    (whole,) = Sampler(Replay(tmp_path, 1), 0, context_length=9).sample(0, 1)
    batch = pack([whole], spaces.Discrete(3))
    assert batch.layout.time_N.tolist() == [20, 21, 22, 23, 24]
    assert batch.prev_action_NA[:2].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert batch.prev_reward_N[:2].tolist() == [0.5, 3.0]


class RecordingDataset:
    """A dataset of trajectories of 7 transitions that records its calls."""

    observation_space = spaces.Discrete(9)
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def sample(self, rng: np.random.Generator, count: int, update: int) -> list[Trajectory]:
        self.calls.append((count, update))
        return [recording(int(number), 7) for number in rng.integers(50, 90, count)]

    def describe(self) -> str:
        return "as many as you like"


def shares(sampler: Sampler, count: int, updates: list[int]) -> list[int]:
    """Return how many slices of each update are the dataset's."""
    return [sum(p[0] >= 5000 for p in places(sampler.sample(u, count))) for u in updates]


def test_the_datasets_share_is_exact_if_it_is_a_whole_number(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 3]), capacity=9)
    sampler = Sampler(replay, 0, 9, dataset=RecordingDataset(), spec=SamplingSpec(dataset_share=0.25))
    assert shares(sampler, 8, list(range(20))) == [2] * 20


def test_a_fractional_dataset_share_is_right_on_average(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 3]), capacity=9)
    sampler = Sampler(replay, 0, 9, dataset=RecordingDataset(), spec=SamplingSpec(dataset_share=0.3))
    counted = Counter(shares(sampler, 4, list(range(2000))))
    assert counted.keys() == {1, 2}
    assert abs(counted[2] - 400) < 90  # 1.2 of 4: one in five; five standard deviations.


@pytest.mark.parametrize(("update", "share"), [(0, 1.0), (25, 0.75), (50, 0.5), (100, 0), (900, 0)])
def test_the_dataset_share_is_annealed_linearly_and_then_stays(
    update: int, share: float, tmp_path: Path
) -> None:
    spec = SamplingSpec(dataset_share=1.0, final_dataset_share=0.0, anneal_updates=100)
    assert dataset_share(spec, update) == share
    replay = Replay(stored(tmp_path, [2, 3]), capacity=9)
    sampler = Sampler(replay, 0, 9, dataset=RecordingDataset(), spec=spec)
    assert shares(sampler, 4, [update]) == [4 * share]


def test_without_a_final_share_the_dataset_share_is_constant() -> None:
    assert dataset_share(SamplingSpec(dataset_share=0.3), 10**9) == 0.3


@pytest.mark.parametrize("empty", [True, False], ids=["an empty replay", "no replay"])
def test_without_a_replay_all_is_drawn_from_the_dataset(empty: bool, tmp_path: Path) -> None:
    replay = Replay(tmp_path, 9) if empty else None
    dataset = RecordingDataset()
    sampler = Sampler(replay, 0, 9, dataset=dataset, spec=SamplingSpec(dataset_share=0.25))
    assert shares(sampler, 5, [3]) == [5]
    assert dataset.calls == [(5, 3)]


def test_a_dataset_with_share_zero_is_not_sampled(tmp_path: Path) -> None:
    dataset = RecordingDataset()
    replay = Replay(stored(tmp_path, [2]), capacity=9)
    Sampler(replay, 0, 9, dataset=dataset, spec=SamplingSpec(dataset_share=0.0)).sample(0, 5)
    assert dataset.calls == []


def test_the_datasets_trajectories_are_relabelled_and_sliced_too() -> None:
    relabeler = Shorten(identity=False)
    slices = Sampler(None, 0, 1, relabeler, RecordingDataset()).sample(0, 20)
    assert relabeler.seen == [7] * 20
    assert {len(each.columns["reward"]) for each in slices} == {1}
    assert {each.start_time for each in slices} == {0, 1}


class ShortenSome(Shorten):
    """Half of the time, the trajectory comes back as it is."""

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        return super().__call__(trajectory, rng) if rng.random() < 0.5 else dict(trajectory)


def test_slices_say_whether_their_trajectory_was_relabelled(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [7, 7]), capacity=9)
    slices = Sampler(replay, 0, 9, ShortenSome(identity=False), RecordingDataset()).sample(0, 40)
    assert [each.relabelled for each in slices] == [each.length == 2 for each in slices]
    assert {each.length for each in slices} == {2, 7}
    short = Sampler(replay, 0, 1, ShortenSome(identity=False)).sample(0, 40)
    assert 8 <= sum(bool(each.relabelled) for each in short) <= 32
    for unused in (None, Shorten(identity=True)):
        slices = Sampler(replay, 0, 9, unused).sample(0, 4)
        assert [each.relabelled for each in slices] == [None] * 4


def test_a_segment_that_does_not_start_at_step_0_is_never_relabelled(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0, 9).slice(4, 9))
    writer.flush(1)
    with pytest.raises(RecordingError) as caught:
        Sampler(Replay(tmp_path, 9), 0, 9, Shorten(identity=False)).sample(0, 5)
    assert str(caught.value) == (
        "the relabeler rewrites whole trajectories, and a segment was drawn that begins at step 4 of "
        "its task: it was stored with collector.segment_length. Write relabeler=none, or learn from "
        "recordings of whole tasks."
    )
    (segment,) = Sampler(Replay(tmp_path, 9), 0, 9, Shorten(identity=True)).sample(0, 1)
    assert segment.length == 5


def test_a_sampler_needs_a_replay_or_a_dataset() -> None:
    with pytest.raises(ValueError, match=r"^there is neither a replay nor a dataset to draw from$"):
        Sampler(None, 0, 9)


def rewarded(slices: list[Trajectory]) -> list[list[float]]:
    """Return the places of slices, and their reward at the end."""
    return [[*p.columns["obs.place"].tolist(), float(p.columns["reward"][0])] for p in slices]


def test_each_slice_is_relabelled_with_its_own_random_stream() -> None:
    slices = Sampler(None, 0, 9, RandomRelabeler(), RecordingDataset()).sample(0, 20)
    assert len({each.columns["reward"][0] for each in slices}) == 20
    again = Sampler(None, 0, 9, RandomRelabeler(), RecordingDataset()).sample(1, 20)
    assert len({each.columns["reward"][0] for each in [*slices, *again]}) == 40


@pytest.mark.parametrize("relabels", [True, False])
def test_the_slices_of_all_ranks_are_the_batch_of_a_single_process(
    relabels: bool, tmp_path: Path
) -> None:
    replay = Replay(stored(tmp_path, [3, 9, 4, 12, 1, 2]), capacity=9)
    spec = SamplingSpec(slices="both", dataset_share=0.3)
    sampler = Sampler(replay, 5, 4, RandomRelabeler() if relabels else None, RecordingDataset(), spec)
    alone = rewarded(sampler.sample(8, 11))
    by_rank = [rewarded(sampler.sample(8, 11, rank=rank, ranks=3)) for rank in range(3)]
    assert [len(share) for share in by_rank] == [4, 4, 3]
    assert sorted(each for share in by_rank for each in share) == sorted(alone)
    assert all(share == sorted(share, key=len, reverse=True) for share in by_rank)
    if not relabels:
        assert by_rank == [alone[rank::3] for rank in range(3)]


def test_a_rank_relabels_only_its_own_slices(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [7, 7]), capacity=9)
    relabeler = Shorten(identity=False)
    Sampler(replay, 0, 9, relabeler).sample(0, 8, rank=1, ranks=4)
    assert relabeler.seen == [7, 7]


def test_several_threads_draw_the_same_batches_as_one(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [3, 9, 4, 12], per_shard=2), capacity=9)
    sampler = Sampler(replay, 5, 4, Shorten(identity=False), RecordingDataset())
    alone = [places(sampler.sample(update, 6)) for update in range(60)]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda update: places(sampler.sample(update, 6)), range(60)))
    assert drawn == alone


def test_whole_trajectories_are_relabelled_before_slicing(tmp_path: Path) -> None:
    relabeler = Shorten(identity=False)
    replay = Replay(stored(tmp_path, [7, 7]), capacity=9)
    slices = Sampler(replay, 0, context_length=1, relabeler=relabeler).sample(0, 100)
    assert relabeler.seen == [7] * 100
    assert {tuple(each) for each in places(slices)} == {(0, 1), (1, 2), (100, 101), (101, 102)}
    assert {(each.start_time, each.prev_reward) for each in slices} == {(0, 0.0), (1, 0.0), (1, 1.0)}


def test_an_identity_relabeler_is_not_called(tmp_path: Path) -> None:
    relabeler = Shorten(identity=True)
    replay = Replay(stored(tmp_path, [7]), capacity=9)
    assert len(Sampler(replay, 0, 9, relabeler).sample(0, 1)[0].columns["reward"]) == 7
    assert relabeler.seen == []


def test_a_relabeler_cannot_modify_stored_trajectories(tmp_path: Path) -> None:
    class Careless(Shorten):
        def __call__(
            self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
        ) -> Mapping[str, np.ndarray]:
            trajectory["reward"][:] = 1
            return trajectory

    replay = Replay(stored(tmp_path, [7]), capacity=9)
    with pytest.raises(ValueError, match="read-only"):
        Sampler(replay, 0, 9, Careless(identity=False)).sample(0, 1)


def test_another_trajectory_is_drawn_for_one_evicted_by_another_process(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 2, 2, 2]), capacity=9)
    for path in shards(tmp_path)[:3]:
        path.unlink()
    assert {each[0] for each in places(Sampler(replay, 0, 9).sample(0, 20))} == {300}


def test_sampling_an_empty_replay_raises(tmp_path: Path) -> None:
    with pytest.raises(NothingStoredError) as caught:
        Sampler(Replay(tmp_path, 9), 0, 9).sample(0, 1)
    assert str(caught.value) == f"{tmp_path} holds no trajectory to learn from"


def philox(seed: int, update: int, purpose: int, n: int = 0) -> np.random.Philox:
    key, counter = np.array([seed, update], np.uint64), np.array([0, 0, purpose, n], np.uint64)
    return np.random.Philox(key=key, counter=counter)


def test_each_slice_is_redrawn_with_its_own_random_stream(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2] * 8), capacity=8)
    for path in shards(tmp_path)[:6]:
        path.unlink()
    expected = []
    for n, number in enumerate(numbers(7, 30, 20)):
        redraws, which = philox(7, 30, 3, n), 8 * number >> 64
        while which < 6:
            which = 8 * int(redraws.random_raw()) >> 64
        expected.append(100 * which)
    assert [each[0] for each in places(Sampler(replay, 7, 9).sample(30, 20))] == expected


def test_the_dataset_has_its_own_random_stream() -> None:
    expected = np.random.Generator(philox(7, 30, 1)).integers(50, 90, 12).tolist()
    assert [p.seed for p in Sampler(None, 7, 9, dataset=RecordingDataset()).sample(30, 12)] == expected


@pytest.mark.parametrize("by", ["trajectories", "timesteps"])
def test_sampling_a_replay_whose_files_are_all_gone_raises(
    by: Literal["trajectories", "timesteps"], tmp_path: Path
) -> None:
    replay = Replay(stored(tmp_path, [2, 2]), capacity=9)
    for path in shards(tmp_path):
        path.unlink()
    with pytest.raises(NothingStoredError) as caught:
        Sampler(replay, 0, 9, spec=SamplingSpec(by=by)).sample(0, 1)
    assert str(caught.value) == f"the trajectories of {tmp_path} are gone (0 of 2 left)"


def test_all_is_drawn_from_the_dataset_if_the_replays_files_are_gone(tmp_path: Path) -> None:
    replay = Replay(stored(tmp_path, [2, 2]), capacity=9)
    empty = Sampler(Replay(tmp_path / "empty", 9), 0, 9, dataset=RecordingDataset())
    for path in shards(tmp_path):
        path.unlink()
    drawn = Sampler(replay, 0, 9, dataset=RecordingDataset()).sample(3, 6)
    assert places(drawn) == places(empty.sample(3, 6))
