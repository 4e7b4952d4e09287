"""Malicious runs and checkpoints: loading raises an AmagoError, whatever they hold.

Checksums do not help here: an attacker writes valid ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ready_runs import checkpoint, forge, ready, store
from safetensors.torch import save as save_tensors

import amago_core
from amago_core.errors import AmagoError, RunDirError
from amago_core.run_folder.checkpoints import (
    STATE,
    CheckpointError,
    CheckpointStore,
    _seal,
    checkpoint_errors,
    read_checkpoint,
)
from amago_core.run_folder.spaces_json import read_spaces
from amago_core.run_folder.transfer import read_weights
from amago_core.system.tensor_tree import decode_tree
from amago_core.system.untrusted_files import crc32_regular, memory_share, read_regular


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unmodified run, with the checkpoints of rounds 0 and 4."""
    return ready(tmp_path_factory.mktemp("runs") / "good", rounds=(0, 4))


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    """A copy of it with one checkpoint."""
    copy = tmp_path / "run"
    shutil.copytree(good, copy)
    shutil.rmtree(checkpoint(copy, 0))
    return copy


def refusal(run: Path) -> str:
    """Return the error of loading a run."""
    with pytest.raises(AmagoError) as caught:
        amago_core.load(run)
    return str(caught.value)


def why_damaged(run: Path) -> str:
    """Return why the run's only checkpoint is damaged."""
    return (
        refusal(run)
        .removeprefix(f"{run} holds no intact checkpoint:\n  ")
        .removeprefix(f"the checkpoint {checkpoint(run, 4)} is damaged: ")
    )


