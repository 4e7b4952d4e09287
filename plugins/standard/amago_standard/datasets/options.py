"""Options of the datasets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from amago_registry.options import Field, Options, Part

Datasets = Annotated[tuple[Part[Literal["dataset"]], ...], Field(strict=False)]
Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False)]


class MixtureOptions(Options):
    """Options of ``use: mixture``."""

    datasets: Datasets = Field(
        min_length=1, description="Datasets to draw from: all of the same observations and actions."
    )
    weights: Weights | None = Field(
        None, description="How often each dataset is drawn, to begin with. Null: all alike."
    )
    final_weights: Weights | None = Field(
        None,
        description="How often each is drawn after ``anneal_updates``. Null: as to begin with.",
    )
    anneal_updates: int = Field(
        10_000,
        ge=1,
        description="Updates over which shares move from the first to the final, in a line.",
    )

    @field_validator("weights", "final_weights")
    @classmethod
    def _one_for_each_dataset(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        count = len(info.data.get("datasets", value or ()))
        if value is None or (len(value) == count and any(value)):
            return value
        if len(value) == count:
            raise PydanticCustomError("no_weight", "leaves no dataset to draw; let one be above 0")
        raise PydanticCustomError(
            "one_for_each",
            "has {given} numbers for {count} datasets; write one for each, in their order",
            {"given": len(value), "count": count},
        )
