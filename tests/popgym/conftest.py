"""These tests need a plugin with dependencies of its own; without it they are skipped, and say so."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

INSTALLED = find_spec("amago_popgym") is not None
REASON = "amago-popgym is not installed here: make test-suite NAME=popgym"


class Skipped(pytest.Module):
    """A module that is not imported."""

    def collect(self) -> Iterator[pytest.Item]:
        raise pytest.skip.Exception(REASON, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave modules alone where the plugin is installed."""
    return None if INSTALLED else Skipped.from_parent(parent, path=module_path)