def tensor_file(header: object, body: bytes = b"") -> bytes:
    """Return a safetensors file of a given header and contents."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def one(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4), size: int = 4) -> bytes:
    header = {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}
    return tensor_file(header, bytes(size))


HEADERS = {
    "nothing": b"",
    "too short": b"1234567",
    "a length beyond every file": struct.pack("<Q", 2**63) + b"{}",
    "a header of only names": struct.pack("<Q", 10_000_001) + b"{}",
    "a shape that is not there": one(shape=[2**40]),
    "a shape that overflows": one(shape=[2**63, 2]),
    "a negative shape": one(shape=[-1]),
    "a shape of fractions": one(shape=[0.5]),
    "an integer of a thousand digits": one(shape=[int("9" * 1000)]),
    "offsets out of range": one(size=2),
    "a hole": one(offsets=(4, 8), size=8),
    "offsets backwards": one(offsets=(4, 0)),
    "offsets beyond 64 bits": one(offsets=(0, 2**65)),
    "overlapping tensors": tensor_file(
        {x: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for x in "ab"}, bytes(4)
    ),
    "more bytes than tensors": one(size=9),
    "a type that lies": one("F64"),
    "an unknown type": one("F99"),
    "a type of half bytes": one("F4", shape=[8]),
    "a deep header": tensor_file(b"[" * 100_000),
    "a deep name": tensor_file(
        {"/".join("a" * 50_000): {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "a name that is no text": tensor_file(b'{"\xff": 1}'),
    "half a letter": tensor_file(b'{"\\ud800": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
    "nan": tensor_file(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}', bytes(4)),
    "a pickle": pickle.dumps({"a": np.zeros(3)}),
    "empty and without end": one(shape=[0, 2**63], offsets=(0, 0), size=0),
}


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS)
def test_an_invalid_safetensors_file_is_an_error(run: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a tree of tensors: "):
        decode_tree(data)
    forge(checkpoint(run, 4), data)
    assert why_damaged(run).startswith("not a tree of tensors: ")
    with pytest.raises(AmagoError):
        read_weights(str(run))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (HEADERS["a type of half bytes"], "torch has no type 'F4'"),
        (HEADERS["a header of only names"], "its header is longer than 10,000,000 bytes"),
        (HEADERS["a deep name"], "a path of 50000 keys is too long"),
    ],
    ids=["type", "header", "path"],
)
def test_files_that_safetensors_accepts_may_still_be_an_error(run: Path, data: bytes, why: str) -> None:
    forge(checkpoint(run, 4), data)
    assert why_damaged(run) == f"not a tree of tensors: {why}"


@pytest.mark.parametrize(
    "names", [("../../x",), ("/etc/passwd",), ("..",), ("a/b", "a//c")], ids=" ".join
)
def test_tensor_names_that_look_like_paths_write_no_file(run: Path, names: tuple[str, ...]) -> None:
    before = sorted(run.rglob("*"))
    forge(checkpoint(run, 4), save_tensors({name: torch.zeros(1) for name in names}))
    refusal(run)
    assert sorted(run.rglob("*")) == before


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([2**63, -1, 10**400, 1e308, 0.5, ""]),
    st.text(max_size=4),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("model./", max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["format", "round", "update", "parts", "facts", "state", "crc32"]),
    value=VALUES,
)
def test_any_state_json_is_read_or_an_error(run: Path, key: str, value: Any) -> None:
    folder = checkpoint(run, 4)
    sealed = json.loads((folder / STATE).read_bytes())
    original = (folder / STATE).read_bytes()
    if key in sealed:
        (folder / STATE).write_text(json.dumps(sealed | {key: value}))
    else:
        (folder / STATE).write_bytes(_seal(sealed["state"] | {key: value}))
    try:
        with contextlib.suppress(CheckpointError):
            found = read_checkpoint(folder)
            assert 0 <= found.round < 2**63
            assert 0 <= found.update < 2**63
            assert isinstance(found.facts, dict)
        with contextlib.suppress(CheckpointError):
            CheckpointStore(run / "checkpoints", keep=1).latest()
    finally:
        (folder / STATE).write_bytes(original)


@pytest.mark.parametrize(
    "text",
    [
        '{"crc32": 0, "state": {"round": NaN}}',
        '{"crc32": 0, "state": {"round": ' + "9" * 5000 + "}}",
        "\ufeff{}",
    ],
    ids=["nan", "digits", "mark"],
)
def test_json_that_only_some_parsers_read_is_an_error(run: Path, text: str) -> None:
    (checkpoint(run, 4) / STATE).write_text(text)
    assert why_damaged(run) == "state.json is not in the format of a checkpoint"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(["spec.yaml", "spaces.json", "model.safetensors", "state.json"]),
    place=st.integers(0, 10**6),
    data=st.binary(min_size=1, max_size=3),
)
def test_changed_bytes_anywhere_raise_at_most_an_amago_error(
    run: Path, file: str, place: int, data: bytes
) -> None:
    path = run / file if (run / file).exists() else checkpoint(run, 4) / file
    original = path.read_bytes()
    place %= len(original)
    path.write_bytes(original[:place] + data + original[place + len(data) :])
    try:
        with contextlib.suppress(AmagoError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium warns of odd spaces.
            amago_core.load(run)
    finally:
        path.write_bytes(original)


FILES = ["state.json", "model.safetensors"]


@pytest.mark.parametrize("file", FILES)
def test_a_link_out_of_a_checkpoint_is_not_followed(run: Path, tmp_path: Path, file: str) -> None:
    path = checkpoint(run, 4) / file
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert why_damaged(run) == f"{file} is a symbolic link, which is not followed"


@pytest.mark.parametrize("file", FILES)
def test_a_pipe_or_folder_in_place_of_a_file_is_an_error_without_blocking(run: Path, file: str) -> None:
    path = checkpoint(run, 4) / file
    for make in (os.mkfifo, os.mkdir):
        path.unlink()
        make(path)
        assert why_damaged(run) == f"{file} is not a regular file"
        shutil.rmtree(path) if path.is_dir() else None
        path.touch()


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_too_large_is_not_read(run: Path, file: str) -> None:
    most = 2**26 if file == "state.json" else memory_share()
    with (checkpoint(run, 4) / file).open("wb") as sparse:
        sparse.truncate(2**40)
    assert why_damaged(run) == f"{file} has {2**40:,} bytes, more than the limit of {most:,}"


def test_a_linked_folder_is_not_a_checkpoint(run: Path, good: Path) -> None:
    checkpoints = run / "checkpoints"
    shutil.rmtree(checkpoint(run, 4))
    (checkpoints / "round-00000009").symlink_to(checkpoint(good, 4))
    (checkpoints / "best").symlink_to(good / "checkpoints")
    assert refusal(run) == f"{run} holds no checkpoint."
    assert store(run).best() is None


def test_a_file_is_read_up_to_a_limit_and_in_chunks(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 5000)
    assert read_regular(path, 1_280_000) == path.read_bytes()
    assert crc32_regular(path, 1_280_000) == zlib.crc32(path.read_bytes())
    with pytest.raises(
        ValueError, match=r"^data has 1,280,000 bytes, more than the limit of 1,279,999$"
    ):
        crc32_regular(path, 1_279_999)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "KeyError: 'observation'"),
        ("[]", "TypeError: list indices must be integers or slices, not str"),
        ("[" * 100_000, "RecursionError: maximum recursion depth exceeded while decoding a JSON array "
         "from a unicode string"),
        ('{"observation": {"type": "MultiBinary", "n": -1}}',
         "ValueError: -1 is not a size of a space"),
        ('{"observation": {"type": "MultiBinary", "n": 1.5}}',
         "ValueError: 1.5 is not a size of a space"),
        ('{"observation": {"type": "Discrete", "n": true, "start": 0}}',
         "ValueError: True is not a size of a space"),
        ('{"observation": {"type": "Discrete", "n": 2, "start": 0, "dtype": "O"}}',
         "ValueError: 'O' is not a dtype of a space"),
        ('{"observation": {"type": "Discrete", "n": 2, "start": 0, "dtype": "float32"}}',
         "ValueError: float32 is not a dtype of a Discrete"),
        ('{"observation": {"type": "Discrete", "n": 2, "start": 1e9}}',
         "ValueError: a number of choices or a start is not a 64-bit integer"),
        ('{"observation": {"type": "MultiDiscrete", "nvec": [2], "start": [0, 0], "dtype": "int64"}}',
         "ValueError: nvec and start of a MultiDiscrete differ in shape"),
        ('{"observation": {"type": "Box", "low": ["0"], "high": ["1"], "shape": [2147483647], '
         '"dtype": "float32"}}',
         "ValueError: cannot reshape array of size 1 into shape (2147483647,)"),
        ('{"observation": {"type": "Box", "low": ["0"], "high": ["nan"], "shape": [1], '
         '"dtype": "float32"}}', "ValueError: a bound of a Box is not a number"),
        ('{"observation": {"type": "Box", "low": ["0"], "high": ["1"], "shape": [1], '
         '"dtype": "U1000000000"}}', "ValueError: 'U1000000000' is not a dtype of a space"),
        ('{"observation": {"type": "Box", "low": ["0"], "high": ["' + "1" * 41 + '"], "shape": [1], '
         '"dtype": "float32"}}',
         "ValueError: a bound of a Box is not a list of numbers as short strings"),
    ],
)  # fmt: skip
def test_invalid_spaces_are_an_error(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "spaces.json"
    path.write_text(text)
    with pytest.raises(RunDirError) as caught:
        read_spaces(path)
    assert str(caught.value) == f"{path} is damaged: {why}"


def test_deeply_nested_spaces_are_an_error(tmp_path: Path) -> None:
    described: dict[str, Any] = {"type": "MultiBinary", "n": 1}
    for _ in range(40):
        described = {"type": "Tuple", "spaces": [described]}
    (tmp_path / "spaces.json").write_text(json.dumps({"observation": described}))
    with pytest.raises(RunDirError) as caught:
        read_spaces(tmp_path / "spaces.json")
    assert str(caught.value) == (
        f"{tmp_path / 'spaces.json'} is damaged: ValueError: spaces are nested more than 32 deep"
    )


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_spaces_are_read_only_from_an_ordinary_file(run: Path, make: Callable[[Path], None]) -> None:
    (run / "spaces.json").unlink()
    make(run / "spaces.json")
    assert refusal(run).startswith(f"{run}/spaces.json is damaged: ValueError: spaces.json is ")


SPACES = st.recursive(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Discrete", "MultiDiscrete", "MultiBinary", "Box"])},
        optional={
            "n": VALUES, "start": VALUES, "nvec": VALUES, "low": VALUES, "high": VALUES,
            "shape": VALUES, "dtype": st.sampled_from(["int8", "uint64", "float16", "bool", "O", "V9"]),
        },
    ),
    lambda inner: st.builds(
        lambda kind, inside: {"type": kind, "spaces": inside},
        st.sampled_from(["Dict", "Tuple"]),
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2) | VALUES,
    ),
    max_leaves=3,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(described=SPACES)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_any_spaces_json_is_read_or_an_error(tmp_path: Path, described: Any) -> None:
    path = tmp_path / "spaces.json"
    path.write_text(json.dumps({"observation": described, "action": described}))
    with contextlib.suppress(AmagoError):
        read_spaces(path)


@pytest.mark.parametrize(
    "error", [KeyError("seconds"), TypeError("x"), RuntimeError("y"), IndexError()]
)
def test_unexpected_facts_are_one_error_that_names_the_checkpoint(run: Path, error: Exception) -> None:
    found = read_checkpoint(checkpoint(run, 4))
    with pytest.raises(CheckpointError) as caught, checkpoint_errors(found):
        raise error
    assert str(caught.value).startswith(
        f"the checkpoint {found.path} does not hold what this run needs: {type(error).__name__}"
    )


WATCH = """
import os, sys
from pathlib import Path
import amago_core
from amago_core.errors import AmagoError

