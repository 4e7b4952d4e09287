"""What each kind of part must be able to do, with shapes.

Protocols, not base classes: a part fits if it has the methods. Those that are trained are also
``torch.nn.Module``.

Shape suffixes: N = timesteps of a packed batch, B = environments acting side by side, D = features in,
E = state features, A = action features (discrete: number of actions), G = discounts, C = ensemble
members, H = query heads, K = key and value heads, F = features per head.

Actions have two forms. *Stored*: what is sampled, kept in the replay and compared: an index for
``Discrete``, else one number per axis of the canonical action space (``MultiDiscrete``: indices,
``MultiBinary``: 0 or 1, ``Box``: in [-1, 1]). *Vector*: A features, what networks read: one-hot for
``Discrete``, one-hots end to end for ``MultiDiscrete``, the numbers themselves for the others;
:func:`amago_registry.actions.action_vector` turns the first into the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import gymnasium
    from gymnasium import spaces

    from amago_registry.layout import SequenceLayout
    from amago_registry.trajectories import Trajectory

State: TypeAlias = dict[str, "Tensor | State"]
"""Acting state: nested dictionaries of tensors. Opaque to everybody but its owner, except that the
engine stores and restores the tensors. A step may write to it in place."""


@runtime_checkable
class Environment(Protocol):
    """A factory of environments.

    Of what an environment puts into its infos the engine reads ``task``, at reset: the name of the
    task that begins, where there are several; ``success``, at a step: how well the attempt went that
    ends with it; and the keys of its ``recorded_space``, at reset and at every step. That attribute is
    a ``gymnasium.spaces.Dict`` of arrays that are stored with the trajectory, a row for every timestep,
    and that no agent sees: what a relabeler has to know, such as the goals that were achieved. A key
    that means something else in a trajectory or an info is refused.

    Two more methods are offers. ``with_goals(columns, goals) -> columns`` returns what the actions of a
    whole recorded task would have been recorded as, had the environment asked for these goals, which
    are also what ``reset(seed=..., options={"goals": goals})`` takes; it changes nothing that it is
    given, and needs no environment to be made. For goals in a row, pass on to
    :func:`amago_registry.goals.with_goals`. A function that is given to ``amago_core.train`` offers it
    as an attribute, a class as a static or class method.

    ``make_vector(count: int) -> gymnasium.vector.VectorEnv`` returns ``count`` environments that are
    stepped at once, for ``collector.vectorization=native``. Its single spaces are those of one
    environment, ``single_recorded_space`` too, where that records something: then infos have arrays
    ``(B, ...)``. It says in its ``metadata["autoreset_mode"]`` how it begins the next task; any of
    gymnasium's modes will do.
    """

    def make(self) -> gymnasium.Env[Any, Any]:
        """Return a fresh environment. Called once per environment that runs side by side.

        The engine may call it in another process, to which it sends this factory: keep in it what can
        be copied, and open files, connections and simulators in here.
        """


@runtime_checkable
class Encoder(Protocol):
    """Fuses what is seen at one timestep into one vector; rows are independent."""

    out_dim: int

    def __call__(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return vectors ``(N, out_dim)``."""


