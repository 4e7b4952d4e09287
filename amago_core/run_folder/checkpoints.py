"""Checkpoints: folders of safetensors and JSON that are written atomically.

A checkpoint is a folder ``round-00000010`` with one safetensors file per part of the state and
``state.json``, which holds the facts that are not tensors and a CRC-32 of everything. The folder
``best`` beside them holds one checkpoint of the same form: the weights of the best evaluation so far.

A checkpoint may come from an untrusted source. Nothing in it is executed, links in it are not followed,
and no file is read that is larger than a quarter of this machine's memory.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from math import isfinite
from pathlib import Path
from typing import Any, TypeGuard

from amago_core.run_folder.run_dir import RunDir
from amago_core.system.atomic_files import publish, set_aside, sync_folder, write_file
from amago_core.system.tensor_tree import TensorTree, decode_tree, encode_tree
from amago_core.system.untrusted_files import crc32_regular, memory_share, read_regular
from amago_registry.errors import AmagoError, reason

_log = logging.getLogger(__name__)

BEST = "best"
"""Subfolder of the checkpoint with the best evaluation."""

STATE = "state.json"
"""The file that makes a folder a checkpoint."""

_FORMAT = 1

_MAX_STATE_BYTES = 1 << 26

_MAX_COUNT = 2**63

_FOLDER = re.compile(r"round-([0-9]{8,})(?:-([0-9]+))?")

_PART = re.compile(r"[a-z0-9][a-z0-9_-]*")


class CheckpointError(AmagoError):
    """A checkpoint that cannot be written, or that is missing, damaged or does not fit the run."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The metadata of a finished checkpoint: everything but its tensors.

    Args:
        path: Its folder.
        round: Rounds done when it was written.
        update: Updates done when it was written.
        facts: Values stored beside the tensors.
        parts: CRC-32 of each part's file.
    """

    path: Path
    round: int
    update: int
    facts: dict[str, Any]
    parts: dict[str, int]


class CheckpointStore:
    """The checkpoints in a folder; one process writes, any number may read.

    Args:
        folder: Their folder; it need not exist yet.
        keep: How many are kept; older ones are deleted after a new one is finished.
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
        """Write a checkpoint atomically; once this returns, it survives any crash.

        A checkpoint of the same round is replaced. Those of later rounds, which exist where training
        resumed from an earlier one, are moved into ``set-aside/``.

        Args:
            round: Rounds done.
            update: Updates done.
            tensors: A tree of tensors for each part of the state, such as ``model``.
            facts: Values for JSON: integers of any size, finite numbers, text, None, lists and
                dictionaries. Tuples are loaded as lists.

        Raises:
            CheckpointError: If it cannot be written.
            ValueError: If a name of a part, a key or a fact cannot be stored.
            TypeError: If a leaf is not a tensor or a fact cannot be stored as JSON.
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
        contents[STATE] = _seal(state)
        path = self._folder / self._free_name(round)
        try:
            self._write(path, contents)
            self._prune(path)
        except OSError as error:
            self._remove_unfinished()
            raise CheckpointError(_not_written(path, error)) from error
        return Checkpoint(path, round, update, json.loads(json.dumps(facts)), parts)

    def save_best(
        self,
        round: int,  # noqa: A002
        update: int,
        tensors: Mapping[str, TensorTree],
        facts: Mapping[str, Any],
    ) -> Checkpoint | None:
        """Save ``best``, the checkpoint of the best evaluation, if this evaluation is better.

        A crash leaves the previous or the new one. ``keep`` does not apply to it.

        Args:
            round: Rounds done.
            update: Updates done.
            tensors: As for :meth:`save`; to act, ``{"model": ...}`` is enough.
            facts: As for :meth:`save`, with the finite number ``mean_return``.

        Returns:
            The checkpoint; None if the best so far is as good.

        Raises:
            CheckpointError: If it cannot be written.
            ValueError: If ``mean_return`` is missing or not finite, or something cannot be stored.
            TypeError: If a leaf is not a tensor or a fact cannot be stored as JSON.
        """
        if not _is_finite(facts.get("mean_return")):
            raise ValueError(f"the mean_return of an evaluation is {facts.get('mean_return')!r}")
        before = self.best()
        if before is not None and before.facts["mean_return"] >= facts["mean_return"]:
            return None
        return _BestStore(self._folder / BEST, keep=1).save(round, update, tensors, facts)

    def best(self) -> Checkpoint | None:
        """Return the checkpoint of the best evaluation, or None; log a warning if it is damaged."""
        intact: list[Checkpoint] = []
        if not _is_folder(self._folder / BEST):
            return None
        for path in _BestStore(self._folder / BEST, keep=1)._paths():
            try:
                checkpoint = check_intact(read_checkpoint(path))
                if not _is_finite(checkpoint.facts.get("mean_return")):
                    raise _damaged(path, f"{STATE} has no finite mean_return")
                intact.append(checkpoint)
            except CheckpointError as error:
                _log.warning("%s", error)
        # After a crash there may be two: the better one was published and the other not yet deleted.
        return max(intact, key=lambda found: (found.facts["mean_return"], found.update), default=None)

    def kept(self) -> list[Checkpoint]:
        """Return the checkpoints whose ``state.json`` is intact, oldest first; tensors are not read."""
        found = []
        for path in self._paths():
            try:
                found.append(read_checkpoint(path))
            except CheckpointError as error:
                _log.warning("%s", error)
        return found

    def latest(self, parts: Collection[str] | None = None) -> Checkpoint | None:
        """Return the newest intact checkpoint, or None; log a warning for each damaged one.

        Args:
            parts: The parts that must be intact; None for all of them.
        """
        checkpoint, reasons = self.find_latest(parts)
        warn_skipped(checkpoint, reasons)
        return checkpoint

    def find_latest(
        self, parts: Collection[str] | None = None
    ) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """Return the newest intact checkpoint, and why each newer one was skipped.

        Args:
            parts: The parts that must be intact; None for all of them.
        """
        paths, seen, reasons = self._paths(), list[Path](), list[str]()
        # A run that is still training may delete one before it is read: then list the folder again.
        while paths != seen:
            reasons = []
            for path in reversed(paths):
                try:
                    return check_intact(read_checkpoint(path), parts), tuple(reasons)
                except CheckpointError as error:
                    reasons.append(str(error))
            paths, seen = self._paths(), paths
        return None, tuple(reasons)

    def load(self, checkpoint: Checkpoint) -> tuple[dict[str, TensorTree], dict[str, Any]]:
        """Return the tensors of a checkpoint, on the CPU, and its facts.

        Raises:
            CheckpointError: If a file is missing or damaged.
        """
        return {part: read_part(checkpoint, part) for part in checkpoint.parts}, checkpoint.facts

    def _paths(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(
            (
                path
                for path in self._folder.iterdir()
                if _FOLDER.fullmatch(path.name) and _is_folder(path)
            ),
            key=_order,
        )

    def _free_name(self, round: int) -> str:  # noqa: A002
        """Return an unused name: one of the same round is kept until the new one is finished."""
        copies = [copy for path in self._paths() for number, copy in [_order(path)] if number == round]
        name = f"round-{round:08}"
        return f"{name}-{max(copies) + 1}" if copies else name

    def _write(self, path: Path, contents: Mapping[str, bytes]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.mkdir()
        for name, data in contents.items():
            write_file(temporary / name, data)
        sync_folder(temporary)
        publish(temporary, path)

    def _remove_unfinished(self) -> None:
        """Delete folders of checkpoints whose writing or deletion was interrupted."""
        for leftover in self._folder.glob(".round-*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _prune(self, newest: Path) -> None:
        paths = self._paths()
        until = paths.index(newest)
        for path in paths[until + 1 :]:
            set_aside(path)
        replaced = [path for path in paths[:until] if _order(path)[0] == _order(newest)[0]]
        before = [path for path in paths[:until] if path not in replaced]
        for path in before[: max(0, len(before) + 1 - self._keep)] + replaced:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        """Delete a checkpoint; renamed first, so that a reader never sees it incomplete."""
        temporary = path.with_name(f".{path.name}.tmp")
        path.rename(temporary)
        shutil.rmtree(temporary)


class _BestStore(CheckpointStore):
    """A store of one checkpoint: the last one saved, whatever its round."""

    def _prune(self, newest: Path) -> None:
        for path in self._paths():
            if path != newest:
                self._remove(path)


def _is_folder(path: Path) -> bool:
    """Return whether it is a folder, not a link: a link may lead out of this store."""
    return path.is_dir() and not path.is_symlink()


def _not_written(path: Path, error: OSError) -> str:
    why = f"{path} cannot be written: {error.strerror or error}."
    if error.errno in (ENOSPC, EDQUOT):
        why = f"{why} Make room on that disk and continue with --resume."
    return f"{why} The checkpoints before it are as they were."


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _order(path: Path) -> tuple[int, int]:
    match = _FOLDER.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 1)


def _part_name(part: str) -> str:
    if not _PART.fullmatch(part):
        raise ValueError(f"'{part:.60}' cannot name a part of a checkpoint; use a-z, 0-9, - and _")
    return part


def _check_facts(value: object, key: str) -> None:
    """Raise for values that JSON does not restore exactly."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{key} has the key {name!r}, which is not a string")
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