good, *hostile = map(Path, sys.argv[1:])
amago_core.load(good)  # Imports everything before the audit hook is installed.
BANNED = ("pickle.", "os.system", "subprocess.", "os.exec", "os.posix_spawn", "socket.", "exec",
          "compile", "import", "ctypes.", "os.remove", "os.rename", "os.mkdir", "shutil.")
seen = []

def watch(event, args):
    if event.startswith(BANNED):
        seen.append((event, args[:1]))
    if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        name = os.fsdecode(args[0])
        # Where links are not followed, opening one fails and its target is not opened.
        path = os.path.abspath(name) if args[2] & os.O_NOFOLLOW else os.path.realpath(name)
        if not path.startswith((str(current), sys.prefix, sys.base_prefix)):
            seen.append((event, path))

current = good
sys.addaudithook(watch)
errors = 0
for current in hostile:
    try:
        amago_core.load(current)
    except AmagoError:
        errors += 1
print(errors, seen)
"""


def test_loading_executes_no_code_and_opens_no_file_outside_the_run(good: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch /tmp/owned",)

    def copy(name: str) -> Path:
        shutil.copytree(good, tmp_path / name)
        shutil.rmtree(checkpoint(tmp_path / name, 0))
        return tmp_path / name

    pickled, tagged, linked, spaces, code = map(copy, ("pickled", "tagged", "linked", "spaces", "code"))
    forge(checkpoint(pickled, 4), pickle.dumps(Payload()))
    (checkpoint(pickled, 4) / "model.pt").write_bytes(pickle.dumps(Payload()))
    spec = (tagged / "spec.yaml").read_text()
    (tagged / "spec.yaml").write_text(f"{spec}\nnotes: !!python/object/apply:os.system ['exit']\n")
    model = checkpoint(linked, 4) / "model.safetensors"
    model.unlink()
    model.symlink_to("/etc/passwd")
    (spaces / "spaces.json").unlink()
    (spaces / "spaces.json").symlink_to("/etc/passwd")
    (code / "spec.yaml").write_text(spec.replace("standard/gru", "os/system"))
    hostile = (pickled, tagged, linked, spaces, code)
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(good), *map(str, hostile)], capture_output=True, text=True
    )
    assert done.stdout == f"{len(hostile)} []\n", done.stdout + done.stderr
