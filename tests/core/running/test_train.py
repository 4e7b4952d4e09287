"""Interleaved runs: rounds of collecting and updating in one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces
from toys import Broken, Forgetful, Listener, Walk, tiny

from amago_core import train
from amago_core.environments import EnvironmentFault
from amago_core.errors import AmagoError, SpecError
from amago_core.replay import Replay, TrajectoryGoneError
from amago_core.run_folder.checkpoints import CheckpointStore
from amago_registry import installed


def go(run: Path, *overrides: str, environment: Any = None, **settings: Any) -> Any:
    written = tiny(environment=None) if environment else tiny()
    return train(
        written,
        overrides,
        environment=environment,
        run=run,
        **{"reporter": Listener(), **settings},
    )


def rounds(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> bytes:
    """Return all tensors of the newest checkpoint."""
    newest = CheckpointStore(run / "checkpoints", keep=1).latest()
    assert newest is not None
    return b"".join((newest.path / f"{part}.safetensors").read_bytes() for part in sorted(newest.parts))


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the plots, which take longer than everything else in these runs."""
    monkeypatch.setattr("amago_core.run_folder.plots.plot_run", lambda folder, evaluation: None)


def test_a_run_folder_holds_all_that_is_needed_to_repeat_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    run, listener = tmp_path / "run", Listener()
    result = go(run, reporter=listener)
    assert (result.run, result.stopped) == (run, "rounds")
    # 4 rounds of 20 steps in 2 environments; 2 updates each, tasks of 10 steps end in every round.
    assert (result.env_steps, result.updates) == (160, 8)
    assert result.evaluation.episodes == 3
    assert result.seconds > 0
    assert 0 < result.peak_bytes < 2e9
    assert {path.name for path in run.iterdir()} == {
        "adaptation.png", "checkpoints", "evaluation.json", "learning_curve.png", "lock",
        "metrics.jsonl", "replay", "spaces.json", "spec.yaml", "versions.json",
    }  # fmt: skip
    assert listener.title == f"tiny ({run})"
    assert listener.finished
    assert [metrics["round"] for metrics in listener.rounds] == [1, 2, 3, 4]


def test_every_round_is_recorded(tmp_path: Path) -> None:
    go(tmp_path / "run")
    records = rounds(tmp_path / "run")
    assert [record["round"] for record in records] == [1, 2, 3, 4]
    assert [record["update"] for record in records] == [2, 4, 6, 8]
    assert [record["env_steps"] for record in records] == [40, 80, 120, 160]
    assert [record["trajectories"] for record in records] == [4, 8, 12, 16]
    assert ["eval/return" in record for record in records] == [False, True, False, True]
    assert all(record["length"] == 10 and record["skipped"] == 0 for record in records)
    assert all(0 <= record["success"] <= 1 and record["loss"] is not None for record in records)


def test_a_round_before_any_trajectory_ends_takes_no_update(tmp_path: Path) -> None:
    result = go(tmp_path / "run", "training.steps_per_round=5", "training.rounds=3")
    # Tasks last 10 steps: none has ended after round 1.
    assert [record["update"] for record in rounds(tmp_path / "run")] == [0, 2, 4]
    assert rounds(tmp_path / "run")[0]["return"] is None
    assert result.updates == 4


