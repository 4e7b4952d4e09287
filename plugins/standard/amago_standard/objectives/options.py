"""Options of the objectives."""

from __future__ import annotations

from amago_registry.options import Field, Options


class AmagoOptions(Options):
    """Options of ``use: amago``."""

    reward_scale: float = Field(
        10.0, gt=0, description="Rewards are multiplied by this inside the loss, nowhere else."
    )
    online_coef: float = Field(
        1.0,
        ge=0,
        description="Weight of climbing the critics' value; 0 learns from filtered actions alone.",
    )
    offline_coef: float = Field(
        0.1,
        ge=0,
        description="Weight of imitating stored actions that beat the policy; steadies learning.",
    )
    critic_coef: float = Field(10.0, ge=0, description="Weight of the critics' loss.")
    tau: float = Field(
        0.003,
        gt=0,
        le=1,
        description="Share of the way targets move per update; larger is less stable.",
    )
    target_members: int = Field(
        2, ge=1, description="Critics drawn per target; their minimum (online) or mean is used."
    )
