"""The loader: threads and processes prefetch the same batches, in order, and are cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import loader_parts
import numpy as np
import pytest
import torch
from gymnasium import spaces
from loader_parts import WrongError, recording, relabeling

from amago_core.acting.task import Task
from amago_core.errors import AmagoError, LoaderError
from amago_core.learning import batch_source, loader
from amago_core.learning.batch import PackedBatch
from amago_core.learning.loader import Loader, make_loader
from amago_core.learning.loader_process_main import sendable
from amago_core.replay import NothingStoredError, Replay, ReplayWriter
from amago_core.spec import RunSpec, load_spec
from amago_registry.contexts import DatasetContext, RelabelerContext

LOADERS = ("none", "thread", "process")
LENGTHS = [3, 9, 4, 12, 1, 7, 20, 2]


def store(folder: Path, numbers: range) -> None:
    writer = ReplayWriter(folder)
    for number in numbers:
        writer.append(recording(number, LENGTHS[number % len(LENGTHS)]))
        writer.flush(number)


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    store(tmp_path, range(8))
    return Replay(tmp_path, capacity=100)


def written(
    loader: str = "none",
    how: str | None = None,
    accumulate: int = 1,
    data: bool = False,
    **sampling: Any,
) -> RunSpec:
    """Return a spec whose relabeler behaves as ``how`` says."""
    spec = load_spec(
        {
            "agent": {"context_length": 5},
            "sampling": {"loader": loader, **sampling},
            "training": {"batch": 3, "accumulate": accumulate},
        },
        local_environment=True,
    )
    named = {} if how is None else {"relabeler": relabeling(how)}
    if data:
        named["dataset"] = loader_parts.dataset()
    return spec.model_copy(update=named)


def composed(spec: RunSpec) -> dict[str, Any]:
    """Return the composed objects that a loader needs."""
    seen, acted = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Discrete(3)
    task = Task("walk", cast(Any, object), seen, acted, None)
    relabeler = spec.relabeler.build(RelabelerContext())
    dataset = None
    if spec.dataset is not None:
        dataset = spec.dataset.build(
            DatasetContext(
                context_length=5,
                observation_space=seen,
                action_space=acted,
                build=lambda part, context: part.build(context),
            )
        )
    device = torch.device("cpu")
    return {"task": task, "relabeler": relabeler, "dataset": dataset, "device": device}


@contextmanager
def loading(spec: RunSpec, replay: Replay | None, **more: Any) -> Iterator[Loader]:
    made = make_loader(spec, replay=replay, **composed(spec), **more)
    try:
        yield made
    finally:
        made.close()


def contents(batch: PackedBatch) -> list[tuple[str, list[int], str]]:
    """Return every tensor of a batch as its type, shape and bytes."""
    tensors = {
        **{f"obs.{key}": value for key, value in batch.obs.items()},
        **{
            name: getattr(batch, name)
            for name in (
                "prev_action_NA",
                "prev_reward_N",
                "rows_M",
                "action",
                "reward_M",
                "terminated_M",
            )
        },
        **{name: getattr(batch.layout, name) for name in ("offsets", "sequence_N", "time_N")},
    }
    return [
        (f"{name} {t.dtype}", list(t.shape), t.numpy().tobytes().hex()) for name, t in tensors.items()
    ]


def rounds(loader: Loader) -> list[list[list[tuple[str, list[int], str]]]]:
    """Return two rounds of updates, of six and of eight stored trajectories."""
    updates = [*loader.round(0, 7, 6), *loader.round(7, 5, 8)]
    return [[contents(batch) for batch in batches] for batches in updates]


@pytest.mark.parametrize("how", [None, ""], ids=["as stored", "relabelled"])
def test_all_loaders_return_identical_batches(how: str | None, replay: Replay) -> None:
    given = []
    for name in LOADERS:
        spec = written(name, how, accumulate=2, data=True, workers=2, prefetch=2, dataset_share=0.4)
        with loading(spec, replay) as made:
            given.append(rounds(made))
    assert [len(batches) for batches in given[0]] == [2] * 12
    assert given[0] == given[1]
    assert given[0] == given[2]


@pytest.mark.parametrize("name", LOADERS)
def test_trajectories_beyond_the_limit_are_not_drawn(name: str, replay: Replay) -> None:
    with loading(written(name, workers=2), replay) as made:
        places = [batch.obs["observation"][:, 0].max() for (batch,) in made.round(0, 40, 2)]
    assert max(places) == 109  # The second of two, which has nine transitions.


def test_a_loader_process_sees_trajectories_stored_since_the_last_round(replay: Replay) -> None:
    with loading(written("process"), replay) as made:
        list(made.round(0, 2, 8))
        store(replay.folder, range(8, 16))
        replay.refresh()
        places = [batch.obs["observation"][:, 0].max() for (batch,) in made.round(2, 40, 16)]
    assert max(places) >= 800


def test_a_dataset_can_be_loaded_without_a_replay() -> None:
    given = []
    for name in LOADERS:
        with loading(written(name, data=True), None) as made:
            given.append([contents(batch) for (batch,) in made.round(0, 3, 0)])
    assert given[0] == given[1] == given[2]


@pytest.mark.parametrize("name", LOADERS)
def test_without_a_limit_new_trajectories_are_seen_soon(
    name: str, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_source, "REFRESH_SECONDS", 0.0)  # Loader processes still use a second.
    begun = time.monotonic()
    with loading(written(name), replay) as made:
        update = 0
        list(made.round(update, 1, None))
        store(replay.folder, range(8, 16))
        while True:
            update += 1
            ((batch,),) = made.round(update, 1, None)
            if batch.obs["observation"][:, 0].max() >= 800:
                break
            assert time.monotonic() - begun < 60


@pytest.mark.parametrize("name", LOADERS)
def test_an_empty_replay_is_refreshed_at_every_request(name: str, tmp_path: Path) -> None:
    replay = Replay(tmp_path, 9)
    with loading(written(name), replay) as made:
        with pytest.raises(NothingStoredError) as caught:
            list(made.round(0, 1, None))
        assert str(caught.value) == f"{tmp_path} holds no trajectory to learn from"
        store(tmp_path, range(1))
        assert len(list(made.round(0, 1, None))) == 1


class NumberLoader:
    """Loads the number of an update as its batches, and records which were begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.fails_at = -1

    def __call__(self, update: int, limit: int | None) -> Any:
        self.begun.append(update)
        if update == self.fails_at:
            raise WrongError("no more")
        return update


