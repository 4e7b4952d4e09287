"""Protocols: the methods and attributes that each kind of part must have, with shapes.

Protocols, not base classes: a part conforms if it has the methods. Trained parts are also
``torch.nn.Module``.

Shape suffixes: N = timesteps of a packed batch, B = parallel environments, D = features in,
E = state features, A = action features (discrete: number of actions), G = discounts, C = ensemble
members, H = query heads, K = key and value heads, F = features per head.

Actions have two forms. The *stored form* is sampled, kept in the replay and compared: an index for
``Discrete``, else one number per axis of the canonical action space (``MultiDiscrete``: indices,
``MultiBinary``: 0 or 1, ``Box``: in [-1, 1]). The *action vector*, A features, is the input of
networks: one-hot for ``Discrete``, concatenated one-hots for ``MultiDiscrete``, the numbers themselves
    for the
others; :func:`amago_registry.actions.action_vector` converts the first into the second.
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
"""Recurrent state for acting: nested dictionaries of tensors. Only its owner reads it; the engine
stores and restores the tensors. A step may modify it in place."""


@runtime_checkable
class Environment(Protocol):
    """A factory of gymnasium environments.

    The engine reads these keys of an environment's infos:

    * ``task``, at reset: name of the task, if the environment has several.
    * ``success``, at the step that ends an attempt: how well the attempt went.
    * The keys of ``recorded_space``, at reset and at every step. This attribute is a
      ``gymnasium.spaces.Dict`` of arrays, stored with the trajectory with one row per timestep and not
      passed to agents: privileged information for relabelers, such as achieved goals. Reserved names of
      trajectories and infos raise an error.

    Two methods are optional. ``with_goals(columns, goals) -> columns`` returns the trajectory that the
    actions of a whole recorded task would have produced with these goals, as if the environment had
    been reset with ``reset(seed=..., options={"goals": goals})``. It does not modify its arguments and
    works without making an environment. For goals in sequence, call
    :func:`amago_registry.goals.with_goals`. If a function is passed to ``amago_core.train``, set it as
    an attribute of the function; if a class is, as a static or class method.

    ``make_vector(count: int) -> gymnasium.vector.VectorEnv`` returns a vectorized environment with
    ``count`` environments, for ``collector.vectorization=native``. Its single spaces are those of one
    environment. So is ``single_recorded_space``, if the environment has a ``recorded_space``; infos
    then have arrays ``(B, ...)``. Its ``metadata["autoreset_mode"]`` may be any of gymnasium's modes.
    """

    def make(self) -> gymnasium.Env[Any, Any]:
        """Return a new environment. Called once per parallel environment.

        The engine may pickle this factory and call the method in another process: keep only picklable
        state in it, and open files, connections and simulators in this method.
        """


@runtime_checkable
class Encoder(Protocol):
    """Encodes one timestep's observation, action and reward as one vector; rows are independent."""

    out_dim: int

    def __call__(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return vectors ``(N, out_dim)``."""


@runtime_checkable
class Backbone(Protocol):
    """A causal sequence model.

    Two attributes are optional, and tested by the laws: ``constant_state = True`` if the size of the
    acting state does not depend on the context length (default: False); ``compiles = False`` if the
    backbone does not work with ``torch.compile`` (default: True; the engine compiles only heads and
    loss, so this matters if you compile a backbone yourself).
    """

    out_dim: int

    def __call__(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, out_dim)`` of a packed stream."""

    def initial_state(self, batch: int) -> State:
        """Return the initial state of ``batch`` environments."""

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return representations ``(B, out_dim)`` and the state."""

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state, reset to the initial one for the environments where ``mask_B`` is true."""


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
        """Return the cache, emptied for the environments where ``mask_B`` is true."""


@runtime_checkable
class Distribution(Protocol):
    """Action distribution of N timesteps and G discounts; actions ``(N, G)`` or ``(N, G, axes)``."""

    def sample(self) -> Tensor:
        """Sample one action, in stored form, for every timestep and discount."""

    def mode(self) -> Tensor:
        """Return the most likely action (of a transformed distribution: the transformed mode)."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-probabilities ``(N, G)`` of actions; finite for every action of the space."""

    def entropy(self) -> Tensor | None:
        """Return entropies ``(N, G)`` in nats, or None if there is no closed form."""


@runtime_checkable
class DiscreteDistribution(Distribution, Protocol):
    """A categorical distribution over ``Discrete`` actions."""

    @property
    def probs(self) -> Tensor:
        """Probabilities ``(N, G, A)``."""


@runtime_checkable
class ReparameterizedDistribution(Distribution, Protocol):
    """A distribution whose samples carry gradients."""

    def rsample(self) -> Tensor:
        """Sample action vectors ``(N, G, A)`` with gradients (reparameterization).

        Discrete actions use the straight-through estimator: sampled one-hots with the gradient of their
        probabilities.
        """


@runtime_checkable
class Actor(Protocol):
    """State representation to a distribution over actions, one head per discount."""

    def __call__(self, state_NE: Tensor, action_mask_NA: Tensor | None = None) -> Distribution:
        """Return the distribution of N timesteps under G discounts.

        Args:
            state_NE: State representations.
            action_mask_NA: True for allowed actions, over the action vector of a ``Discrete`` or
                ``MultiDiscrete`` space; passed only if the environment has an ``action_mask``. Masked
                actions have probability 0. If all actions are masked, all are allowed.
        """


@runtime_checkable
class Critic(Protocol):
    """State representation (and action) to predictions of return.

    The format of a prediction is internal to the critic: ``value`` converts it to the units of return,
    ``loss`` compares it with targets. If ``enumerates`` is true, all actions are predicted at once with
    ``predict_all`` and ``select``; otherwise, use ``predict``.

    Statistics proposed by ``observe`` take effect at once in ``loss`` and ``normalize``. ``value`` of a
    given network output never changes, neither then nor at ``commit()``.
    """

    enumerates: bool

    def predict(self, state_NE: Tensor, action: Tensor) -> Tensor:
        """Return predictions of action vectors ``(N, G, A)`` as ``(N, C, G, ...)``.

        Several actions per timestep, ``(N, K, G, A)``, give ``(N, C, K, G, ...)``.
        """

    def predict_all(self, state_NE: Tensor) -> Tensor:
        """Return predictions ``(N, C, G, A, ...)`` for every discrete action."""

    def select(self, prediction: Tensor, action_N: Tensor) -> Tensor:
        """Select from ``predict_all``'s prediction that of one action per timestep."""

    def value(self, prediction: Tensor) -> Tensor:
        """Return the prediction's value in the units of return."""

    def normalize(self, value: Tensor) -> Tensor:
        """Return values ``(..., G)`` in the normalized scale of the loss."""

    def observe(self, target_NG: Tensor) -> None:
        """Propose running statistics that include these targets."""

    def loss(self, prediction: Tensor, target_NG: Tensor) -> Tensor:
        """Return losses ``(N, C, G)`` of predictions ``(N, C, G, ...)``."""


class Batch(Protocol):
    """The packed batch that an objective receives with the state representations.

    N timesteps have M transitions between them: the last timestep of a sequence has no action.

    Attributes:
        rows_M: Row of each transition's timestep; the next row is the next timestep.
        action: Stored actions, ``(M,)`` indices or ``(M, axes)``.
        action_mask_NA: True for allowed actions; None if the environment has no ``action_mask``.
        reward_M: Reward after the action, as the environment gave it.
        terminated_M: True where the task ended after the action.
        layout: Boundaries of the sequences.
    """

    rows_M: Tensor
    action: Tensor
    action_mask_NA: Tensor | None
    reward_M: Tensor
    terminated_M: Tensor
    layout: SequenceLayout


@runtime_checkable
class Objective(Protocol):
    """The training loss of an agent; owns the target networks."""

    def loss(self, state_NE: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss and detached metrics: scalars, or one number per discount ``(G,)``."""

    def after_step(self) -> None:
        """Update the target networks; called after every optimizer step that was not skipped."""


@runtime_checkable
class Proposes(Protocol):
    """A module with running statistics that its forward pass proposes and ``commit`` adopts.

    The engine calls ``commit`` after the optimizer step that used the proposal, or ``forget`` after a
    skipped update. A proposal that is never committed leaves the state dict unchanged.

    A step may take several forward passes (gradient accumulation): their proposals add up.
    """

    def commit(self) -> None:
        """Adopt the statistics proposed by the training forward passes since the last call."""

    def forget(self) -> None:
        """Discard the proposed statistics."""


@runtime_checkable
class Reports(Protocol):
    """A part that reports metrics once per round."""

    def metrics(self) -> dict[str, Tensor]:
        """Return detached scalars by name; the part's kind is put before the names."""


@runtime_checkable
class Relabeler(Protocol):
    """Relabels a sampled trajectory in hindsight; never modifies its argument.

    ``identity`` is true if it never changes anything: only the sampled slice is then read. When batches
    are prefetched, several threads call it concurrently, or each process calls a copy: it must be a
    pure function of its arguments.
    """

    identity: bool

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return the trajectory to train on."""


@runtime_checkable
class Exploration(Protocol):
    """Exploration strategy: changes the policy's actions during collection."""

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
            action_mask_BA: True for allowed actions, as in :class:`Actor`; passed only if the
                environment has an ``action_mask``.
        """

    def state(self) -> dict[str, np.ndarray]:
        """Return the state to store in a checkpoint for an exact resume; empty if there is none."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore a stored state."""


@runtime_checkable
class Dataset(Protocol):
    """Recorded trajectories for offline training. The contents do not change during a run.

    Batches are prefetched, resampled after a resume, and sampled by several threads and processes at
    once: ``sample`` must be a pure function of its arguments.
    :func:`amago_registry.recordings.recorded_trajectory` converts what an environment returned into a
    trajectory.

    Attributes:
        observation_space: Observation space of the recorded environment, as it declared it.
        action_space: Action space of the recorded environment, as it declared it.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Sequence[Trajectory]:
        """Sample ``count`` trajectories for one update; the same ones for equal arguments.

        Args:
            rng: The only source of randomness.
            count: Number of trajectories, at least 1; may exceed the size of the dataset.
            update: Number of updates before this one; the only basis for a schedule over training.

        Returns:
            Trajectories in the format of the replay: observations by the keys of the canonical space,
            actions in stored form, with the dtypes of :mod:`amago_registry.spaces`; all with the same
            columns. Arrays are read-only, or copies.
        """

    def describe(self) -> str:
        """Return a one-line summary of the contents, including what had to be left out.

        Shown by ``amago check`` and at the start of training: ``480 trajectories, 19,200 timesteps``.
        """


@runtime_checkable
class Tracker(Protocol):
    """Logs the metrics of a run."""

    def start(self, resumed_round: int | None) -> None:
        """Called before the first round; a resumed run continues after ``resumed_round``."""

    def record(self, metrics: Mapping[str, float | int | str | None]) -> None:
        """Called with the metrics of each round; ``round`` is always among them, counted from 1."""

    def finish(self) -> None:
        """Called once at the end, also if the run stops with an error."""
