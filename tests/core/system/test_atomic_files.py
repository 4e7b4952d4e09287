"""Atomic file writes: a file is complete or absent."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from amago_core.system import atomic_files
from amago_core.system.atomic_files import copy_file, name_new, replace_file, set_aside
from amago_core.system.untrusted_files import read_regular


@pytest.mark.parametrize("links", [True, False])
def test_name_new_never_replaces_another_file(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    temporary, final = tmp_path / ".a.tmp", tmp_path / "a"
    temporary.write_text("first")
    name_new(temporary, final)
    temporary.write_text("second")
    with pytest.raises(FileExistsError):
        name_new(temporary, final)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a": "first", ".a.tmp": "second",
    }  # fmt: skip


def test_a_failed_replacement_keeps_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("before")

    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_files, "write_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        replace_file(path, b"after")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a", "before")]


def test_set_aside_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set-aside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        set_aside(tmp_path / "a")
    assert str(caught.value) == f"[Errno 20] it is a link: '{tmp_path / 'set-aside'}'"
    assert (tmp_path / "a").exists()


def test_copying_a_large_file_and_reading_a_small_one_take_little_memory(tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    with large.open("wb") as file:
        file.truncate(2**24)
    small.write_bytes(b"small")
    tracemalloc.start()
    try:
        copy_file(large, tmp_path / "copy")
        assert read_regular(small, 2**26) == b"small"
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert (tmp_path / "copy").stat().st_size == 2**24
