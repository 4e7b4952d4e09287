"""Options of the dataset ``shards``."""

from __future__ import annotations

from typing import Literal

from amago_registry.options import Field, Options


class ShardsOptions(Options):
    """Options of ``use: shards``."""

    folder: str = Field(
        min_length=1,
        description="A run, its replay, or any folder of shards; it is only read. If that run is still "
        "training, each loader process sees the trajectories stored when it opens the folder, so some "
        "may see more than others.",
    )
    by: Literal["trajectories", "timesteps"] = Field(
        "trajectories",
        description="What is sampled uniformly: trajectories, or timesteps, so that long trajectories "
        "are sampled more often.",
    )
