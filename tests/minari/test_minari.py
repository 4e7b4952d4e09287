"""Minari's datasets, as trajectories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from pydantic import ValidationError
from recorded import Nested

from amago_minari import MinariDataset
from amago_minari.hooks import amago_register_datasets
from amago_minari.options import MinariOptions
from amago_registry.contexts import DatasetContext
from amago_registry.errors import DatasetError
from amago_registry.testing import DATASET_LAWS, DatasetLaw, with_options
from amago_registry.trajectories import Trajectory

(MINARI,) = amago_register_datasets()
CONTEXT = DatasetContext(
    context_length=8, observation_space=None, action_space=None, build=lambda part, context: None
)


def opened(dataset_id: str, **options: Any) -> MinariDataset:
    return MinariDataset(CONTEXT, MinariOptions(id=dataset_id, **options))


def drawn(dataset: MinariDataset, count: int = 50, seed: int = 0) -> list[Trajectory]:
    return dataset.sample(np.random.default_rng(seed), count, 0)


@pytest.mark.parametrize("law", DATASET_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "options",
    [
        {"id": "toys/cartpole-v0", "memory": 0},
        {"id": "pendulum-v0", "by": "timesteps"},
        {"id": "toys/nested-v0"},
    ],
    ids=lambda options: options["id"],
)
def test_a_minari_dataset_obeys(law: DatasetLaw, options: dict[str, Any]) -> None:
    law(with_options(MINARI, **options))


def test_every_episode_is_what_minari_recorded() -> None:
    found = {trajectory.seed: trajectory for trajectory in drawn(opened("toys/cartpole-v0"), 300)}
    episodes = list(minari.load_dataset("toys/cartpole-v0").iterate_episodes())
    assert sorted(found) == list(range(12))
    for seed, episode in enumerate(episodes):
        columns = found[seed].columns
        np.testing.assert_array_equal(columns["obs.observation"], episode.observations)
        np.testing.assert_array_equal(columns["action"], episode.actions)
        np.testing.assert_array_equal(columns["reward"], episode.rewards.astype(np.float32))
        np.testing.assert_array_equal(columns["terminated"], episode.terminations)
        np.testing.assert_array_equal(columns["truncated"], episode.truncations)


def test_spaces_are_those_of_the_environment() -> None:
    env = gymnasium.make("Pendulum-v1")
    dataset = opened("pendulum-v0")
    assert dataset.observation_space == env.observation_space
    assert dataset.action_space == env.action_space


def test_continuous_actions_lie_between_minus_1_and_1() -> None:
    (episode, *_) = minari.load_dataset("pendulum-v0").iterate_episodes()
    stored = next(t for t in drawn(opened("pendulum-v0")) if t.seed == 0).columns["action"]
    np.testing.assert_allclose(stored, episode.actions / 2, atol=1e-6)


def test_nested_observations_get_the_keys_that_the_agent_sees() -> None:
    dataset = opened("toys/nested-v0")
    assert dataset.observation_space == Nested.observation_space
    (trajectory,) = drawn(dataset, 1)
    columns = trajectory.columns
    assert columns["obs.eye/image"][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert columns["obs.limbs/0"][:, 1].tolist() == [0, -1, -2, -3]
    assert columns["obs.limbs/1"].tolist() == [0, 1, 2, 3]
    assert columns["reward"].tolist() == [1, 2, 3]
    assert columns["truncated"].tolist() == [False, False, True]
    (episode,) = minari.load_dataset("toys/nested-v0").iterate_episodes([trajectory.seed])
    assert columns["action"].tolist() == (episode.actions - [1, 0]).tolist()


def test_only_the_first_episodes_are_drawn_where_that_is_asked() -> None:
    dataset = opened("toys/cartpole-v0", episodes=2)
    assert {trajectory.seed for trajectory in drawn(dataset)} == {0, 1}
    first, second = minari.load_dataset("toys/cartpole-v0").iterate_episodes([0, 1])
    assert dataset.describe() == (
        f"toys/cartpole-v0: 2 trajectories, {len(first) + len(second)} timesteps"
    )


def test_by_timesteps_long_episodes_are_drawn_as_much_more_often() -> None:
    lengths = [len(e) for e in minari.load_dataset("toys/cartpole-v0").iterate_episodes()]
    seeds = [t.seed for t in drawn(opened("toys/cartpole-v0", by="timesteps"), 6000)]
    shares = np.bincount(seeds, minlength=12) / 6000
    np.testing.assert_allclose(shares, np.array(lengths) / sum(lengths), atol=0.02)


@pytest.mark.parametrize(("memory", "reads"), [(1024, 12), (0, 300)])
def test_an_episode_is_read_once_where_there_is_memory_for_it(
    memory: int, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened("toys/cartpole-v0", memory=memory)
    read: list[int] = []
    original = dataset._read
    monkeypatch.setattr(dataset, "_read", lambda index: (read.append(index), original(index))[1])
    drawn(dataset, 300)
    assert len(read) == reads
    assert set(read) == set(range(12))


def test_the_episode_cache_never_exceeds_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amago_minari.dataset._MIB", 1000)  # One episode of Nested takes 138 bytes.
    dataset = opened("toys/nested-v0", memory=1)
    kept = dataset._cache
    for index in (0, 1, 2, 3, 0):
        kept.put(index, dataset._read(index)) if kept.get(index) is None else None
    assert kept._bytes == sum(
        column.nbytes for episode in kept._episodes.values() for column in episode.columns.values()
    )
    assert kept._bytes <= 1000
    assert list(kept._episodes) == [1, 2, 3, 0]


@pytest.mark.parametrize(
    "wrong", ["../secrets", "/etc", "hf://other/data-v0", "toys//cartpole-v0", "toys/.hidden"]
)
def test_an_id_is_no_path(wrong: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MinariOptions(id=wrong)
    (problem,) = caught.value.errors()
    assert problem["loc"] == ("id",)


def test_a_dataset_that_is_not_here_is_answered_with_what_to_type(here: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        opened("toys/cartpole-v1")
    assert str(caught.value) == (
        f"the Minari dataset toys/cartpole-v1 is not in {here}. Did you mean 'toys/cartpole-v0'? Fetch "
        "it with `minari download toys/cartpole-v1`, or write dataset.download=true. "
        "On this machine: pendulum-v0, toys/cartpole-v0, toys/nested-v0."
    )


def test_where_there_is_no_dataset_at_all_none_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "none"))
    with pytest.raises(DatasetError) as caught:
        opened("D4RL/door/human-v2")
    assert str(caught.value) == (
        f"the Minari dataset D4RL/door/human-v2 is not in {tmp_path / 'none'}. Fetch it with "
        "`minari download D4RL/door/human-v2`, or write dataset.download=true."
    )


def test_it_is_fetched_where_that_is_asked(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def download(dataset_id: str) -> None:
        shutil.copytree(datasets / dataset_id, tmp_path / dataset_id)

    monkeypatch.setattr(minari, "download_dataset", download)
    assert opened("toys/nested-v0", download=True).describe() == (
        "toys/nested-v0: 4 trajectories, 12 timesteps"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError("no route to host"),
            "the Minari dataset a-v0 could not be fetched: OSError: no route to host.",
        ),
        (
            ImportError("no hub"),
            "fetching the Minari dataset a-v0 needs a package that is not installed: ImportError: no "
            "hub. Try `pip install 'amago-minari[download]'`.",
        ),
    ],
    ids=["network", "package"],
)
def test_what_goes_wrong_while_fetching_is_one_sentence(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(dataset_id: str) -> None:
        raise error

    monkeypatch.setattr(minari, "download_dataset", download)
    with pytest.raises(DatasetError) as caught:
        opened("a-v0", download=True)
    assert str(caught.value) == message


@pytest.fixture
def copied(datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data folder of a copy that may be broken."""
    shutil.copytree(datasets, tmp_path / "copied")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "copied"))
    return tmp_path / "copied" / "toys" / "cartpole-v0" / "data"