def eventually(true: Callable[[], bool]) -> bool:
    """Wait up to a minute until a condition is true."""
    for _ in range(6000):
        if true():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_updates_come_in_order(workers: int) -> None:
    numbers = NumberLoader()
    loader = Loader(numbers, workers, 2)
    assert list(loader.round(4, 30, 1)) == list(range(4, 34))
    assert list(loader.round(34, 3, None)) == [34, 35, 36]
    loader.close()


def test_batches_are_prefetched_but_never_of_the_next_round() -> None:
    numbers = NumberLoader()
    loader = Loader(numbers, 2, 3)
    batches = loader.round(0, 9, 1)
    assert next(batches) == 0
    assert eventually(lambda: sorted(numbers.begun) == list(range(7)))
    assert list(batches) == list(range(1, 9))
    time.sleep(0.02)
    assert sorted(numbers.begun) == list(range(9))
    loader.close()


def test_without_a_limit_the_next_round_is_prefetched_once() -> None:
    numbers = NumberLoader()
    loader = Loader(numbers, 1, 3)
    assert list(loader.round(0, 2, None)) == [0, 1]
    assert eventually(lambda: numbers.begun == [0, 1, 2, 3, 4])
    assert list(loader.round(2, 2, None)) == [2, 3]
    assert eventually(lambda: numbers.begun == [0, 1, 2, 3, 4, 5, 6])
    assert list(loader.round(9, 1, None)) == [9]  # Not what was prefetched.
    assert eventually(lambda: 12 in numbers.begun)
    assert list(loader.round(10, 1, 5)) == [10]  # Nor what was prefetched without a limit.
    loader.close()
    assert numbers.begun.count(10) == 2


def test_an_error_is_raised_when_its_update_is_due_and_loading_continues() -> None:
    numbers = NumberLoader()
    numbers.fails_at = 3
    loader = Loader(numbers, 2, 2)
    batches = loader.round(0, 9, None)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(WrongError, match=r"^no more$"):
        next(batches)
    numbers.fails_at = -1
    assert list(loader.round(3, 2, None)) == [3, 4]
    loader.close()


def test_an_abandoned_round_leaves_no_batch_and_no_thread() -> None:
    numbers = NumberLoader()
    loader = Loader(numbers, 1, 2)
    for update in loader.round(0, 9, 1):
        if update == 1:
            break
    assert list(loader.round(2, 2, 7)) == [2, 3]
    loader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.mark.parametrize("name", LOADERS)
