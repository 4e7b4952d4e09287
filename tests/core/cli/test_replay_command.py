"""``amago replay``: what people see of a replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from replays import edited, recording, store

from amago_core.cli.main import cli
from amago_core.replay import Replay, ReplayWriter, TrajectoryGoneError


def amago(*words: object) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, words)], prog_name="amago")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run of two writers, with tasks, something evicted, protected and in quarantine."""
    replay = tmp_path / "run" / "replay"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "spec.yaml").write_text("name: run")
    a, b = ReplayWriter(replay, "a"), ReplayWriter(replay, "b")
    store(a, [7], 10)
    for number, (task, success) in enumerate([("maze", 1.0), ("maze", 0.0), ("bandit", None)]):
        b.append(recording(number, task=task, success=success))
    b.flush(20)
    damaged = store(a, range(3, 5), 1500)
    damaged.write_bytes(b"lost")
    store(a, [5], 2500)
    opened = Replay(replay, 6)
    with pytest.raises(TrajectoryGoneError):
        opened.trajectory(4)
    opened.refresh()
    opened.evict(1)
    store(ReplayWriter(tmp_path / "other"), [8], length=7)
    amago(tmp_path / "run", "protect", tmp_path / "other")
    return tmp_path / "run"


def test_a_replay_is_shown_as_a_table(run: Path) -> None:
    done = amago(run)
    sizes = [path.stat().st_size for path in (run / "replay").glob("*.safetensors")]
    (copy,) = (run / "replay" / "protected").iterdir()
    lines = f"""\
replay        {run}/replay
trajectories  4 in 2 shards; 3 more were stored and are gone
timesteps     12, 3.0 a trajectory
disk          {sum(sizes) / 1024:.1f} KiB, {sum(sizes) / 12:.0f} bytes a timestep
updates       20 to 2,500
writers       a: 1 in 1 shard
              b: 3 in 1 shard
protected     1 in 1 shard, 7 timesteps, {copy.stat().st_size / 1024:.1f} KiB
quarantined   2 in 1 shard, damaged

task    trajectories  return     5 %    25 %    50 %    75 %    95 %  success  length
(none)             2  47.500  20.950  32.750  47.500  62.250  74.050        -     5.0
bandit             1   9.000   9.000   9.000   9.000   9.000   9.000        -     3.0
maze               2   4.500   3.150   3.750   4.500   5.250   5.850    0.500     3.0
"""
    # Returns: 18 and 77 without a task, 9, and 3 and 6.
    assert (done.exit_code, done.stdout, done.stderr) == (0, lines, "")
    assert amago(run / "replay").stdout == lines


def test_a_replay_without_tasks_has_one_line(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    assert amago(tmp_path).stdout.splitlines()[-2:] == [
        "trajectories  return    5 %   25 %   50 %   75 %   95 %  success  length",
        "           2   4.500  3.150  3.750  4.500  5.250  5.850        -     3.0",
    ]


def test_an_empty_replay_is_shown(tmp_path: Path) -> None:
    ReplayWriter(tmp_path)
    assert amago(tmp_path).stdout == f"replay        {tmp_path}\ntrajectories  none yet\n"


def test_names_of_tasks_cannot_move_the_cursor(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0, task="\x1b[2J\nmaze\0"))
    writer.flush(0)
    assert amago(tmp_path).stdout.splitlines()[-1].startswith(r"\x1b[2J\nmaze\x00  ")


