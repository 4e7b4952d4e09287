"""In-context reinforcement learning from a spec.

Example::

    import amago_core

    result = amago_core.train("examples/t-maze.yaml", ["agent.backbone=gru"])
    agent = amago_core.load(result.run)

Importing this package imports nothing else; each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.errors import AmagoError, SpecError
    from amago_core.run_folder.evaluate_run import evaluate_run as evaluate
    from amago_core.run_folder.inference import load
    from amago_core.running.train import train
    from amago_core.spec.load import load_spec

__version__ = "0.1.0"

__all__ = ["AmagoError", "SpecError", "__version__", "evaluate", "load", "load_spec", "train"]

__getattr__ = lazy_exports(
    __name__,
    {
        "AmagoError": "errors",
        "SpecError": "errors",
        "evaluate": "run_folder.evaluate_run:evaluate_run",
        "load": "run_folder.inference",
        "load_spec": "spec.load",
        "train": "running.train",
    },
)


def __dir__() -> list[str]:
    return __all__
