"""Components of amago-standard. Imported by every ``amago`` command: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable

from amago_registry.component import Component
from amago_registry.hookspecs import hookimpl
from amago_standard.backbones import options as backbones
from amago_standard.datasets import options as datasets
from amago_standard.encoders import options as encoders
from amago_standard.environments import options as environments
from amago_standard.exploration import options as exploration
from amago_standard.heads import options as heads
from amago_standard.objectives import options as objectives
from amago_standard.relabelers import options as relabelers
from amago_standard.trackers import options as trackers


@hookimpl
def amago_register_environments() -> Iterable[Component]:
    """Environments: memory and meta-RL tasks, mixtures, and gymnasium's registered ones."""
    room = "amago_standard.environments"
    return [
        Component(
            "t-maze",
            f"{room}.t_maze:TMazePart",
            environments.TMazeOptions,
            "one cue at the start of a corridor decides where to turn at its end",
        ),
        Component(
            "bandit",
            f"{room}.bandit:BanditPart",
            environments.BanditOptions,
            "arms of hidden payoff, redrawn per task: exploration against exploitation",
        ),
        Component(
            "dark-room",
            f"{room}.dark_room:DarkRoomPart",
            environments.DarkRoomOptions,
            "find the cell that pays, then go straight back to it in every attempt",
        ),
        Component(
            "dark-key-to-door",
            f"{room}.dark_key_to_door:DarkKeyToDoorPart",
            environments.DarkKeyToDoorOptions,
            "find a hidden key, then a hidden door, again and again in one room",
        ),
        Component(
            "meta-frozen-lake",
            f"{room}.frozen_lake:MetaFrozenLakePart",
            environments.MetaFrozenLakeOptions,
            "several attempts at one unseen frozen lake",
        ),
        Component(
            "maze-runner",
            f"{room}.maze_runner:MazeRunnerPart",
            environments.MazeRunnerOptions,
            "goals to visit in order, in an unseen maze",
        ),
        Component(
            "package-delivery",
            f"{room}.package_delivery:PackageDeliveryPart",
            environments.PackageDeliveryOptions,
            "packages to deliver in order, along a road where mistakes lead back to its beginning",
        ),
        Component(
            "half-cheetah-velocity",
            f"{room}.half_cheetah_velocity:HalfCheetahVelocityPart",
            environments.HalfCheetahVelocityOptions,
            "find out how fast to run, and keep to it: continuous actions, needs mujoco",
        ),
        Component(
            "mixture",
            f"{room}.mixture:MixturePart",
            environments.MixtureOptions,
            "one of several tasks per trajectory, whatever their rewards: multi-task learning",
        ),
        Component(
            "gymnasium",
            f"{room}.registered:RegisteredEnvironment",
            environments.GymnasiumOptions,
            "any environment an installed package has registered, by its id",
        ),
    ]


@hookimpl
def amago_register_encoders() -> Iterable[Component]:
    """Timestep encoders."""
    return [
        Component(
            "mlp",
            "amago_standard.encoders.mlp:MLPEncoder",
            encoders.MLPEncoderOptions,
            "flatten, normalise, perceptron: for vectors",
        ),
        Component(
            "nature-cnn",
            "amago_standard.encoders.cnn:NatureCNN",
            encoders.NatureCNNOptions,
            "three strided convolutions: for images of about 84 x 84, fast",
        ),
        Component(
            "impala-cnn",
            "amago_standard.encoders.cnn:ImpalaCNN",
            encoders.ImpalaCNNOptions,
            "residual convolutions: for images of any size, slower and mostly better",
        ),
        Component(
            "grid-cnn",
            "amago_standard.encoders.cnn:GridCNN",
            encoders.GridCNNOptions,
            "small convolutions that lose no cell: for grids of about 7 x 7",
        ),
        Component(
            "goal-mlp",
            "amago_standard.encoders.goals:GoalMLP",
            encoders.GoalMLPOptions,
            "goals through a perceptron, the rest through another encoder",
        ),
        Component(
            "goal-rnn",
            "amago_standard.encoders.goals:GoalRNN",
            encoders.GoalRNNOptions,
            "goals as tokens through a GRU, the rest through another encoder",
        ),
    ]


@hookimpl
def amago_register_backbones() -> Iterable[Component]:
    """Sequence backbones."""
    return [
        Component(
            "transformer",
            "amago_standard.backbones.transformer:Transformer",
            backbones.TransformerOptions,
            "stabilised causal Transformer: exact recall anywhere in the context",
        ),
        Component(
            "gru",
            "amago_standard.backbones.gru:GRU",
            backbones.GRUOptions,
            "gated recurrent units: constant state, constant cost per step",
        ),
        Component(
            "lstm",
            "amago_standard.backbones.lstm:LSTM",
            backbones.LSTMOptions,
            "long short-term memory: a gated cell state, initialised to last over the context",
        ),
        Component(
            "mingru",
            "amago_standard.backbones.minimal:MinGRU",
            backbones.MinGRUOptions,
            "one gate that reads the input alone: a recurrence that trains in parallel over time",
        ),
        Component(
            "minlstm",
            "amago_standard.backbones.minimal:MinLSTM",
            backbones.MinLSTMOptions,
            "a forget and an input gate that read the input alone: as mingru, a little richer",
        ),
        Component(
            "mamba",
            "amago_standard.backbones.mamba:Mamba",
            backbones.MambaOptions,
            "selective state space: a large constant state, written and forgotten as the input decides",
        ),
        Component(
            "gated-deltanet",
            "amago_standard.backbones.deltanet:GatedDeltaNet",
            backbones.GatedDeltaNetOptions,
            "linear attention that overwrites: recall by key, from a constant state",
        ),
        Component(
            "lru",
            "amago_standard.backbones.lru:LRU",
            backbones.LRUOptions,
            "linear recurrent units: memories that fade and turn, each at its own fixed rate",
        ),
        Component(
            "ffm",
            "amago_standard.backbones.ffm:FFM",
            backbones.FFMOptions,
            "fast and forgetful memory: few traces, each in several contexts of time",
        ),
        Component(
            "hybrid",
            "amago_standard.backbones.hybrid:Hybrid",
            backbones.HybridOptions,
            "other backbones in a row: recurrence beside attention over a window",
        ),
        Component(
            "mlp",
            "amago_standard.backbones.mlp:MLPBackbone",
            backbones.MLPBackboneOptions,
            "no memory at all: the ablation",
        ),
    ]


