"""Train an agent from a spec: the entry point :func:`train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amago_core.errors import SpecError
from amago_core.run_folder.run_dir import RunDir
from amago_core.running.progress import Reporter, SilentReporter, make_reporter
from amago_core.running.result import Result
from amago_core.system.memory import peak_memory
from amago_core.system.threads import ranks_of_torchrun

if TYPE_CHECKING:
    from amago_core.environments import MakeEnvironment
    from amago_core.spec import RunSpec


__all__ = ["Result", "peak_memory", "train"]


def train(
    spec: str | Path | Mapping[str, Any] | RunSpec,
    overrides: Sequence[str] = (),
    *,
    environment: MakeEnvironment | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Result:
    """Train an agent from a spec.

    Nothing is written until the spec is valid and all its parts are built and fit together.

    Args:
        spec: A YAML file, its content as a mapping, or a :class:`RunSpec`.
        overrides: Changes to a file or mapping, such as ``agent.backbone=gru``.
        environment: Function that makes an environment, in place of the spec's.
        run: Folder of the run; by default ``runs/<name>``.
        resume: Resume the run in that folder.
        reporter: Shows progress; by default on the terminal.

    Raises:
        AmagoError: If the spec, the folder or the environment has a problem.
    """
    from amago_core.spec import RunSpec, load_spec

    if not isinstance(spec, RunSpec):
        spec = load_spec(spec, overrides, local_environment=environment is not None)
    elif overrides:
        raise SpecError("overrides change a file or a mapping; this spec is finished already.")
    if environment is not None:
        spec = spec.model_copy(update={"environment": None})  # As stored in the run's folder.
    folder = RunDir(run_folder(spec, run))
    rank, ranks = ranks_of_torchrun()
    reporter = reporter or (make_reporter() if rank == 0 else SilentReporter())
    if resume:
        folder.check()
    elif rank == 0:
        folder.check_free()
    if spec.running.mode == "interleaved":
        from amago_core.running.interleaved import train_interleaved

        return train_interleaved(spec, folder, environment, reporter, resume, ranks)
    if ranks > 1:
        raise SpecError(
            f"torchrun has started {ranks} processes, and running.mode is async, which starts its own. "
            "Leave torchrun out, or write running.mode=interleaved."
        )
    from amago_core.running.processes.supervisor import supervise

    return supervise(spec, folder, environment, reporter, resume)


def run_folder(spec: RunSpec, run: str | Path | None) -> Path:
    """Return the folder of a run: the one that is given, else ``runs/<name>``."""
    return Path(run) if run is not None else Path("runs") / (spec.name or "run")
