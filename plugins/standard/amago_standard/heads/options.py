"""Options of actors and critics."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from amago_registry.options import Field, Options, Widths


class PolicyOptions(Options):
    """Options common to all actors: the distribution over actions."""

    distribution: Literal["tanh-gaussian", "beta", "gaussian-mixture"] = Field(
        "tanh-gaussian",
        description="Family for Box actions: one mode; one mode that may lie at the edges; several "
        "modes, without a policy gradient. The other action spaces have one family each.",
    )
    mixture_components: int = Field(
        5, ge=1, description="Components of gaussian-mixture: ways of acting that are not averaged."
    )
    min_probability: float = Field(
        0.001,
        ge=0,
        le=0.025,
        description="Least probability of a Discrete or MultiDiscrete choice, at most 0.05 / those "
        "allowed; 0 lets a choice vanish for good.",
    )
    max_probability: float = Field(
        0.99,
        gt=0.5,
        le=1,
        description="Ceiling of a Discrete or MultiDiscrete choice before renormalising.",
    )

    @model_validator(mode="after")
    def _components_belong_to_a_mixture(self) -> PolicyOptions:
        unused = self.mixture_components != type(self).model_fields["mixture_components"].default
        if unused and self.distribution != "gaussian-mixture":
            raise PydanticCustomError(
                "value_error",
                "mixture_components belongs to distribution gaussian-mixture, not to {distribution}",
                {"distribution": self.distribution},
            )
        return self


class MLPActorOptions(PolicyOptions):
    """Options of the actor ``use: mlp``."""

    hidden_dims: Widths = Field((256, 256), description="Width of each hidden layer.")


class ResidualMLPActorOptions(PolicyOptions):
    """Options of the actor ``use: residual-mlp``."""

    width: int = Field(256, ge=1, description="Features of the residual stream and inside each block.")
    blocks: int = Field(2, ge=0, description="Residual blocks of two linear layers each.")


class CriticOptions(Options):
    """Options common to all critics: their networks."""

    members: int = Field(4, ge=1, description="Independent critics; targets take the minimum of some.")
    hidden_dims: Widths = Field((256, 256), description="Width of each hidden layer, per member.")
    enumerate_actions: bool = Field(
        False,
        description="Value all Discrete actions at once, which is fast and makes expectations exact; "
        "off, and in every other action space, the action is an input.",
    )


class EnsembleCriticOptions(CriticOptions):
    """Options of the critic ``use: ensemble``."""

    enumerate_actions: bool = Field(
        True, description=CriticOptions.model_fields["enumerate_actions"].description
    )
    popart_rate: float = Field(
        5e-4, gt=0, le=1, description="Step of the running mean and spread of the targets."
    )
    initial_scale: float = Field(
        10.0,
        gt=0,
        description="Return that a raw output of 1 stands for: the order of a scaled return.",
    )


class ClassificationOptions(CriticOptions):
    """Options common to the critics that classify returns."""

    bins: int = Field(
        64, ge=2, description="Classes of return; fewer learn faster, more tell returns apart."
    )
    low: float = Field(
        -1e5, le=0, description="Least return, after the objective's reward_scale; less reads as this."
    )
    high: float = Field(
        1e5,
        gt=0,
        description="Greatest return, after the objective's reward_scale; more reads as this.",
    )
    expectation: Literal["returns", "symlog"] = Field(
        "returns",
        description="What is averaged over the bins: returns, or their symlog as in AMAGO-2's released "
        "code, which values uncertain returns far too low.",
    )


class TwoHotOptions(ClassificationOptions):
    """Options of the critic ``use: two-hot``."""


class HLGaussOptions(ClassificationOptions):
    """Options of the critic ``use: hl-gauss``."""

    bins: int = Field(
        64,
        ge=32,
        description="Classes of return; fewer learn faster, and read returns less exactly: at worst "
        "4 % off with 32 and a sigma of 1.",
    )
    sigma: float = Field(
        0.75,
        ge=0.5,
        le=1.0,
        description="Spread of a return's label in bin widths; more is smoother and less sharp.",
    )
