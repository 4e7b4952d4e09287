"""Tracker that writes metrics as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO

from amago_registry.contexts import TrackerContext
from amago_standard.trackers.options import JsonlOptions


class JsonlTracker:
    """JSON-lines tracker: one line per round in ``metrics.jsonl``, for plots and notebooks.

    A resumed run first truncates the file to the round it resumes from, so that no round is recorded
    twice.

    Args:
        context: Folder of the run; supplied by the engine.
        options: None.
    """

    def __init__(self, context: TrackerContext, options: JsonlOptions) -> None:
        del options
        self.path = context.run_dir / "metrics.jsonl"
        self._file: IO[str] | None = None

    def start(self, resumed_round: int | None) -> None:
        """Open the file; keep the records of rounds up to ``resumed_round``. None: keep all."""
        if resumed_round is not None and self.path.exists():
            self._truncate(resumed_round)
        self._file = self.path.open("a", encoding="utf-8")

    def record(self, metrics: Mapping[str, float | int | str | None]) -> None:
        """Append one line and flush it to the operating system."""
        assert self._file is not None, "start comes before record"
        self._file.write(json.dumps(metrics) + "\n")
        self._file.flush()

    def finish(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _truncate(self, resumed_round: int) -> None:
        kept = [
            line
            for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A crash can leave half a line at the end; it belongs to a round that is run again.
            if line.endswith("\n") and json.loads(line)["round"] <= resumed_round
        ]
        shortened = self.path.with_suffix(".tmp")
        shortened.write_text("".join(kept), encoding="utf-8")
        shortened.replace(self.path)
