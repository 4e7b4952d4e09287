"""``amago replay``: summarize or verify a replay, or protect trajectories in it from eviction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from amago_core.cli.tables import table
from amago_registry.errors import AmagoError, did_you_mean

if TYPE_CHECKING:
    from amago_core.replay.inspection import Group, ReplaySummary, TaskSummary


_ACTIONS = ("verify", "protect")

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@click.command("replay")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, metavar="[verify | protect SOURCE]")
@click.pass_context
def command(context: click.Context, folder: Path, words: tuple[str, ...]) -> None:
    """Summarize, verify or extend the replay in FOLDER, the folder of a run or of a replay.

    amago replay FOLDER prints the number of trajectories, their size on disk and their returns.

    amago replay FOLDER verify compares every trajectory with its checksum and changes nothing; the exit
    code is 1 if one is damaged.

    amago replay FOLDER protect SOURCE copies the trajectories of another run or replay, SOURCE, into
    FOLDER, where they are sampled like the others but never evicted.
    """
    action, *rest = _read_words(folder, words)
    if action == "verify":
        context.exit(_verify(folder))
    elif action == "protect":
        context.exit(_protect(folder, Path(rest[0])))
    else:
        _show(folder)


def _read_words(folder: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the action and its arguments; an empty action prints the summary.

    Raises:
        AmagoError: If there is no such action, or its arguments are wrong.
    """
    action, *rest = words or ("",)
    if str(folder) in _ACTIONS and words and not folder.exists():
        raise AmagoError(f"the folder comes first: amago replay {action} {folder}")
    if action and action not in _ACTIONS:
        close = did_you_mean(action, _ACTIONS)
        raise AmagoError(
            f"there is no action '{action}'.{close} "
            "Write `amago replay FOLDER`, `... FOLDER verify` or `... FOLDER protect SOURCE`."
        )
    if action == "protect" and len(rest) != 1:
        raise AmagoError(
            f"protect takes one folder to copy from, not {len(rest)}: "
            f"amago replay {folder} protect runs/other"
        )
    if action == "verify" and rest:
        raise AmagoError(f"verify takes no further words, not '{' '.join(rest)}'.")
    return (action, *rest)


def _verify(folder: Path) -> int:
    from amago_core.replay.inspection import find_replay, verify

    found = find_replay(folder)
    result = verify(found)
    contents = f"{_count(result.trajectories, 'trajectory')} in {_count(result.shards, 'shard')}"
    if not result.problems:
        click.echo(f"{found} is intact: {contents}, all checksums match.")
        return 0
    damaged = len(result.problems)
    click.echo(f"{found}: {damaged} of {_count(result.shards, 'shard')} cannot be used.")
    click.echo("".join(f"  {_printable(problem)}\n" for problem in result.problems), nl=False)
    click.echo(
        f"The others hold {_count(result.trajectories, 'trajectory')}. "
        "Training moves damaged shards to quarantine/ and continues."
    )
    return 1


def _protect(folder: Path, source: Path) -> int:
    from amago_core.replay.inspection import find_replay
    from amago_core.replay.protected import protect
    from amago_core.replay.shard_name import files_in

    found = folder / "replay" if "spec.yaml" in files_in(folder) else find_replay(folder)
    result = protect(source, found)
    what = f"{_count(result.trajectories, 'trajectory')} in {_count(result.shards, 'shard')}"
    before = f"; {_count(result.already, 'shard')} had been copied before" if result.already else ""
    click.echo(f"protected {what} of {source} in {found}{before}.")
    for problem in result.problems:
        click.echo(f"skipped: {_printable(problem)}", err=True)
    return 1 if result.problems else 0


def _show(folder: Path) -> None:
    from amago_core.replay.inspection import find_replay, summarize_replay

    found = summarize_replay(find_replay(folder))
    click.echo(summary(found))
    if found.problems:
        one = len(found.problems) == 1
        click.echo(
            f"\n{_count(len(found.problems), 'shard')} cannot be read and {'is' if one else 'are'} "
            f"skipped. `amago replay {folder} verify` lists the errors.",
            err=True,
        )


def summary(found: ReplaySummary) -> str:
    """Return the summary of a replay as tables: totals, and statistics by task."""
    kept = found.kept
    rows = [
        ("replay", str(found.folder)),
        ("trajectories", _trajectories(found)),
    ]
    if kept.trajectories:
        mean = kept.timesteps / kept.trajectories
        rows.append(("timesteps", f"{kept.timesteps:,}, {mean:,.1f} per trajectory"))
        rows.append(("disk", f"{_size(kept.bytes)}, {_size(kept.bytes / kept.timesteps)} per timestep"))
    if found.updates is not None:
        first, last = found.updates
        rows.append(("updates", f"{first:,} to {last:,}"))
    label = "writers"
    for writer, group in found.writers.items():
        rows.append((label, f"{writer}: {_group(group)}"))
        label = ""
    if found.protected.shards:
        protected = found.protected
        rows.append(
            (
                "protected",
                f"{_group(protected)}, {protected.timesteps:,} timesteps, {_size(protected.bytes)}",
            )
        )
    if found.quarantined.shards:
        rows.append(("quarantined", f"{_group(found.quarantined)}, damaged"))
    parts = [table(rows)]
    if found.tasks:
        parts.append(_task_table(found.tasks))
    return "\n\n".join(parts)


def _task_table(tasks: tuple[TaskSummary, ...]) -> str:
    percents = [f"{100 * quantile:.0f} %" for quantile in _QUANTILES]
    named = any(each.task for each in tasks)
    header = ["task"] * named + ["trajectories", "return", *percents, "success", "length"]
    rows = [["" if not named else _printable(each.task) or "(none)", *_row(each)] for each in tasks]
    rows = [row if named else row[1:] for row in rows]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    aligned = [
        [
            cell if named and column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in [header, *rows]
    ]
    return table(aligned[1:], header=aligned[0])


def _row(found: TaskSummary) -> list[str]:
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        quantiles = np.quantile(found.returns, _QUANTILES).tolist()
        mean = float(found.returns.mean())
    return [
        f"{len(found.returns):,}",
        f"{mean:,.3f}",
        *(f"{quantile:,.3f}" for quantile in quantiles),
        f"{found.successes.mean():.3f}" if len(found.successes) else "-",
        f"{found.lengths.mean():,.1f}",
    ]


def _trajectories(found: ReplaySummary) -> str:
    if not found.stored:
        return "none yet"
    missing = f"; {found.gone:,} more were evicted or cannot be read" if found.gone else ""
    return _group(found.kept) + missing


def _group(group: Group) -> str:
    return f"{group.trajectories:,} in {_count(group.shards, 'shard')}"


def _count(number: int, thing: str) -> str:
    many = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else many}"


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} {_UNITS[-1]}"


def _printable(text: str) -> str:
    """Escape control characters, which could move the cursor of a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