def test_a_task_that_no_trajectory_has_is_not_shown(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    edited(path, lambda header, described: described.update(tasks=["", "ghost"]))
    done = amago(tmp_path)
    assert (done.exit_code, done.stdout.splitlines()[-1].split()[0]) == (0, "2")


def test_trajectories_that_another_shard_claims_are_not_counted_as_gone(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(3), 0)
    later = store(ReplayWriter(tmp_path / "other"), range(4), 1)
    later.rename(tmp_path / later.name)
    assert amago(tmp_path).stdout.splitlines()[1] == "trajectories  7 in 2 shards"


def test_a_name_too_long_for_a_folder_is_said(tmp_path: Path) -> None:
    ReplayWriter(tmp_path / "own")
    name = "a" * 300
    for words in ([name], [name, "verify"], [tmp_path / "own", "protect", name]):
        done = amago(*words)
        assert (done.exit_code, done.stderr) == (
            2,
            f"Error: {name} cannot be read: File name too long\n",
        )
    assert amago(name, "protect", "x").stderr == f"Error: {name} cannot be listed: File name too long\n"


def test_damaged_shards_are_left_out_of_the_table(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2)).write_bytes(b"")
    store(writer, range(2, 3))
    done = amago(tmp_path)
    assert "1 in 1 shard; 2 more were stored and are gone" in done.stdout
    assert done.stderr == (
        f"\n1 shard cannot be read and is left out. `amago replay {tmp_path} verify` says why.\n"
    )


def test_a_whole_replay_is_said_to_be(run: Path) -> None:
    done = amago(run, "verify")
    assert done.exit_code == 0
    assert done.stdout == (
        f"{run}/replay is whole: 5 trajectories in 3 shards, every checksum as it was stored.\n"
    )


def test_what_is_damaged_is_listed_and_not_moved(run: Path) -> None:
    path = sorted((run / "replay").glob("*-b-*"))[0]
    content = bytearray(path.read_bytes())
    content[content.index(np.arange(100, 104, dtype=np.float32).tobytes())] ^= 1
    path.write_bytes(content)
    done = amago(run, "verify")
    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout == (
        f"{run}/replay: 1 of 3 shards cannot be used.\n"
        f"  {path} is damaged: trajectory 2 of its 3 does not have the checksum it was stored with\n"
        "2 trajectories in the others can be. "
        "Training moves damaged shards to quarantine/ and goes on.\n"
    )
    assert path.exists()


def test_trajectories_of_another_run_are_protected(run: Path, tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path / "third"), range(2))
    done = amago(run, "protect", tmp_path / "third")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"protected 2 trajectories in 1 shard of {tmp_path}/third in {run}/replay.\n"
    )
    assert amago(run, "protect", tmp_path / "third").stdout == (
        f"protected 0 trajectories in 0 shards of {tmp_path}/third in {run}/replay; "
        "1 shard had been copied before.\n"
    )


def test_what_cannot_be_protected_is_said(tmp_path: Path) -> None:
    ReplayWriter(tmp_path / "own")
    path = store(ReplayWriter(tmp_path / "other"), range(2))
    path.write_bytes(b"")
    done = amago(tmp_path / "own", "protect", tmp_path / "other")
    assert (done.exit_code, done.stderr) == (
        1,
        f"left out: {path} is not a shard of a replay: it has 0 bytes, and its header cannot be among "
        "them\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["own", "verfy"],
            "a replay cannot 'verfy'. Did you mean 'verify'? "
            "Write `amago replay FOLDER`, `... FOLDER verify` or `... FOLDER protect SOURCE`.",
        ),
        (["verify", "own"], "the folder comes first: amago replay own verify"),
        (
            ["own", "protect"],
            "protect takes one folder to copy from, not 0: amago replay own protect runs/other",
        ),
        (["own", "verify", "more", "words"], "verify takes nothing more, not 'more words'."),
        (["ovn"], "ovn does not exist. Did you mean 'own'?"),
        (
            ["folder"],
            "folder holds no replay: there is neither a folder 'replay' in it nor a shard. "
            "Name the folder of a run, or of a replay.",
        ),
        (["run"], "run is a run that has no replay: it has stored no trajectory yet."),
        (["file"], "file is a file. Name the folder of a run, or of a replay."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_explained(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ReplayWriter(tmp_path / "own")
    for folder in ("folder", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "run" / "spec.yaml").write_text("name: run")
    (tmp_path / "file").write_text("")
    done = amago(*words)
    assert (done.exit_code, done.stderr) == (2, f"Error: {message}\n")
