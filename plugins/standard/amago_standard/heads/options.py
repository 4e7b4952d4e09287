"""Options of actors and critics."""

from __future__ import annotations

from amago_registry.options import Field, Options, Widths


class MLPActorOptions(Options):
    """Options of the actor ``use: mlp``."""

    hidden_dims: Widths = Field((256, 256), description="Width of each hidden layer.")
    min_probability: float = Field(
        0.001,
        ge=0,
        lt=0.5,
        description="Least probability of a discrete action, at most 0.05 / actions; 0 lets it die.",
    )
    max_probability: float = Field(
        0.99,
        gt=0.5,
        le=1,
        description="Ceiling of a discrete action's probability before renormalising.",
    )


class EnsembleCriticOptions(Options):
    """Options of the critic ``use: ensemble``."""

    members: int = Field(4, ge=1, description="Independent critics; targets take the minimum of some.")
    hidden_dims: Widths = Field((256, 256), description="Width of each hidden layer, per member.")
    popart_rate: float = Field(
        5e-4, gt=0, le=1, description="Step of the running mean and spread of the targets."
    )
    initial_scale: float = Field(
        10.0,
        gt=0,
        description="Return that a raw output of 1 stands for: the order of a scaled return.",
    )
