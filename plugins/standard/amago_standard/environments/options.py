"""Options of the environments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from amago_registry.options import Field, Options, Part

Tasks = Annotated[tuple[Part[Literal["environment"]], ...], Field(strict=False)]
Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False)]
Scales = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False)]


def _at_most(value: int, info: ValidationInfo, most: str) -> int:
    """Return a lower limit; raise if it is above the upper limit, the option named ``most``."""
    limit = info.data.get(most, value)
    if value <= limit:
        return value
    raise PydanticCustomError(
        "more_than_most",
        "is more than {most}, which is {limit}: let it be at most that",
        {"most": most, "limit": limit},
    )


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


class DarkRoomOptions(Options):
    """Options of ``use: dark-room``."""

    size: int = Field(
        9, ge=2, description="Cells along each side; the goal is harder to find in a larger room."
    )
    attempts: int = Field(
        10, ge=1, description="Attempts at each goal: how often knowledge can be used."
    )
    attempt_limit: int = Field(
        20, ge=1, description="Steps of each attempt; a goal farther off than that is never reached."
    )


class DarkKeyToDoorOptions(Options):
    """Options of ``use: dark-key-to-door``."""

    size: int = Field(
        9, ge=2, description="Cells along each side; key and door are harder to find in a larger room."
    )
    horizon: int = Field(
        500, ge=1, description="Steps per trajectory: the more, the more often knowledge can be used."
    )
    attempt_limit: int = Field(
        50, ge=1, description="Steps after which an attempt is over, the door opened or not."
    )
    light: bool = Field(
        False, description="Show where key and door are, so that there is nothing to remember."
    )
    shuffle_actions: bool = Field(
        False, description="Let actions trade places in each task, so that they must be learned too."
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


class MazeRunnerOptions(Options):
    """Options of ``use: maze-runner``."""

    size: int = Field(
        11,
        ge=7,
        le=1001,
        description="Cells along each side, an odd number; chance hardly ever solves larger mazes.",
    )
    goals: int = Field(3, ge=1, le=16, description="Most goals of a task, to be visited in order.")
    min_goals: int = Field(
        1, ge=1, description="Fewest goals of a task; as many as goals: all tasks have as many."
    )
    time_limit: int = Field(
        250, ge=1, description="Most steps of a trajectory. Published: 400 for size 15, 1000 for 31."
    )
    shuffle_actions: bool = Field(
        False, description="Give the actions other meanings in every task, to be found out first."
    )

    @field_validator("size")
    @classmethod
    def _has_a_middle(cls, value: int) -> int:
        if value % 2:
            return value
        raise PydanticCustomError(
            "even_size",
            "is even, and mazes have odd sizes: take {smaller} or {larger}",
            {"smaller": value - 1, "larger": value + 1},
        )

    @field_validator("min_goals")
    @classmethod
    def _no_more_than_goals(cls, value: int, info: ValidationInfo) -> int:
        return _at_most(value, info, "goals")


class PackageDeliveryOptions(Options):
    """Options of ``use: package-delivery``."""

    length: int = Field(
        30,
        ge=10,
        le=10_000,
        description="Cells of the road; between a tenth and a fifth of them are forks.",
    )
    destinations: int = Field(
        4, ge=1, le=7, description="Most destinations of a task, to be served in order."
    )
    min_destinations: int = Field(2, ge=1, description="Fewest destinations of a task.")
    packages: int = Field(
        3, ge=1, description="Packages per destination; what is more than 1 may be dropped elsewhere."
    )
    time_limit: int = Field(180, ge=1, description="Most steps of a trajectory.")

    @field_validator("min_destinations")
    @classmethod
    def _no_more_than_destinations(cls, value: int, info: ValidationInfo) -> int:
        return _at_most(value, info, "destinations")


class HalfCheetahVelocityOptions(Options):
    """Options of ``use: half-cheetah-velocity``."""

    attempts: int = Field(
        3, ge=1, description="Attempts at each velocity: how often knowledge can be used."
    )
    attempt_limit: int = Field(200, ge=1, description="Steps of each attempt, of 0.05 seconds each.")
    max_velocity: float = Field(
        3.0,
        ge=0,
        description="Fastest hidden velocity, in metres per second; the slowest is to stand.",
    )
    control_cost: float = Field(
        0.05, ge=0, description="Cost of the squared torques; more makes it worth while to move little."
    )
    tolerance: float = Field(
        0.5,
        ge=0,
        description="Error that counts as success, in metres per second; rewards do not read it.",
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
        "all with the same Box. Goals of theirs cannot be relabelled.",
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
