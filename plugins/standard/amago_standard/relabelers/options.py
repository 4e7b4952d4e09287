"""Options of the relabelers."""

from __future__ import annotations

from typing import Annotated, Literal

from amago_registry.options import Field, Options, Part

Relabelers = Annotated[tuple[Part[Literal["relabeler"]], ...], Field(strict=False)]


class NoRelabelerOptions(Options):
    """Options of ``use: none``: there are none."""


class HindsightOptions(Options):
    """Options of ``use: hindsight``."""

    goals: Literal["some", "all"] = Field(
        "some",
        description="How many of the goals that were not reached are replaced: 'some', none to all, "
        "each number as often; 'all', so that no failure is learned from.",
    )
    strategy: Literal["episode", "future", "final"] = Field(
        "episode",
        description="Which timesteps their goals come from: 'episode', any; 'future', those after one "
        "that is drawn first, which prefers late ones; 'final', the last.",
    )
    candidates: Literal["other", "changed"] = Field(
        "other",
        description="What may become a goal: 'other', all that was achieved but for goals that were "
        "reached; 'changed', only what was not achieved yet at the timestep before.",
    )
    rarity: float = Field(
        0.0,
        ge=0,
        le=16,
        description="How much rarely achieved goals are preferred: 0 not at all, 4 is the exponent of "
        "AMAGO. With strategy 'final', only among what one timestep achieved.",
    )
    probability: float = Field(
        1.0, gt=0, le=1, description="Share of trajectories that are relabelled; the others stay."
    )


class ChainOptions(Options):
    """Options of ``use: chain``."""

    relabelers: Relabelers = Field(
        min_length=1, description="Relabelers, each for what the one before it returns."
    )