def test_an_error_of_a_part_keeps_its_type_and_message(name: str, replay: Replay) -> None:
    with loading(written(name, "refuse"), replay) as made, pytest.raises(WrongError) as caught:
        list(made.round(0, 3, 8))
    assert str(caught.value) == "goals are missing: write goals=3"


RETURNED = "what the relabeler tests/relabeler returned cannot be learned from:"
FAULTS = {
    "fail": "the relabeler tests/relabeler cannot be used: relabelling a trajectory raised KeyError: "
    "'goal'",
    "none": "the relabeler tests/relabeler returned a NoneType instead of columns.",
    "empty": f"{RETURNED} it has no transition.",
    "blind": f"{RETURNED} it lacks obs.observation; its columns are action, reward, terminated, "
    "truncated.",
    "wide": f"{RETURNED} obs.observation is float64 (2,) per row instead of float32 (2,).",
    "half": f"{RETURNED} action is float64 () per row instead of uint8 ().",
}


@pytest.mark.parametrize(
    ("name", "how"), [("none", "fail"), ("process", "fail"), *(("thread", how) for how in FAULTS)]
)
def test_the_error_of_a_relabeler_names_it(name: str, how: str, replay: Replay) -> None:
    with loading(written(name, how), replay) as made, pytest.raises(AmagoError) as caught:
        list(made.round(0, 3, 8))
    assert str(caught.value) == FAULTS[how]


def test_an_unexpected_error_in_a_process_has_its_traceback_as_a_note() -> None:
    try:
        {}["goal"]
    except KeyError as error:
        sent = sendable(error)
    (note,) = sent.__notes__
    assert note.startswith("in a loader process:\nTraceback (most recent call last):\n")
    assert note.endswith("KeyError: 'goal'")


def test_an_error_that_cannot_be_pickled_is_raised_with_its_traceback(replay: Replay) -> None:
    spec = written("process", "unpicklable")
    with loading(spec, replay) as made, pytest.raises(RuntimeError) as caught:
        list(made.round(0, 3, 8))
    assert str(caught.value).startswith("TwofoldError: this and that\nTraceback")


@pytest.mark.parametrize(
    ("how", "exit_words"), [("die", "was killed by SIGKILL"), ("exit", "ended with exit code 3")]
)
def test_a_loader_process_that_ends_raises_an_error(how: str, exit_words: str, replay: Replay) -> None:
    with loading(written("process", how), replay) as made:
        for _ in range(2):  # Also at the next request.
            with pytest.raises(LoaderError) as caught:
                list(made.round(5, 3, 8))
            assert str(caught.value) == (
                f"a loader process {exit_words} while it drew the batches of update 5. If memory ran "
                "out, fewer sampling.workers or sampling.loader=thread take less."
            )


def test_parts_that_cannot_be_pickled_are_refused(replay: Replay) -> None:
    spec = written("process")
    local = loader_parts.relabeling("").entry.component
    here = type("Local", (type(local.options(how="")),), {})
    part = loader_parts.Part("relabeler", spec.relabeler.entry, here(how=""))
    with pytest.raises(LoaderError) as caught:
        make_loader(spec.model_copy(update={"relabeler": part}), replay=replay, **composed(written()))
    message = str(caught.value)
    assert message.startswith("the configuration cannot be sent to loader processes (PicklingError: ")
    assert message.endswith("): write sampling.loader=thread.")


def test_a_loader_process_uses_one_thread_and_no_torch(replay: Replay) -> None:
    with loading(written("process", "threads"), replay) as made:
        ((batch,),) = made.round(0, 1, 8)
    assert set(batch.reward_M.tolist()) == {1.0}
    with loading(written("process", "torch"), replay) as made:
        ((batch,),) = made.round(0, 1, 8)
    assert batch.reward_M.max() < 2000


def test_a_loader_process_imports_nothing_from_the_current_folder(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("import sys\nsys.exit(9)\n")
    monkeypatch.chdir(tmp_path)
    with loading(written("process"), replay) as made:
        assert len(list(made.round(0, 1, 8))) == 1


def test_damage_that_a_loader_process_finds_is_reported_once(replay: Replay) -> None:
    path = min(replay.folder.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    notes: list[str] = []
    with loading(written("process"), Replay(replay.folder, 100), note=notes.append) as made:
        list(made.round(0, 20, 8))
    assert len(notes) == 1
    assert path.name in notes[0]


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], check=False, stdout=subprocess.PIPE, text=True
    )
    return [child for child in map(int, listed.stdout.split()) if alive(child)]


