"""Schema of a spec: every key with its type, default, range and description (pydantic models).

Descriptions are printed by ``amago explain SECTION``: the term first, then the consequence, with units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import ValidationInfo, field_validator

from amago_registry.options import Field, Options, Part

Discount = Annotated[float, Field(ge=0.0, lt=1.0)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class AgentSpec(Options):
    """The networks and the loss that trains them."""

    context_length: int = Field(
        500,
        ge=1,
        description="Context length in steps: how far back the agent can remember. Memory and time "
        "grow with it.",
    )
    discount: Fraction = Field(
        0.999,
        description="Discount factor of the policy that acts; its horizon is 1 / (1 - discount) steps.",
    )
    auxiliary_discounts: Annotated[tuple[Discount, ...], Field(strict=False)] = Field(
        (0.1, 0.9, 0.95, 0.97, 0.99, 0.995),
        description="Further discount factors, for which a policy and its values are learned beside "
        "the acting one. Shorter horizons are learned sooner and shape the shared "
        "features.",
    )
    encoder: Part[Literal["encoder"]] = Field(
        "mlp",
        validate_default=True,
        description="Timestep encoder: embeds the observation, previous action and reward of one "
        "timestep as a vector.",
    )
    backbone: Part[Literal["backbone"]] = Field(
        "transformer",
        validate_default=True,
        description="Sequence model: the agent's memory of the timesteps before. What it can hold, "
        "the agent can learn in context.",
    )
    actor: Part[Literal["actor"]] = Field(
        "mlp",
        validate_default=True,
        description="Policy head: maps the backbone's state to a distribution over actions.",
    )
    critic: Part[Literal["critic"]] = Field(
        "ensemble",
        validate_default=True,
        description="Value head: estimates the return that the actor is trained to increase.",
    )
    objective: Part[Literal["objective"]] = Field(
        "amago",
        validate_default=True,
        description="Loss function: trains encoder, backbone, actor and critic together.",
    )

    @property
    def discounts(self) -> tuple[float, ...]:
        """All discounts, the acting one last."""
        return (*self.auxiliary_discounts, self.discount)


class ReplaySpec(Options):
    """Capacity of the replay: how much experience is kept to learn from."""

    capacity: int = Field(
        20_000,
        ge=1,
        description="Capacity of the replay in trajectories; beyond it the oldest are evicted. A "
        "larger replay takes more disk, not more memory. Evicted files are deleted once "
        "no kept checkpoint needs them to resume.",
    )
    timesteps: int | None = Field(
        None,
        ge=1,
        description="Capacity in transitions, beside the limit on trajectories. The newest "
        "trajectory is always kept whole; null sets no such limit.",
    )
    bytes: int | None = Field(
        None,
        ge=1,
        description="Capacity in bytes on disk, beside the other limits. The newest trajectory is "
        "always kept whole; null sets no such limit. Files are deleted as under "
        "``capacity``.",
    )


class SamplingSpec(Options):
    """How training sequences are sampled from replay and dataset, and loaded for the learner."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"ahead": "prefetch"}

    by: Literal["trajectories", "timesteps"] = Field(
        "trajectories",
        description="Unit of uniform sampling: trajectories, or timesteps, under which a trajectory "
        "is drawn in proportion to its length.",
    )
    slices: Literal["even", "inside", "left", "right", "both"] = Field(
        "even",
        description="Where a training sequence is cut from a trajectory longer than the context. "
        "even: full length, the two ends at least a third as often as the rest; inside: "
        "full length, uniform over all positions, so the ends are rare; left: cut off "
        "at the trajectory's start, where sequences are shorter; right: cut off at its "
        "end; both: cut off at either end, each timestep equally often.",
    )
    dataset_share: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="Fraction of a batch drawn from the dataset, the rest from the replay. No "
        "effect without both.",
    )
    final_dataset_share: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Fraction of the dataset after ``anneal_updates``; null keeps ``dataset_share`` "
        "constant.",
    )
    anneal_updates: int = Field(
        10_000, ge=1, description="Updates over which the fraction of the dataset is annealed linearly."
    )
    loader: Literal["none", "thread", "process"] = Field(
        "thread",
        description="Where batches are sampled, relabeled and packed. none: in the learner, between "
        "updates; thread: in threads beside it; process: in processes, which pays for "
        "slow relabelers.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Loader threads or processes. Each process opens the dataset again.",
    )
    prefetch: int = Field(
        2,
        ge=1,
        le=64,
        description="Batches that each worker keeps ready. More bridge longer pauses of the loader, "
        "and take more memory.",
    )


