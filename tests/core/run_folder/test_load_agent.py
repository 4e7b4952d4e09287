"""Load a trained agent from a run's folder; weights that do not fit are an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ready_runs import checkpoint, ready, store, weights

import amago_core
from amago_core.run_folder.load_agent import WrongWeightsError, load_agent
from amago_core.run_folder.run_dir import RunDir


def rewrite(run: Path, old: str, new: str) -> None:
    """Replace text in a run's spec."""
    text = (run / "spec.yaml").read_text()
    assert text.count(old) == 1
    (run / "spec.yaml").write_text(text.replace(old, new))


def stored_model(run: Path) -> dict[str, Any]:
    """Return the tensors of the newest checkpoint's agent."""
    return dict(store(run).load(store(run).kept()[-1])[0]["model"])


def refusal(run: Path) -> str:
    with pytest.raises(WrongWeightsError) as caught:
        amago_core.load(run)
    return str(caught.value)


def test_a_spec_of_another_width_is_an_error_naming_part_and_tensors(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    rewrite(run, "width: 8", "width: 16")
    assert refusal(run) == (
        f"{run}/spec.yaml does not describe the agent in the checkpoint {checkpoint(run, 4)}:\n"
        "  agent.backbone: norm.weight is (8,) in the checkpoint, (16,) in the spec; "
        "norm.bias is (8,) in the checkpoint, (16,) in the spec; "
        "gru.weight_ih_l0 is (24, 8) in the checkpoint, (48, 8) in the spec; and 3 more\n"
        "  agent.actor: net.0.weight is (8, 8) in the checkpoint, (8, 16) in the spec\n"
        "  agent.critic: net.layers.0.weight is (4, 8, 8) in the checkpoint, (4, 16, 8) in the spec\n"
        "Restore the spec.yaml and spaces.json that it was trained with."
    )


def test_a_spec_with_another_layer_names_the_missing_tensors(tmp_path: Path) -> None:
    run, other = ready(tmp_path / "run"), tmp_path / "other"
    text = (run / "spec.yaml").read_text()
    rewrite(run, "layers: 1", "layers: 2")
    new = [f"gru.{name}_l1 is only in the spec" for name in ("weight_ih", "weight_hh", "bias_ih")]
    assert refusal(run).splitlines()[1:] == [
        f"  agent.backbone: {'; '.join(new)}; and 1 more",
        "Restore the spec.yaml and spaces.json that it was trained with.",
    ]
    run.rename(other)
    model = weights(other)
    store(other).save(5, 50, {"model": model}, {})
    (other / "spec.yaml").write_text(text)
    old = [f"gru.{name}_l1 is only in the checkpoint" for name in ("bias_hh", "bias_ih", "weight_hh")]
    assert refusal(other).splitlines()[1] == f"  agent.backbone: {'; '.join(old)}; and 1 more"


def test_a_tensor_of_another_dtype_is_an_error(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    model = weights(run) | {"actor.net.0.bias": torch.zeros(8, dtype=torch.int64)}
    store(run).save(5, 50, {"model": model}, {})
    assert refusal(run).splitlines()[1] == (
        "  agent.actor: net.0.bias is torch.int64 in the checkpoint, torch.float32 in the spec"
    )


def test_tensors_of_no_part_are_counted(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    model = weights(run) | {f"n{number:03}": torch.zeros(1) for number in range(500)}
    store(run).save(5, 50, {"model": model | {"actor": torch.zeros(1)}}, {})
    assert refusal(run).splitlines()[1:-1] == [
        "  agent.actor:  is only in the checkpoint",
        "  in no part: n000 is only in the checkpoint; n001 is only in the checkpoint; "
        "n002 is only in the checkpoint; and 497 more",
    ]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    model = weights(run)
    model["actor.net.0.bias"][3] = torch.nan
    store(run).save(5, 50, {"model": model}, {})
    assert refusal(run) == (
        f"the checkpoint {checkpoint(run, 5)} holds weights that are not finite, in "
        "agent.actor.net.0.bias."
    )


@pytest.mark.parametrize(
    "line", ["width: 3000", "width: 2, layers: 1000000000"], ids=["width", "layers"]
)
def test_a_spec_of_a_far_larger_agent_is_refused_before_it_is_built(tmp_path: Path, line: str) -> None:
    run = ready(tmp_path / "run")
    text = (run / "spec.yaml").read_text()
    begin, end = text.index("  backbone:"), text.index("  actor:")
    changed = f"  backbone: {{use: standard/transformer, heads: 1, {line}}}\n"
    (run / "spec.yaml").write_text(text[:begin] + changed + text[end:])
    stored = sum(tensor.numel() for tensor in stored_model(run).values())
    assert refusal(run) == (
        f"{run}/spec.yaml describes an agent far larger than the {stored:,} numbers that the "
        f"checkpoint {checkpoint(run, 4)} holds. "
        "Restore the spec.yaml and spaces.json that it was trained with."
    )


def test_the_size_limit_ends_once_the_agent_is_built(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    amago_core.load(run)
    torch.nn.Linear(5000, 5000)  # More than 16 times the agent and 2**24.


def test_plugins_that_only_train_are_not_needed_to_load_an_agent(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    text = (run / "spec.yaml").read_text()
    for part in ("amago", "epsilon-greedy", "bandit", "jsonl"):
        text = text.replace(f"standard/{part}", f"gone/{part}")
    assert text.count("gone/") == 4
    (run / "spec.yaml").write_text(text)
    assert load_agent(RunDir(run)).state_dict().keys() == stored_model(run).keys()


def test_spaces_that_do_not_fit_the_weights_are_an_error(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    spaces = json.loads((run / "spaces.json").read_text())
    spaces["action"]["n"] = 5
    (run / "spaces.json").write_text(json.dumps(spaces))
    # The input is the last action, one of 3 or 5, and 2 numbers more.
    assert refusal(run).splitlines()[1] == (
        "  agent.encoder: normalizer.moments.mean_D is (5,) in the checkpoint, (7,) in the spec; "
        "normalizer.moments.variance_D is (5,) in the checkpoint, (7,) in the spec; "
        "net.0.weight is (8, 5) in the checkpoint, (8, 7) in the spec"
    )


def test_a_checkpoint_without_weights_is_damaged(tmp_path: Path) -> None:
    run = ready(tmp_path / "run", rounds=())
    store(run).save(1, 1, {"learner": {}}, {})
    path = checkpoint(run, 1)
    with pytest.raises(amago_core.AmagoError) as caught:
        amago_core.load(run)
    assert str(caught.value) == (
        f"{run} holds no intact checkpoint:\n  the checkpoint {path} is damaged: it holds no model"
    )
    store(run).save(1, 1, {"model": {"a": {}}}, {})
    with pytest.raises(amago_core.AmagoError) as caught:
        amago_core.load(run)
    assert str(caught.value) == f"the checkpoint {path}-2 is damaged: 'a' is not a tensor"
