"""Constructing MiniGrid's environments, with an error that says what to install."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from amago_registry.errors import UnavailableError, reason

MINIGRID = "minigrid>=3.2,<3.3"


def make_game(name: str, **settings: Any) -> gymnasium.Env[Any, Any]:
    """Return a fresh game, as the package has it and without wrappers.

    Args:
        name: One of :data:`amago_minigrid.ids.IDS`.
        **settings: Arguments of the package's environment beside those of the registration.

    Raises:
        UnavailableError: If the package cannot be imported, with what to install.
    """
    try:
        with redirect_stdout(StringIO()):  # pygame, which MiniGrid draws with, prints a greeting.
            import_module("minigrid")
    except Exception as error:
        raise UnavailableError(
            f"the game {name} needs the package minigrid, which cannot be imported here: "
            f"{reason(error)}. Install it: pip install '{MINIGRID}'"
        ) from error
    # Not gymnasium.make, which warns of every game that also has a later version.
    spec = gymnasium.registry[name]
    assert isinstance(spec.entry_point, str)
    create: Any = load_env_creator(spec.entry_point)
    game: gymnasium.Env[Any, Any] = create(**spec.kwargs | settings)
    return game
