"""Full disk while a checkpoint is saved: a clear error, and no earlier checkpoint is lost."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from amago_core.run_folder.checkpoints import CheckpointError, CheckpointStore
from amago_core.system.tensor_tree import TensorTree


def tensors(size: int = 4) -> dict[str, TensorTree]:
    return {"model": {"w": torch.zeros(size)}, "learner": {"w": torch.zeros(size)}}


def save_error(save: Callable[..., object]) -> str | None:
    """Return the error of saving round 2; None if it was saved."""
    try:
        save(2, 20, tensors(), {"mean_return": 2.0})
    except CheckpointError as error:
        return str(error)
    return None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def message(path: Path) -> str:
    return (
        f"{path} cannot be written: No space left on device. Make room on that disk and continue with "
        "--resume. The checkpoints before it are as they were."
    )


@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
@pytest.mark.parametrize("calls_before", range(3))
def test_earlier_checkpoints_survive_a_full_disk_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, calls_before: int
) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, 10, tensors(), {"n": 1})
    store.save_best(1, 10, tensors(), {"mean_return": 1.0})
    original, left = getattr(os, call), calls_before

    def full(*args: object, **kwargs: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        for save, folder in ((store.save, tmp_path), (store.save_best, tmp_path / "best")):
            left = calls_before
            error = save_error(save)
            assert error in (None, message(folder / "round-00000002"))
    latest, best = store.latest(), store.best()
    assert latest is not None
    assert best is not None
    assert latest.round in (1, 2)
    assert best.round in (1, 2)
    assert not [name for name in (*names(tmp_path), *names(tmp_path / "best")) if "tmp" in name]
    assert store.save(3, 30, tensors(), {}).round == 3
    saved = store.save_best(3, 30, tensors(), {"mean_return": 3.0})
    assert saved is not None
    assert names(tmp_path / "best") == ["round-00000003"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this user cannot mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_real_full_disk_keeps_earlier_checkpoints_and_no_partial_one(
    small_disk: Path,
) -> None:
    folder = small_disk / "checkpoints"
    store = CheckpointStore(folder, keep=2)
    store.save(1, 10, tensors(60_000), {"n": 1})  # 2 x 240 kB
    with pytest.raises(CheckpointError) as caught:
        store.save(2, 20, tensors(80_000), {})
    assert str(caught.value) == message(folder / "round-00000002")
    assert names(folder) == ["round-00000001"]
    latest, reasons = store.find_latest()
    assert reasons == ()
    assert latest is not None
    assert store.load(latest)[1] == {"n": 1}
    with pytest.raises(CheckpointError) as caught:
        store.save_best(2, 20, tensors(80_000), {"mean_return": 1.0})
    assert str(caught.value) == message(folder / "best" / "round-00000002")
    assert store.save(3, 30, tensors(30_000), {}).round == 3