@hookimpl
def amago_register_attentions() -> Iterable[Component]:
    """Attention kernels."""
    module, options = "amago_standard.backbones.attention", backbones.AttentionOptions
    return [
        Component("auto", f"{module}_auto:AutoAttention", options, "the fastest kernel for the device"),
        Component(
            "xformers",
            f"{module}_xformers:XformersAttention",
            options,
            "xformers' block-diagonal kernel, on CUDA",
        ),
        Component("sdpa", f"{module}_sdpa:SDPAttention", options, "torch's fused kernel, everywhere"),
        Component(
            "reference",
            f"{module}_reference:ReferenceAttention",
            options,
            "a masked softmax written from the formula; slow, for tests",
        ),
    ]


@hookimpl
def amago_register_actors() -> Iterable[Component]:
    """Actors."""
    return [
        Component(
            "mlp",
            "amago_standard.heads.actor:MLPActor",
            heads.MLPActorOptions,
            "perceptron to a distribution over any action space",
        ),
        Component(
            "residual-mlp",
            "amago_standard.heads.actor:ResidualMLPActor",
            heads.ResidualMLPActorOptions,
            "the same with residual blocks: for deeper heads",
        ),
    ]


@hookimpl
def amago_register_critics() -> Iterable[Component]:
    """Critics."""
    return [
        Component(
            "ensemble",
            "amago_standard.heads.critic:EnsembleCritic",
            heads.EnsembleCriticOptions,
            "independent scalar critics under PopArt",
        ),
        Component(
            "two-hot",
            "amago_standard.heads.classification:TwoHotCritic",
            heads.TwoHotOptions,
            "classifiers of the return into two neighbouring bins: for tasks of unlike reward",
        ),
        Component(
            "hl-gauss",
            "amago_standard.heads.classification:HLGaussCritic",
            heads.HLGaussOptions,
            "the same with smoothed labels: for noisy targets",
        ),
    ]


@hookimpl
def amago_register_objectives() -> Iterable[Component]:
    """Objectives."""
    return [
        Component(
            "amago",
            "amago_standard.objectives.amago:AmagoObjective",
            objectives.AmagoOptions,
            "Q-learning, policy gradient and filtered imitation over many discounts",
        ),
        Component(
            "amago2",
            "amago_standard.objectives.amago:AmagoObjective",
            objectives.Amago2Options,
            "its multi-task form, for rewards of unlike scale: set critic two-hot with it",
        ),
        Component(
            "behavior-cloning",
            "amago_standard.objectives.behavior_cloning:BehaviorCloning",
            objectives.BehaviorCloningOptions,
            "imitation of every stored action: the baseline on offline data",
        ),
    ]


@hookimpl
def amago_register_relabelers() -> Iterable[Component]:
    """Relabelers."""
    return [
        Component(
            "none",
            "amago_standard.relabelers.none:NoRelabeler",
            relabelers.NoRelabelerOptions,
            "learn from trajectories as they happened",
        ),
        Component(
            "hindsight",
            "amago_standard.relabelers.hindsight:Hindsight",
            relabelers.HindsightOptions,
            "hindsight relabeling (HER): achieved goals become the requested ones",
        ),
        Component(
            "chain",
            "amago_standard.relabelers.chain:Chain",
            relabelers.ChainOptions,
            "several relabelers, one after the other",
        ),
    ]


@hookimpl
def amago_register_explorations() -> Iterable[Component]:
    """Exploration while collecting."""
    room = "amago_standard.exploration"
    return [
        Component(
            "epsilon-greedy",
            f"{room}.epsilon_greedy:EpsilonGreedy",
            exploration.EpsilonGreedyOptions,
            "random actions or noise, less and less of it",
        ),
        Component(
            "bilevel",
            f"{room}.bilevel:Bilevel",
            exploration.BilevelOptions,
            "less and less over training, and within each trajectory",
        ),
        Component(
            "corridor",
            f"{room}.corridor:Corridor",
            exploration.CorridorOptions,
            "random at the ends of a trajectory, rare random actions between: for t-maze",
        ),
        Component(
            "none",
            f"{room}.none:NoExploration",
            exploration.NoExplorationOptions,
            "the policy's own randomness alone",
        ),
    ]


@hookimpl
def amago_register_datasets() -> Iterable[Component]:
    """Datasets."""
    return [
        Component(
            "mixture",
            "amago_standard.datasets.mixture:DatasetMixture",
            datasets.MixtureOptions,
            "several datasets by weight, which may move over training",
        )
    ]


@hookimpl
def amago_register_trackers() -> Iterable[Component]:
    """Trackers."""
    return [
        Component(
            "jsonl",
            "amago_standard.trackers.jsonl:JsonlTracker",
            trackers.JsonlOptions,
            "metrics.jsonl in the run's folder; the plots read it",
        )
    ]
