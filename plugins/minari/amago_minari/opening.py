"""Opening a Minari dataset on this machine, or downloading it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import minari
from minari.dataset.minari_storage import MinariStorage

from amago_registry.errors import DatasetError, did_you_mean, reason

_SPACES = ("observation_space", "action_space")


def open_storage(dataset_id: str, *, download: bool) -> MinariStorage:
    """Return a dataset's storage, downloaded if asked for.

    Args:
        dataset_id: Its id.
        download: Whether to download it if it is not on this machine.

    Raises:
        DatasetError: Saying what to type where it is missing, or why it cannot be read.
    """
    folder = datasets_folder() / dataset_id / "data"
    if not folder.is_dir():
        if not download:
            raise _missing(dataset_id)
        _fetch(dataset_id)
    try:
        described: dict[str, Any] = MinariStorage.read_raw_metadata(folder)
        lacking = [name for name in _SPACES if not isinstance(described.get(name), str)]
        if lacking:
            # Minari would make the environment that the file names, and so run code that it chooses.
            raise DatasetError(
                f"the Minari dataset {dataset_id} does not say its {' and '.join(lacking)}; it was "
                "made by a Minari too old to be read here."
            )
        return MinariStorage.read(folder)
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(
            f"the Minari dataset {dataset_id} in {folder} cannot be read: {reason(error)}."
        ) from error


def datasets_folder() -> Path:
    """Return the folder of Minari's datasets."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given is not None else Path.home() / ".minari" / "datasets"


def _missing(dataset_id: str) -> DatasetError:
    root = datasets_folder()
    found = (data.parent.relative_to(root).as_posix() for data in root.rglob("data") if data.is_dir())
    local = sorted(found)
    here = f" On this machine: {', '.join(local)}." if local else ""
    return DatasetError(
        f"the Minari dataset {dataset_id} is not in {root}.{did_you_mean(dataset_id, local)} Fetch it "
        f"with `minari download {dataset_id}`, or write dataset.download=true.{here}"
    )


def _fetch(dataset_id: str) -> None:
    try:
        minari.download_dataset(dataset_id)
    except ImportError as error:
        raise DatasetError(
            f"fetching the Minari dataset {dataset_id} needs a package that is not installed: "
            f"{reason(error)}. Try `pip install 'amago-minari[download]'`."
        ) from error
    except Exception as error:
        raise DatasetError(
            f"the Minari dataset {dataset_id} could not be fetched: {reason(error)}."
        ) from error