def test_the_environment_that_a_file_names_is_not_made(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = json.loads((copied / "metadata.json").read_text())
    del described["observation_space"]
    (copied / "metadata.json").write_text(json.dumps(described))
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: pytest.fail("made an environment"))
    with pytest.raises(DatasetError) as caught:
        opened("toys/cartpole-v0")
    assert str(caught.value) == (
        "the Minari dataset toys/cartpole-v0 does not say its observation_space; it was made by a "
        "Minari too old to be read here."
    )


def test_a_file_that_is_none_is_one_sentence(copied: Path) -> None:
    (copied / "metadata.json").write_text("[")
    with pytest.raises(DatasetError) as caught:
        opened("toys/cartpole-v0")
    assert str(caught.value) == (
        f"the Minari dataset toys/cartpole-v0 in {copied} cannot be read: JSONDecodeError: Expecting "
        "value: line 1 column 2 (char 1)."
    )


def test_an_episode_that_cannot_be_learned_from_is_named(copied: Path) -> None:
    with h5py.File(copied / "main_data.hdf5", "a") as file:
        file["episode_0"]["rewards"][2] = np.nan
    dataset = opened("toys/cartpole-v0", episodes=1)
    with pytest.raises(DatasetError) as caught:
        drawn(dataset, 1)
    assert str(caught.value) == (
        "episode 0 of the Minari dataset toys/cartpole-v0: this recording cannot be learned from: "
        "reward has numbers that are not finite."
    )


