"""MLP actors: from state representations to a distribution over actions.

Shape suffixes: N = timesteps, E = state features, A = actions of a discrete space, end to end.
"""

from __future__ import annotations

from torch import Tensor, nn

from amago_registry.contexts import ActorContext
from amago_registry.protocols import Distribution
from amago_standard.heads.families import PolicyHead
from amago_standard.heads.options import MLPActorOptions, ResidualMLPActorOptions
from amago_standard.heads.residual import residual_mlp
from amago_standard.layers.mlp import mlp


class MLPActor(nn.Module):
    """MLP actor: the distribution that fits the action space, one per discount.

    ``Discrete``: clipped categorical; ``MultiDiscrete``: one per axis; ``MultiBinary``: Bernoulli;
    ``Box``: what the option ``distribution`` says.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes and family; see :class:`MLPActorOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    def __init__(self, context: ActorContext, options: MLPActorOptions) -> None:
        super().__init__()
        self.policy = PolicyHead(context, options)
        self.net = mlp(context.in_dim, options.hidden_dims, self.policy.width)

    def forward(self, state_NE: Tensor, action_mask_NA: Tensor | None = None) -> Distribution:
        """Return the distribution of N timesteps under G discounts.

        Args:
            state_NE: State representations.
            action_mask_NA: True where an action may be taken. ``Box`` and ``MultiBinary`` actions
                cannot be masked: there the composer passes none.
        """
        return self.policy(self.net(state_NE), action_mask_NA)


class ResidualMLPActor(nn.Module):
    """Residual MLP actor: :class:`MLPActor` with pre-norm residual blocks, for deeper heads.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes and family; see :class:`ResidualMLPActorOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    def __init__(self, context: ActorContext, options: ResidualMLPActorOptions) -> None:
        super().__init__()
        self.policy = PolicyHead(context, options)
        self.net = residual_mlp(context.in_dim, options.width, options.blocks, self.policy.width)

    def forward(self, state_NE: Tensor, action_mask_NA: Tensor | None = None) -> Distribution:
        """Return the distribution of N timesteps under G discounts; see :meth:`MLPActor.forward`."""
        return self.policy(self.net(state_NE), action_mask_NA)