def warn_skipped(used: Checkpoint | None, reasons: Sequence[str]) -> None:
    """Log why newer checkpoints were skipped, and which one is used instead."""
    for why in reasons:
        _log.warning("%s", why)
    if reasons and used is not None:
        place = (used.path, used.round, used.update)
        _log.warning("the checkpoint before it is used: %s (round %d, update %d)", *place)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the metadata of the checkpoint in a folder of any name; its tensors are not read.

    Raises:
        CheckpointError: If it is damaged, or has a format that this version cannot read.
    """
    try:
        sealed = _parsed(read_regular(path / STATE, _MAX_STATE_BYTES))
        state = sealed["state"]
        if sealed["crc32"] != _crc32(state):
            raise ValueError(f"{STATE} does not have the checksum it was written with")
        if state["format"] != _FORMAT:
            raise ValueError(f"it has format {state['format']!r:.60}, this version reads {_FORMAT}")
        parts = {_part_name(part): _count(crc) for part, crc in state["parts"].items()}
        counts = _count(state["round"]), _count(state["update"])
        return Checkpoint(path, *counts, dict(state["facts"]), parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, _reason(error)) from None


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise TypeError from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def check_intact(checkpoint: Checkpoint, parts: Collection[str] | None = None) -> Checkpoint:
    """Verify the checksums of a checkpoint's tensor files, and return it.

    Args:
        checkpoint: The checkpoint to verify.
        parts: The parts that must be intact; None for all of them.

    Raises:
        CheckpointError: If a part is missing or damaged.
    """
    for part in checkpoint.parts if parts is None else parts:
        with _open_part(checkpoint, part) as file:
            _check_crc(file, crc32_regular(file, memory_share()), checkpoint.parts[part])
    return checkpoint


def read_part(checkpoint: Checkpoint, part: str) -> TensorTree:
    """Return the tensors of one part, on the CPU.

    Raises:
        CheckpointError: If it has no such part, or the file is missing or damaged.
    """
    with _open_part(checkpoint, part) as file:
        data = read_regular(file, memory_share())
        _check_crc(file, zlib.crc32(data), checkpoint.parts[part])
        return decode_tree(data)


@contextmanager
def checkpoint_errors(checkpoint: Checkpoint) -> Iterator[None]:
    """Convert exceptions over unexpected facts or tensors into an error that names the checkpoint.

    Checksums only detect accidental damage: a checkpoint with valid checksums can hold anything.

    Raises:
        CheckpointError: In place of any exception that is not an AmagoError.
    """
    try:
        yield
    except AmagoError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint {checkpoint.path} does not hold what this run needs: {reason(error)}"
        ) from error


@contextmanager
def _open_part(checkpoint: Checkpoint, part: str) -> Iterator[Path]:
    """Yield the path of a part's file; convert its errors into CheckpointErrors."""
    if part not in checkpoint.parts:
        raise _damaged(checkpoint.path, f"it holds no {part}")
    try:
        yield checkpoint.path / f"{part}.safetensors"
    except (OSError, ValueError) as error:
        raise _damaged(checkpoint.path, _reason(error)) from None


def _check_crc(file: Path, crc: int, written: int) -> None:
    if crc != written:
        raise ValueError(f"{file.name} does not have the checksum it was written with")


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer from 0 to 2**63 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT


def _count(value: object) -> int:
    if not is_count(value):
        raise TypeError
    return value


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint {path} is damaged: {why}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        name = Path(error.filename).name
        missing = isinstance(error, FileNotFoundError)
        return f"{name} is missing" if missing else f"{name} cannot be read: {error.strerror}"
    if type(error) is ValueError or isinstance(error, OSError):  # the json module raises subclasses
        return str(error)
    return f"{STATE} is not in the format of a checkpoint"


def has_checkpoint(folder: RunDir) -> bool:
    """Return whether a run has an intact checkpoint, from which its weights are loaded."""
    return CheckpointStore(folder.checkpoints, keep=1).find_latest()[0] is not None
