"""Options of the objectives."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from amago_registry.options import Field, Options

_READ = {
    "binary": (),
    "exponential": ("beta", "cap"),
    "leaky-ramp": ("beta", "hinge", "slope", "start", "cap"),
    "none": (),
}


class FilterOptions(Options):
    """Which stored actions are imitated, by their advantage A over the policy."""

    kind: Literal["binary", "exponential", "leaky-ramp", "none"] = Field(
        "binary",
        description="binary: those better than the policy. exponential: all, by exp(beta A). "
        "leaky-ramp: in proportion to A, with a small weight for worse ones. none: plain behavior "
        "cloning, no critic is used.",
    )
    beta: float | None = Field(
        None,
        gt=0,
        description="exponential: sharpness (null: 1). leaky-ramp: A per unit of weight (null: 2).",
    )
    hinge: float = Field(0.01, description="leaky-ramp: advantage at which the steep part begins.")
    slope: float = Field(
        0.05, ge=0, description="leaky-ramp: slope below the hinge, relative to the slope above."
    )
    start: float = Field(0.01, ge=0, description="leaky-ramp: weight of an advantage of 0.")
    cap: float | None = Field(
        None, gt=0, description="Greatest weight; null: 10 for leaky-ramp, 100 for exponential."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_a_kind(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _only_what_the_kind_reads(self) -> FilterOptions:
        changed = [
            name
            for name, field in type(self).model_fields.items()
            if name != "kind" and getattr(self, name) != field.default
        ]
        if unread := [name for name in changed if name not in _READ[self.kind]]:
            raise PydanticCustomError(
                "value_error",
                "the filter {kind} does not read {unread}",
                {"kind": self.kind, "unread": ", ".join(unread)},
            )
        return self


class AmagoOptions(Options):
    """Options of ``use: amago``."""

    reward_scale: float = Field(
        10.0, gt=0, description="Rewards are multiplied by this inside the loss, nowhere else."
    )
    online_coef: float = Field(
        1.0,
        ge=0,
        description="Weight of the policy gradient through the critics; 0 learns from filtered actions "
        "alone.",
    )
    offline_coef: float = Field(
        0.1,
        ge=0,
        description="Weight of filtered behavior cloning of stored actions; stabilizes learning.",
    )
    critic_coef: float = Field(10.0, ge=0, description="Weight of the critics' loss.")
    filter: FilterOptions = Field(
        default_factory=dict, validate_default=True, description="Which stored actions are imitated."
    )
    n_step: int = Field(
        1,
        ge=1,
        description="Steps of n-step returns; more propagate reward faster, and evaluate the policy "
        "that collected instead of the current one.",
    )
    target_actions: int = Field(
        1, ge=1, description="Actions sampled per target where the critic cannot value all of them."
    )
    advantage_actions: int = Field(
        1, ge=1, description="Actions sampled per advantage where the critic cannot value all of them."
    )
    tau: float = Field(
        0.003,
        gt=0,
        le=1,
        description="Rate of the soft (Polyak) update of the target networks; larger is less stable.",
    )
    target_members: int = Field(
        2, ge=1, description="Critics drawn per target; their minimum (online) or mean is used."
    )


class Amago2Options(AmagoOptions):
    """Options of ``use: amago2``."""

    online_coef: float = Field(
        0.0,
        ge=0,
        description="Weight of the policy gradient through the critics; its scale is that of the "
        "return.",
    )
    offline_coef: float = Field(
        1.0, ge=0, description="Weight of filtered behavior cloning of stored actions."
    )
    advantage_actions: int = Field(
        3, ge=1, description="Actions sampled per advantage where the critic cannot value all of them."
    )


class BehaviorCloningOptions(Options):
    """Options of ``use: behavior-cloning``: none; every stored action is imitated alike."""
