"""Options of the explorations.

Steps are those of one environment: with 24 environments, ``anneal_steps: 1000`` is over after
24,000 collected timesteps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from amago_registry.options import Field, Options


class EpsilonGreedyOptions(Options):
    """Options of ``use: epsilon-greedy``."""

    start: float = Field(1.0, ge=0, le=1, description="Epsilon at the first step; 1 acts at random.")
    end: float = Field(
        0.05, ge=0, le=1, description="Epsilon after anneal_steps; 0 leaves the policy alone."
    )
    anneal_steps: int = Field(
        1_000_000,
        ge=1,
        description="Steps of one environment over which epsilon falls from start to end.",
    )
    randomize: bool = Field(
        True,
        description="Multiply epsilon by u ~ U[0, 1) per task: some are then played carefully early.",
    )


class BilevelOptions(Options):
    """Options of ``use: bilevel``."""

    start: float = Field(
        1.0, ge=0, le=1, description="Epsilon at a trajectory's start, early in training."
    )
    end: float = Field(
        0.05, ge=0, le=1, description="Epsilon at a trajectory's start, after anneal_steps."
    )
    late_start: float = Field(
        0.8, ge=0, le=1, description="Epsilon at a trajectory's end, early in training."
    )
    late_end: float = Field(
        0.01, ge=0, le=1, description="Epsilon at a trajectory's end, after anneal_steps."
    )
    anneal_steps: int = Field(
        1_000_000, ge=1, description="Steps of one environment over which both ends are annealed."
    )
    horizon: int | None = Field(
        None,
        ge=1,
        description="Steps after which a trajectory counts as late. Null: the task's step budget.",
    )
    randomize: bool = Field(
        True,
        description="Multiply epsilon by u ~ U[0, 1) per task: some are then played carefully early.",
    )


class CorridorOptions(Options):
    """Options of ``use: corridor``."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"slips": "random_actions"}

    start: float = Field(1.0, ge=0, le=1, description="Epsilon at both ends, at the first step.")
    end: float = Field(0.01, ge=0, le=1, description="Epsilon at both ends, after anneal_steps.")
    anneal_steps: int = Field(
        4_000, ge=1, description="Steps of one environment over which epsilon falls from start to end."
    )
    random_actions: float = Field(
        0.5,
        ge=0,
        description="Expected number of random actions in the whole corridor; a single one delays the "
        "agent.",
    )
    length: int | None = Field(
        None,
        ge=1,
        description="Cells of the corridor. Null: the step budget less 1, which is right for the "
        "passive T-maze; set it for the active one.",
    )
    randomize: bool = Field(
        True,
        description="Multiply epsilon by u ~ U[0, 1) per task: some are then played carefully early.",
    )


class NoExplorationOptions(Options):
    """Options of ``use: none``: there are none."""
