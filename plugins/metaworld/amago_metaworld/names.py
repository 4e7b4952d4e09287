"""Names of Meta-World's benchmarks and tasks, without importing it."""

from __future__ import annotations

from difflib import get_close_matches

MULTI = ("MT1", "MT10", "MT25", "MT50")
"""Multi-task benchmarks: the goal and the task are observed. The others hide the goal."""

ONE = ("ML1", "MT1")
"""Benchmarks that consist of one task, to be chosen."""

TASKS = (
    "assembly-v3",
    "basketball-v3",
    "bin-picking-v3",
    "box-close-v3",
    "button-press-topdown-v3",
    "button-press-topdown-wall-v3",
    "button-press-v3",
    "button-press-wall-v3",
    "coffee-button-v3",
    "coffee-pull-v3",
    "coffee-push-v3",
    "dial-turn-v3",
    "disassemble-v3",
    "door-close-v3",
    "door-lock-v3",
    "door-open-v3",
    "door-unlock-v3",
    "drawer-close-v3",
    "drawer-open-v3",
    "faucet-close-v3",
    "faucet-open-v3",
    "hammer-v3",
    "hand-insert-v3",
    "handle-press-side-v3",
    "handle-press-v3",
    "handle-pull-side-v3",
    "handle-pull-v3",
    "lever-pull-v3",
    "peg-insert-side-v3",
    "peg-unplug-side-v3",
    "pick-out-of-hole-v3",
    "pick-place-v3",
    "pick-place-wall-v3",
    "plate-slide-back-side-v3",
    "plate-slide-back-v3",
    "plate-slide-side-v3",
    "plate-slide-v3",
    "push-back-v3",
    "push-v3",
    "push-wall-v3",
    "reach-v3",
    "reach-wall-v3",
    "shelf-place-v3",
    "soccer-v3",
    "stick-pull-v3",
    "stick-push-v3",
    "sweep-into-v3",
    "sweep-v3",
    "window-close-v3",
    "window-open-v3",
)
"""All tasks; each has many positions of objects and goals."""


def unknown_message(name: str) -> str:
    """Return the error message for an unknown task: a close name, or else all names."""
    plain = name.lower().replace("_", "-").rsplit("-v", 1)[0]
    close = get_close_matches(plain, [known.removesuffix("-v3") for known in TASKS], n=1)
    if close:
        return f"Meta-World has no such task. Did you mean '{close[0]}-v3'?"
    return f"Meta-World has no such task. Its tasks are {', '.join(TASKS)}"
