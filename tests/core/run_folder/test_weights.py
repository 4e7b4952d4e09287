"""Choose a checkpoint of a run and read its weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ready_runs import checkpoint, ready, store, truncate, weights
from torch import nn

import amago_core
from amago_core.run_folder.checkpoints import CheckpointError
from amago_core.run_folder.run_dir import RunDir
from amago_core.run_folder.transfer import read_weights
from amago_core.run_folder.weights import weights_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints of the rounds 0, 2 and 4, of which that of round 2 was the best."""
    run = ready(tmp_path / "run")
    model = {name: tensor.fill_(2) for name, tensor in weights(run).items()}
    store(run).save_best(2, 20, {"model": model}, {"mean_return": 0.75})
    return run


def choose(run: Path, which: Any) -> tuple[int, int]:
    """Return the round of the chosen checkpoint, and the value that all of its weights have."""
    found = weights_of(RunDir(run), which)
    (value,) = {float(x) for tensor in found.tensors.values() for x in tensor.flatten()}
    return found.round, int(value)


def values(agent: nn.Module) -> set[float]:
    """Return every number that an agent's weights have."""
    return {x for parameter in agent.parameters() for x in parameter.detach().flatten().tolist()}


def test_a_checkpoint_is_chosen_by_word_round_name_or_path(run: Path) -> None:
    for which in ("newest", 4, "4", "round-00000004", checkpoint(run, 4), str(checkpoint(run, 4))):
        assert choose(run, which) == (4, 4)
    for which in ("best", 2, run / "checkpoints" / "best"):
        assert choose(run, which) == (2, 2)


def test_a_checkpoint_outside_the_run_may_be_chosen(run: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint(run, 2), tmp_path / "sent")
    assert choose(run, tmp_path / "sent") == (2, 2)


def test_the_chosen_checkpoint_is_loaded_into_the_agent(run: Path) -> None:
    for which, value in (("best", 2), ("newest", 4), (0, 0)):
        agent = amago_core.load(run, checkpoint=which).agent
        assert values(agent) == {value}


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truncate(checkpoint(run, 4) / "model.safetensors")
    warnings = [
        f"the checkpoint {checkpoint(run, 4)} is damaged: "
        "model.safetensors does not have the checksum it was written with",
        f"the checkpoint before it is used: {checkpoint(run, 2)} (round 2, update 20)",
    ]
    agent = amago_core.load(run).agent
    assert values(agent) == {2}
    assert caplog.messages == warnings
    assert read_weights(str(run)).round == 2
    assert caplog.messages == warnings * 2


@pytest.mark.parametrize("which", [4, "round-00000004"])
def test_a_named_checkpoint_that_is_damaged_has_no_fallback(run: Path, which: Any) -> None:
    truncate(checkpoint(run, 4) / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run, checkpoint=which)
    assert str(caught.value) == (
        f"the checkpoint {checkpoint(run, 4)} is damaged: "
        "model.safetensors does not have the checksum it was written with"
    )


def test_a_damaged_best_is_an_error_and_a_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    best = run / "checkpoints" / "best" / "round-00000002"
    truncate(best / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run, checkpoint="best")
    assert str(caught.value) == (
        f"{run} holds no intact checkpoint of a best evaluation; training saves one, unless "
        "checkpoints.best is false or nothing was evaluated. Available: newest, 0, 2, 4."
    )
    assert set(caplog.messages) == {
        f"the checkpoint {best} is damaged: "
        "model.safetensors does not have the checksum it was written with"
    }


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (3, "{run} holds no checkpoint of round 3. Available: newest, best, 0, 2, 4."),
        (
            "bst",
            "{run} has no checkpoint 'bst', and there is none at that path. Did you mean 'best'? "
            "Available: newest, best, 0, 2, 4.",
        ),
    ],
)
def test_a_missing_checkpoint_is_an_error_that_lists_the_others(
    run: Path, which: Any, message: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run, checkpoint=which)
    assert str(caught.value) == message.format(run=run)


def test_a_run_of_damaged_checkpoints_only_is_an_error_with_reasons(run: Path) -> None:
    for number in (0, 2, 4):
        truncate(checkpoint(run, number) / "state.json")
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run)
    reasons = [
        f"\n  the checkpoint {checkpoint(run, number)} is damaged: "
        "state.json is not in the format of a checkpoint"
        for number in (4, 2, 0)
    ]
    assert str(caught.value) == f"{run} holds no intact checkpoint:{''.join(reasons)}"


def test_init_from_can_name_the_best_checkpoint(run: Path) -> None:
    found = read_weights(str(run / "checkpoints" / "best"))
    assert (found.source, found.round) == (str(run / "checkpoints" / "best"), 2)


def test_loading_weights_needs_no_other_part_of_a_checkpoint(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (checkpoint(run, 4) / "learner.safetensors").unlink()
    assert choose(run, "newest") == (4, 4)
    assert caplog.messages == []


def test_a_checkpoint_deleted_while_it_is_read_is_replaced_by_another(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, removed = amago_core.run_folder.checkpoints.read_part, []  # type: ignore[attr-defined]

    def late(found: Any, part: str) -> Any:
        if not removed:
            removed.append(found.round)
            shutil.rmtree(found.path)
        return read(found, part)

    monkeypatch.setattr("amago_core.run_folder.weights.read_part", late)
    assert choose(run, "newest") == (2, 2)
    assert removed == [4]
