"""The dataset of shards: another run's replay to learn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from amago_core.hooks import amago_register_datasets
from amago_core.replay import ReplayWriter
from amago_core.run_folder.dataset import ShardsDataset
from amago_core.run_folder.dataset_options import ShardsOptions
from amago_core.run_folder.spaces_json import space_to_json
from amago_registry.contexts import DatasetContext
from amago_registry.errors import DatasetError
from amago_registry.recordings import recorded_trajectory
from amago_registry.testing import DATASET_LAWS, DatasetLaw, with_options
from amago_registry.trajectories import Trajectory

SEEN, ACTED = spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(3)
(SHARDS,) = amago_register_datasets()


def context(seen: Any = None, acted: Any = None) -> DatasetContext:
    def build(part: Any, context: Any) -> Any:
        return part.build(context)

    return DatasetContext(context_length=4, observation_space=seen, action_space=acted, build=build)


def trajectory(seed: int, length: int) -> Trajectory:
    seen, flags = np.full((length + 1, 2), seed), np.zeros(length, bool)
    paid = np.arange(length) + seed
    return recorded_trajectory(seen, np.arange(length) % 3, paid, flags, flags, SEEN, ACTED, seed=seed)


def store(folder: Path, lengths: Sequence[int], per_shard: int = 4, writer: str = "main") -> list[Path]:
    """Store trajectories of these lengths, with the seeds 0, 1, ...; return the shards."""
    replay, shards = ReplayWriter(folder, writer), []
    for seed, length in enumerate(lengths):
        replay.append(trajectory(seed, length))
        if (seed + 1) % per_shard == 0 or seed + 1 == len(lengths):
            shards.append(replay.flush(seed))
    return [shard for shard in shards if shard is not None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with ten trajectories of 1 to 10 steps in three shards."""
    folder = tmp_path / "run"
    store(folder / "replay", range(1, 11))
    described = {"observation": space_to_json(SEEN), "action": space_to_json(ACTED)}
    (folder / "spaces.json").write_text(json.dumps(described))
    return folder


def opened(folder: Path, given: DatasetContext | None = None, **options: Any) -> ShardsDataset:
    return ShardsDataset(given or context(), ShardsOptions(folder=str(folder), **options))


def seeds(dataset: ShardsDataset, count: int = 300) -> list[int]:
    return [drawn.seed for drawn in dataset.sample(np.random.default_rng(0), count, 0)]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def flip(shard: Path, share: float = 1.0) -> None:
    """Flip a bit of the last column, or earlier in the file."""
    written = bytearray(shard.read_bytes())
    written[int((len(written) - 1) * share)] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(written)


@pytest.mark.parametrize("law", DATASET_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("by", ["trajectories", "timesteps"])
def test_shards_obey(law: DatasetLaw, by: str, run: Path) -> None:
    law(with_options(SHARDS, folder=str(run), by=by))


@pytest.mark.parametrize("law", DATASET_LAWS, ids=lambda law: law.__name__)
def test_shards_obey_with_a_damaged_one_among_them(law: DatasetLaw, run: Path) -> None:
    first, *_ = sorted((run / "replay").glob("*.safetensors"))
    flip(first)
    law(with_options(SHARDS, folder=str(run)))


@pytest.mark.parametrize("place", ["", "replay"])
def test_a_run_and_its_replay_are_the_same_dataset(run: Path, place: str) -> None:
    dataset = opened(run / place)
    assert (dataset.observation_space, dataset.action_space) == (SEEN, ACTED)
    assert set(seeds(dataset)) == set(range(10))
    assert dataset.describe() == "10 trajectories, 55 timesteps"


def test_a_trajectory_is_what_was_stored(run: Path) -> None:
    for drawn in opened(run).sample(np.random.default_rng(0), 20, 0):
        stored = trajectory(drawn.seed, drawn.seed + 1)
        assert drawn.columns.keys() == stored.columns.keys()
        for name, column in stored.columns.items():
            np.testing.assert_array_equal(drawn.columns[name], column, strict=True)


def test_a_folder_of_shards_takes_its_spaces_from_the_environment(tmp_path: Path) -> None:
    store(tmp_path, [2, 3])
    dataset = opened(tmp_path, context(SEEN, ACTED))
    assert (dataset.observation_space, dataset.action_space) == (SEEN, ACTED)
    assert set(seeds(dataset)) == {0, 1}


def test_shards_of_unknown_spaces_are_an_error(tmp_path: Path) -> None:
    store(tmp_path, [2])
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path)
    assert str(caught.value) == (
        f"the observation and action spaces of the shards in {tmp_path} are unknown: it is not the "
        "replay of a run, which stores them, and the spec has no environment."
    )


