"""Checkpoints: folders of safetensors that are there whole or not at all.

A checkpoint is a folder ``round-00000010`` with one safetensors file per part of the state and
``state.json``, which holds the facts that are no tensors and a CRC-32 of everything.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from amago_core.durability import publish, set_aside, sync_folder, write_file
from amago_core.tensor_trees import TensorTree, decode_tree, encode_tree
from amago_registry.errors import AmagoError

_log = logging.getLogger(__name__)

_FORMAT = 1
_STATE = "state.json"
_FOLDER = re.compile(r"round-([0-9]{8,})(?:-([0-9]+))?")
_PART = re.compile(r"[a-z0-9][a-z0-9_-]*")


class CheckpointError(AmagoError):
    """A checkpoint that cannot be written, or is not what was written."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A finished checkpoint, without its tensors.

    Args:
        path: Its folder.
        round: Rounds done when it was written.
        update: Updates done when it was written.
        facts: What was stored beside the tensors.
        parts: CRC-32 of each part's file.
    """

    path: Path
    round: int
    update: int
    facts: dict[str, Any]
    parts: dict[str, int]


class CheckpointStore:
    """The checkpoints of a run; one process writes, any number may read.

    Args:
        folder: Where they lie; need not exist yet.
        keep: How many are kept; older ones are removed after a new one is finished.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"at least one checkpoint must be kept, not {keep}")
        self._folder = folder
        self._keep = keep

    def save(
        self,
        round: int,  # noqa: A002 - the word of the spec
        update: int,
        tensors: Mapping[str, TensorTree],
        facts: Mapping[str, Any],
    ) -> Checkpoint:
        """Write a checkpoint; it exists once this returns, and survives any crash from then on.

        A checkpoint of the same round is replaced. Those of later rounds (training went back to before
        them) are moved into ``set-aside/``.

        Args:
            round: Rounds done.
            update: Updates done.
            tensors: A tree of tensors for each part of the state, such as ``model``.
            facts: What JSON can hold: integers of any size, finite numbers, text, None, lists and
                dictionaries. Tuples come back as lists.

        Raises:
            CheckpointError: If the disk refuses.
            ValueError: If a name of a part, a key or a fact cannot be stored.
            TypeError: If a leaf is no tensor or a fact is nothing JSON can hold.
        """
        facts = dict(facts)
        _check_facts(facts, "facts")
        files = {_part_name(part): encode_tree(tree) for part, tree in tensors.items()}
        parts = {part: zlib.crc32(data) for part, data in files.items()}
        state = {
            "format": _FORMAT,
            "round": round,
            "update": update,
            "parts": parts,
            "facts": facts,
        }
        contents = {f"{part}.safetensors": data for part, data in files.items()}
        contents[_STATE] = _seal(state)
        path = self._folder / self._free_name(round)
        try:
            self._write(path, contents)
            self._tidy(path)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written: {error}") from error
        return Checkpoint(path, round, update, json.loads(json.dumps(facts)), parts)

    def kept(self) -> list[Checkpoint]:
        """Return the checkpoints whose ``state.json`` is whole, oldest first; tensors are not read."""
        found = []
        for path in self._paths():
            try:
                found.append(read_checkpoint(path))
            except CheckpointError as error:
                _log.warning("%s", error)
        return found

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, or None; others are skipped with a warning."""
        checkpoint, reasons = self.survey()
        for reason in reasons:
            _log.warning("%s", reason)
        return checkpoint

    def survey(self) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """Return the newest checkpoint that is whole, and why each newer one was skipped."""
        reasons = []
        for path in reversed(self._paths()):
            try:
                checkpoint = read_checkpoint(path)
                for part in checkpoint.parts:
                    _read_part(checkpoint, part)
            except CheckpointError as error:
                reasons.append(str(error))
            else:
                return checkpoint, tuple(reasons)
        return None, tuple(reasons)

    def load(self, checkpoint: Checkpoint) -> tuple[dict[str, TensorTree], dict[str, Any]]:
        """Return the tensors of a checkpoint, on the CPU, and its facts.

        Raises:
            CheckpointError: If a file is missing or not what was written.
        """
        tensors = {}
        for part in checkpoint.parts:
            try:
                tensors[part] = decode_tree(_read_part(checkpoint, part))
            except ValueError as error:
                raise CheckpointError(f"the checkpoint {checkpoint.path} is damaged: {error}") from None
        return tensors, checkpoint.facts

    def _paths(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(
            (path for path in self._folder.iterdir() if path.is_dir() and _FOLDER.fullmatch(path.name)),
            key=_order,
        )

    def _free_name(self, round: int) -> str:  # noqa: A002
        """Return a name no folder has: what is replaced stays until the new one is finished."""
        taken = [copy for path in self._paths() for number, copy in [_order(path)] if number == round]
        name = f"round-{round:08}"
        return f"{name}-{max(taken) + 1}" if taken else name

    def _write(self, path: Path, contents: Mapping[str, bytes]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob(".round-*.tmp"):
            shutil.rmtree(leftover)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.mkdir()
        for name, data in contents.items():
            write_file(temporary / name, data)
        sync_folder(temporary)
        publish(temporary, path)

    def _tidy(self, newest: Path) -> None:
        paths = self._paths()
        until = paths.index(newest)
        for path in paths[until + 1 :]:
            set_aside(path)
        replaced = [path for path in paths[:until] if _order(path)[0] == _order(newest)[0]]
        before = [path for path in paths[:until] if path not in replaced]
        for path in before[: max(0, len(before) + 1 - self._keep)] + replaced:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        """Remove a checkpoint so that nobody ever sees half of it."""
        temporary = path.with_name(f".{path.name}.tmp")
        path.rename(temporary)
        shutil.rmtree(temporary)


def _order(path: Path) -> tuple[int, int]:
    match = _FOLDER.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 1)


def _part_name(part: str) -> str:
    if not _PART.fullmatch(part):
        raise ValueError(f"'{part}' cannot name a part of a checkpoint; use a-z, 0-9, - and _")
    return part


def _check_facts(value: object, key: str) -> None:
    """Refuse what JSON would not give back as it was."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{key} has the key {name!r}, which is no string")
            _check_facts(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _check_facts(item, f"{key}[{place}]")
    elif isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{key} is {value}, which a checkpoint cannot hold")
    elif value is not None and not isinstance(value, str | int):
        raise TypeError(f"{key} is a {type(value).__name__}, which a checkpoint cannot hold")


def _seal(state: Mapping[str, Any]) -> bytes:
    """Return ``state.json`` with the CRC-32 of its own contents."""
    sealed = {"crc32": _crc32(state), "state": state}
    return json.dumps(sealed, indent=1, allow_nan=False).encode()


def _crc32(state: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(state, sort_keys=True, allow_nan=False).encode())


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in a folder, whatever the folder is called.

    Raises:
        CheckpointError: If it is damaged, or of a format that this version does not read.
    """
    try:
        sealed = json.loads((path / _STATE).read_bytes())
        state = sealed["state"]
        if sealed["crc32"] != _crc32(state):
            raise ValueError(f"{_STATE} does not have the checksum it was written with")
        if state["format"] != _FORMAT:
            raise ValueError(f"it has format {state['format']}, this version reads {_FORMAT}")
        parts = {_part_name(part): int(crc) for part, crc in state["parts"].items()}
        return Checkpoint(path, int(state["round"]), int(state["update"]), dict(state["facts"]), parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {_reason(error)}") from None


def _read_part(checkpoint: Checkpoint, part: str) -> bytes:
    file = f"{part}.safetensors"
    try:
        data = (checkpoint.path / file).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {checkpoint.path} is damaged: {_reason(error)}"
        ) from None
    if zlib.crc32(data) != checkpoint.parts[part]:
        raise CheckpointError(
            f"the checkpoint {checkpoint.path} is damaged: "
            f"{file} does not have the checksum it was written with"
        )
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{Path(error.filename).name} is missing"
    if type(error) is ValueError or isinstance(error, OSError):  # json's own are subclasses
        return str(error)
    return f"{_STATE} is not what a checkpoint holds"
