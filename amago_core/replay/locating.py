"""Finding the replay that somebody means by a folder."""

from __future__ import annotations

from pathlib import Path

from amago_core.durability import SET_ASIDE
from amago_core.replay.errors import ReplayError
from amago_core.replay.naming import PROTECTED, QUARANTINE, files_in, shards_in
from amago_registry.errors import did_you_mean

_SUBFOLDERS = {PROTECTED, QUARANTINE, SET_ASIDE}


def find_replay(folder: Path) -> Path:
    """Return the replay of a run, or the folder itself where it is one.

    Raises:
        ReplayError: If there is no replay, saying what there is; or if nobody can tell.
    """
    try:
        return _find(folder)
    except OSError as error:
        raise ReplayError(f"{folder} cannot be read: {error.strerror}") from None


def _find(folder: Path) -> Path:
    if (folder / "replay").is_dir():
        return folder / "replay"
    files = files_in(folder)
    if shards_in(folder) or _SUBFOLDERS & set(files) or any(name.endswith(".claim") for name in files):
        return folder
    if not folder.is_dir():
        if folder.exists():
            raise ReplayError(f"{folder} is a file. Name the folder of a run, or of a replay.")
        close = did_you_mean(folder.name, files_in(folder.absolute().parent))
        raise ReplayError(f"{folder} does not exist.{close}")
    if "spec.yaml" in files:
        raise ReplayError(f"{folder} is a run that has no replay: it has stored no trajectory yet.")
    raise ReplayError(
        f"{folder} holds no replay: there is neither a folder 'replay' in it nor a shard. "
        "Name the folder of a run, or of a replay."
    )
