"""Options of the environment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from amago_metaworld.names import MULTI, ONE, TASKS, unknown_message
from amago_registry import Field, Options

Benchmark = Literal["ML1", "ML10", "ML25", "ML45", "MT1", "MT10", "MT25", "MT50"]


class MetaworldOptions(Options):
    """Options of ``use: metaworld``."""

    benchmark: Benchmark = Field(
        "ML1",
        description="Which tasks: ML hides the goal, MT shows it and which task it is; the number is "
        "how many to train on.",
    )
    task: str | None = Field(
        None, description="The task of ML1 or MT1, such as 'reach-v3'; null for the others."
    )
    split: Literal["train", "test"] = Field(
        "train",
        description="The goals of ML1, or the tasks of the other ML, to train on or those held out.",
    )
    attempts: int | None = Field(
        None,
        ge=1,
        description="Attempts at each goal: how often knowledge can be used. null: 3, in MT 1.",
    )
    attempt_steps: int = Field(
        500, ge=1, le=500, description="Steps of each attempt; published results had 500."
    )

    @field_validator("task")
    @classmethod
    def _fits_the_benchmark(cls, value: str | None, info: ValidationInfo) -> str | None:
        benchmark = info.data.get("benchmark")
        if value is None and benchmark in ONE:
            raise PydanticCustomError(
                "metaworld_task",
                "say which task {benchmark} is to be, such as 'reach-v3'",
                {"benchmark": benchmark},
            )
        if value is not None and benchmark is not None and benchmark not in ONE:
            raise PydanticCustomError(
                "metaworld_task",
                "leave it out: {benchmark} has tasks of its own. For one task: benchmark={one}",
                {"benchmark": benchmark, "one": f"{benchmark[:2]}1"},
            )
        if value is not None and value not in TASKS:
            context: dict[str, Any] = {"sentence": unknown_message(value)}
            raise PydanticCustomError("metaworld_task", "{sentence}", context)
        return value

    @field_validator("split")
    @classmethod
    def _exists(cls, value: str, info: ValidationInfo) -> str:
        benchmark = info.data.get("benchmark")
        if value == "test" and benchmark in MULTI:
            raise PydanticCustomError(
                "metaworld_split", "{benchmark} holds nothing out", {"benchmark": benchmark}
            )
        return value
