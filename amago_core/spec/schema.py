"""Everything a spec may say, with its default, its range and what it changes.

Descriptions are consequences, for people who write specs. Units are in the words.
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
        500, ge=1, description="Most steps back that can matter; memory and time grow with it."
    )
    discount: Fraction = Field(
        0.999, description="Discount of the policy that acts; its horizon is 1 / (1 - discount) steps."
    )
    auxiliary_discounts: Annotated[tuple[Discount, ...], Field(strict=False)] = Field(
        (0.1, 0.9, 0.95, 0.97, 0.99, 0.995),
        description="Learned beside the acting one; shorter horizons are learned first and guide it.",
    )
    encoder: Part[Literal["encoder"]] = Field(
        "mlp", validate_default=True, description="Fuses what is seen at one timestep."
    )
    backbone: Part[Literal["backbone"]] = Field(
        "transformer", validate_default=True, description="The memory: what can be learned in context."
    )
    actor: Part[Literal["actor"]] = Field(
        "mlp", validate_default=True, description="Turns the memory's state into actions."
    )
    critic: Part[Literal["critic"]] = Field(
        "ensemble", validate_default=True, description="Estimates the return that the actor follows."
    )
    objective: Part[Literal["objective"]] = Field(
        "amago", validate_default=True, description="The loss that trains all of the above."
    )

    @property
    def discounts(self) -> tuple[float, ...]:
        """All discounts, the acting one last."""
        return (*self.auxiliary_discounts, self.discount)


class ReplaySpec(Options):
    """What is kept to learn from."""

    capacity: int = Field(
        20_000,
        ge=1,
        description="Trajectories that are learned from; the oldest make room. More costs disk, not "
        "memory. Files go once no checkpoint that is kept could go on from them.",
    )
    timesteps: int | None = Field(
        None,
        ge=1,
        description="Most transitions that are learned from, beside the limit on trajectories, the "
        "newest trajectory whole in any case; null for no such limit.",
    )
    bytes: int | None = Field(
        None,
        ge=1,
        description="Most bytes on disk of what is learned from, beside the other limits, the newest "
        "trajectory whole in any case; null for no such limit. Files go as under ``capacity``.",
    )


class SamplingSpec(Options):
    """How sequences are drawn from the replay, and made ready for the learner."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"ahead": "prefetch"}

    by: Literal["trajectories", "timesteps"] = Field(
        "trajectories",
        description="What is drawn evenly: trajectories, or timesteps, so that long trajectories count "
        "for more.",
    )
    slices: Literal["even", "inside", "left", "right", "both"] = Field(
        "even",
        description="Where a sequence lies in a trajectory longer than the context. even: full length, "
        "the ends at least a third as often as the rest; inside: full length, anywhere, so ends are "
        "rare; left: begins short at the start; right: ends short at the end; both: each timestep "
        "equally often.",
    )
    dataset_share: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="Share of a batch drawn from the dataset, where there is one and a replay too.",
    )
    final_dataset_share: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Share of the dataset after ``anneal_updates``; null leaves it as it begins.",
    )
    anneal_updates: int = Field(
        10_000, ge=1, description="Updates over which the share of the dataset moves, in a line."
    )
    loader: Literal["none", "thread", "process"] = Field(
        "thread",
        description="Who draws and packs the next batches: the learner itself, threads beside it, or "
        "processes, for slow relabelers.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Threads or processes that draw batches; each process opens the dataset itself.",
    )
    prefetch: int = Field(
        2, ge=1, le=64, description="Batches each worker has ready; more hide longer pauses, in memory."
    )


class CollectorSpec(Options):
    """How experience is collected."""

    renamed_keys: ClassVar[Mapping[str, str]] = {
        "piece_length": "segment_length",
        "piece_jitter": "segment_jitter",
    }

    environments: int = Field(
        24, ge=1, description="Environments acting side by side; more are faster per step, and staler."
    )
    vectorization: Literal["sync", "async", "native"] = Field(
        "sync",
        description="Where environments run. sync: one after the other in this process; async: in "
        "processes of their own, for slow ones; native: as the environment's own vector form. Where "
        "that begins tasks by itself, recordings know no seeds, and evaluation takes sync.",
    )
    processes: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="Processes that share the environments under async; auto takes one per core.",
    )
    step_timeout: float | None = Field(
        None,
        gt=0.0,
        description="Seconds after which an environment process that does not answer is taken to hang; "
        "null waits. Under async only.",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        description="How often environment processes that crash or hang are started anew before the "
        "run stops. Under async only.",
    )
    segment_length: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="Mean transitions of the segments in which longer trajectories are stored, so that "
        "learning need not wait for their end; null stores them whole.",
    )
    segment_jitter: float = Field(
        0.25,
        ge=0.0,
        lt=1.0,
        description="How far the length of a segment strays from its mean, as a share of it, so "
        "that ends do not coincide.",
    )
    sample: bool = Field(
        True, description="Whether to sample from the policy; false takes its likeliest action."
    )