def test_the_same_spec_gives_the_same_run_and_another_seed_another_one(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        go(tmp_path / name, f"seed={seed}")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def test_evaluation_frequency_does_not_change_the_weights(tmp_path: Path) -> None:
    for name, every in (("often", 1), ("never", 0)):
        go(tmp_path / name, f"evaluation.every={every}", "collector.sample=true")
    assert weights(tmp_path / "often") == weights(tmp_path / "never")
    evaluated = [record["round"] for record in rounds(tmp_path / "never") if "eval/return" in record]
    assert evaluated == [4]


def test_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AmagoError) as caught:
        go(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} exists. Add --resume to continue that run (from Python, "
        "train(..., resume=True)), "
        "or --run OTHER/FOLDER to start another one."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(AmagoError) as caught:
        go(tmp_path / "run", resume=True)
    assert str(caught.value) == f"{tmp_path / 'run'} is not a run: it does not exist."


def test_a_run_cannot_be_resumed_under_another_spec(tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(run)
    with pytest.raises(AmagoError) as caught:
        go(run, "seed=3", "agent.backbone.width=16", "training.rounds=9", resume=True)
    assert str(caught.value) == (
        f"{run} was trained with another spec; it cannot be resumed with:"
        "\n  seed: 0 -> 3\n  agent.backbone.width: 8 -> 16\n"
        f"Change that back, or start a new run from its weights: --run OTHER/FOLDER init_from={run}."
    )


@pytest.mark.parametrize(
    "changes",
    [
        ["evaluation.every=1", "evaluation.episodes=2"],
        ["checkpoints.keep=1", "checkpoints.every=3"],
        ["training.stop.return=100"],
        ["trackers=[]"],
        ["replay.timesteps=30", "collector.max_restarts=9", "sampling.workers=2"],
    ],
    ids=lambda changes: changes[0],
)
def test_limits_and_intervals_may_change_when_a_run_is_resumed(
    tmp_path: Path, changes: list[str]
) -> None:
    go(tmp_path / "run", "training.rounds=2")
    result = go(tmp_path / "run", *changes, resume=True)
    assert result.updates == 8


@pytest.mark.parametrize("backbone", ["gru", "transformer"])
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path: Path, backbone: str) -> None:
    # Tasks of 10 steps are under way at the end of every round of 17.
    changes = f"agent.backbone={{use: {backbone}, width: 8}}", "training.steps_per_round=17"
    go(tmp_path / "whole", "training.rounds=6", *changes)
    for rounds_ in (1, 3, 6):
        go(tmp_path / "resumed", f"training.rounds={rounds_}", *changes, resume=rounds_ > 1)
    assert weights(tmp_path / "resumed") == weights(tmp_path / "whole")
    measured = ("seconds", "cpu_seconds", "peak_bytes")
    learned = [
        [
            {k: v for k, v in record.items() if k not in measured and not k.startswith("eval/")}
            for record in rounds(tmp_path / name)
        ]
        for name in ("resumed", "whole")
    ]
    assert learned[0] == learned[1]
    seconds = [record["seconds"] for record in rounds(tmp_path / "resumed")]
    assert seconds == sorted(seconds)


def test_rounds_after_the_checkpoint_are_repeated_and_recorded_once(tmp_path: Path) -> None:
    class CrashError(Exception):
        pass

    class Crashing(Listener):
        def round(self, metrics: Any) -> None:
            if metrics["round"] == 3:
                raise CrashError

    go(tmp_path / "whole")
    with pytest.raises(CrashError):
        go(tmp_path / "run", reporter=Crashing())
    assert [record["round"] for record in rounds(tmp_path / "run")] == [1, 2, 3]
    listener = Listener()
    go(tmp_path / "run", resume=True, reporter=listener)
    assert listener.notes == ["resuming after round 2, update 4"]
    assert [record["round"] for record in rounds(tmp_path / "run")] == [1, 2, 3, 4]
    assert len(list((tmp_path / "run" / "replay" / "set-aside").iterdir())) == 1
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_damaged_checkpoint_is_skipped_with_a_note(tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(run)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    (newest / "learner.safetensors").write_bytes(b"")
    expected = weights(run)
    (newest / "model.safetensors").write_bytes(b"")
    listener = Listener()
    go(run, resume=True, reporter=listener)
    assert listener.notes == [
        f"skipped a damaged checkpoint: the checkpoint {newest} is damaged: "
        f"{listener.notes[0].rpartition(': ')[2]}",
        "resuming after round 2, update 4",
    ]
    go(tmp_path / "whole")
    assert weights(run) == weights(tmp_path / "whole") != expected


def test_without_an_intact_checkpoint_training_starts_from_the_beginning(tmp_path: Path) -> None:
    import shutil

    run, listener = tmp_path / "run", Listener()
    go(run)
    expected = weights(run)
    shutil.rmtree(run / "checkpoints")
    result = go(run, resume=True, reporter=listener)
    assert listener.notes == [
        "there is no intact checkpoint to resume from: training starts from the beginning"
    ]
    assert result.updates == 8
    assert [record["round"] for record in rounds(run)] == [1, 2, 3, 4]
    assert weights(run) == expected


def test_reaching_the_return_stops_the_run(tmp_path: Path) -> None:
    result = go(tmp_path / "run", "training.rounds=50", "training.stop.return=0")
    assert (result.stopped, result.updates) == ("return", 4)  # At the first evaluation, round 2.
    assert result.evaluation.mean_return == rounds(tmp_path / "run")[-1]["eval/return"]
    result = go(tmp_path / "other", "training.stop.return=99")
    assert (result.stopped, result.updates) == ("rounds", 8)


def test_the_time_limit_stops_the_run_after_a_round_and_saves_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = go(run, "training.rounds=50", "training.stop.seconds=1.0e-6")
    assert (result.stopped, result.updates) == ("seconds", 2)
    assert result.evaluation.episodes == 3
    newest = CheckpointStore(run / "checkpoints", keep=1).latest()
    assert newest is not None
    assert newest.round == 1


def test_a_request_to_stop_ends_the_run_after_the_round(tmp_path: Path) -> None:
    import signal

    class Interrupting(Listener):
        def tick(self, phase: str, done: int, total: int) -> None:
            if phase == "updating" and done == 1 and len(self.rounds) == 2 and not self.notes:
                signal.raise_signal(signal.SIGINT)

    listener = Interrupting()
    result = go(tmp_path / "run", reporter=listener)
    assert (result.stopped, result.updates) == ("interrupted", 6)
    assert listener.notes == [
        "stopping after this round and saving a checkpoint; press Ctrl-C again to stop at once"
    ]
    go(tmp_path / "run", resume=True)
    go(tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_bad_spec_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        go(tmp_path / "run", "agent.backbone=grru")
    backbones = ", ".join(entry.component.name for entry in installed().entries("backbone"))
    assert str(caught.value) == (
        "the spec has 1 problem:\n  agent.backbone: no backbone is called 'grru'. Did you mean 'gru'? "
        f"Installed: {backbones}. (from the override 'agent.backbone=grru')"
    )
    assert list(tmp_path.iterdir()) == []


def _no_display() -> Any:
    raise OSError("no display")


def _text_observations() -> Any:
    walk = Walk()
    walk.observation_space = spaces.Tuple([spaces.Discrete(2), spaces.Text(3)])
    return walk


def _text_actions() -> Any:
    return Walk(action=spaces.Text(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            _no_display,
            "environment _no_display could not be constructed: OSError: no display.",
        ),
        (
            _text_observations,
            "environment _text_observations: observations of this kind are not supported: "
            f"'1' {spaces.Text(3)}; use Box, Discrete, MultiBinary and MultiDiscrete, "
            "alone or in a Dict or Tuple, also nested.",
        ),
        (
            _text_actions,
            "environment _text_actions: actions of space "
            f"{spaces.Text(3)} are not supported: use Discrete, MultiDiscrete, MultiBinary "
            "or a Box with finite bounds.",
        ),
    ],
    ids=["construction", "observations", "actions"],
)
def test_an_environment_that_cannot_be_used_writes_nothing(
    tmp_path: Path, make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(AmagoError) as caught:
        go(tmp_path / "run", environment=make)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_fails_at_its_first_reset_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        go(tmp_path / "run", environment=lambda: Broken(0, "raise"))
    assert str(caught.value) == (
        "environment <lambda>, step 0 of its task: reset raised RuntimeError: the simulator is gone."
    )


def test_an_environment_fault_in_the_first_round_is_raised(tmp_path: Path) -> None:
    taken = 0

    class Falling(Walk):
        def step(self, action: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == 20:  # Of 40 steps in the round: several trajectories have ended by then.
                raise RuntimeError("the arm fell off")
            return super().step(action)

    run, listener = tmp_path / "run", Listener()
    with pytest.raises(EnvironmentFault, match="step raised RuntimeError: the arm fell off"):
        go(run, environment=lambda: Falling(3), reporter=listener)
    assert listener.notes[-1] == f"no update was taken yet; --resume continues in {run}"
    assert go(run, environment=lambda: Falling(3), resume=True).stopped == "rounds"


def test_an_environment_fault_saves_a_checkpoint_to_resume_from(tmp_path: Path) -> None:
    faulty = True

    class Aging(Walk):
        resets = 0

        def reset(self, **settings: Any) -> Any:
            Aging.resets += 1
            return super().reset(**settings)

        def step(self, action: Any) -> Any:
            obs, reward, *rest = super().step(action)
            if faulty and Aging.resets > 40:
                reward = float("nan")
            return obs, reward, *rest

    run, listener = tmp_path / "run", Listener()
    with pytest.raises(EnvironmentFault) as caught:
        go(run, "training.rounds=8", environment=Aging, reporter=listener)
    assert str(caught.value).startswith("environment Aging, step ")
    assert str(caught.value).endswith(" of its task: reward is not finite: nan.")
    assert listener.notes == [f"a checkpoint of the training so far is saved in {run}"]
    assert listener.finished
    done = rounds(run)[-1]["round"]
    newest = CheckpointStore(run / "checkpoints", keep=1).latest()
    assert newest is not None
    assert 0 < newest.round == done < 8
    assert newest.update == rounds(run)[-1]["update"]
    assert Replay(run / "replay", 1000).stored == newest.facts["stored"]
    faulty = False
    result = go(run, "training.rounds=8", environment=Aging, resume=True)
    assert result.stopped == "rounds"
    assert [record["round"] for record in rounds(run)] == list(range(1, 9))


def test_an_environment_that_is_not_reproducible_is_noted_on_resume(tmp_path: Path) -> None:
    run, listener = tmp_path / "run", Listener()
    go(run, "training.rounds=2", environment=lambda: Forgetful(30))
    updates = rounds(run)[-1]["update"]
    go(run, environment=lambda: Forgetful(30), resume=True, reporter=listener)
    assert listener.notes == [
        "environment <lambda> did not replay to its state at the checkpoint: it is not reproducible "
        "from its seed, so new trajectories start and this run is not bit-exact",
        f"resuming after round 2, update {updates}",
    ]


def test_trajectories_are_evicted_once_no_checkpoint_can_sample_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = ["training.rounds=12", "checkpoints.keep=2", "replay.capacity=8"]
    go(run, *changes)
    replay = Replay(run / "replay", capacity=8)
    # 4 trajectories a round. Kept are rounds 10 and 12; that of round 10 may sample 32 to 39.
    assert replay.stored == 48
    with pytest.raises(TrajectoryGoneError):
        replay.trajectory(31)
    for index in range(32, 48):
        assert replay.trajectory(index).length == 10


def test_an_older_checkpoint_can_still_be_resumed_after_eviction(tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = ["training.rounds=12", "checkpoints.keep=2", "replay.capacity=8"]
    go(run, *changes)
    expected = weights(run)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    (newest / "state.json").unlink()
    go(run, *changes, resume=True)
    assert weights(run) == expected


def test_held_out_tasks_are_evaluated_in_place_of_the_training_ones(tmp_path: Path) -> None:
    held_out = "evaluation.environment={use: bandit, arms: 3, pulls: 7}"
    result = go(tmp_path / "run", held_out)
    assert result.evaluation.length == 7
    assert rounds(tmp_path / "run")[-1]["length"] == 10


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (
            "{use: bandit, arms: 4}",
            "the agent cannot be evaluated on environment standard/bandit: its actions are "
            "Discrete(4), those of standard/bandit are Discrete(3).",
        ),
        (
            "{use: gymnasium, id: CartPole-v1}",
            "the agent cannot be evaluated on environment standard/gymnasium (CartPole-v1): "
            "its observations are Box([-4.8               -inf -0.41887903        -inf], "
            "[4.8               inf 0.41887903        inf], (4,), float32), "
            "those of standard/bandit are Box(-1.0, 1.0, (1,), float32).",
        ),
    ],
    ids=["actions", "observations"],
)
def test_held_out_tasks_of_other_spaces_are_refused(
    tmp_path: Path, held_out: str, message: str
) -> None:
    with pytest.raises(AmagoError) as caught:
        go(tmp_path / "run", f"evaluation.environment={held_out}")
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", [False, True])
def test_a_run_on_a_local_environment_trains_and_resumes(tmp_path: Path, named: bool) -> None:
    def corridor() -> Walk:
        return Walk(named=named)

    run = tmp_path / "run"
    go(run, "training.rounds=2", environment=corridor)
    result = go(run, environment=corridor, resume=True)
    assert result.updates == 8
    go(tmp_path / "whole", environment=corridor)
    assert weights(run) == weights(tmp_path / "whole")


def recorded(folder: Path) -> dict[str, Any]:
    """Return a spec that learns from the trajectories of another run."""
    go(folder / "recordings", "training.rounds=2")
    return tiny(dataset={"use": "shards", "folder": str(folder / "recordings")})


@pytest.mark.parametrize("acts", [True, False])
def test_a_run_can_learn_from_a_dataset_alone(tmp_path: Path, acts: bool) -> None:
    written, run = recorded(tmp_path), tmp_path / "run"
    if not acts:
        written["environment"] = None
    offline = "training.steps_per_round=0", "training.rounds=2"
    result = train(written, offline, run=run, reporter=Listener())
    assert (result.stopped, result.updates, result.env_steps) == ("rounds", 4, 0)
    assert (result.evaluation is not None) == acts
    assert not (run / "replay").exists()
    records = rounds(run)
    assert [(record["update"], record["trajectories"]) for record in records] == [(2, 0), (4, 0)]
    assert all(record["return"] is None and record["loss"] is not None for record in records)
    train(written, ["training.steps_per_round=0"], run=run, resume=True, reporter=Listener())
    train(written, ["training.steps_per_round=0"], run=tmp_path / "whole", reporter=Listener())
    assert weights(run) == weights(tmp_path / "whole")


def test_with_a_dataset_learning_does_not_wait_for_a_trajectory_to_end(tmp_path: Path) -> None:
    written, run = recorded(tmp_path), tmp_path / "run"
    train(written, ["training.steps_per_round=5"], run=run, reporter=Listener())
    assert [record["update"] for record in rounds(run)] == [2, 4, 6, 8]
    assert [record["trajectories"] for record in rounds(run)] == [0, 2, 2, 4]


def test_the_weights_of_the_best_evaluation_are_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(run, "evaluation.every=1", "training.rounds=6", "training.learning_rate=0.5")
    reached = [record["eval/return"] for record in rounds(run)]
    best = CheckpointStore(run / "checkpoints", keep=1).best()
    assert best is not None
    assert (best.facts["mean_return"], best.round) == (max(reached), reached.index(max(reached)) + 1)
    go(tmp_path / "other", "checkpoints.best=false")
    assert CheckpointStore(tmp_path / "other" / "checkpoints", keep=1).best() is None


def test_limits_of_the_replay_count_transitions_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = ["training.rounds=12", "checkpoints.keep=1", "replay.timesteps=30"]
    go(run, *changes, "replay.capacity=1000")
    replay = Replay(run / "replay", 1000, timesteps=30)
    assert list(replay.visible()) == [45, 46, 47]  # Of 48 with 10 transitions each.
    with pytest.raises(TrajectoryGoneError):
        replay.trajectory(30)


def test_dropped_trajectories_restarts_and_quarantines_are_metrics(tmp_path: Path) -> None:
    go(tmp_path / "run", "training.rounds=1")
    (record,) = rounds(tmp_path / "run")
    assert (record["dropped"], record["restarts"], record["quarantined"]) == (0, 0, 0)


def test_segments_are_learned_from_before_their_trajectory_ends(tmp_path: Path) -> None:
    go(
        tmp_path / "run",
        "collector.segment_length=4",
        "collector.segment_jitter=0.0",
        "training.rounds=1",
    )
    (record,) = rounds(tmp_path / "run")
    # Two tasks of 10 in each of 2 environments, in segments of 4, 4 and 2.
    assert (record["trajectories"], record["length"]) == (12, 10)


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    import os

    class Restarting(Listener):
        def round(self, metrics: Any) -> None:
            if metrics["round"] == 1:
                go(tmp_path / "run", resume=True)

    with pytest.raises(AmagoError) as caught:
        go(tmp_path / "run", reporter=Restarting())
    assert str(caught.value) == (
        f"{tmp_path / 'run'} is being trained by process {os.getpid()}. Wait until it ends, or stop it "
        "with Ctrl-C; then --resume continues the run."
    )
