"""Overrides: ``key.path=value`` on the command line, the value in YAML."""

from __future__ import annotations

import re
from typing import Any

from amago_core.spec.merge import Layer
from amago_core.spec.problems import Problem
from amago_core.spec.yaml_files import read_value

_KEY = re.compile(r"[^.\s]+(\.[^.\s]+)*")
_INDEX = re.compile(r"\[(\d+)\]")


def parse_override(text: str) -> Layer | Problem:
    """Parse an override into a layer; return a problem if it is malformed.

    Items of lists are named by their index: ``trackers.0=jsonl`` or ``trackers[0]=jsonl``.
    """
    key, equals, written = text.partition("=")
    if not equals:
        return Problem((), f"the override '{text}' has no '='. Write key=value, as in 'seed=3'")
    dotted = _INDEX.sub(r".\1", key)
    if not _KEY.fullmatch(dotted):
        return Problem((), f"the override '{text}' has no valid key. Write key=value, as in 'seed=3'")
    path = tuple(dotted.split("."))
    try:
        says: Any = read_value(written)
    except ValueError as error:
        return Problem(path, f"'{written}' is not valid YAML: {error}", f"the override '{text}'")
    for part in reversed(path):
        says = {part: says}
    return Layer(f"the override '{text}'", says, path)