class StopSpec(Options):
    """When to stop before all rounds are done; whatever comes first."""

    seconds: float | None = Field(
        None, gt=0.0, description="Stop after the round in which so many seconds of training passed."
    )
    return_: float | None = Field(
        None, alias="return", description="Stop after the evaluation whose mean return reaches this."
    )


Rate = Annotated[float, Field(ge=0.0, le=100.0)]


class LearningRateFactors(Options):
    """Factors on the learning rate of each part; one with 0 stays as it began, statistics and all."""

    encoder: Rate = Field(1.0, description="Factor for what fuses a timestep; 0 freezes it.")
    backbone: Rate = Field(
        1.0,
        description="Factor for the memory; below 1 steadies a recurrent one.",
    )
    actor: Rate = Field(1.0, description="Factor for the policy; below 1 lets the critic lead.")
    critic: Rate = Field(1.0, description="Factor for the return estimates; above 1 lets them lead.")


class TrainingSpec(Options):
    """How long and how fast to learn."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"part_rates": "learning_rate_factors"}

    batch: int = Field(
        24, ge=1, description="Sequences per batch; an update takes ``accumulate`` batches."
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="Batches whose gradients are added up before one step: the memory of one, the "
        "statistics of all.",
    )
    learning_rate: float = Field(
        1e-4, gt=0.0, le=1.0, description="AdamW's step; too large diverges, too small wastes time."
    )
    learning_rate_factors: LearningRateFactors = Field(
        default_factory=dict,
        validate_default=True,
        description="Factors that make parts of the agent learn slower or faster than the others.",
    )
    warmup: int = Field(
        500, ge=0, description="Updates over which the learning rate rises from 0 to its value."
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="How the learning rate falls over the run: not, in a line, or in half a cosine.",
    )
    final_rate: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="Share of the learning rate left at the end of a linear or cosine schedule.",
    )
    weight_decay: float = Field(
        1e-3,
        ge=0.0,
        le=1.0,
        description="AdamW's pull of the weights towards 0; biases, norms and scales are left alone.",
    )
    gradient_clip: float = Field(
        1.0, gt=0.0, description="Largest norm of a gradient; longer ones are scaled down to it."
    )
    rounds: int = Field(
        100, ge=1, description="Rounds of collecting and updating; the length of the whole run."
    )
    steps_per_round: int = Field(
        200,
        ge=0,
        description="Steps that every environment takes in a round; 0 learns from a dataset alone.",
    )
    updates_per_round: int = Field(
        200, ge=0, description="Updates in a round; more learn more from each step, and overfit sooner."
    )
    stop: StopSpec = Field(
        default_factory=dict, validate_default=True, description="Ends the run early."
    )


class EvaluationSpec(Options):
    """How progress is measured."""

    every: int = Field(10, ge=0, description="Rounds between evaluations; 0 evaluates only at the end.")
    episodes: int = Field(
        48,
        ge=1,
        description="Trajectories per evaluation, each a task of its own; more are less noisy.",
    )
    sample: bool = Field(
        False, description="Whether to sample from the policy; false takes its likeliest action."
    )
    environment: Part[Literal["environment"]] | None = Field(
        None,
        description="Where to evaluate, such as held-out tasks, or a list of them; null takes the "
        "training one.",
    )
    step_limit: int | None = Field(
        None,
        ge=1,
        description="Steps after which a trajectory is cut and counted as it stands; null waits for "
        "its end, and calls a task without one a fault.",
    )


class RunningSpec(Options):
    """On what, and in how many processes, the run is computed."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"slack": "max_lag"}

    mode: Literal["interleaved", "async"] = Field(
        "interleaved",
        description="interleaved: collecting and updating take turns in one process; async: a learner "
        "and collectors side by side, in processes of their own.",
    )
    collectors: int = Field(
        1,
        ge=1,
        le=256,
        description="Collector processes under async; each has all of ``collector.environments``, and "
        "they share the steps of a round.",
    )
    max_lag: float = Field(
        1.0,
        gt=0.0,
        description="Rounds by which collectors and learner may lead each other under async; "
        "less is closer to interleaved, more waits less.",
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Where the collectors of async are. local: on this machine; ray: spread over the "
        "machines of a Ray cluster, with one CPU each. Either way the learner and the run's folder are "
        "on the machine that starts the run: let it be one with a GPU.",
    )
    ray_address: str | None = Field(
        None,
        min_length=1,
        description="The Ray cluster to join: ``host:port`` of its head, or auto for the one this "
        "machine belongs to; null is as auto, and starts one of this machine alone if there is none.",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        description="How often a learner or collector process that dies is started anew under async "
        "before the run stops.",
    )
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="CPU threads; auto takes all cores, 1 makes a run repeatable bit by bit."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where networks run; auto takes a GPU that torch can use, else the CPU."
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="Arithmetic of the networks; bf16 is faster and coarser, on CUDA only, and spares "
        "weights, statistics and losses.",
    )
    compile: bool = Field(
        False,
        description="Whether to compile heads and loss with torch.compile: about a minute at the "
        "start, then faster updates.",
    )

    @field_validator("engine")
    @classmethod
    def _ray_is_for_collectors(cls, engine: str, info: ValidationInfo) -> str:
        if engine == "ray" and info.data.get("mode") == "interleaved":
            raise ValueError(
                "ray is for the collectors of running.mode=async, and the mode is interleaved"
            )
        return engine


