"""From a spec back to what a file would say: everything resolved, every part by its full name."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from amago_core.spec.schema import RunSpec


def dump_spec(spec: RunSpec) -> dict[str, Any]:
    """Return plain mappings, lists and values that :func:`load_spec` turns into an equal spec."""
    dumped: dict[str, Any] = spec.model_dump(mode="json", by_alias=True)
    return dumped


def spec_yaml(spec: RunSpec) -> str:
    """Return the text of a file that :func:`load_spec` turns into an equal spec."""
    return OmegaConf.to_yaml(OmegaConf.create(dump_spec(spec)))
