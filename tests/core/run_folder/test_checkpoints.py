"""Checkpoints are written atomically, restored exactly, and never executed."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors
from torch import Tensor

import amago_core.run_folder.checkpoints
from amago_core.run_folder.checkpoints import CheckpointError, CheckpointStore
from amago_core.system.tensor_tree import TensorTree, decode_tree, encode_tree


def flat(tree: TensorTree, prefix: str = "") -> dict[str, tuple[torch.dtype, Any] | None]:
    """Return every leaf by its path; None for an empty dictionary."""
    found: dict[str, tuple[torch.dtype, Any] | None] = {}
    for key, node in tree.items():
        if isinstance(node, Tensor):
            found[prefix + key] = (node.dtype, node.tolist())
        else:
            found |= flat(node, f"{prefix}{key}/") or {prefix + key: None}
    return found


TENSORS = st.builds(
    lambda shape, dtype: (
        torch.arange(int(np.prod(shape)), dtype=torch.float64).reshape(shape).to(dtype)
    ),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8]),
)
TREES = st.recursive(
    st.dictionaries(st.text("ab.é ", min_size=1, max_size=3), TENSORS, max_size=3),
    lambda trees: st.dictionaries(st.text("ab.", min_size=1, max_size=3), trees, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_a_tensor_tree_is_always_restored(tree: TensorTree) -> None:
    assert flat(decode_tree(encode_tree(tree))) == flat(tree)


def test_tensors_that_share_memory_are_stored_separately() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    tree: TensorTree = {"whole": whole, "again": whole, "part": whole[0], "turned": whole.T}
    assert flat(decode_tree(encode_tree(tree))) == flat(tree)
    assert whole.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_parameter_is_restored_as_a_writable_tensor() -> None:
    back = decode_tree(encode_tree({"weight": torch.nn.Parameter(torch.zeros(2))}))["weight"]
    assert isinstance(back, Tensor)
    assert back.add_(1).tolist() == [1, 1]


def test_the_same_tree_has_the_same_bytes() -> None:
    tree: TensorTree = {"b": {"c": torch.ones(3), "d": {}}, "a": torch.zeros(2)}
    assert encode_tree(tree) == encode_tree(decode_tree(encode_tree(tree)))


@pytest.mark.parametrize(
    ("tree", "kind", "message"),
    [
        ({"a": {"b/c": {}}}, ValueError, "the key 'b/c' below 'a/' is empty or holds a '/'"),
        ({"": torch.zeros(1)}, ValueError, "the key '' below '' is empty or holds a '/'"),
        ({"a": {3: torch.zeros(1)}}, TypeError, "the key 3 below 'a/' is not a string"),
        ({"a": {"b": 0.5}}, TypeError, "'a/b' is a float, not a tensor"),
    ],
)
def test_a_tree_that_cannot_be_restored_is_an_error(
    tree: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        encode_tree(tree)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("paths", "invalid"),
    [
        (["a", "a/b"], "a/b"),
        (["a//b"], "a//b"),
        (["/a"], "/a"),
        (["a/", "a/b"], "a/b"),
    ],
)
def test_a_malicious_tree_is_an_error(paths: list[str], invalid: str) -> None:
    data = save_tensors({path: torch.ones(1) for path in paths})
    with pytest.raises(ValueError, match="path") as caught:
        decode_tree(data)
    assert str(caught.value) in {
        f"not a tree of tensors: '{path}' cannot be a path" for path in (invalid, *paths)
    }


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_invalid_bytes_raise_at_most_a_value_error(data: bytes, place: int, value: int) -> None:
    changed = bytearray(encode_tree({"a": {"b": torch.ones(2), "c": {}}}))
    changed[place % len(changed)] = value
    for hostile in (data, bytes(changed)):
        with contextlib.suppress(ValueError):
            decode_tree(hostile)


def tensors(number: int) -> dict[str, TensorTree]:
    return {
        "model": {"layer": {"weight": torch.full((2, 2), float(number))}},
        "optimizer": {"weight": {"step": torch.tensor(number)}, "empty": {}},
    }


def saved(folder: Path, rounds: list[int], keep: int = 9) -> CheckpointStore:
    store = CheckpointStore(folder, keep)
    for number in rounds:
        store.save(number, 200 * number, tensors(number), {"round": number})
    return store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def latest_round(store: CheckpointStore) -> int | None:
    latest = store.latest()
    return latest.round if latest else None


def test_a_saved_checkpoint_is_loaded_unchanged(tmp_path: Path) -> None:
    facts = {"generator": 2**127 + 1, "best": None, "return": 0.1, "names": ["é"], "on": True}
    CheckpointStore(tmp_path, 3).save(10, 2000, tensors(4), facts)
    store = CheckpointStore(tmp_path, 3)
    latest = store.latest()
    assert latest is not None
    assert (latest.round, latest.update, latest.path.name) == (10, 2000, "round-00000010")
    back, back_facts = store.load(latest)
    assert back_facts == facts
    assert {part: flat(tree) for part, tree in back.items()} == {
        part: flat(tree) for part, tree in tensors(4).items()
    }


def test_the_state_of_a_random_generator_is_restored(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    store = CheckpointStore(tmp_path, 1)
    checkpoint = store.save(1, 1, {}, {"rng": rng.bit_generator.state})
    again = np.random.default_rng()
    again.bit_generator.state = store.load(checkpoint)[1]["rng"]
    assert again.random(3).tolist() == rng.random(3).tolist()


def test_a_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "later", 1).latest() is None
    assert CheckpointStore(tmp_path / "later", 1).kept() == []


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = saved(tmp_path, [8, 9, 10, 11], keep=2)
    assert names(tmp_path) == ["round-00000010", "round-00000011"]
    assert [checkpoint.facts for checkpoint in store.kept()] == [{"round": 10}, {"round": 11}]


def test_a_checkpoint_is_hidden_while_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path, [1], keep=1)
    monkeypatch.setattr(shutil, "rmtree", lambda path: None)
    store.save(2, 2, tensors(2), {})
    assert names(tmp_path) == [".round-00000001.tmp", "round-00000002"]


def test_saving_a_round_again_replaces_it(tmp_path: Path) -> None:
    store = saved(tmp_path, [1, 2, 2], keep=2)
    assert names(tmp_path) == ["round-00000001", "round-00000002-2"]
    store.save(2, 0, tensors(5), {"again": True})
    assert names(tmp_path) == ["round-00000001", "round-00000002-3"]
    latest = store.latest()
    assert latest is not None
    assert latest.facts == {"again": True}


def test_a_replaced_checkpoint_is_kept_until_the_new_one_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path, [1])

    def fail(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(amago_core.run_folder.checkpoints, "write_file", fail)
    with pytest.raises(CheckpointError):
        store.save(1, 200, tensors(1), {})
    assert latest_round(store) == 1


def test_later_rounds_are_set_aside_when_training_resumed_earlier(tmp_path: Path) -> None:
    store = saved(tmp_path, [10, 20, 30, 11], keep=3)
    assert names(tmp_path) == ["round-00000010", "round-00000011", "set-aside"]
    assert names(tmp_path / "set-aside") == ["round-00000020", "round-00000030"]
    assert latest_round(store) == 11


def test_an_unfinished_checkpoint_is_ignored_and_deleted_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".round-00000005.tmp").mkdir()
    (tmp_path / ".round-00000005.tmp" / "model.safetensors").write_bytes(b"half")
    store = CheckpointStore(tmp_path, 1)
    assert store.latest() is None
    store.save(6, 0, tensors(6), {})
    assert names(tmp_path) == ["round-00000006"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda path: (path / "model.safetensors").write_bytes(b"short"),
            "model.safetensors does not have the checksum it was written with",
        ),
        (lambda path: (path / "optimizer.safetensors").unlink(), "optimizer.safetensors is missing"),
        (lambda path: (path / "state.json").unlink(), "state.json is missing"),
        (
            lambda path: (path / "state.json").write_text("[" * 100_000),
            "state.json is not in the format of a checkpoint",
        ),
        (
            lambda path: (path / "state.json").write_bytes(b"\xff\xfe\xfd"),
            "state.json is not in the format of a checkpoint",
        ),
        (
            lambda path: (path / "state.json").write_text("[]"),
            "state.json is not in the format of a checkpoint",
        ),
        (
            lambda path: (path / "state.json").write_text(
                (path / "state.json").read_text().replace('"round": 2', '"round": 3')
            ),
            "state.json does not have the checksum it was written with",
        ),
    ],
    ids=[
        "changed part",
        "missing part",
        "missing state",
        "nested state",
        "binary state",
        "other state",
        "changed state",
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    damage: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = saved(tmp_path, [1, 2])
    damage(tmp_path / "round-00000002")
    message = f"the checkpoint {tmp_path / 'round-00000002'} is damaged: {reason}"
    checkpoint, reasons = store.find_latest()
    assert checkpoint is not None
    assert (checkpoint.round, reasons) == (1, (message,))
    with caplog.at_level(logging.WARNING):
        assert latest_round(store) == 1
    used = tmp_path / "round-00000001"
    assert caplog.messages == [
        message,
        f"the checkpoint before it is used: {used} (round 1, update 200)",
    ]


def test_a_part_name_cannot_point_outside_the_checkpoint(tmp_path: Path) -> None:
    store = saved(tmp_path / "store", [1])
    (tmp_path / "secret.safetensors").write_bytes(b"")
    state = {"format": 1, "round": 1, "update": 0, "parts": {"../../secret": 0}, "facts": {}}
    sealed = amago_core.run_folder.checkpoints._seal(state)
    (tmp_path / "store" / "round-00000001" / "state.json").write_bytes(sealed)
    checkpoint, reasons = store.find_latest()
    assert checkpoint is None
    assert reasons == (
        f"the checkpoint {tmp_path / 'store' / 'round-00000001'} is damaged: "
        "'../../secret' cannot name a part of a checkpoint; use a-z, 0-9, - and _",
    )


def test_a_checkpoint_damaged_after_it_was_found_is_an_error(tmp_path: Path) -> None:
    store = saved(tmp_path, [1])
    latest = store.latest()
    assert latest is not None
    (latest.path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError) as caught:
        store.load(latest)
    assert str(caught.value) == f"the checkpoint {latest.path} is damaged: model.safetensors is missing"


@pytest.mark.parametrize(
    ("facts", "kind", "message"),
    [
        ({"a": [1.0, float("nan")]}, ValueError, "facts.a[1] is nan, which a checkpoint cannot hold"),
        ({"a": {"b": np.int64(3)}}, TypeError, "facts.a.b is a int64, which a checkpoint cannot hold"),
        ({"a": {3: 4}}, TypeError, "facts.a has the key 3, which is not a string"),
    ],
)
def test_facts_that_json_does_not_restore_are_an_error(
    facts: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        CheckpointStore(tmp_path, 1).save(1, 1, {}, facts)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_part_name_that_is_not_a_file_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name a part") as caught:
        CheckpointStore(tmp_path, 1).save(1, 1, {"../model": {}}, {})
    assert str(caught.value) == ("'../model' cannot name a part of a checkpoint; use a-z, 0-9, - and _")


def test_a_full_disk_leaves_earlier_checkpoints_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path, [1], keep=1)

    def fail(path: Path, data: bytes) -> None:
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(amago_core.run_folder.checkpoints, "write_file", fail)
    with pytest.raises(CheckpointError) as caught:
        store.save(2, 2, tensors(2), {})
    assert str(caught.value) == (
        f"{tmp_path / 'round-00000002'} cannot be written: No space left on device. Make room on that "
        "disk and continue with --resume. The checkpoints before it are as they were."
    )
    assert latest_round(store) == 1
    assert names(tmp_path) == ["round-00000001"]


def keep_best(store: CheckpointStore, number: int, mean_return: float) -> bool:
    """Call ``save_best`` for a round; return whether it was saved."""
    return (
        store.save_best(number, 10 * number, tensors(number), {"mean_return": mean_return}) is not None
    )


def best_round(store: CheckpointStore) -> int | None:
    best = store.best()
    return best.round if best else None


def test_best_is_replaced_only_by_a_higher_mean_return(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    assert store.best() is None
    returns = {10: -3.0, 20: -1.5, 30: -2.0, 40: -1.5, 50: 0.0, 60: -9.0}
    saved_rounds = [
        number for number, mean_return in returns.items() if keep_best(store, number, mean_return)
    ]
    assert saved_rounds == [10, 20, 50]
    assert names(tmp_path / "best") == ["round-00000050"]
    best = store.best()
    assert best is not None
    assert (best.update, best.facts) == (500, {"mean_return": 0.0})
    assert {part: flat(tree) for part, tree in store.load(best)[0].items()} == {
        part: flat(tree) for part, tree in tensors(50).items()
    }


def test_best_is_kept_apart_from_the_newest_checkpoints(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    keep_best(store, 1, 5.0)
    assert (store.latest(), store.kept()) == (None, [])
    for number in (1, 2, 3):
        store.save(number, number, tensors(number), {})
    assert names(tmp_path) == ["best", "round-00000003"]
    assert best_round(store) == 1


def test_best_is_replaced_by_a_better_one_of_an_earlier_round(tmp_path: Path) -> None:
    """As after a resume from a checkpoint before the best evaluation."""
    store = CheckpointStore(tmp_path, keep=1)
    assert keep_best(store, 50, 1.0)
    assert keep_best(store, 45, 2.0)
    assert names(tmp_path / "best") == ["round-00000045"]
    assert keep_best(store, 45, 3.0)
    assert names(tmp_path / "best") == ["round-00000045-2"]


@pytest.mark.parametrize("first", [1.0, 2.0])
def test_best_is_the_better_of_two_that_a_crash_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float
) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    keep_best(store, 50, first)
    with monkeypatch.context() as patch:
        patch.setattr(amago_core.run_folder.checkpoints._BestStore, "_prune", lambda self, newest: None)
        assert keep_best(store, 45, first + 0.5)
    assert names(tmp_path / "best") == ["round-00000045", "round-00000050"]
    assert best_round(store) == 45
    assert keep_best(store, 60, first + 1)
    assert names(tmp_path / "best") == ["round-00000060"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda path: (path / "model.safetensors").write_bytes(b""),
            "model.safetensors does not have the checksum it was written with",
        ),
        (lambda path: (path / "optimizer.safetensors").unlink(), "optimizer.safetensors is missing"),
        (lambda path: (path / "state.json").unlink(), "state.json is missing"),
    ],
    ids=["changed", "part", "state"],
)
def test_a_damaged_best_is_ignored_with_a_warning(
    damage: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    keep_best(store, 1, 9.0)
    path = tmp_path / "best" / "round-00000001"
    damage(path)
    assert store.best() is None
    assert caplog.messages == [f"the checkpoint {path} is damaged: {reason}"]
    assert keep_best(store, 2, 1.0)
    assert names(tmp_path / "best") == ["round-00000002"]


def test_a_best_without_a_mean_return_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path / "best", [3])
    assert CheckpointStore(tmp_path, keep=1).best() is None
    assert caplog.messages == [
        f"the checkpoint {tmp_path / 'best' / 'round-00000003'} is damaged: "
        "state.json has no finite mean_return"
    ]


@pytest.mark.parametrize("mean_return", [None, "3", float("nan"), float("inf"), True])
def test_save_best_needs_a_finite_mean_return(tmp_path: Path, mean_return: Any) -> None:
    with pytest.raises(ValueError, match="mean_return") as caught:
        CheckpointStore(tmp_path, keep=1).save_best(1, 1, {}, {"mean_return": mean_return})
    assert str(caught.value) == f"the mean_return of an evaluation is {mean_return!r}"
    assert list(tmp_path.iterdir()) == []


def test_state_json_holds_round_update_and_facts(tmp_path: Path) -> None:
    saved(tmp_path, [1])
    state = json.loads((tmp_path / "round-00000001" / "state.json").read_text())["state"]
    assert (state["round"], state["update"], state["facts"]) == (1, 200, {"round": 1})


SAVE = """
import sys
from pathlib import Path
import torch
from amago_core.run_folder.checkpoints import CheckpointStore