def test_shards_that_do_not_fit_the_spaces_are_an_error(tmp_path: Path) -> None:
    store(tmp_path, [2])
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path, context(spaces.Box(0, 1, (3,)), ACTED))
    assert str(caught.value) == (
        f"{tmp_path} does not fit its spaces: of a trajectory, obs.observation is float32 (2,) per row "
        "instead of float32 (3,)."
    )


def test_sampling_by_timesteps_draws_trajectories_in_proportion_to_length(run: Path) -> None:
    drawn = seeds(opened(run, by="timesteps"), 6000)
    shares = np.bincount(drawn, minlength=10) / 6000
    np.testing.assert_allclose(shares, np.arange(1, 11) / 55, atol=0.02)
    even = np.bincount(seeds(opened(run), 6000), minlength=10) / 6000
    np.testing.assert_allclose(even, 0.1, atol=0.02)


def test_protected_shards_belong_to_the_dataset(run: Path) -> None:
    (shard,) = store(run / "elsewhere", [7], writer="expert")
    (run / "replay" / "protected").mkdir()
    shard.rename(run / "replay" / "protected" / shard.name)
    assert opened(run).describe() == "11 trajectories, 62 timesteps"


@pytest.mark.parametrize("damage", ["cut", "bit", "gone"])
def test_a_damaged_shard_is_left_out_counted_and_not_modified(run: Path, damage: str) -> None:
    first, *_ = sorted((run / "replay").glob("*.safetensors"))
    if damage == "cut":
        first.write_bytes(first.read_bytes()[:-100])
    elif damage == "bit":
        flip(first)
    else:
        first.unlink()
    before = contents(run)
    dataset = opened(run)
    drawn = seeds(dataset)
    # A flipped bit damages its own trajectory, and not those that share its shard.
    assert set(drawn) == {"bit": {*range(10)} - {3}}.get(damage, {*range(4, 10)})
    assert drawn == seeds(opened(run)) == seeds(dataset)
    assert contents(run) == before
    described = dataset.describe()
    assert described.endswith("; 1 damaged shard left out") == (damage != "gone")


def test_a_folder_of_damaged_shards_only_is_an_error(run: Path) -> None:
    for shard in (run / "replay").glob("*.safetensors"):
        shard.write_bytes(b"nothing")
    with pytest.raises(DatasetError) as caught:
        opened(run)
    assert str(caught.value) == (
        f"{run / 'replay'} holds no trajectory to learn from; 3 damaged shards left out."
    )


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path)
    assert str(caught.value) == f"{tmp_path} holds no trajectory to learn from."


def test_a_path_that_is_not_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, what, then in (
        (
            "nowhere",
            "does not exist",
            f" A run records one: amago train SPEC --run {tmp_path / 'nowhere'}",
        ),
        ("file", "is not a folder", ""),
    ):
        with pytest.raises(DatasetError) as caught:
            opened(tmp_path / name)
        assert str(caught.value) == f"dataset.folder {tmp_path / name} {what}.{then}"


def test_trajectories_stored_after_opening_are_not_sampled(run: Path) -> None:
    dataset = opened(run)
    before = seeds(dataset)
    store(run / "replay", [5] * 20, writer="later")
    assert seeds(dataset) == before
    assert dataset.describe() == "10 trajectories, 55 timesteps"


def test_trajectories_with_different_columns_are_an_error_naming_them(tmp_path: Path) -> None:
    store(tmp_path, [2])
    other = trajectory(1, 2)
    columns = {**other.columns, "achieved": np.zeros((3, 4), np.int64)}
    writer = ReplayWriter(tmp_path, "other")
    writer.append(Trajectory(columns))
    writer.flush(0)
    dataset = opened(tmp_path, context(SEEN, ACTED))
    with pytest.raises(DatasetError) as caught:
        seeds(dataset)
    sides = [
        "nothing in one, achieved int64 (4,) in another",
        "achieved int64 (4,) in one, nothing in another",
    ]
    assert str(caught.value) in [
        f"trajectories in {tmp_path} have different columns: {side}. Put each kind in a folder of its "
        "own and use a mixture."
        for side in sides
    ]