def test_closing_terminates_a_busy_loader_process(replay: Replay, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    spec = written("process", f"sleep {busy}", workers=2)
    made = make_loader(spec, replay=replay, **composed(spec))
    processes = cast(Any, made)._close.__self__._processes
    threading.Thread(target=lambda: load_until_closed(made), daemon=True).start()
    assert eventually(busy.exists)
    made.close()
    # Terminated, not killed after the timeout.
    assert all(process.popen.returncode == -signal.SIGTERM for process in processes)
    made.close()  # Closing twice is allowed.


def load_until_closed(made: Loader) -> None:
    with pytest.raises(LoaderError):
        list(made.round(0, 3, 8))


def test_a_hanging_loader_thread_does_not_keep_the_learner_from_exiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loader, "_STOP_TIMEOUT_S", 0.01)
    hanging, stuck = threading.Event(), threading.Event()

    def hang(update: int, limit: int | None) -> Any:
        hanging.set()
        stuck.wait()

    made = Loader(hang, 2)
    threading.Thread(target=lambda: next(made.round(0, 1, 1), None), daemon=True).start()
    assert hanging.wait(60)
    (left,) = [thread for thread in made._threads if thread.is_alive()][:1]
    made.close()
    made.close()
    stuck.set()
    assert left.daemon  # Python does not wait for daemon threads at exit.


LEARN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # Ignored if the tests run in background.
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import numpy as np
from gymnasium import spaces
from amago_core.learning.batch_source import BatchShape, SourceConfig
from amago_core.learning.loader_process import LoaderPool
from amago_core.spec.schema import ReplaySpec, SamplingSpec
from loader_parts import relabeling

config = SourceConfig(
    folder=Path(sys.argv[1]), replay=ReplaySpec(), seed=0, sampling=SamplingSpec(),
    relabeler=relabeling("sleep " + sys.argv[2]), dataset=None, context_length=5,
    observation_space=None, action_space=None,
    shape=BatchShape(
        observation_space=spaces.Dict(), action_space=spaces.Discrete(3), batch=3, accumulate=1
    ),
)
pool = LoaderPool(config, 2, print)
try:
    pool.batches(0, 8)
finally:
    pool.close()
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_loader_processes_end_with_the_learner(
    sent: signal.Signals, replay: Replay, tmp_path: Path
) -> None:
    busy = tmp_path / "busy"
    arguments = [str(replay.folder), str(busy), str(Path(__file__).parents[1])]
    with subprocess.Popen(
        [sys.executable, "-c", LEARN, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as learner:
        try:
            assert eventually(lambda: busy.exists() or learner.poll() is not None)
            processes = children(learner.pid)
            assert len(processes) == 2
            for pid in processes:  # They ignore it: the learner stops them.
                os.kill(pid, signal.SIGINT)
            time.sleep(0.1)
            assert all(alive(pid) for pid in processes)
            # Ctrl-C goes to the whole process group, SIGKILL to the learner alone.
            (os.killpg if sent == signal.SIGINT else os.kill)(learner.pid, sent)
            stderr = learner.communicate(timeout=30)[1]
        finally:
            learner.kill()
    assert eventually(lambda: not any(alive(pid) for pid in processes))
    if sent == signal.SIGINT:
        assert stderr.count("Traceback") == 1
        assert stderr.endswith("KeyboardInterrupt\n")


def test_the_batches_of_all_ranks_are_those_of_a_single_process(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(rank: int, ranks: int) -> list[float]:
        monkeypatch.setattr(loader, "ranks", lambda: ranks)
        monkeypatch.setattr(loader.dist, "get_rank", lambda: rank)
        with loading(written(accumulate=2), replay) as made:
            (batches,) = made.round(9, 1, 8)
        assert len(batches) == 2
        return [place for batch in batches for place in batch.obs["observation"][:, 0].tolist()]

    assert sorted(drawn(0, 2) + drawn(1, 2)) == sorted(drawn(0, 1))


def test_a_batch_smaller_than_the_number_of_ranks_is_refused(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "ranks", lambda: 4)
    with pytest.raises(AmagoError) as caught:
        make_loader(written(), replay=replay, **composed(written()))
    assert str(caught.value) == (
        "training.batch is 3, and each of 4 data-parallel processes needs at least one sequence: write "
        "training.batch=4 or more."
    )
