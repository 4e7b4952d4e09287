"""The collector and learner sides of an asynchronous run, here in one process."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ready_runs import create_run
from toys import tiny

from amago_core.acting.evaluator import EVALUATION_STREAM, FRESH_STREAM
from amago_core.acting.task_seeds import task_seed
from amago_core.compose.build import compose
from amago_core.compose.make_collector import TRAINING_STREAM
from amago_core.compose.networks import compose_agent
from amago_core.compose.tasks import compose_task
from amago_core.replay import Replay
from amago_core.run_folder.checkpoints import CheckpointStore
from amago_core.run_folder.run_dir import RunDir
from amago_core.running.processes.async_experience import AsyncExperience
from amago_core.running.processes.collector_process import COLLECTOR_STREAMS, CollectorProcess
from amago_core.running.processes.shared_files import CollectorProgress, SharedFiles
from amago_core.running.state import RunState
from amago_core.spec import RunSpec, load_spec
from amago_core.system.stopping import HaltedError

# 20 steps a round in 2 environments, tasks of 10 steps; 2 updates a round.
SPEC = tiny()


class HaltAfter:
    """Commands that raise HaltedError after so many checks."""

    def __init__(self, checks: int) -> None:
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise HaltedError


def spec_of(*overrides: str) -> RunSpec:
    return load_spec(SPEC, ["running.mode=async", *overrides])


def parts_of(spec: RunSpec) -> Any:
    task = compose_task(spec.environment, spec.seed)
    return SimpleNamespace(agent=compose_agent(spec.agent, task), dataset=None)


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    made = create_run(tmp_path / "run")
    made.shared_files.mkdir()
    spec = spec_of()
    SharedFiles(made.shared_files).publish(parts_of(spec).agent, 5)
    return made


def collector(folder: RunDir, *overrides: str, number: int = 0) -> CollectorProcess:
    spec = spec_of(*overrides)
    task = compose_task(spec.environment, spec.seed)
    return CollectorProcess(spec, folder, task, number, lambda text: None)


def learner(
    folder: RunDir, *overrides: str, checks: int = 3, notes: list[str] | None = None
) -> AsyncExperience:
    spec = spec_of(*overrides)
    commands: Any = HaltAfter(checks)
    note = ([] if notes is None else notes).append
    experience = AsyncExperience(spec, folder, parts_of(spec), note, commands)
    experience.begin()
    return experience


def test_a_collector_waits_once_it_is_max_lag_ahead_of_the_learner(folder: RunDir) -> None:
    acting = collector(folder)
    taken = 0
    while acting.collect_chunk():
        taken += acting.limiter.chunk
    assert taken == acting.collector.steps == 20
    SharedFiles(folder.shared_files).write_rounds_learned(0.5, 1)
    assert acting.collect_chunk()
    progress = SharedFiles(folder.shared_files).read_progress("collector_0")
    assert progress is not None
    assert (progress.life, progress.steps, progress.begun) == (1, 25, 6)
    acting.close()


def test_collectors_share_the_steps_of_a_round(folder: RunDir) -> None:
    two = "running.collectors=2"
    fast, slow = collector(folder, two), collector(folder, two, number=1)
    while fast.collect_chunk():
        pass
    assert (fast.collector.steps, slow.collect_chunk()) == (20, False)
    fast.close()
    slow.close()


def test_a_collector_stores_its_buffer_before_it_waits(folder: RunDir) -> None:
    acting = collector(folder, "training.steps_per_round=1000", "running.max_lag=0.025")
    while acting.collect_chunk():
        pass
    # 30 steps in chunks of 6, tasks of 10 in 2 environments: the first are stored at once, after 12,
    # and the last end after 30; a shard would be due after 250.
    first, *_ = sorted(path.name for path in folder.replay.glob("*.safetensors"))
    assert first.startswith("0000000005-collector_0-")
    assert Replay(folder.replay, 100).stored == 6
    acting.close()


def test_a_restarted_collector_keeps_its_counters_and_repeats_no_task(folder: RunDir) -> None:
    first = collector(folder)
    for _ in range(3):
        first.collect_chunk()
    written = SharedFiles(folder.shared_files).read_progress("collector_0")
    assert written is not None
    assert (written.steps, written.started) == (15, 2)
    first.collect_chunk()  # Ends tasks and begins others; then it is killed before it writes progress.
    SharedFiles(folder.shared_files).write_progress("collector_0", written)
    first.collector.environments.close()
    begun = first.collector.tasks.begun
    second = collector(folder)
    assert second.collector.steps == 15
    assert int(second.collector.tasks.number_B.min()) >= begun
    second.close()
    progress = SharedFiles(folder.shared_files).read_progress("collector_0")
    assert progress is not None
    assert (progress.life, progress.dropped) == (2, 2)
    assert progress.totals[""]["ended"] == written.totals[""]["ended"]


def test_no_restart_and_no_collector_repeats_random_draws_of_another(folder: RunDir) -> None:
    drawn = []
    for number in (0, 1, 0):
        acting = collector(folder, number=number)
        drawn.append((acting.collector.rng.random(), acting.collector.tasks.seed(0)))
        acting.close()
    assert len({draw for draw, _ in drawn}) == len({seed for _, seed in drawn}) == 3
    streams = [TRAINING_STREAM, EVALUATION_STREAM, FRESH_STREAM, COLLECTOR_STREAMS]
    assert len({task_seed(0, stream, 0) for stream in streams}) == 4
    assert max(streams) == COLLECTOR_STREAMS


def test_with_nothing_stored_the_learner_skips_slots_as_steps_are_taken(folder: RunDir) -> None:
    experience, shared = learner(folder, checks=5), SharedFiles(folder.shared_files)
    shared.write_progress("collector_0", CollectorProgress(steps=10))
    assert not experience.wait_for_data(0, 0, 0)  # Half a round of steps is the first of two slots.
    with pytest.raises(HaltedError):
        experience.wait_for_data(0, 1, 0)
    # Written before it waits, or collectors might wait for it too.
    assert shared.rounds_learned() == 0.5


def test_rounds_with_nothing_to_learn_from_are_noted_once(folder: RunDir) -> None:
    notes: list[str] = []
    experience, shared = learner(folder, checks=9, notes=notes), SharedFiles(folder.shared_files)
    shared.write_progress("collector_0", CollectorProgress(steps=60))
    assert not any(experience.wait_for_data(0, slot, 0) for slot in range(2))
    assert notes == []
    assert not any(experience.wait_for_data(1, slot, 0) for slot in range(2))
    assert notes == [
        "no trajectory is stored after 120 steps of all environments together: there is nothing to "
        "learn from until a task ends"
    ]


def test_the_learner_waits_once_it_is_max_lag_ahead(folder: RunDir) -> None:
    acting = collector(folder)
    while acting.collect_chunk():
        pass
    acting.close()
    experience = learner(folder, checks=6)
    assert experience.wait_for_data(1, 0, 2)
    assert experience.wait_for_data(1, 1, 3)
    with pytest.raises(HaltedError):
        experience.wait_for_data(2, 0, 4)  # One round is collected, and two are learned.
    assert (experience.env_steps, experience.stored) == (40, 4)


def test_metrics_count_each_trajectory_once_also_after_a_resume(folder: RunDir) -> None:
    experience, shared = learner(folder), SharedFiles(folder.shared_files)

    def ended(count: float, steps: float) -> None:
        totals = {"": dict.fromkeys(("return", "judged", "success"), 0.0)}
        totals[""] |= {"ended": count, "length": steps}
        shared.write_progress("collector_0", CollectorProgress(steps=10, totals=totals))

    ended(2, 20)
    assert (experience.metrics()["length"], experience.metrics()["length"]) == (10.0, None)
    _, facts = experience.state(acting=False)
    stored = json.loads(json.dumps(facts))
    ended(3, 70)
    again = learner(folder)
    again.restore(None, stored)
    assert (again.metrics()["length"], again.metrics()["length"]) == (50.0, None)


def test_progress_lost_in_a_power_cut_is_restored_from_the_checkpoint(folder: RunDir) -> None:
    experience, shared = learner(folder), SharedFiles(folder.shared_files)
    shared.write_progress("collector_0", CollectorProgress(steps=50, begun=9))
    shared.write_progress("collector_1", CollectorProgress(steps=60))
    experience.metrics()
    _, facts = experience.state(acting=False)
    (folder.shared_files / "collector_0.json").write_text("")
    shared.write_progress("collector_1", CollectorProgress(steps=70))
    experience.restore(None, json.loads(json.dumps(facts)))
    progress = shared.read_all_progress()
    assert (progress["collector_0"].steps, progress["collector_0"].begun) == (50, 9)
    assert progress["collector_1"].steps == 70
    assert experience.env_steps == 240


def test_weights_and_progress_are_published_at_the_end_of_a_round(folder: RunDir) -> None:
    experience, shared = learner(folder), SharedFiles(folder.shared_files)
    before = shared.weights.stat().st_ino
    experience.after_update(3, 2, 8)
    assert shared.weights.stat().st_ino != before
    assert shared.rounds_learned() == 4.0


def test_a_learner_halted_in_a_round_resumes_within_it(tmp_path: Path) -> None:
    folder, spec = create_run(tmp_path / "run"), load_spec(SPEC)
    experience: Any = SimpleNamespace(
        state=lambda *, acting: (None, {}), restore=lambda *_: None, evict=lambda _: None, stored=0
    )
    state = RunState(spec, folder, compose(spec), experience, lambda text: None)
    state.round, state.update_slot = 3, 1
    state.save()
    newest = CheckpointStore(folder.checkpoints, keep=1).latest()
    assert newest is not None
    assert newest.facts["slot"] == 1
    again = RunState(spec, folder, compose(spec), experience, lambda text: None)
    assert again.restore()
    assert (again.round, again.update_slot) == (3, 1)