class CollectorSpec(Options):
    """How experience is collected."""

    renamed_keys: ClassVar[Mapping[str, str]] = {
        "piece_length": "segment_length",
        "piece_jitter": "segment_jitter",
    }

    environments: int = Field(
        24,
        ge=1,
        description="Environments stepped in parallel. More make a step cheaper, but leave fewer "
        "updates per step.",
    )
    vectorization: Literal["sync", "async", "native"] = Field(
        "sync",
        description="How environments are vectorized. sync: one after the other in this process; "
        "async: in subprocesses, for slow environments; native: with the environment's "
        "own vector form. Where that form starts tasks by itself, recordings have no "
        "seeds, and evaluation uses sync.",
    )
    processes: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="Subprocesses that share the environments under async; auto starts one per core.",
    )
    step_timeout: float | None = Field(
        None,
        gt=0.0,
        description="Timeout of an environment subprocess in seconds: one that does not answer in "
        "time counts as hung and is restarted. null waits without limit. Under async "
        "only.",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        description="Restarts of crashed or hung environment subprocesses before the run stops. "
        "Under async only.",
    )
    segment_length: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="Mean length, in transitions, of the segments in which long trajectories are "
        "stored, so that they can be learned from before they end. null stores "
        "trajectories whole.",
    )
    segment_jitter: float = Field(
        0.25,
        ge=0.0,
        lt=1.0,
        description="Random deviation of a segment's length from the mean, as a fraction of it, so "
        "that the segments of parallel environments do not all end at once.",
    )
    sample: bool = Field(
        True,
        description="Whether actions are sampled from the policy; false takes the most likely action.",
    )


class StopSpec(Options):
    """Early stopping, at whichever limit is reached first."""

    seconds: float | None = Field(
        None,
        gt=0.0,
        description="Time limit: stop after the round in which training has taken this many seconds.",
    )
    return_: float | None = Field(
        None,
        alias="return",
        description="Target return: stop after the evaluation whose mean return reaches it.",
    )


Rate = Annotated[float, Field(ge=0.0, le=100.0)]


class LearningRateFactors(Options):
    """Factors on the learning rate of each part; 0 freezes a part, its running statistics included."""

    encoder: Rate = Field(1.0, description="Factor of the timestep encoder; 0 freezes it.")
    backbone: Rate = Field(
        1.0,
        description="Factor of the sequence model; below 1 steadies a recurrent one.",
    )
    actor: Rate = Field(
        1.0, description="Factor of the policy; below 1 makes it follow the critic more slowly."
    )
    critic: Rate = Field(
        1.0, description="Factor of the value estimates; above 1 keeps them ahead of the policy."
    )


class TrainingSpec(Options):
    """Length of the run, and optimization."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"part_rates": "learning_rate_factors"}

    batch: int = Field(
        24, ge=1, description="Batch size in sequences. An update takes ``accumulate`` batches."
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="Gradient accumulation: batches whose gradients are added up for one optimizer "
        "step, which gives a larger batch in the memory of one.",
    )
    learning_rate: float = Field(
        1e-4,
        gt=0.0,
        le=1.0,
        description="Learning rate of AdamW. Too large diverges, too small wastes time.",
    )
    learning_rate_factors: LearningRateFactors = Field(
        default_factory=dict,
        validate_default=True,
        description="Factors on the learning rate, to train parts of the agent slower or faster "
        "than the others.",
    )
    warmup: int = Field(
        500, ge=0, description="Linear warmup: updates over which the learning rate rises from 0."
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="Learning rate schedule over the run: constant, linear decay or cosine decay to "
        "``final_rate``.",
    )
    final_rate: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="Fraction of the learning rate left at the end of a linear or cosine schedule.",
    )
    weight_decay: float = Field(
        1e-3,
        ge=0.0,
        le=1.0,
        description="Weight decay of AdamW. Biases, norms and scales are exempt.",
    )
    gradient_clip: float = Field(
        1.0,
        gt=0.0,
        description="Gradient clipping: gradients with a larger norm are scaled down to this one.",
    )
    rounds: int = Field(
        100, ge=1, description="Rounds of collecting and updating; they set the length of the run."
    )
    steps_per_round: int = Field(
        200,
        ge=0,
        description="Steps of every environment in a round; 0 learns from a dataset alone.",
    )
    updates_per_round: int = Field(
        200,
        ge=0,
        description="Gradient updates in a round. More learn more from each step, and overfit sooner.",
    )
    stop: StopSpec = Field(
        default_factory=dict,
        validate_default=True,
        description="Early stopping, at a time limit or a target return.",
    )


class EvaluationSpec(Options):
    """When, where and how the agent is evaluated."""

    every: int = Field(10, ge=0, description="Rounds between evaluations; 0 evaluates only at the end.")
    episodes: int = Field(
        48,
        ge=1,
        description="Trajectories per evaluation, each on its own task. More make the mean less noisy.",
    )
    sample: bool = Field(
        False,
        description="Whether actions are sampled from the policy; false takes the most likely action.",
    )
    environment: Part[Literal["environment"]] | None = Field(
        None,
        description="Environment to evaluate in, such as held-out tasks, or a list of them; null "
        "evaluates in the training environment.",
    )
    step_limit: int | None = Field(
        None,
        ge=1,
        description="Step limit: a trajectory is cut after this many steps and its return so far "
        "counts. null waits for its end, and reports a task that never ends as an "
        "error.",
    )


class RunningSpec(Options):
    """Processes, threads, device and precision of the run."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"slack": "max_lag"}

    mode: Literal["interleaved", "async"] = Field(
        "interleaved",
        description="Process layout. interleaved: one process alternates between collecting and "
        "updating; async: a learner process and collector processes run side by side.",
    )
    collectors: int = Field(
        1,
        ge=1,
        le=256,
        description="Collector processes under async. Each steps all of ``collector.environments``, "
        "and they share the steps of a round.",
    )
    max_lag: float = Field(
        1.0,
        gt=0.0,
        description="Largest lag, in rounds, between learner and collectors under async. A smaller "
        "lag is closer to interleaved, a larger one waits less.",
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Where the collector processes of async run. local: on this machine; ray: on "
        "the machines of a Ray cluster, one CPU each. The learner and the run's folder "
        "are always on the machine that starts the run, so start it on one with a GPU.",
    )
    ray_address: str | None = Field(
        None,
        min_length=1,
        description="Address of the Ray cluster: ``host:port`` of its head, or auto for the cluster "
        "of this machine. null is auto, but starts a cluster of this machine alone if "
        "there is none.",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        description="Restarts of crashed learner or collector processes under async before the run "
        "stops.",
    )
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="CPU threads of torch; auto takes all cores, 1 makes a run reproducible bit by "
        "bit.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device of the networks; auto takes a GPU that torch can use, else the CPU."
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="Floating point precision of the networks. bf16 is faster and less exact, on "
        "CUDA only; weights, statistics and losses stay in fp32.",
    )
    compile: bool = Field(
        False,
        description="Whether heads and loss are compiled with torch.compile: about a minute at the "
        "start, then faster updates.",
    )

    @field_validator("engine")
    @classmethod
    def _ray_needs_async(cls, engine: str, info: ValidationInfo) -> str:
        if engine == "ray" and info.data.get("mode") == "interleaved":
            raise ValueError(
                "ray is for the collectors of running.mode=async, and the mode is interleaved"
            )
        return engine


