"""Transfer of weights from another run, where name and shape match."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from toys import Listener, tiny

from amago_core import train
from amago_core.cli.main import cli
from amago_core.run_folder.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from amago_core.run_folder.transfer import (
    InitFromError,
    Weights,
    compose_from,
    read_weights,
    transfer_weights,
)
from amago_core.spec import load_spec


@pytest.fixture(autouse=True, scope="module")
def without_plots() -> Iterator[None]:
    """Draw no plots, which take longer than everything else in these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amago_core.run_folder.plots.plot_run", lambda folder, evaluation: None)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 2 rounds, its last checkpoint after update 4."""
    return go(tmp_path_factory.mktemp("runs") / "trained", "training.rounds=2").run


def go(run: Path, *overrides: str, **settings: Any) -> Any:
    return train(tiny(), overrides, run=run, **{"reporter": Listener(), **settings})


def newest(run: Path) -> tuple[Checkpoint, dict[str, Any]]:
    store = CheckpointStore(run / "checkpoints", keep=1)
    checkpoint = store.latest()
    assert checkpoint is not None
    return checkpoint, dict(store.load(checkpoint)[0])


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_an_agent_of_the_same_shape_is_transferred_with_its_statistics(trained: Path) -> None:
    parts, transfer = compose_from(load_spec(tiny(init_from=str(trained), seed=5)))
    stored = newest(trained)[1]["model"]
    assert same(dict(parts.agent.state_dict()), stored)
    assert any(name.endswith("steps") and tensor > 0 for name, tensor in stored.items())
    assert str(transfer) == (
        f"weights from {trained} (round 2): {len(stored)} of {len(stored)} tensors\n"
        "  complete: encoder, backbone, actor, critic"
    )


def test_target_networks_begin_as_copies_of_the_transferred_weights(trained: Path) -> None:
    parts, _ = compose_from(load_spec(tiny(init_from=str(trained))))
    agent, targets = parts.agent, parts.objective.state_dict()
    for part, online in (("actor", agent.actor), ("critic", agent.critic)):
        prefix = f"target_{part}."
        copy = {name.removeprefix(prefix): tensor for name, tensor in targets.items() if prefix in name}
        assert same(copy, dict(online.state_dict()))


def test_a_given_checkpoint_is_read_instead_of_the_newest(trained: Path) -> None:
    first = trained / "checkpoints" / "round-00000000"
    assert (read_weights(str(first)).round, read_weights(str(trained)).round) == (0, 2)
    weights = read_weights(f"{first}/")
    assert (weights.source, weights.update) == (f"{first}/", 0)


