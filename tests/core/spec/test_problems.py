from pathlib import Path
from typing import Any

import pytest
from fake_catalog import CATALOG, CATALOG_WITH_BROKEN

from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_registry import Catalog

HOW_TO_ENVIRONMENT = (
    "environment: is missing. Name one, as in 'environment: t-maze'; "
    "`amago components environment` lists them"
)


def complaint(source: Any, *overrides: str, catalog: Catalog = CATALOG) -> str:
    with pytest.raises(SpecError) as raised:
        load_spec(source, overrides, catalog=catalog)
    return str(raised.value)


def problem(written: dict[str, Any], *overrides: str, catalog: Catalog = CATALOG) -> str:
    """The one problem of a spec that has an environment."""
    header, _, text = complaint(
        {"environment": "t-maze", **written}, *overrides, catalog=catalog
    ).partition("\n  ")
    assert header == "the spec has 1 problem:"
    return text


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "maze.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_every_problem_is_reported_at_once_with_its_key_and_layer(tmp_path: Path) -> None:
    text = "agent:\n  backbone: {use: gru, hiden_dim: 3}\n  context_length: two\n"
    path = file(tmp_path, text)
    assert complaint(path, "seed=-1", "training.bach=3") == (
        f"the spec {path} has 5 problems:\n"
        "  seed: -1 is not at least 0 (from the override 'seed=-1')\n"
        "  agent.context_length: 'two' is not an integer\n"
        "  agent.backbone.hiden_dim: gru has no such option. Did you mean 'hidden_dim'?\n"
        "  training.bach: there is no such key. Did you mean 'batch'? "
        "(from the override 'training.bach=3')\n"
        f"  {HOW_TO_ENVIRONMENT}"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=null", "seed: null is not an integer"),
        ("seed=1.5", "seed: 1.5 is not an integer"),
        ("seed=true", "seed: true is not an integer"),
        ("collector.sample=1", "collector.sample: 1 is not true or false"),
        ("training.learning_rate='1'", "training.learning_rate: '1' is not a number"),
        ("training.learning_rate=.nan", "training.learning_rate: .nan is not a finite number"),
        ("training.learning_rate=0", "training.learning_rate: 0 is not above 0"),
        ("training.stop.return=.inf", "training.stop.return: .inf is not a finite number"),
        ("training.stop.return=[1]", "training.stop.return: [1] is not a number"),
        ("agent.auxiliary_discounts=[0.5,1]", "agent.auxiliary_discounts.1: 1 is not below 1"),
        ("agent.auxiliary_discounts=['0.5']", "agent.auxiliary_discounts.0: '0.5' is not a number"),
        ("running.device=gpu", "running.device: 'gpu' is not 'auto', 'cpu' or 'cuda'"),
        (
            "running.engine=ray",
            "running.engine: ray is for the collectors of running.mode=async, and the mode is "
            "interleaved",
        ),
        ("running.threads=0", "running.threads: 0 is neither 'auto' nor at least 1"),
        ("running.threads=two", "running.threads: 'two' is neither 'auto' nor an integer"),
        ("environment.rooms=3", "environment.rooms: 3 is not a list"),
        ("agent.backbone.width=7", "agent.backbone.width: 7 is not a multiple of 2"),
        ("agent=3", "agent: 3 is not a mapping"),
        (
            "relabeler=[hindsight,none]",
            "relabeler: a list, where one relabeler belongs: write its name, or {use: NAME, ...} with "
            "options",
        ),
        (
            "exploration=[corridor]",
            "exploration: a list, where one exploration belongs: write its name, or {use: NAME, ...} "
            "with options",
        ),
        ("trackers=csv", "trackers: 'csv' is not a list"),
        ("name=a/b", "name: 'a/b' cannot name a folder: no slashes, no dot in front"),
        ("sed=3", "sed: there is no such key. Did you mean 'seed'?"),
        ("width=64", "width: there is no such key. Did you mean 'agent.backbone.width'?"),
        (
            "backbone=gru",
            "backbone: there is no such key. "
            "Did you mean 'agent.backbone' or 'training.learning_rate_factors.backbone'?",
        ),
        (
            "collector.environment=4",
            "collector.environment: there is no such key. "
            "Did you mean 'collector.environments' or 'environment' or 'evaluation.environment'?",
        ),
        (
            "training.threads=1",
            "training.threads: there is no such key. Did you mean 'running.threads'?",
        ),
        (
            "replay.zzz=3",
            "replay.zzz: there is no such key. Possible: capacity, timesteps, bytes.",
        ),
        ("agent.encoder.zzz=3", "agent.encoder.zzz: mlp has no such option. It has no options."),
        (
            "agent.backbone.attention.windw=3",
            "agent.backbone.attention.windw: auto has no such option. Did you mean 'window'?",
        ),
        (
            "agent.backbone=grux",
            "agent.backbone: no backbone is called 'grux'. Did you mean 'gru'? "
            "Installed: gru, transformer.",
        ),
        (
            "agent.backbone.use=grux",
            "agent.backbone.use: no backbone is called 'grux'. Did you mean 'gru'? "
            "Installed: gru, transformer.",
        ),
        (
            "agent.backbone.attention=spda",
            "agent.backbone.attention: no attention is called 'spda'. Did you mean 'sdpa'? "
            "Installed: auto, sdpa.",
        ),
        (
            "trackers=[csv,{use: jsonl, window: 0}]",
            "trackers.1.window: 0 is not at least 1",
        ),
        (
            "agent.actor=3",
            "agent.actor: names no actor. Write 'some-name' or '{use: some-name, ...}'; "
            "`amago components actor` lists them",
        ),
        ("seed=[", "seed: '[' is not valid YAML: did not find expected node content"),
        (
            "trackers.5=csv",
            "trackers.5: there is no such item; items of a list are numbered from 0, "
            "or set the whole list",
        ),
        (
            "seed=${oc.env:HOME}",
            "seed: '${oc.env:HOME}' calls a resolver. "
            "Only references to other keys are allowed: '${key.path}'",
        ),
        ("seed=${sed}", "seed: '${sed}' refers to a key that is not set"),
        ("seed=${seed}", "seed: '${seed}' cannot be resolved: Recursive interpolation detected"),
        ("seed=???", "seed: '???' is a placeholder; write a value"),
        (
            "environment=gymnasium",
            "environment.id: is missing; gymnasium requires it. Registered id of the environment.",
        ),
    ],
)
def test_a_wrong_override_is_explained(override: str, expected: str) -> None:
    assert problem({}, override) == f"{expected} (from the override '{override}')"


