"""Options of the environment and of the encoder."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from amago_minigrid.ids import IDS, unknown_message
from amago_registry import Field, Options
from amago_registry.options import Part, Widths


class MinigridOptions(Options):
    """Options of ``use: minigrid``."""

    id: str = Field(
        min_length=1,
        description="Which game, such as 'MiniGrid-DoorKey-5x5-v0' or 'BabyAI-GoToLocal-v0'.",
    )
    view: Literal["agent", "whole"] = Field(
        "agent",
        description="Show the cells before the agent, or the whole grid: easier, and of another shape "
        "in each game; what the agent carries is then not shown.",
    )
    view_size: int = Field(
        7, ge=3, description="Cells along each side of the agent's view, an odd number; more show more."
    )
    mission: bool = Field(
        True, description="Show the mission as words; off is faster where a game has only one."
    )
    mission_words: int | None = Field(
        None,
        ge=1,
        description="Words that a mission has room for; fewer are read faster, and a longer mission is "
        "an error. null: as many as the game may use.",
    )
    time_limit: int | None = Field(
        None,
        ge=1,
        description="Most steps of a trajectory; success pays less the more of it was used. "
        "null: the game's own.",
    )

    @field_validator("id")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value in IDS:
            return value
        context: dict[str, Any] = {"sentence": unknown_message(value)}
        raise PydanticCustomError("minigrid_id", "{sentence}", context)

    @field_validator("view_size")
    @classmethod
    def _is_odd_and_used(cls, value: int, info: ValidationInfo) -> int:
        if value % 2 == 0:
            raise PydanticCustomError(
                "minigrid_view", "must be odd: the agent stands in the middle of a side"
            )
        if info.data.get("view") == "whole" and value != cls.model_fields["view_size"].default:
            raise PydanticCustomError(
                "minigrid_view",
                "leave it out: view=whole shows every cell. For those before the agent: view=agent",
            )
        return value

    @field_validator("mission_words")
    @classmethod
    def _is_used(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None or info.data.get("mission", True):
            return value
        raise PydanticCustomError(
            "minigrid_mission",
            "leave it out, or null: mission=false shows no words. To show them: mission=true",
        )


class GridEncoderOptions(Options):
    """Options of ``use: minigrid``, the encoder."""

    image_key: str = Field("image", min_length=1, description="The observation that is the grid.")
    cell_dim: int = Field(
        16, ge=1, description="Features of a cell: the sum of those of its object, colour and state."
    )
    channels: Widths = Field(
        (16, 32),
        min_length=1,
        description="Filters of each 3 x 3 convolution; one more lets a cell see one cell further.",
    )
    image_dim: int = Field(128, ge=1, description="Features that are kept of the grid.")
    inner: Part[Literal["encoder"]] = Field(
        "mlp",
        validate_default=True,
        description="Encoder of the rest: other observations, previous action and reward.",
    )
    out_dim: int = Field(256, ge=1, description="Width of the vector the backbone reads.")
