"""Which of a run's checkpoints is used, and what is said where it is another than was asked for."""

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


def chosen(run: Path, which: Any) -> tuple[int, int]:
    """Return the round of what was chosen, and the value of all of its weights."""
    found = weights_of(RunDir(run), which)
    (value,) = {float(x) for tensor in found.tensors.values() for x in tensor.flatten()}
    return found.round, int(value)


def values(agent: nn.Module) -> set[float]:
    """Return every number that an agent's weights have."""
    return {x for parameter in agent.parameters() for x in parameter.detach().flatten().tolist()}


def test_a_checkpoint_is_chosen_by_a_word_a_round_its_name_or_its_path(run: Path) -> None:
    for which in ("newest", 4, "4", "round-00000004", checkpoint(run, 4), str(checkpoint(run, 4))):
        assert chosen(run, which) == (4, 4)
    for which in ("best", 2, run / "checkpoints" / "best"):
        assert chosen(run, which) == (2, 2)


def test_a_checkpoint_may_come_from_anywhere(run: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint(run, 2), tmp_path / "sent")
    assert chosen(run, tmp_path / "sent") == (2, 2)


def test_the_chosen_checkpoint_is_the_one_that_acts(run: Path) -> None:
    for which, value in (("best", 2), ("newest", 4), (0, 0)):
        agent = amago_core.load(run, checkpoint=which).agent
        assert values(agent) == {value}


def test_where_the_newest_is_truncated_the_one_before_is_used_and_says_so(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truncate(checkpoint(run, 4) / "model.safetensors")
    said = [
        f"the checkpoint {checkpoint(run, 4)} is damaged: "
        "model.safetensors does not have the checksum it was written with",
        f"the one before is used: {checkpoint(run, 2)} (round 2, update 20)",
    ]
    agent = amago_core.load(run).agent
    assert values(agent) == {2}
    assert caplog.messages == said
    assert read_weights(str(run)).round == 2
    assert caplog.messages == said * 2


@pytest.mark.parametrize("which", [4, "round-00000004"])
def test_a_checkpoint_that_was_named_is_never_replaced_by_another(run: Path, which: Any) -> None:
    truncate(checkpoint(run, 4) / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run, checkpoint=which)
    assert str(caught.value) == (
        f"the checkpoint {checkpoint(run, 4)} is damaged: "
        "model.safetensors does not have the checksum it was written with"
    )


def test_a_damaged_best_is_none_and_says_so(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    best = run / "checkpoints" / "best" / "round-00000002"
    truncate(best / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run, checkpoint="best")
    assert str(caught.value) == (
        f"{run} holds no whole checkpoint of a best evaluation; one is kept while training, unless "
        "checkpoints.best is false or nothing was evaluated. To choose from: newest, 0, 2, 4."
    )
    assert set(caplog.messages) == {
        f"the checkpoint {best} is damaged: "
        "model.safetensors does not have the checksum it was written with"
    }


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (3, "{run} holds no checkpoint of round 3. To choose from: newest, best, 0, 2, 4."),
        (
            "bst",
            "{run} has no checkpoint 'bst', and there is none at that path. Did you mean 'best'? "
            "To choose from: newest, best, 0, 2, 4.",
        ),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(run: Path, which: Any, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run, checkpoint=which)
    assert str(caught.value) == message.format(run=run)


def test_a_run_of_which_nothing_is_whole_says_why(run: Path) -> None:
    for number in (0, 2, 4):
        truncate(checkpoint(run, number) / "state.json")
    with pytest.raises(CheckpointError) as caught:
        amago_core.load(run)
    reasons = [
        f"\n  the checkpoint {checkpoint(run, number)} is damaged: "
        "state.json is not what a checkpoint holds"
        for number in (4, 2, 0)
    ]
    assert str(caught.value) == f"{run} holds no whole checkpoint:{''.join(reasons)}"


def test_weights_can_be_taken_over_from_the_best_checkpoint(run: Path) -> None:
    taken = read_weights(str(run / "checkpoints" / "best"))
    assert (taken.source, taken.round) == (str(run / "checkpoints" / "best"), 2)


def test_to_act_only_the_weights_have_to_be_there(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (checkpoint(run, 4) / "learner.safetensors").unlink()
    assert chosen(run, "newest") == (4, 4)
    assert caplog.messages == []


def test_a_checkpoint_that_the_run_removes_meanwhile_is_not_missed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, removed = amago_core.run_folder.checkpoints.read_part, []  # type: ignore[attr-defined]

    def late(found: Any, part: str) -> Any:
        if not removed:
            removed.append(found.round)
            shutil.rmtree(found.path)
        return read(found, part)

    monkeypatch.setattr("amago_core.run_folder.weights.read_part", late)
    assert chosen(run, "newest") == (2, 2)
    assert removed == [4]
