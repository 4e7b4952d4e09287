"""The kinds of part an agent is built from, and the hook that registers each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of part.

    Args:
        name: Singular, as typed on the command line: ``amago components backbone``.
        plural: Plural; also the end of the hook's name.
        summary: One line for listings.
    """

    name: str
    plural: str
    summary: str

    @property
    def hook(self) -> str:
        """Name of the hook that registers parts of this kind."""
        return f"amago_register_{self.plural}"


_ALL = (
    Kind("environment", "environments", "the tasks an agent is trained and evaluated on"),
    Kind("encoder", "encoders", "one timestep's observation, action and reward to one vector"),
    Kind("backbone", "backbones", "a causal sequence model over timestep vectors"),
    Kind("attention", "attentions", "the kernel behind a Transformer's attention"),
    Kind("actor", "actors", "state representation to a distribution over actions"),
    Kind("critic", "critics", "state representation to estimates of return"),
    Kind("objective", "objectives", "the loss that trains all of the above"),
    Kind("relabeler", "relabelers", "rewrites sampled trajectories in hindsight"),
    Kind("exploration", "explorations", "changes the policy's actions while collecting"),
    Kind("dataset", "datasets", "trajectories recorded elsewhere, to learn from"),
    Kind("tracker", "trackers", "records what happens during a run"),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
"""Every kind by its name, in the order of the data path."""
