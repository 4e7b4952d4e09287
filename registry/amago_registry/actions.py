"""Action vectors: one-hot and numeric features of canonical actions.

For canonical action spaces, see :mod:`amago_registry.contexts`.

Shape suffixes: A = action features, X = axes of the action space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium import spaces

from amago_registry.errors import UnsupportedSpaceError

if TYPE_CHECKING:
    from torch import Tensor

    from amago_registry.protocols import Actor, Distribution

# Torch is imported lazily: environment processes import this module for the spaces, and torch would be
# most of their memory and startup time.

CanonicalAction = spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box
"""``Discrete(n)`` and ``MultiDiscrete`` with one axis from 0, flat ``MultiBinary``, flat ``Box``."""


def choices(space: spaces.Space[Any]) -> tuple[int, ...]:
    """Return the number of values of each factor of a discrete action; empty for other spaces.

    ``Discrete(n)`` has one factor, ``MultiDiscrete`` one per axis. An ``action_mask`` applies to these
    spaces, and their action vectors are concatenated one-hots.
    """
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(int(n) for n in space.nvec.flatten())
    return ()


def action_width(space: spaces.Space[Any]) -> int:
    """Return A, the number of features of an action vector.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """
    match space:
        case spaces.Discrete() if space.start == 0:
            return int(space.n)
        case spaces.MultiDiscrete() if len(space.shape) == 1 and not space.start.any():
            return int(space.nvec.sum())
        case spaces.MultiBinary() | spaces.Box() if len(space.shape) == 1:
            return int(space.shape[0])
    raise UnsupportedSpaceError(
        f"parts do not take the action space {space}; they take Discrete and MultiDiscrete that count "
        "from 0, MultiBinary and Box, all but Discrete with one axis."
    )


def action_vector(action: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Convert stored actions ``(...)`` (Discrete) or ``(..., X)`` to float vectors ``(..., A)``."""
    if isinstance(space, spaces.Discrete):
        return one_hot(action, int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        import torch

        factors = enumerate(choices(space))
        return torch.cat([one_hot(action[..., axis], n) for axis, n in factors], -1)
    return action if action.is_floating_point() else action.float()


def one_hot(index: Tensor, n: int) -> Tensor:
    """Return indices ``(...)`` one-hot as ``(..., n)`` in fp32; torch's ``one_hot`` returns int64."""
    import torch

    zeros = torch.zeros(*index.shape, n, device=index.device)
    return zeros.scatter_(-1, index.long()[..., None], 1.0)


def policy_of(actor: Actor, state_NE: Tensor, action_mask_NA: Tensor | None = None) -> Distribution:
    """Return an actor's distribution; the mask is passed only if there is one."""
    return actor(state_NE) if action_mask_NA is None else actor(state_NE, action_mask_NA)
