"""The folder of a run: everything needed to repeat it, resume it, or load its agent."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from amago_core.errors import RunDirError
from amago_core.system.atomic_files import publish, replace_file, write_file

if TYPE_CHECKING:
    from amago_core.acting.evaluation_result import Evaluation
    from amago_core.acting.task import Task
    from amago_core.spec import RunSpec


_LIBRARIES = ("amago-core", "amago-registry", "torch", "gymnasium", "numpy", "safetensors")


class RunDir:
    """A run's folder and the paths of the files in it.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = path / "spec.yaml"
        self.spaces = path / "spaces.json"
        self.versions = path / "versions.json"
        self.metrics = path / "metrics.jsonl"
        self.evaluation = path / "evaluation.json"
        self.replay = path / "replay"
        self.checkpoints = path / "checkpoints"
        self.shared_files = path / "exchange"
        self.errors = path / "errors"
        self.lock = path / "lock"
        self.members = path / "members.lock"
        self.learning_curve = path / "learning_curve.png"
        self.adaptation = path / "adaptation.png"

    def create(self, spec: RunSpec, task: Task) -> None:
        """Create the folder with the run's spec, spaces and versions.

        Raises:
            RunDirError: If the folder exists or cannot be made.
        """
        self.check_free()
        # Written under a temporary name and then renamed, so that a crash leaves no incomplete run.
        # The name is random: of two training runs that start at once, one gets the folder and the
        # other an error.
        making = RunDir(self.path.with_name(f".{self.path.name}.{token_hex(4)}.making"))
        try:
            making.path.mkdir(parents=True)
            making._write_description(spec, task)
            publish(making.path, self.path)
        except OSError as error:
            shutil.rmtree(making.path, ignore_errors=True)
            self.check_free()
            raise RunDirError(f"{self.path} cannot be made: {error.strerror}.") from None

    def _write_description(self, spec: RunSpec, task: Task) -> None:
        from amago_core.run_folder.spaces_json import space_to_json
        from amago_core.spec import spec_yaml

        spaces = {
            "observation": space_to_json(task.observation_space),
            "action": space_to_json(task.action_space),
        }
        versions = [{"after_round": 0, "versions": _versions(spec)}]
        write_file(self.spaces, json.dumps(spaces, indent=1).encode())
        write_file(self.versions, json.dumps(versions, indent=1).encode())
        write_file(self.spec, spec_yaml(spec).encode())

    def check_free(self) -> None:
        """Raise if the folder exists.

        Raises:
            RunDirError: If it exists; the message says how to resume the run or start another one.
        """
        if self.path.exists():
            raise RunDirError(
                f"{self.path} exists. Add --resume to continue that run (from Python, "
                "train(..., resume=True)), or --run OTHER/FOLDER to start another one."
            )

    def record_versions(self, spec: RunSpec, done: int) -> None:
        """Write the spec and versions with which the run is resumed after ``done`` rounds."""
        from amago_core.spec import spec_yaml

        history = json.loads(self.versions.read_text(encoding="utf-8"))
        now = _versions(spec)
        if history[-1]["versions"] != now:
            history.append({"after_round": done, "versions": now})
            replace_file(self.versions, json.dumps(history, indent=1).encode())
        replace_file(self.spec, spec_yaml(spec).encode())

    def check(self) -> None:
        """Raise unless the folder holds a run.

        Raises:
            RunDirError: If it does not; the message says what is missing.
        """
        if not self.spec.is_file():
            what = "does not exist" if not self.path.exists() else "holds no spec.yaml"
            raise RunDirError(f"{self.path} is not a run: it {what}.")

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Write the result of the last evaluation, replacing the previous one."""
        replace_file(self.evaluation, json.dumps(asdict(evaluation), indent=1).encode())

    def read_evaluation(self) -> Evaluation | None:
        """Return the last evaluation; None if it is missing or damaged."""
        from amago_core.acting.evaluation_result import Evaluation

        try:
            stored = json.loads(self.evaluation.read_text(encoding="utf-8"))
            return Evaluation.from_stored(stored)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def read_spaces(self) -> tuple[Any, Any]:
        """Return the environment's observation and action space."""
        from amago_core.run_folder.spaces_json import read_spaces

        return read_spaces(self.spaces)


def _versions(spec: RunSpec) -> dict[str, str]:
    """Return the versions of Python, of ``_LIBRARIES``, and of every plugin that the spec uses."""
    from amago_core.spec.diff import parts_of
    from amago_registry.catalog import installed

    used = {part.entry.plugin for part in parts_of(spec)}
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    plugins = (plugin for plugin in installed().plugins if plugin.name in used)
    return versions | {plugin.distribution: plugin.version for plugin in plugins}
