from pathlib import Path
from typing import Any

import pytest
from fake_catalog import CATALOG

from amago_core.spec import RunSpec, load_spec


def load(source: dict[str, Any], *overrides: str) -> RunSpec:
    return load_spec({"environment": "t-maze", **source}, overrides, catalog=CATALOG)


def backbone(source: dict[str, Any] | str, *overrides: str) -> tuple[str, dict[str, Any]]:
    part = load({"agent": {"backbone": source}}, *overrides).agent.backbone
    options = part.options.model_dump()
    options.pop("attention", None)
    return part.use, options


GRU = ("standard/gru", {"hidden_dim": 256})


def test_everything_has_a_default() -> None:
    spec = load({})
    assert (spec.name, spec.seed, spec.replay.capacity, spec.training.batch) == ("run", 0, 20_000, 24)
    assert spec.agent.discounts == (0.1, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)
    assert [tracker.use for tracker in spec.trackers] == ["standard/jsonl"]


def test_a_run_is_named_after_its_file(tmp_path: Path) -> None:
    file = tmp_path / "maze-runner.yaml"
    file.write_text("environment: t-maze\n")
    assert load_spec(file, catalog=CATALOG).name == "maze-runner"
    assert load_spec(file, ["name=other"], catalog=CATALOG).name == "other"
    assert load_spec(file, ["name=null"], catalog=CATALOG).name == "maze-runner"


@pytest.mark.parametrize(
    "override",
    [
        "agent.backbone=gru",
        "agent.backbone.use=gru",
        "agent.backbone={use: gru}",
        "agent={backbone: gru}",
        "agent={backbone: {use: gru}}",
        "agent.backbone=standard/gru",
    ],
)
@pytest.mark.parametrize("before", [{"use": "transformer", "layers": 2}, {"layers": 2}, "transformer"])
def test_another_part_drops_the_options_of_the_old_one(override: str, before: Any) -> None:
    assert backbone(before, override) == GRU


@pytest.mark.parametrize(
    "override",
    [
        "agent.backbone=transformer",
        "agent.backbone=standard/transformer",
        "agent.backbone.use=transformer",
        "agent.backbone={use: transformer}",
        "agent.backbone={width: 256}",
    ],
)
@pytest.mark.parametrize("before", [{"use": "transformer", "layers": 2}, {"layers": 2}])
def test_the_same_part_keeps_its_options(override: str, before: Any) -> None:
    assert backbone(before, override) == ("standard/transformer", {"layers": 2, "width": 256})


def test_an_option_can_be_set_on_a_part_given_by_name() -> None:
    assert backbone("gru", "agent.backbone.hidden_dim=7") == ("standard/gru", {"hidden_dim": 7})


def test_switching_to_another_part_and_back_drops_options() -> None:
    assert backbone("gru", "agent.backbone.hidden_dim=7", "agent.backbone=transformer") == (
        "standard/transformer",
        {"layers": 3, "width": 256},
    )
    assert backbone({"use": "gru", "hidden_dim": 7}, "agent.backbone=mlp", "agent.backbone=gru") == GRU


@pytest.mark.parametrize(
    ("overrides", "use", "window"),
    [
        (["agent.backbone.attention.window=4"], "standard/auto", 4),
        (["agent.backbone.attention.window=4", "agent.backbone.attention=sdpa"], "standard/sdpa", None),
        (["agent.backbone={attention: {use: sdpa}}"], "standard/sdpa", None),
        (
            ["agent.backbone.attention=sdpa", "agent.backbone={attention: {window: 2}}"],
            "standard/sdpa",
            2,
        ),
    ],
)
def test_nested_parts_follow_the_same_rule(overrides: list[str], use: str, window: int | None) -> None:
    options: Any = load({}, "agent.backbone.attention.window=9", *overrides).agent.backbone.options
    kept = 9 if use == "standard/auto" and window is None else window
    assert (options.attention.use, options.attention.options.window) == (use, kept)


def test_items_of_lists_are_set_by_index() -> None:
    assert [part.use for part in load({}, "trackers.0=csv").trackers] == ["standard/csv"]
    assert [part.use for part in load({}, "trackers[0].use=csv").trackers] == ["standard/csv"]
    assert load({}, "trackers.0.window=5").trackers[0].options.model_dump() == {"window": 5}
    assert load({}, "trackers=[]").trackers == ()


def test_an_empty_section_keeps_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("environment: t-maze\ntraining:\n  # batch: 3\nagent:\n")
    assert load_spec(file, ["training=null"], catalog=CATALOG).training.batch == 24


def test_a_value_may_refer_to_another_key() -> None:
    assert load({"name": "run-${seed}"}, "seed=3").name == "run-3"
    assert load({"training": {"warmup": "${training.batch}"}}).training.warmup == 24


def test_a_whole_part_may_be_a_reference() -> None:
    spec = load({"evaluation": {"environment": "${environment}"}}, "environment.size=5")
    assert spec.evaluation.environment == spec.environment


def test_overriding_a_reference_leaves_the_original() -> None:
    spec = load({"evaluation": {"environment": "${environment}"}}, "evaluation.environment.size=5")
    assert spec.evaluation.environment is not None
    assert spec.environment is not None
    sizes = [
        part.options.model_dump()["size"] for part in (spec.environment, spec.evaluation.environment)
    ]
    assert sizes == [9, 5]


def test_with_a_local_environment_the_spec_needs_none() -> None:
    assert load_spec({}, catalog=CATALOG, local_environment=True).environment is None
