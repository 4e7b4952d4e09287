import tomllib
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from fake_catalog import CATALOG, CATALOG_WITH_BROKEN, GRUOptions

from amago_core import __version__
from amago_core.cli import check, train
from amago_core.cli.main import cli
from amago_core.cli.tables import table
from amago_core.errors import SpecError
from amago_core.spec.schema import TrainingSpec
from amago_core.system import threads
from amago_registry import Catalog, Component, Field, Options, Plugin
from amago_registry import catalog as registry_catalog
from amago_registry.kinds import KINDS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def amago(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs a command with a fake catalog of parts."""

    def run(*words: str, catalog: Catalog = CATALOG) -> Result:
        for command in ("components", "explain", "plugins"):
            monkeypatch.setattr(f"amago_core.cli.{command}.installed", lambda: catalog)
        return CliRunner().invoke(cli, words)

    return run


def test_components_lists_each_kind(amago: Any) -> None:
    result = amago("components")
    assert result.exit_code == 0
    assert result.stdout.split("\n\n")[2] == (
        "backbone: a causal sequence model over timestep vectors\n"
        "  gru          standard  a gru\n"
        "  transformer  standard  a transformer"
    )
    assert amago("components", "relabeler").stdout == (
        "relabeler: rewrites sampled trajectories in hindsight\n  none  standard  a none\n"
    )


def test_components_lists_parts_that_are_not_installed(amago: Any) -> None:
    assert amago("components", "dataset").stdout.splitlines()[-1] == (
        "  not installed: minari (pip install ./plugins/NAME)"
    )


def test_components_mentions_broken_plugins(amago: Any) -> None:
    result = amago("components", "actor", catalog=CATALOG_WITH_BROKEN)
    assert result.stderr == "\nBroken plugins: zoo. `amago plugins` shows their errors.\n"


def test_components_writes_ambiguous_names_in_full(amago: Any) -> None:
    twin = Plugin("zoo", "amago-zoo", "1", (("backbone", Component("gru", "m:G", GRUOptions, "twin")),))
    assert amago("components", "backbone", catalog=Catalog([*CATALOG.plugins, twin])).stdout == (
        "backbone: a causal sequence model over timestep vectors\n"
        "  standard/gru  standard  a gru\n"
        "  zoo/gru       zoo       twin\n"
        "  transformer   standard  a transformer\n"
    )


def test_an_unknown_kind_is_one_sentence_and_exit_code_2(amago: Any) -> None:
    result = amago("components", "actr")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: there is no kind of part called 'actr'. Did you mean 'actor'? "
        "Kinds: environment, encoder, backbone, attention, "
        "actor, critic, objective, relabeler, exploration, dataset, tracker.\n"
    )


def test_explain_shows_options_and_what_to_write(amago: Any) -> None:
    assert amago("explain", "backbone", "transformer").stdout == (
        "backbone standard/transformer: a transformer\n\n"
        "  plugin  standard\n"
        "  target  parts:backbone\n\n"
        "option     type                                  default  description\n"
        "layers     integer, at least 1                   3        Blocks; time grows with them.\n"
        "width      integer, at least 2, a multiple of 2  256      Features per timestep.\n"
        "attention  attention                             auto     Kernel.\n\n"
        "In a spec:\n"
        "  agent:\n"
        "    backbone:\n"
        "      use: transformer\n"
        "      layers: 3\n"
        "      width: 256\n"
        "      attention: auto\n"
    )


class Bells(Options):
    """Bells that ring.

    A second paragraph is not printed.
    """

    count: int = Field(2, ge=1, description="How many.")
    name: str = Field(description="What is engraved.")


class Tower(Options):
    """Where the bells hang."""

    height: float = Field(30.0, gt=0, description="In metres.")
    bells: Bells = Field(
        default_factory=lambda: {"count": 5, "name": "Anna"},
        validate_default=True,
        description="What rings.",
    )


class ChurchOptions(Options):
    tower: Tower = Field(Tower(height=50.0), description="What is seen from afar.")
    chapel: Tower | None = Field(None, description="A second one.")
    towers: list[Tower] = Field([], description="More of them.")
    doors: dict[str, Tower] = Field({}, description="Found by name.")


CHURCH = Plugin(
    "town", "amago-town", "1", (("environment", Component("church", "m:C", ChurchOptions, "tall")),)
)


def test_explain_has_a_table_for_every_section_of_the_options(amago: Any) -> None:
    assert amago("explain", "environment", "church", catalog=Catalog([CHURCH])).stdout == (
        "environment town/church: tall\n\n"
        "  plugin  town\n"
        "  target  m:C\n\n"
        "option  type              default    description\n"
        "tower   section           see below  What is seen from afar.\n"
        "chapel  section or null   null       A second one.\n"
        "towers  list of: section  []         More of them.\n"
        "doors   mapping           {}         Found by name.\n\n"
        "tower: Where the bells hang.\n\n"
        "option        type             default    description\n"
        "tower.height  number, above 0  50.0       In metres.\n"
        "tower.bells   section          see below  What rings.\n\n"
        "tower.bells: Bells that ring.\n\n"
        "option             type                 default  description\n"
        "tower.bells.count  integer, at least 1  5        How many.\n"
        "tower.bells.name   text                 Anna     What is engraved.\n\n"
        + "".join(
            f"{key}: Where the bells hang.\n\n"
            "option         type             default    description\n"
            f"{key}.height  number, above 0  30.0       In metres.\n"
            f"{key}.bells   section          see below  What rings.\n\n"
            f"{key}.bells: Bells that ring.\n\n"
            "option              type                 default  description\n"
            f"{key}.bells.count  integer, at least 1  5        How many.\n"
            f"{key}.bells.name   text                 Anna     What is engraved.\n\n"
            for key in ("chapel", "towers")
        )
        + "In a spec:\n"
        "  environment:\n"
        "    use: church\n"
        "    tower:\n"
        "      height: 50.0\n"
        "      bells:\n"
        "        count: 5\n"
        "        name: Anna\n"
        "    chapel: null\n"
        "    towers: []\n"
        "    doors: {}\n"
    )


def sections(annotation: Any) -> list[type[Options]]:
    """Return the models of options that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return [annotation]
    return [model for argument in get_args(annotation) for model in sections(argument)]


def nested_keys(options: type[Options], prefix: str = "") -> list[str]:
    """Return the keys of all options inside the sections of a part's options."""
    below = [
        (f"{prefix}{field.alias or name}.", model)
        for name, field in options.model_fields.items()
        for model in sections(field.annotation)
    ]
    own = [f"{key}{f.alias or name}" for key, model in below for name, f in model.model_fields.items()]
    return own + [key for above, model in below for key in nested_keys(model, above)]


NESTED = {
    (entry.kind, entry.name): keys
    for kind in KINDS
    for entry in registry_catalog.installed().entries(kind)
    if (keys := nested_keys(entry.component.options))
}


@pytest.mark.parametrize(("kind", "name"), NESTED)
def test_every_nested_option_of_an_installed_part_is_explained(
    kind: str, name: str, amago: Any
) -> None:
    shown = amago("explain", kind, name, catalog=registry_catalog.installed()).stdout
    rows = [line.split("  ")[0] for line in shown.splitlines()]
    assert [key for key in NESTED[kind, name] if rows.count(key) != 1] == []
    spec = yaml.safe_load(shown.partition("In a spec:\n")[2])
    assert installed_part(kind, spec) == installed_part(kind, name)


def installed_part(kind: str, written: Any) -> Options:
    """Return the options of a part that a spec names, at the end of its only branch."""
    while isinstance(written, dict) and "use" not in written:
        (written,) = written.values()
    given = dict(written) if isinstance(written, dict) else {"use": written}
    entry = registry_catalog.installed().find(kind, given.pop("use"))
    return entry.component.options.model_validate(given)


def test_the_filter_of_the_amago_objective_is_a_nested_option() -> None:
    assert "filter.kind" in NESTED["objective", "standard/amago"]


def test_explain_marks_required_options(amago: Any) -> None:
    assert amago("explain", "environment", "gymnasium").stdout.split("\n\n", 2)[2] == (
        "option  type  default   description\n"
        "id      text  required  Registered id of the environment.\n\n"
        "In a spec:\n"
        "  environment:\n"
        "    use: gymnasium\n"
        "    id: ...\n"
    )


def test_explain_shows_a_tracker_as_an_item_of_a_list(amago: Any) -> None:
    shown = amago("explain", "tracker", "jsonl").stdout
    assert shown.endswith("In a spec:\n  trackers:\n    - use: jsonl\n      window: null\n")
    assert "It has no options.\n" in amago("explain", "tracker", "csv").stdout


def test_explain_shows_the_keys_of_a_section(amago: Any) -> None:
    assert amago("explain", "training.stop").stdout == (
        "training.stop: Early stopping, at whichever limit is reached first.\n\n"
        "option   type                      default  description\n"
        "seconds  number, above 0, or null  null     Time limit: stop after the round in which "
        "training has taken this many seconds.\n"
        "return   number or null            null     Target return: stop after the evaluation whose "
        "mean return reaches it.\n"
    )
    rows = amago("explain", "training").stdout.splitlines()
    assert [row.split("  ")[0] for row in rows[3:]] == list(TrainingSpec.model_fields)
    assert next(row.split() for row in rows if row.startswith("stop"))[:4] == [
        "stop", "section", "see", "training.stop",
    ]  # fmt: skip


def test_explain_without_a_name_lists_the_names_of_the_kind(amago: Any) -> None:
    assert amago("explain", "backbone").stderr == (
        "Error: which backbone? Write `amago explain backbone NAME`, with one of: gru, transformer.\n"
    )
    result = amago("explain", "trainin")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: 'trainin' is neither a section of the spec nor a kind of part. "
        "Did you mean 'training'? Sections: agent, replay, collector, sampling, training, "
        "training.learning_rate_factors, training.stop, evaluation, running, checkpoints. "
        "Kinds: environment, encoder, backbone, attention, actor, critic, "
        "objective, relabeler, exploration, dataset, tracker.\n",
    )


