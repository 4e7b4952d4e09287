"""Options of the datasets."""

from __future__ import annotations

from typing import Literal

from amago_registry.options import Field, Options


class ShardsOptions(Options):
    """Options of ``use: shards``."""

    folder: str = Field(
        min_length=1,
        description="A run, its replay, or any folder of shards; only read. Of a run that still "
        "trains, each process that draws batches sees what is stored when it opens the folder, and may "
        "see more than another.",
    )
    by: Literal["trajectories", "timesteps"] = Field(
        "trajectories",
        description="What is drawn evenly: trajectories, or timesteps, so that long trajectories count "
        "for more.",
    )
