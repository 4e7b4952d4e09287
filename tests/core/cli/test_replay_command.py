"""``amago replay``: summary, verify and protect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from replays import edit_shard, recording, store

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


def test_the_summary_is_a_table_of_totals_and_one_of_tasks(run: Path) -> None:
    done = amago(run)
    sizes = [path.stat().st_size for path in (run / "replay").glob("*.safetensors")]
    (copy,) = (run / "replay" / "protected").iterdir()
    lines = f"""\
replay        {run}/replay
trajectories  4 in 2 shards; 3 more were evicted or cannot be read
timesteps     12, 3.0 per trajectory
disk          {sum(sizes) / 1024:.1f} KiB, {sum(sizes) / 12:.0f} bytes per timestep
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


def test_a_replay_without_task_names_has_one_row(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(2))
    assert amago(tmp_path).stdout.splitlines()[-2:] == [
        "trajectories  return    5 %   25 %   50 %   75 %   95 %  success  length",
        "           2   4.500  3.150  3.750  4.500  5.250  5.850        -     3.0",
    ]


def test_an_empty_replay_has_no_trajectories_yet(tmp_path: Path) -> None:
    ReplayWriter(tmp_path)
    assert amago(tmp_path).stdout == f"replay        {tmp_path}\ntrajectories  none yet\n"


def test_control_characters_in_task_names_are_escaped(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    writer.append(recording(0, task="\x1b[2J\nmaze\0"))
    writer.flush(0)
    assert amago(tmp_path).stdout.splitlines()[-1].startswith(r"\x1b[2J\nmaze\x00  ")


def test_a_task_without_trajectories_is_not_shown(tmp_path: Path) -> None:
    path = store(ReplayWriter(tmp_path), range(2))
    edit_shard(path, lambda header, described: described.update(tasks=["", "ghost"]))
    done = amago(tmp_path)
    assert (done.exit_code, done.stdout.splitlines()[-1].split()[0]) == (0, "2")


def test_overlapping_trajectory_numbers_do_not_count_as_evicted(tmp_path: Path) -> None:
    store(ReplayWriter(tmp_path), range(3), 0)
    later = store(ReplayWriter(tmp_path / "other"), range(4), 1)
    later.rename(tmp_path / later.name)
    assert amago(tmp_path).stdout.splitlines()[1] == "trajectories  7 in 2 shards"


def test_a_folder_name_that_is_too_long_is_explained(tmp_path: Path) -> None:
    ReplayWriter(tmp_path / "own")
    name = "a" * 300
    for words in ([name], [name, "verify"], [tmp_path / "own", "protect", name]):
        done = amago(*words)
        assert (done.exit_code, done.stderr) == (
            2,
            f"Error: {name} cannot be read: File name too long\n",
        )
    assert amago(name, "protect", "x").stderr == f"Error: {name} cannot be listed: File name too long\n"


def test_damaged_shards_are_skipped_in_the_summary(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path)
    store(writer, range(2)).write_bytes(b"")
    store(writer, range(2, 3))
    done = amago(tmp_path)
    assert "1 in 1 shard; 2 more were evicted or cannot be read" in done.stdout
    assert done.stderr == (
        f"\n1 shard cannot be read and is skipped. `amago replay {tmp_path} verify` lists the errors.\n"
    )


def test_verify_reports_an_intact_replay(run: Path) -> None:
    done = amago(run, "verify")
    assert done.exit_code == 0
    assert done.stdout == (
        f"{run}/replay is intact: 5 trajectories in 3 shards, all checksums match.\n"
    )


def test_verify_lists_damaged_shards_and_does_not_move_them(run: Path) -> None:
    path = sorted((run / "replay").glob("*-b-*"))[0]
    content = bytearray(path.read_bytes())
    content[content.index(np.arange(100, 104, dtype=np.float32).tobytes())] ^= 1
    path.write_bytes(content)
    done = amago(run, "verify")
    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout == (
        f"{run}/replay: 1 of 3 shards cannot be used.\n"
        f"  {path} is damaged: trajectory 2 of its 3 does not have the checksum it was stored with\n"
        "The others hold 2 trajectories. "
        "Training moves damaged shards to quarantine/ and continues.\n"
    )
    assert path.exists()


def test_protect_copies_the_trajectories_of_another_run(run: Path, tmp_path: Path) -> None:
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


def test_protect_reports_the_shards_it_skips(tmp_path: Path) -> None:
    ReplayWriter(tmp_path / "own")
    path = store(ReplayWriter(tmp_path / "other"), range(2))
    path.write_bytes(b"")
    done = amago(tmp_path / "own", "protect", tmp_path / "other")
    assert (done.exit_code, done.stderr) == (
        1,
        f"skipped: {path} is not a shard of a replay: it has 0 bytes and no valid header\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["own", "verfy"],
            "there is no action 'verfy'. Did you mean 'verify'? "
            "Write `amago replay FOLDER`, `... FOLDER verify` or `... FOLDER protect SOURCE`.",
        ),
        (["verify", "own"], "the folder comes first: amago replay own verify"),
        (
            ["own", "protect"],
            "protect takes one folder to copy from, not 0: amago replay own protect runs/other",
        ),
        (["own", "verify", "more", "words"], "verify takes no further words, not 'more words'."),
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
def test_wrong_arguments_are_explained(
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