def test_explain_of_a_part_without_its_kind_suggests_the_command(amago: Any) -> None:
    assert amago("explain", "gru").stderr == (
        "Error: 'gru' is a part: write `amago explain backbone gru`.\n"
    )


def test_explain_suggests_the_closest_name(amago: Any) -> None:
    result = amago("explain", "backbone", "grux", catalog=CATALOG_WITH_BROKEN)
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: no backbone is called 'grux'. Did you mean 'gru'? Installed: gru, transformer. Broken "
        "plugins, which may offer it: zoo (importing zoo.hooks raised ImportError: no cage).\n",
    )


def test_plugins_lists_broken_ones_with_their_reason(amago: Any) -> None:
    assert amago("plugins", catalog=CATALOG_WITH_BROKEN).stdout == (
        "plugin    distribution    version  state\n"
        "standard  amago-standard  0.1.0    14 parts\n"
        "zoo       amago-zoo       0.2.0    broken: importing zoo.hooks raised ImportError: no cage\n"
    )
    assert amago("plugins", catalog=Catalog([])).stdout == (
        "No plugin is installed; `pip install amago-standard` installs the standard parts.\n"
    )


def test_without_a_command_the_help_is_printed(amago: Any) -> None:
    alone, asked = amago(), amago("--help")
    assert alone.exit_code == asked.exit_code == 0
    assert alone.stdout == asked.stdout
    assert (
        "  components  List the installed parts that a spec can name, or those of one" in alone.stdout
    )


