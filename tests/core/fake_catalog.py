"""A catalog of parts that cannot be built: enough to write and check specs."""

from __future__ import annotations

from typing import Literal

from amago_registry import Catalog, Component, Field, Ints, Options, Part, Plugin


class Plain(Options):
    pass


class TransformerOptions(Options):
    layers: int = Field(3, ge=1, description="Blocks; time grows with them.")
    width: int = Field(256, ge=2, multiple_of=2, description="Features per timestep.")
    attention: Part[Literal["attention"]] = Field("auto", validate_default=True, description="Kernel.")


class GRUOptions(Options):
    hidden_dim: int = Field(256, ge=1, description="Features of the state.")


class KernelOptions(Options):
    window: int | None = Field(None, ge=1, description="Most timesteps seen; null for all.")


class MazeOptions(Options):
    size: int = Field(9, ge=2, description="Cells per side.")
    rooms: Ints = Field((3, 3), description="Cells of each room.")


class GymnasiumOptions(Options):
    id: str = Field(description="Registered id of the environment.")


OFFERS = (
    ("environment", "t-maze", MazeOptions),
    ("environment", "gymnasium", GymnasiumOptions),
    ("encoder", "mlp", Plain),
    ("backbone", "transformer", TransformerOptions),
    ("backbone", "gru", GRUOptions),
    ("attention", "auto", KernelOptions),
    ("attention", "sdpa", KernelOptions),
    ("actor", "mlp", Plain),
    ("critic", "ensemble", Plain),
    ("objective", "amago", Plain),
    ("exploration", "epsilon-greedy", Plain),
    ("relabeler", "none", Plain),
    ("tracker", "jsonl", KernelOptions),
    ("tracker", "csv", Plain),
)

STANDARD = Plugin(
    "standard",
    "amago-standard",
    "0.1.0",
    tuple(
        (kind, Component(name, f"parts:{kind}", options, f"a {name}")) for kind, name, options in OFFERS
    ),
)
BROKEN = Plugin("zoo", "amago-zoo", "0.2.0", broken="importing zoo.hooks raised ImportError: no cage")
CATALOG = Catalog([STANDARD])
CATALOG_WITH_BROKEN = Catalog([STANDARD, BROKEN])
