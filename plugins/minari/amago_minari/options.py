"""Options of the dataset."""

from __future__ import annotations

from typing import Literal

from amago_registry import Field, Options


class MinariOptions(Options):
    """Options of ``use: minari``."""

    id: str = Field(
        min_length=1,
        pattern=r"^[\w-]+(/[\w-]+)*$",
        description="Id of a dataset, such as 'D4RL/pointmaze/umaze-v2'; `minari list local` lists "
        "those on this machine.",
    )
    download: bool = Field(
        False,
        description="Whether to fetch it where it is not on this machine yet; else that is an error.",
    )
    episodes: int | None = Field(
        None, ge=1, description="Only so many episodes, the first ones; null takes all."
    )
    by: Literal["trajectories", "timesteps"] = Field(
        "trajectories",
        description="What is drawn evenly: trajectories, or timesteps, so that long trajectories count "
        "for more.",
    )
    memory: int = Field(
        1024,
        ge=0,
        description="MiB of episodes that stay in memory, in each process that draws batches; what is "
        "over that is read again when it is drawn, which takes milliseconds.",
    )