def test_the_help_repeats_the_first_sentence_of_every_command(amago: Any) -> None:
    context = click.Context(cli)
    shown = " ".join(amago("--help").stdout.split("Commands:")[1].split())
    summaries = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        summaries.append(f"{name} " + " ".join(str(command.help).split("\n\n")[0].split()))
    assert shown == " ".join(summaries)


def test_the_version_is_that_of_the_distribution(amago: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__
    assert amago("--version").stdout == f"amago {__version__}\n"


def test_an_unknown_command_suggests_the_closest(amago: Any) -> None:
    result = amago("trian")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: there is no command 'trian'. Did you mean 'train'? "
        "Commands: train, evaluate, check, components, explain, plugins, replay."
    )


@pytest.mark.parametrize("command", ["train", "check"])
def test_a_wrong_spec_is_one_message_and_writes_nothing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amago: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry_catalog, "installed", lambda: CATALOG)
    monkeypatch.setattr("amago_core.spec.load.installed", lambda: CATALOG)
    Path("maze.yaml").write_text("environment: t-maze\nsed: 1\n")
    result = amago(command, "maze.yaml", "agent.backbone=grux")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: the spec maze.yaml has 2 problems:\n"
        "  agent.backbone: no backbone is called 'grux'. Did you mean 'gru'? "
        "Installed: gru, transformer. (from the override 'agent.backbone=grux')\n"
        "  sed: there is no such key. Did you mean 'seed'?\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["maze.yaml"]


def test_the_old_words_of_train_are_no_overrides_of_the_spec() -> None:
    assert train.split_words(("seed=1", "run=runs/a", "resume=true", "running.threads=1")) == (
        "runs/a",
        True,
        ["seed=1", "running.threads=1"],
    )
    assert train.split_words(()) == (None, False, [])
    with pytest.raises(SpecError) as raised:
        train.split_words(("resume=yes",))
    assert (
        str(raised.value) == "'resume=yes' is neither 'resume=true' nor 'resume=false'. Write --resume."
    )
    with pytest.raises(SpecError) as raised:
        train.split_words(("run=",))
    assert str(raised.value) == "'run=' names no folder. Write --run FOLDER, as in '--run runs/first'."


def test_threads_are_announced_before_torch_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 6)
    environment = {"OMP_NUM_THREADS": "2"}
    monkeypatch.setattr(threads.os, "environ", environment)
    threads.announce_threads("auto")
    assert environment == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    threads.announce_threads(3)
    assert environment == {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}


def test_the_table_of_parts_ends_with_the_total() -> None:
    class Row:
        def __init__(self, part: str, parameters: int) -> None:
            self.part, self.use, self.parameters = part, "standard/x", parameters
            self.shape_in, self.shape_out = "(3,)", "(4,)"

    rows: Any = [Row("encoder", 1200), Row("actor", 34)]
    assert check.parts_table(rows) == (
        "part     plugin/name  in    out   parameters\n"
        "encoder  standard/x   (3,)  (4,)  1,200\n"
        "actor    standard/x   (3,)  (4,)  34\n"
        "total                             1,234"
    )


def test_the_last_column_is_wrapped_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("a", "one two three four five six seven"), ("bb", "eight")]
    assert table(rows) == "a   one two three four five six seven\nbb  eight"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    assert table(rows) == "a   one two three four five\n    six seven\nbb  eight"