def test_an_episode_that_lacks_something_is_named(copied: Path) -> None:
    with h5py.File(copied / "main_data.hdf5", "a") as file:
        del file["episode_0"]["rewards"]
    dataset = opened("toys/cartpole-v0", episodes=1)
    with pytest.raises(DatasetError) as caught:
        drawn(dataset, 1)
    assert str(caught.value).startswith("episode 0 of the Minari dataset toys/cartpole-v0: KeyError: ")


@pytest.mark.parametrize("by", ["trajectories", "timesteps"])
def test_an_episode_of_another_length_than_described_is_refused(copied: Path, by: str) -> None:
    (episode,) = minari.load_dataset("toys/cartpole-v0").iterate_episodes([0])
    described(copied, 10**6)
    with pytest.raises(DatasetError) as caught:
        drawn(opened("toys/cartpole-v0", by=by, episodes=1), 1)
    assert str(caught.value) == (
        f"episode 0 of the Minari dataset toys/cartpole-v0 has {len(episode)} steps, and its "
        "description says 1000000."
    )


def described(copied: Path, steps: int | None) -> None:
    with h5py.File(copied / "main_data.hdf5", "a") as file:
        if steps is None:
            del file["episode_0"].attrs["total_steps"]
        else:
            file["episode_0"].attrs["total_steps"] = steps


@pytest.mark.parametrize(
    ("steps", "message"),
    [(-5, "an episode has -5 steps."), (None, "KeyError: 'total_steps'.")],
    ids=["negative", "missing"],
)
def test_descriptions_that_are_none_are_one_sentence(
    copied: Path, steps: int | None, message: str
) -> None:
    described(copied, steps)
    with pytest.raises(DatasetError) as caught:
        opened("toys/cartpole-v0")
    assert str(caught.value) == f"the Minari dataset toys/cartpole-v0 cannot be read: {message}"


def test_a_file_of_episodes_that_is_none_is_one_sentence(copied: Path) -> None:
    (copied / "main_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(DatasetError) as caught:
        opened("toys/cartpole-v0")
    assert str(caught.value).startswith("the Minari dataset toys/cartpole-v0 cannot be read: OSError: ")


def test_by_timesteps_a_step_is_drawn_from_the_episode_that_has_it() -> None:
    dataset = opened("toys/nested-v0", by="timesteps")  # Three steps each.
    steps: Any = type("Steps", (), {"integers": lambda *_, size: np.arange(12)})()
    seeds = [trajectory.seed for trajectory in dataset.sample(steps, 12, 0)]
    assert seeds == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_what_another_thread_has_read_meanwhile_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = opened("toys/nested-v0")
    (read,) = drawn(dataset, 1)
    answers = iter([None, read])
    monkeypatch.setattr(dataset._cache, "get", lambda index: next(answers))
    monkeypatch.setattr(dataset, "_read", lambda index: pytest.fail("read twice"))
    assert dataset._episode(0) is read


def test_an_episode_without_a_step_is_passed_over(copied: Path) -> None:
    with h5py.File(copied / "main_data.hdf5", "a") as file:
        file["episode_0"].attrs["total_steps"] = 0
    dataset = opened("toys/cartpole-v0", episodes=3)
    assert {trajectory.seed for trajectory in drawn(dataset)} == {1, 2}
    assert dataset.describe().startswith("toys/cartpole-v0: 2 trajectories, ")
    with pytest.raises(DatasetError) as caught:
        opened("toys/cartpole-v0", episodes=1)
    assert str(caught.value) == "the Minari dataset toys/cartpole-v0 holds no transition."


def test_actions_as_wide_as_the_space_says() -> None:
    (trajectory,) = drawn(opened("pendulum-v0"), 1)
    assert trajectory.columns["action"].shape == (40, 1)
    assert spaces.Box(-1, 1, (40, 1)).contains(trajectory.columns["action"])
