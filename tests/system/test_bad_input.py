"""A user's error: exit code 2, one message, nothing written."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest
from click.testing import CliRunner, Result
from programs import amago, write_spec

from amago_core.cli.main import cli
from amago_registry import installed

BACKBONES = ", ".join(entry.component.name for entry in installed().entries("backbone"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory; thread variables that commands set are restored afterwards."""
    monkeypatch.chdir(tmp_path)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    return tmp_path


def train(*words: str) -> Result:
    return CliRunner().invoke(cli, ["train", *words], prog_name="amago")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["agent.backbone=gruu", "training.btch=3"],
            "the spec small.yaml has 2 problems:\n"
            "  agent.backbone: no backbone is called 'gruu'. Did you mean 'gru'? "
            f"Installed: {BACKBONES}. (from the override 'agent.backbone=gruu')\n"
            "  training.btch: there is no such key. Did you mean 'batch'? "
            "(from the override 'training.btch=3')",
        ),
        (
            ["agent.critic.hidden_dims=[-3,0]", "agent.backbone.heads=3"],
            "the spec small.yaml has 3 problems:\n"
            "  agent.backbone: a transformer of width 16 cannot have 3 heads: "
            "the width must be a multiple of the heads (from the override 'agent.backbone.heads=3')\n"
            "  agent.critic.hidden_dims.0: -3 is not at least 1 "
            "(from the override 'agent.critic.hidden_dims=[-3,0]')\n"
            "  agent.critic.hidden_dims.1: 0 is not at least 1 "
            "(from the override 'agent.critic.hidden_dims=[-3,0]')",
        ),
        (
            ["environment={use: gymnasium, id: CartPool-v1}"],
            "no installed package registers the gymnasium environment 'CartPool-v1'. "
            "Did you mean 'CartPole-v1' or 'CartPole-v0'? "
            f"To list all {len(gymnasium.registry)} that are registered, type: "
            'python -c "import gymnasium; gymnasium.pprint_registry()"',
        ),
        (
            ["environment={use: gymnasium, id: CartPole-v1, kwargs: {gravity: 1}}"],
            "the gymnasium environment 'CartPole-v1' could not be made with gravity=1: TypeError: "
            "CartPoleEnv.__init__() got an unexpected keyword argument 'gravity' "
            "was raised from the environment creator for CartPole-v1 with kwargs ({'gravity': 1})",
        ),
        (
            ["evaluation.environment={use: bandit, arms: 7}"],
            "the agent cannot be evaluated on environment standard/bandit: its actions are "
            "Discrete(7), those of standard/bandit are Discrete(3).",
        ),
        (["--run=small.yaml/run"], "small.yaml/run cannot be made: Not a directory."),
        (
            ["init_from=small.yaml"],
            "init_from is small.yaml, which is neither a run (it holds no spec.yaml) nor a checkpoint "
            "(it holds no state.json).",
        ),
        (["--run=nothing", "--resume"], "nothing is not a run: it does not exist."),
    ],
    ids=["spec", "sizes", "id", "arguments", "held-out", "folder", "init_from", "resume"],
)
def test_a_users_error_in_training_is_one_message(folder: Path, words: list[str], message: str) -> None:
    write_spec(folder)
    done = train("small.yaml", *words)
    assert done.stderr == f"Error: {message}\n"
    assert done.stdout == ""
    assert done.exit_code == 2
    assert [path.name for path in folder.iterdir()] == ["small.yaml"]


def test_a_missing_spec_is_one_message(folder: Path) -> None:
    done = train("maze.yaml")
    assert done.stderr == "Error: there is no spec 'maze.yaml'. '.' holds no YAML files.\n"
    assert done.exit_code == 2
    assert list(folder.iterdir()) == []


def test_a_folder_that_exists_is_one_message_of_the_installed_command(tmp_path: Path) -> None:
    write_spec(tmp_path)
    (tmp_path / "taken").mkdir()
    done = amago("train", "small.yaml", "--run=taken", cwd=tmp_path)
    assert done.stderr == (
        "Error: taken exists. Add --resume to continue that run (from Python, "
        "train(..., resume=True)), "
        "or --run OTHER/FOLDER to start another one.\n"
    )
    assert done.stdout == ""
    assert done.returncode == 2
    assert list((tmp_path / "taken").iterdir()) == []
