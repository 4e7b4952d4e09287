"""Constructing POPGym's environments: missing packages, step limits, global random generators."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from amago_popgym.ids import class_name
from amago_registry.errors import UnavailableError, reason

POPGYM = "popgym>=1.0.7,<1.1"
MAZELIB = "mazelib>=0.9.14"


def make_game(name: str) -> gymnasium.Env[Any, Any]:
    """Return a fresh game, as the package has it.

    Args:
        name: One of :data:`amago_popgym.ids.KNOWN`.

    Raises:
        UnavailableError: If a package it needs cannot be imported, with what to install.
    """
    try:
        from popgym import envs
    except Exception as error:
        raise _missing("popgym", name, POPGYM, f": {reason(error)}") from error
    made = getattr(envs, class_name(name), None)
    if made is None:  # The package leaves out its mazes where it does not find mazelib.
        raise _missing("mazelib", name, MAZELIB, "")
    with warnings.catch_warnings():
        # Mazes warn that they need little memory; the README says so too.
        warnings.simplefilter("ignore", DeprecationWarning)
        game: gymnasium.Env[Any, Any] = made()
    return game


def horizon(game: Any) -> int:
    """Return the step limit of a game, which games declare in different attributes."""
    if hasattr(game, "maze_dims"):  # A maze is over one step before its limit.
        return int(game.max_episode_length) - 1
    if hasattr(game, "deck_size"):  # higher-lower: a step for every card but the first
        return int(game.deck_size) - 1
    return int(getattr(game, "episode_length", None) or game.max_episode_length)


@contextmanager
def preserved_global_generators() -> Iterator[None]:
    """Restore the states of ``random`` and ``numpy.random`` on exit.

    Mazes draw from them and seed them, which must not affect the rest of the process.
    """
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def _missing(package: str, name: str, wanted: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"the POPGym environment {name} needs the package {package}, which cannot be imported here"
        f"{why}. Install it: pip install '{wanted}'"
    )