class CheckpointSpec(Options):
    """What survives a crash."""

    every: int = Field(
        10, ge=1, description="Rounds between checkpoints: the most that a crash can cost."
    )
    keep: int = Field(3, ge=1, description="Newest checkpoints kept; each holds the whole agent.")
    best: bool = Field(
        True, description="Whether the weights of the best evaluation so far are kept beside them."
    )


class RunSpec(Options):
    """One run, whole: the task, the agent, and how it is trained, measured and kept."""

    name: str = Field(
        "run",
        description="Name of the run and of its folder; by default that of the spec's file.",
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="Everything random follows from it; change it to repeat a result.",
    )
    environment: Part[Literal["environment"]] | None = Field(
        None,
        description="The tasks to train on; a list is a mixture of them, one drawn per trajectory. A "
        "program may pass its own instead.",
    )
    agent: AgentSpec = Field(
        default_factory=dict, validate_default=True, description="The networks and their loss."
    )
    exploration: Part[Literal["exploration"]] = Field(
        "epsilon-greedy", validate_default=True, description="How actions are varied to find what pays."
    )
    relabeler: Part[Literal["relabeler"]] = Field(
        "none", validate_default=True, description="How trajectories are rewritten in hindsight."
    )
    replay: ReplaySpec = Field(
        default_factory=dict, validate_default=True, description="What is kept to learn from."
    )
    collector: CollectorSpec = Field(
        default_factory=dict, validate_default=True, description="How experience is collected."
    )
    dataset: Part[Literal["dataset"]] | None = Field(
        None,
        description="Trajectories recorded elsewhere, to learn from beside the replay, or alone where "
        "``training.steps_per_round`` is 0.",
    )
    sampling: SamplingSpec = Field(
        default_factory=dict, validate_default=True, description="How batches are drawn."
    )
    training: TrainingSpec = Field(
        default_factory=dict, validate_default=True, description="How long and how fast to learn."
    )
    evaluation: EvaluationSpec = Field(
        default_factory=dict, validate_default=True, description="How progress is measured."
    )
    running: RunningSpec = Field(
        default_factory=dict, validate_default=True, description="On what the run is computed."
    )
    checkpoints: CheckpointSpec = Field(
        default_factory=dict, validate_default=True, description="What survives a crash."
    )
    trackers: Annotated[tuple[Part[Literal["tracker"]], ...], Field(strict=False)] = Field(
        ({"use": "jsonl"},),
        validate_default=True,
        description="Who records the run; each is told of every round.",
    )
    init_from: str | None = Field(
        None,
        min_length=1,
        description="Folder of a run, or one of its checkpoints, whose weights are taken over where "
        "name and shape match; null begins anew.",
    )

    @field_validator("name")
    @classmethod
    def _name_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[^/\\.][^/\\]*", name):
            raise ValueError(f"'{name}' cannot name a folder: no slashes, no dot in front")
        return name
