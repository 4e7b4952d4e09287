"""What a spec may set for each environment of this room."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from amago_registry.options import Field, Options, Part

Tasks = Annotated[tuple[Part[Literal["environment"]], ...], Field(strict=False)]
Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False)]
Scales = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False)]


class TMazeOptions(Options):
    """Options of ``use: t-maze``."""

    length: int = Field(
        60, ge=1, description="Steps from the start to the junction: how long to remember."
    )
    active: bool = Field(
        False, description="Put the cue one cell behind the start, so that the agent must go and look."
    )


class BanditOptions(Options):
    """Options of ``use: bandit``."""

    arms: int | None = Field(
        None,
        ge=2,
        description="Arms to choose from; more take longer to explore. Null: 10, gaussian 5.",
    )
    pulls: int = Field(100, ge=1, description="Pulls per task, each of them an attempt.")
    gaussian: bool = Field(
        False,
        description="Pay mean plus Gaussian noise, instead of 1 with the arm's probability, else 0.",
    )
    sigma: float = Field(
        0.3, ge=0, description="Standard deviation of a gaussian reward; more noise hides the best arm."
    )
    skew: float = Field(
        1.0, gt=0, description="Mean rewards are u ** skew, u ~ U[0, 1); above 1 good arms are rare."
    )


class MetaFrozenLakeOptions(Options):
    """Options of ``use: meta-frozen-lake``."""

    size: int = Field(
        5, ge=2, description="Cells along each side; larger lakes are harder to cross blind."
    )
    attempts: int = Field(
        10, ge=1, description="Attempts at each map: how often knowledge can be used."
    )
    attempt_limit: int | None = Field(
        None,
        ge=1,
        description="Steps after which an attempt has failed. Null: size^2, in hard 2 size^2.",
    )
    safe: float = Field(
        0.8,
        ge=0.6,
        le=1,
        description="Share of cells that are ice; maps without a way across are drawn again.",
    )
    recover: bool = Field(
        False,
        description="A hole costs a little and puts the agent back, instead of ending the attempt.",
    )
    fall_cost: float = Field(0.1, ge=0, description="What a hole costs with recover.")
    hard: bool = Field(False, description="Turn on the three hidden disturbances below.")
    swap_probability: float = Field(
        0.5, ge=0, le=1, description="Share of hard tasks in which 'right' and 'down' trade places."
    )
    noise_probability: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Share of hard observations whose position is off by up to one cell.",
    )
    crack_probability: float = Field(
        1 / 3, ge=0, le=1, description="How often, in hard, the cell just left becomes a hole."
    )


class GymnasiumOptions(Options):
    """Options of ``use: gymnasium``."""

    id: str = Field(
        min_length=1, description="Id that an installed package registers, such as 'CartPole-v1'."
    )
    kwargs: dict[str, JsonValue] = Field(
        {}, description="Plain values that the environment is made with, on top of its registered ones."
    )
    time_limit_terminates: bool = Field(
        False,
        description="Count running out of time as the end of the task: nothing is gained after it.",
    )

    @field_validator("id")
    @classmethod
    def _imports_nothing(cls, value: str) -> str:
        module, colon, _ = value.partition(":")
        if not colon:
            return value
        context: dict[str, Any] = {"id": value, "module": module}
        raise PydanticCustomError(
            "gymnasium_id",
            "'{id}' would import the module '{module}', and a spec never imports. Name an id that an "
            "installed package registers, or pass the environment from Python: "
            "amago_core.train(spec, environment=make)",
            context,
        )


class MixtureOptions(Options):
    """Options of ``use: mixture``."""

    tasks: Tasks = Field(
        min_length=1,
        description="Environments, one of which is drawn per trajectory: all with Discrete actions, or "
        " all with the same Box.",
    )
    weights: Weights | None = Field(
        None,
        description="How often each task is drawn; 0 leaves it out, without changing a space. "
        "Null: all alike.",
    )
    reward_scales: Scales | None = Field(
        None, description="What each task's rewards are multiplied by. Null: 1."
    )
    show_task: bool = Field(
        True, description="Observe which task it is; false leaves the agent to find out."
    )

    @field_validator("weights", "reward_scales")
    @classmethod
    def _one_for_each_task(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        count = len(info.data.get("tasks", value or ()))
        if value is None or len(value) == count:
            return value
        raise PydanticCustomError(
            "one_for_each",
            "has {given} numbers for {count} tasks; write one for each, in their order",
            {"given": len(value), "count": count},
        )

    @field_validator("weights")
    @classmethod
    def _something_is_drawn(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is None or any(value):
            return value
        raise PydanticCustomError("no_weight", "leaves no task to draw; let one be above 0")