@runtime_checkable
class Backbone(Protocol):
    """A causal sequence model.

    Two more attributes are claims, which the laws hold it to where they are made:
    ``constant_state = True``, the acting state is as large at any context length (default: False);
    ``compiles = False``, it is not for ``torch.compile`` (default: True; the engine compiles heads and
    loss alone, so this is for those who compile a backbone themselves).
    """

    out_dim: int

    def __call__(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, out_dim)`` of a packed stream."""

    def initial_state(self, batch: int) -> State:
        """Return the state of ``batch`` environments that have seen nothing."""

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return representations ``(B, out_dim)`` and the state."""

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with the environments where ``mask_B`` is true made new."""


@runtime_checkable
class Attention(Protocol):
    """Causal attention: packed for training, one query row per environment for acting."""

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""

    def cache(self, batch: int, like: Tensor) -> State:
        """Return an empty cache with the device and dtype of ``like``."""

    def step(self, q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, State]:
        """Append one timestep per environment, attend, return ``(B, H, F)`` and the cache."""

    def reset(self, cache: State, mask_B: Tensor) -> State:
        """Return the cache with the environments where ``mask_B`` is true emptied."""


@runtime_checkable
class Distribution(Protocol):
    """Actions of N timesteps under G discounts; stored form, ``(N, G)`` or ``(N, G, axes)``."""

    def sample(self) -> Tensor:
        """Draw one action for every timestep and discount."""

    def mode(self) -> Tensor:
        """Return the likeliest action (of a transformed distribution: that of the untransformed)."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-probabilities ``(N, G)`` of actions; finite for every action of the space."""

    def entropy(self) -> Tensor | None:
        """Return entropies ``(N, G)`` in nats, or None where there is no closed form."""


@runtime_checkable
class DiscreteDistribution(Distribution, Protocol):
    """A distribution over finitely many actions."""

    @property
    def probs(self) -> Tensor:
        """Probabilities ``(N, G, A)``."""


@runtime_checkable
class ReparameterizedDistribution(Distribution, Protocol):
    """A distribution whose samples carry gradients."""

    def rsample(self) -> Tensor:
        """Draw action vectors ``(N, G, A)`` through which gradients reach the parameters.

        Where actions are discrete, these are straight-through: the one-hots that were drawn, with the
        gradient of their probabilities.
        """


@runtime_checkable
class Actor(Protocol):
    """State representation to a distribution over actions, one head per discount."""

    def __call__(self, state_NE: Tensor, action_mask_NA: Tensor | None = None) -> Distribution:
        """Return the distribution of N timesteps under G discounts.

        Args:
            state_NE: State representations.
            action_mask_NA: True where an action may be taken, over the action vector of a ``Discrete``
                or ``MultiDiscrete`` space; passed only where the environment shows a mask. The
                others have probability 0. Where none is allowed, all are.
        """


@runtime_checkable
class Critic(Protocol):
    """State representation (and action) to predictions of return.

    A prediction is the critic's own business: ``value`` turns it into the units of return, ``loss``
    compares it with targets. ``enumerates`` says whether all actions are predicted at once; then
    ``predict_all`` and ``select`` work, else ``predict`` does.

    Statistics proposed by ``observe`` count at once in ``loss`` and ``normalize``; ``value`` of a given
    network output never changes, neither then nor at ``commit()``.
    """

    enumerates: bool

    def predict(self, state_NE: Tensor, action: Tensor) -> Tensor:
        """Return predictions of action vectors ``(N, G, A)`` as ``(N, C, G, ...)``.

        Several actions per timestep, ``(N, K, G, A)``, give ``(N, C, K, G, ...)``.
        """

    def predict_all(self, state_NE: Tensor) -> Tensor:
        """Return predictions ``(N, C, G, A, ...)`` for every discrete action."""

    def select(self, prediction: Tensor, action_N: Tensor) -> Tensor:
        """Return from ``predict_all``'s prediction that of one action per timestep."""

    def value(self, prediction: Tensor) -> Tensor:
        """Return the prediction's value in the units of return."""

    def normalize(self, value: Tensor) -> Tensor:
        """Return values ``(..., G)`` in the scale in which they are learned."""

    def observe(self, target_NG: Tensor) -> None:
        """Propose statistics that include these targets."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        """Return losses ``(N, C, G)`` of predictions ``(N, C, G, ...)``."""


class Batch(Protocol):
    """What an objective sees of a packed batch beside the state representations.

    M transitions lie between the N timesteps: the last timestep of a sequence has no action.

    Attributes:
        rows_M: Row of each transition's timestep; its successor is the next row.
        action: Stored actions, ``(M,)`` indices or ``(M, axes)``.
        action_mask_NA: Which actions could be taken, bool; None where the environment shows no mask.
        reward_M: Reward after the action, as the environment gave it.
        terminated_M: True where the task ended after the action.
        layout: Where the sequences lie.
    """

    rows_M: Tensor
    action: Tensor
    action_mask_NA: Tensor | None
    reward_M: Tensor
    terminated_M: Tensor
    layout: SequenceLayout


@runtime_checkable
class Objective(Protocol):
    """The loss of an agent; owns its target networks."""

    def loss(self, state_NE: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss and detached metrics: scalars, or one number per discount ``(G,)``."""

    def after_step(self) -> None:
        """Called after every optimiser step that was taken: move the targets."""


