"""Progress reporters: a live display on a terminal, or lines for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

_PLAIN_SECONDS = 10.0


class Reporter(Protocol):
    """Shows the progress of a run."""

    def start(self, title: str, rounds: int, done: int) -> None:
        """Called once, before the first round; ``done`` rounds of an earlier training are done."""

    def tick(self, phase: str, done: int, total: int) -> None:
        """Called often within a round: ``done`` of ``total`` in a phase such as ``updating``."""

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Called with the metrics of each round."""

    def note(self, text: str) -> None:
        """Show one sentence."""

    def finish(self) -> None:
        """Called once, also after an error."""


def make_reporter() -> Reporter:
    """Return a live display on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    return LiveReporter(console) if console.is_terminal else PlainReporter()


class SilentReporter:
    """A reporter that shows nothing, for data-parallel ranks other than 0."""

    def start(self, title: str, rounds: int, done: int) -> None:
        """Show nothing."""

    def tick(self, phase: str, done: int, total: int) -> None:
        """Show nothing."""

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def finish(self) -> None:
        """Nothing to close."""


class PlainReporter:
    """A reporter of log lines: every evaluation, and otherwise one line every ten seconds."""

    def __init__(self) -> None:
        self._last_line = 0.0
        self._rounds = 0
        self._rates = _Rates()

    def start(self, title: str, rounds: int, done: int) -> None:
        """Print the title and the rounds."""
        self._rounds = rounds
        self._print(f"training {title}, round {done} of {rounds} done")

    def tick(self, phase: str, done: int, total: int) -> None:
        """Show nothing: too frequent for a log."""

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Print a line if it is time for one."""
        self._rates.update(metrics)
        now = time.monotonic()
        due = now - self._last_line >= _PLAIN_SECONDS
        if due or "eval/return" in metrics or metrics["round"] == self._rounds:
            self._last_line = now
            self._print(f"round {metrics['round']}/{self._rounds}  " + summary(metrics, self._rates))

    def note(self, text: str) -> None:
        """Print the sentence."""
        self._print(text)

    def finish(self) -> None:
        """Nothing to close."""

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class LiveReporter:
    """A live display: progress bars of the run and of the round's phase, over the last round's metrics.

    Evaluations stay in the scrollback; other rounds replace one another.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._numbers = Text()
        self._live = Live(Group(self._progress, self._numbers), console=console)
        self._rates = _Rates()

    def start(self, title: str, rounds: int, done: int) -> None:
        """Draw the bars."""
        self._console.print(f"training [bold]{escape(title)}[/bold]", highlight=False)
        self._rounds = self._progress.add_task("rounds", total=rounds, completed=done)
        self._phase = self._progress.add_task("", total=1)
        self._live.start()

    def tick(self, phase: str, done: int, total: int) -> None:
        """Move the second bar."""
        self._progress.update(self._phase, description=phase, completed=done, total=total)

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Move the first bar and show the numbers."""
        self._rates.update(metrics)
        line = f"round {metrics['round']:>4}  {summary(metrics, self._rates)}"
        self._progress.update(self._rounds, completed=metrics["round"])
        self._numbers.plain = line
        if "eval/return" in metrics:
            self._console.print(line, markup=False, highlight=False)

    def note(self, text: str) -> None:
        """Print the sentence above the bars."""
        self._console.print(text, markup=False, highlight=False)

    def finish(self) -> None:
        """Stop the live display."""
        self._live.stop()


class _Rates:
    """Updates and steps per second between the last two rounds."""

    def __init__(self) -> None:
        self._before: Mapping[str, Any] | None = None
        self._texts = {"update": "", "env_steps": ""}

    def update(self, metrics: Mapping[str, Any]) -> None:
        # A restarted learner repeats rounds since its last checkpoint.
        if self._before is not None and self._before["round"] < metrics["round"]:
            seconds = max(metrics["seconds"] - self._before["seconds"], 1e-9)
            for name in self._texts:
                self._texts[name] = f" ({(metrics[name] - self._before[name]) / seconds:.0f}/s)"
        self._before = dict(metrics)

    def __getitem__(self, name: str) -> str:
        return self._texts[name]


def summary(metrics: Mapping[str, Any], rates: _Rates) -> str:
    """Return the main metrics of a round on one line."""
    shown = [
        _field("return", metrics["return"], "{:.3g}"),
        _field("success", metrics["success"], "{:.2f}"),
        _field("eval return", metrics.get("eval/return"), "{:.3f}"),
        _field("eval success", metrics.get("eval/success"), "{:.2f}"),
        _field("loss", metrics.get("loss"), "{:.3g}"),
        f"updates {metrics['update']}{rates['update']}",
        f"steps {metrics['env_steps']}{rates['env_steps']}",
        f"{metrics['seconds']:.0f} s",
        _field("skipped", metrics["skipped"] or None, "{}"),
    ]
    return "  ".join(field for field in shown if field)


def _field(name: str, value: float | None, form: str) -> str:
    return "" if value is None else f"{name} {form.format(value)}"