store = CheckpointStore(Path(sys.argv[1]), keep=2)
begin = int(sys.argv[2])
for number in range(begin, begin + 10**6):
    model = {"model": {"w": torch.full((300, 300), float(number))}}
    store.save(number, number, model, {"n": number})
    store.save_best(number, number, model, {"mean_return": float(number)})
    print(number, flush=True)
"""


def save_until_killed(folder: Path, begin: int, seconds: float) -> int:
    """Return the last round that the process printed before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", SAVE, str(folder), str(begin)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]  # The first checkpoint is saved.
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    return int([line for line in lines if line.endswith("\n")][-1])


def test_a_process_killed_while_saving_leaves_its_last_checkpoint(tmp_path: Path) -> None:
    rng, begin = random.Random(0), 0
    for _ in range(3):
        printed = save_until_killed(tmp_path, begin, rng.uniform(0.0, 0.2))
        store = CheckpointStore(tmp_path, keep=2)
        latest, reasons = store.find_latest()
        assert latest is not None
        assert reasons == ()
        best = store.best()
        assert best is not None
        # One more may be finished and not yet printed.
        assert printed <= best.round <= latest.round <= printed + 1
        for checkpoint in (latest, best):
            weight = store.load(checkpoint)[0]["model"]["w"]
            assert isinstance(weight, Tensor)
            assert bool((weight == checkpoint.round).all())
        begin = latest.round + 1