@runtime_checkable
class Proposes(Protocol):
    """A module whose forward pass proposes new statistics without adopting them.

    The engine calls ``commit`` after the optimiser step that used the proposal. A proposal that is
    never committed leaves the state dict as it was: ``forget`` is called in its place.

    A step may take several forward passes (accumulated gradients): proposals then add up.
    """

    def commit(self) -> None:
        """Adopt what the training forward passes since the last call proposed."""

    def forget(self) -> None:
        """Drop what was proposed."""


@runtime_checkable
class Reports(Protocol):
    """A part with something to say about its own state, once per round."""

    def metrics(self) -> dict[str, Tensor]:
        """Return detached scalars by name; the part's kind is put before the names."""


@runtime_checkable
class Relabeler(Protocol):
    """Rewrites a sampled trajectory; never modifies its argument.

    ``identity`` is true where nothing is ever changed: then only the sampled slice is read. Where
    batches are drawn ahead, several threads call it at once, or each process its own copy; what a call
    returns may depend on its arguments alone.
    """

    identity: bool

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return the trajectory as it is learned from."""


@runtime_checkable
class Exploration(Protocol):
    """Changes the policy's actions while collecting."""

    def __call__(
        self,
        action: np.ndarray,
        time_B: np.ndarray,
        step: int,
        rng: np.random.Generator,
        action_mask_BA: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the actions to take.

        Args:
            action: The policy's actions in stored form, ``(B,)`` indices or ``(B, axes)``.
            time_B: Steps since each environment's task began.
            step: Steps each environment has taken since the run began.
            rng: The only source of randomness.
            action_mask_BA: Which actions may be taken, as in :class:`Actor`; passed only where the
                environment shows a mask.
        """

    def state(self) -> dict[str, np.ndarray]:
        """Return what must be stored to go on exactly; empty if nothing."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a stored state."""


@runtime_checkable
class Dataset(Protocol):
    """Trajectories recorded elsewhere. What it holds does not change while it is in use.

    Batches are drawn ahead, again, and by several threads and processes at once: what is drawn is a
    function of the arguments alone. :func:`amago_registry.recordings.recorded_trajectory` makes a
    trajectory of what an environment returned.

    Attributes:
        observation_space: What its observations were declared as, by the environment they are of.
        action_space: What its actions were declared as, by the same environment.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Sequence[Trajectory]:
        """Draw ``count`` trajectories for one update; the same ones for equal arguments.

        Args:
            rng: The only source of randomness.
            count: How many, at least 1, also more than there are.
            update: Updates taken before this one; what changes over training depends on nothing else.

        Returns:
            Trajectories in the form of the replay: observations by the keys of the canonical space,
            actions in stored form, and of the types that :mod:`amago_registry.spaces` names; all
            with the same columns. Arrays are read-only, or copies.
        """

    def describe(self) -> str:
        """Return in one line what it holds, and what it had to leave out.

        Shown by ``amago check`` and when training begins: ``480 trajectories, 19,200 timesteps``.
        """


@runtime_checkable
class Tracker(Protocol):
    """Records a run as it happens."""

    def start(self, resumed_round: int | None) -> None:
        """Called before the first round; a resumed run goes on after ``resumed_round``."""

    def record(self, metrics: Mapping[str, float | int | str | None]) -> None:
        """Called with the metrics of each round; ``round`` is always among them, counted from 1."""

    def finish(self) -> None:
        """Called once at the end, also when the run stops with an error."""
