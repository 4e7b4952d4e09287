"""Ids of POPGym's environments, without importing it."""

from __future__ import annotations

from difflib import get_close_matches

GAMES = (
    "Autoencode",
    "Battleship",
    "Concentration",
    "CountRecall",
    "HigherLower",
    "LabyrinthEscape",
    "LabyrinthExplore",
    "MineSweeper",
    "MultiarmedBandit",
    "NoisyPositionOnlyCartPole",
    "NoisyPositionOnlyPendulum",
    "PositionOnlyCartPole",
    "PositionOnlyPendulum",
    "RepeatFirst",
    "RepeatPrevious",
    "VelocityOnlyCartPole",
)
"""All games; each is played at three levels."""

LEVELS = ("Easy", "Medium", "Hard")

IDS = tuple(f"{game}{level}" for game in GAMES for level in LEVELS)
"""All environments, by the names of their classes."""

_PAPER_IDS = {name.replace("PositionOnly", "Stateless"): name for name in IDS if "PositionOnly" in name}

KNOWN = (*IDS, *_PAPER_IDS)
"""All names that a spec may use: the paper's names of four games beside those of the package."""


def class_name(name: str) -> str:
    """Return the name of the class that an id of :data:`KNOWN` means."""
    return _PAPER_IDS.get(name, name)


def unknown_message(name: str) -> str:
    """Return the error message for an unknown id: a close id, or else all games."""
    plain = {_plain(known): known for known in KNOWN}
    close = get_close_matches(_plain(name), plain, n=1)
    if close:
        return f"POPGym has no such environment. Did you mean '{plain[close[0]]}'?"
    return (
        f"POPGym has no such environment. Its games are {', '.join(GAMES)}; write Easy, Medium or "
        "Hard behind the name of one"
    )


def _plain(name: str) -> str:
    """Return a name in a normal form for matching: also gymnasium's ids become close."""
    letters = "".join(filter(str.isalnum, name)).lower()
    return letters.removeprefix("popgym").removesuffix("v0")