def test_a_checkpoint_folder_may_have_any_name_and_path(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "best"
    shutil.copytree(trained / "checkpoints" / "round-00000002", copy)
    monkeypatch.chdir(copy)
    for path in (str(copy), ".", "../best"):
        weights = read_weights(path)
        assert (weights.source, weights.round, weights.update) == (path, 2, 4)
        assert same(dict(weights.tensors), newest(trained)[1]["model"])


def test_a_damaged_copy_of_a_checkpoint_is_an_error(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "best"
    shutil.copytree(trained / "checkpoints" / "round-00000002", copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError) as caught:
        read_weights(str(copy))
    assert str(caught.value) == f"the checkpoint {copy} is damaged: model.safetensors is missing"
    state = (copy / "state.json").read_text()
    (copy / "state.json").write_text(state.replace('"round": 2', '"round": 3'))
    with pytest.raises(CheckpointError) as caught:
        read_weights(str(copy))
    assert str(caught.value) == (
        f"the checkpoint {copy} is damaged: state.json does not have the checksum it was written with"
    )


def test_tensors_that_fit_are_transferred_and_the_others_are_reported(
    trained: Path, tmp_path: Path
) -> None:
    run, listener = tmp_path / "wider", Listener()
    changes = "agent.critic.hidden_dims=[12]", "agent.backbone.layers=2", f"init_from={trained}"
    still = "training.rounds=1", "training.updates_per_round=0"
    go(run, *changes, *still, reporter=listener)
    members, width, outputs = 4, 8, 2 * 3  # 2 discounts, 3 actions.
    total = len(newest(run)[1]["model"])
    critic = sum(name.startswith("critic.") for name in newest(run)[1]["model"])
    assert listener.notes[0] == "\n".join(
        [
            f"weights from {trained} (round 2): {total - 4 - 3} of {total} tensors",
            "  complete: encoder, actor",
            "  backbone, 6 of 10; newly initialized: "
            "backbone.gru.bias_hh_l1: not in the source; backbone.gru.bias_ih_l1: not in the source; "
            "backbone.gru.weight_hh_l1: not in the source; and 1 more",
            f"  critic, {critic - 3} of {critic}; newly initialized: "
            f"critic.net.layers.0.bias: {(members, 1, width)} in the source, {(members, 1, 12)} here; "
            f"critic.net.layers.0.weight: {(members, 8, width)} in the source, "
            f"{(members, 8, 12)} here; "
            f"critic.net.layers.1.weight: {(members, width, outputs)} in the source, "
            f"{(members, 12, outputs)} here",
        ]
    )
    here, there = newest(run)[1]["model"], newest(trained)[1]["model"]
    report = json.loads((run / "init_from.json").read_text())
    assert (report["source"], report["round"], report["update"]) == (str(trained), 2, 4)
    assert report["fresh"]["backbone.gru.weight_hh_l1"] == "not in the source"
    assert {*report["matched"], *report["fresh"]} == here.keys()
    assert all(torch.equal(here[name], there[name]) for name in report["matched"])
    assert report["unused"] == []


def test_tensors_that_the_new_agent_lacks_are_reported(trained: Path, tmp_path: Path) -> None:
    go(tmp_path / "deep", "agent.backbone.layers=2", "training.rounds=1")
    _, transfer = compose_from(load_spec(tiny(init_from=str(tmp_path / "deep"))))
    assert str(transfer).splitlines()[1:] == [
        "  complete: encoder, backbone, actor, critic",
        "  not used: backbone.gru.bias_hh_l1; backbone.gru.bias_ih_l1; "
        "backbone.gru.weight_hh_l1; and 1 more",
    ]


class Centred(nn.Module):
    """A layer behind a running mean."""

    steps: Tensor
    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)
        self.layer = nn.Linear(width, 2)


def weights(module: nn.Module) -> Weights:
    return Weights("runs/other", 7, 70, {name: t + 1 for name, t in module.state_dict().items()})


def test_buffers_of_a_module_are_loaded_together_or_not_at_all() -> None:
    module = nn.ModuleDict({"encoder": Centred(3)})
    transfer = transfer_weights(module, weights(nn.ModuleDict({"encoder": Centred(3)})), "new")
    assert float(module["encoder"].steps) == 1
    assert transfer.fresh == {}
    module = nn.ModuleDict({"encoder": Centred(3)})
    transfer = transfer_weights(module, weights(nn.ModuleDict({"encoder": Centred(4)})), "new")
    assert float(module["encoder"].steps) == 0
    assert transfer.matched == ("encoder.layer.bias",)
    assert transfer.fresh == {
        "encoder.layer.weight": "(2, 4) in the source, (2, 3) here",
        "encoder.mean": "(4,) in the source, (3,) here",
        "encoder.steps": "belongs to mean",
    }


def test_an_agent_that_does_not_fit_is_an_error_naming_the_closest_tensor() -> None:
    module = nn.ModuleDict({"small": nn.Linear(2, 2), "large": nn.Linear(4, 4)})
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    there = nn.ModuleDict({"small": nn.Linear(9, 9), "large": nn.Linear(4, 5)})
    with pytest.raises(InitFromError) as caught:
        transfer_weights(module, weights(there), "new")
    assert str(caught.value) == (
        "init_from: no weight of runs/other (round 7) fits the agent of run 'new'. The closest is "
        "large.weight: (5, 4) in the source, (4, 4) here. Compare the agent in its spec.yaml with "
        "this one, or write init_from=null to train from scratch."
    )
    assert same(dict(module.state_dict()), before)
    with pytest.raises(InitFromError) as caught:
        transfer_weights(module, weights(nn.ModuleDict({"other": nn.Linear(2, 2)})), "new")
    assert str(caught.value) == (
        "init_from: no weight of runs/other (round 7) fits the agent of run 'new'. They share no "
        "tensor name: the source has other.bias, this agent large.bias. Compare the agent in its "
        "spec.yaml with this one, or write init_from=null to train from scratch."
    )


def test_a_transfer_of_buffers_alone_is_refused() -> None:
    module = nn.ModuleDict({"encoder": nn.BatchNorm1d(3)})
    there = weights(module)
    only = Weights("x", 0, 0, {k: t for k, t in there.tensors.items() if "running" in k or "num" in k})
    with pytest.raises(InitFromError):
        transfer_weights(module, only, "new")


def test_a_transfer_of_few_parameters_warns() -> None:
    module = nn.ModuleDict({"small": nn.Linear(2, 2), "large": nn.Linear(9, 9)})
    there = nn.ModuleDict({"small": nn.Linear(2, 2), "large": nn.Linear(9, 8)})
    transfer = transfer_weights(module, weights(there), "new")
    assert transfer.share == 6 / (6 + 90)
    assert str(transfer).splitlines()[:2] == [
        "weights from runs/other (round 7): 2 of 4 tensors",
        "  WARNING: only 6.2% of the trained parameters were transferred, nearly all of the agent is "
        "newly initialized; compare its spec.yaml with this one.",
    ]
    all_of_it = transfer_weights(module, weights(module), "new")
    assert all_of_it.share == 1
    assert "WARNING" not in str(all_of_it)


def test_weights_that_are_not_finite_are_not_transferred() -> None:
    module, there = nn.ModuleDict({"a": nn.Linear(2, 2)}), nn.ModuleDict({"a": nn.Linear(2, 2)})
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    there["a"].bias.data[1] = torch.inf
    with pytest.raises(InitFromError) as caught:
        transfer_weights(module, weights(there), "new")
    assert str(caught.value) == "init_from is runs/other, whose a.bias is not finite."
    assert same(dict(module.state_dict()), before)


def test_an_integer_tensor_does_not_fit_a_float_tensor() -> None:
    module = nn.ModuleDict({"a": nn.Linear(2, 2)})
    found = dict(weights(module).tensors)
    found |= {"a.bias": torch.ones(2, dtype=torch.int64), "a.weight": torch.ones(2, 2).half()}
    transfer = transfer_weights(module, Weights("x", 0, 0, found), "new")
    assert transfer.fresh == {"a.bias": "torch.int64 in the source, torch.float32 here"}
    assert transfer.matched == ("a.weight",)


def test_a_path_that_is_not_a_run_suggests_what_is_close(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.parent.parent)
    runs = Path(trained.parent.name)

    def refusal(path: Path | str) -> str:
        with pytest.raises(InitFromError) as caught:
            read_weights(str(path))
        return str(caught.value)

    assert refusal(runs / "traind") == (
        f"init_from is {runs}/traind, which does not exist. Did you mean '{runs}/trained'? "
        f"A relative path begins in the working directory, {Path.cwd()}."
    )
    assert refusal(tmp_path / "no" / "where") == (
        f"init_from is {tmp_path}/no/where, which does not exist."
    )
    assert refusal(runs) == (
        f"init_from is {runs}, which is neither a run (it holds no spec.yaml) nor a checkpoint "
        "(it holds no state.json). Runs in it: trained."
    )


def test_a_damaged_checkpoint_or_a_run_without_one_is_refused(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    checkpoint = run / "checkpoints" / "round-00000002"
    (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError) as damaged:
        read_weights(str(checkpoint))
    assert str(damaged.value) == (
        f"the checkpoint {checkpoint} is damaged: "
        "model.safetensors does not have the checksum it was written with"
    )
    (checkpoint / "state.json").write_text("{}")
    with pytest.raises(CheckpointError) as damaged:
        read_weights(str(checkpoint))
    assert str(damaged.value) == (
        f"the checkpoint {checkpoint} is damaged: state.json is not in the format of a checkpoint"
    )
    assert read_weights(str(run)).round == 0
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InitFromError) as caught:
        read_weights(str(run))
    assert str(caught.value) == f"init_from: {run} holds no checkpoint."


def test_a_wrong_init_from_path_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InitFromError):
        go(tmp_path / "run", f"init_from={tmp_path}/none")
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_no_longer_needs_the_run_it_was_initialized_from(
    trained: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    init_from = f"init_from={other}"
    go(tmp_path / "uninterrupted", init_from)
    go(tmp_path / "resumed", init_from, "training.rounds=2")
    shutil.rmtree(other)
    listener = Listener()
    go(tmp_path / "resumed", init_from, resume=True, reporter=listener)
    assert listener.notes == ["resuming after round 2, update 4"]
    resumed, uninterrupted = (
        newest(tmp_path / name)[1]["model"] for name in ("resumed", "uninterrupted")
    )
    assert same(resumed, uninterrupted)


def test_a_run_without_its_checkpoints_starts_from_the_other_run_again(
    trained: Path, tmp_path: Path
) -> None:
    run, listener = tmp_path / "run", Listener()
    go(run, f"init_from={trained}")
    expected = newest(run)[1]["model"]
    shutil.rmtree(run / "checkpoints")
    go(run, f"init_from={trained}", resume=True, reporter=listener)
    assert (
        listener.notes[0]
        == "there is no intact checkpoint to resume from: training starts from the beginning"
    )
    assert listener.notes[1].startswith(f"weights from {trained} (round 2): ")
    assert same(newest(run)[1]["model"], expected)


def test_check_shows_which_weights_would_be_transferred(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "spec.yaml", "again.yaml")
    shown = CliRunner().invoke(cli, ["check", "again.yaml", f"init_from={trained}"])
    assert shown.exit_code == 0
    _, transfer = compose_from(load_spec("again.yaml", [f"init_from={trained}"]))
    assert shown.stdout.endswith(f"\n\n{transfer}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["again.yaml"]
