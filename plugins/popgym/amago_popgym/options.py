"""Options of the environment."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from amago_popgym.ids import KNOWN, unknown_message
from amago_registry import Field, Options


class PopgymOptions(Options):
    """Options of ``use: popgym``."""

    id: str = Field(
        min_length=1,
        description="Which environment, such as 'RepeatPreviousEasy': a game and Easy, Medium or Hard.",
    )
    time_in_observation: bool = Field(
        True,
        description="Show the steps taken, divided by 1000, behind the rest; published results had it.",
    )

    @field_validator("id")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value in KNOWN:
            return value
        context: dict[str, Any] = {"sentence": unknown_message(value)}
        raise PydanticCustomError("popgym_id", "{sentence}", context)