class CheckpointSpec(Options):
    """How often checkpoints are saved, and which are kept."""

    every: int = Field(10, ge=1, description="Rounds between checkpoints; a crash loses at most these.")
    keep: int = Field(
        3,
        ge=1,
        description="Newest checkpoints that are kept; each holds the whole agent.",
    )
    best: bool = Field(
        True, description="Whether the weights of the best evaluation so far are kept too."
    )


class RunSpec(Options):
    """Spec of a run: environment, agent, training, evaluation and checkpoints."""

    name: str = Field(
        "run",
        description="Name of the run and of its folder; by default that of the spec's file.",
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="Random seed of everything. The same seed repeats a run, another one is an "
        "independent run.",
    )
    environment: Part[Literal["environment"]] | None = Field(
        None,
        description="Environment to train in; a list is a mixture, from which one is drawn per "
        "trajectory. A Python program may pass its own instead.",
    )
    agent: AgentSpec = Field(
        default_factory=dict, validate_default=True, description="Networks and loss."
    )
    exploration: Part[Literal["exploration"]] = Field(
        "epsilon-greedy",
        validate_default=True,
        description="Exploration: how the policy's actions are varied to discover reward.",
    )
    relabeler: Part[Literal["relabeler"]] = Field(
        "none",
        validate_default=True,
        description="Hindsight relabeling: how the goals of sampled trajectories are rewritten.",
    )
    replay: ReplaySpec = Field(
        default_factory=dict,
        validate_default=True,
        description="Replay buffer: how much experience is kept to learn from.",
    )
    collector: CollectorSpec = Field(
        default_factory=dict, validate_default=True, description="How experience is collected."
    )
    dataset: Part[Literal["dataset"]] | None = Field(
        None,
        description="Offline dataset: recorded trajectories to learn from beside the replay, or "
        "alone where ``training.steps_per_round`` is 0.",
    )
    sampling: SamplingSpec = Field(
        default_factory=dict, validate_default=True, description="How batches are sampled."
    )
    training: TrainingSpec = Field(
        default_factory=dict, validate_default=True, description="Length of the run and optimization."
    )
    evaluation: EvaluationSpec = Field(
        default_factory=dict,
        validate_default=True,
        description="When, where and how the agent is evaluated.",
    )
    running: RunningSpec = Field(
        default_factory=dict,
        validate_default=True,
        description="Processes, threads, device and precision of the run.",
    )
    checkpoints: CheckpointSpec = Field(
        default_factory=dict,
        validate_default=True,
        description="How often checkpoints are saved, and which are kept.",
    )
    trackers: Annotated[tuple[Part[Literal["tracker"]], ...], Field(strict=False)] = Field(
        ({"use": "jsonl"},),
        validate_default=True,
        description="Loggers of metrics; each gets the metrics of every round.",
    )
    init_from: str | None = Field(
        None,
        min_length=1,
        description="Weights to start from: folder of another run, or one of its checkpoints. "
        "Tensors whose name and shape match are transferred; null initializes all at "
        "random.",
    )

    @field_validator("name")
    @classmethod
    def _name_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[^/\\.][^/\\]*", name):
            raise ValueError(f"'{name}' cannot name a folder: no slashes, no dot in front")
        return name