@pytest.mark.parametrize("override", ["seed", "=3", "agent..seed=3", "a b=3"])
def test_an_override_is_a_key_and_a_value(override: str) -> None:
    problem_text = "has no '='" if override == "seed" else "has no valid key"
    assert (
        problem({}, override)
        == f"the override '{override}' {problem_text}. Write key=value, as in 'seed=3'"
    )


def test_a_scalar_for_a_section_is_reported_despite_later_overrides() -> None:
    assert problem({"agent": 3}, "agent.discount=0.9") == "agent: 3 is not a mapping"


def test_resolvers_inside_a_copied_mapping_are_never_called() -> None:
    written = {
        "environment": {"use": "gymnasium", "id": "${oc.env:HOME}"},
        "evaluation": {"environment": "${environment}"},
    }
    assert complaint(written).splitlines()[1] == (
        "  environment.id: '${oc.env:HOME}' calls a resolver. "
        "Only references to other keys are allowed: '${key.path}'"
    )


def test_an_unknown_part_mentions_broken_plugins() -> None:
    assert problem({}, "agent.backbone=zoo/ffm", catalog=CATALOG_WITH_BROKEN) == (
        "agent.backbone: the backbone 'zoo/ffm' cannot be used, because the plugin zoo is broken: "
        "importing zoo.hooks raised ImportError: no cage (from the override 'agent.backbone=zoo/ffm')"
    )
    assert problem({"agent": {"backbone": "ffm"}}, catalog=CATALOG_WITH_BROKEN) == (
        "agent.backbone: no backbone is called 'ffm'. Installed: gru, transformer. "
        "Broken plugins, which may offer it: zoo (importing zoo.hooks raised ImportError: no cage)."
    )


def test_a_default_part_that_is_not_installed_is_reported() -> None:
    bare = Catalog([])
    assert complaint({}, catalog=bare).splitlines()[2] == (
        "  agent.backbone.use: no backbone is called 'transformer'. Installed: none. (from a default)"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nseed: 2\n", "line 2, column 1: found duplicate key seed"),
        ("seed: 1\n batch: 2\n", "line 2, column 7: mapping values are not allowed in this context"),
        ("- 1\n", "it holds no keys. Write 'key: value', as in 'seed: 3'"),
        ("hello\n", "it holds no keys. Write 'key: value', as in 'seed: 3'"),
        (b"\xff\xfe\xfa", "it is not text in UTF-8"),
        (
            "name: ${seed\n",
            "name: an interpolation has the form '${key.path}': "
            "no viable alternative at input '${seed'",
        ),
        (
            "name: !!python/object:os.system x\n",
            "line 1, column 7: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("", HOW_TO_ENVIRONMENT),
    ],
)
def test_an_unreadable_file_is_explained(tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = file(tmp_path, text)
    assert complaint(path) == f"the spec {path} has 1 problem:\n  {expected}"


def test_a_missing_file_suggests_files_in_the_same_folder(tmp_path: Path) -> None:
    path = file(tmp_path, "seed: 1\n")
    assert complaint(tmp_path / "mase.yaml") == (
        f"there is no spec '{tmp_path}/mase.yaml'. Did you mean '{path}'?"
    )
    assert complaint(tmp_path / "zzz") == (
        f"there is no spec '{tmp_path}/zzz'. In '{tmp_path}' there are: maze.yaml."
    )
    assert complaint(tmp_path / "no" / "x.yaml") == (
        f"there is no spec '{tmp_path}/no/x.yaml'. There is no folder '{tmp_path}/no' either."
    )


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    file(tmp_path, "seed: 1\n")
    assert complaint(tmp_path) == (
        f"'{tmp_path}' is a folder, not a spec. In '{tmp_path}' there are: maze.yaml."
    )


def test_a_value_without_a_yaml_form_is_refused() -> None:
    assert complaint({"environment": {"size": object()}}) == (
        "the spec has 1 problem:\n  environment.size: Value 'object' is not a supported primitive type"
    )
