"""How trajectories went, as running totals.

Totals only grow, so a reader that looks now and then has what happened in between as a difference:
nothing is counted twice or missed, whichever process was killed in the meantime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amago_core.outcomes import Ended

_FIELDS = ("ended", "return", "length", "judged", "success")
Totals = dict[str, dict[str, float]]
"""By task (empty: of all tasks together): trajectories that ended, sums of return and length, and of
those that said something of success their number and sum."""


class Tally:
    """Adds up outcomes.

    Args:
        totals: What was added up before.
    """

    def __init__(self, totals: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self.totals: Totals = {
            task: {name: float(sums[name]) for name in _FIELDS} for task, sums in (totals or {}).items()
        }

    def add(self, outcome: Ended) -> None:
        """Count one trajectory."""
        judged = outcome.success is not None
        one = {
            "ended": 1.0,
            "return": float(outcome.total),
            "length": float(outcome.length),
            "judged": float(judged),
            "success": float(outcome.success or 0.0),
        }
        for task in {"", outcome.task}:
            self._add(task, one)

    def merge(self, other: Tally) -> None:
        """Count all that another tally has counted."""
        for task, sums in other.totals.items():
            self._add(task, sums)

    def since(self, before: Tally) -> Tally:
        """Return what was counted after an earlier state of this tally."""
        nothing = dict.fromkeys(_FIELDS, 0.0)
        return Tally(
            {
                task: {name: sums[name] - before.totals.get(task, nothing)[name] for name in _FIELDS}
                for task, sums in self.totals.items()
            }
        )

    def metrics(self) -> dict[str, float | None]:
        """Return what :func:`amago_core.outcomes.outcome_metrics` says of the same trajectories."""
        metrics: dict[str, float | None] = {"return": None, "success": None, "length": None}
        for task, sums in sorted(self.totals.items()):
            if sums["ended"]:
                suffix = f"/{task}" if task else ""
                metrics[f"return{suffix}"] = sums["return"] / sums["ended"]
                judged = sums["judged"]
                metrics[f"success{suffix}"] = sums["success"] / judged if judged else None
                metrics[f"length{suffix}"] = sums["length"] / sums["ended"]
        return metrics

    def _add(self, task: str, sums: Mapping[str, float]) -> None:
        mine = self.totals.setdefault(task, dict.fromkeys(_FIELDS, 0.0))
        for name in _FIELDS:
            mine[name] += sums[name]
