"""Datasets for all tests of this folder, and a place where Minari looks for them."""

from __future__ import annotations

import warnings
from pathlib import Path

import gymnasium
import pytest
from recorded import Nested, record


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three datasets."""
    folder = tmp_path_factory.mktemp("minari")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of authors and code that these datasets do not name.
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        record(gymnasium.make("CartPole-v1"), "toys/cartpole-v0", episodes=12)
        record(gymnasium.make("Pendulum-v1"), "pendulum-v0", episodes=3)
        record(Nested(), "toys/nested-v0", episodes=4)
    return folder


@pytest.fixture(autouse=True)
def here(datasets: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let Minari look for datasets in that folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    return datasets
