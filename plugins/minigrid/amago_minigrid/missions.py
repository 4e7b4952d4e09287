"""Tokenizer of missions: one token per word, padded in front.

Shape suffixes: L = padded length in words.
"""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amago_registry.errors import AmagoError

NO_WORD = 0
"""Padding token; padding comes first."""


class MissionError(AmagoError):
    """A mission that cannot be tokenized."""


def words(mission: str) -> list[str]:
    """Return the words of a mission, without punctuation."""
    return re.findall(r"[a-z]+", mission.lower())


WORDS = tuple(
    words("""
    a after and at avoid ball behind blue box door end fetch find from front get go goal green grey
    hallway in key lava left locked matching maze must near next object of on open opening pick purple
    put reach red right room rooms square the then to traverse unlock up use yellow you your
    """)
)
"""All words of all games, in the order of their tokens; the first is 1."""

_TOKENS = {word: token for token, word in enumerate(WORDS, start=NO_WORD + 1)}


def tokens(mission: str, length: int) -> NDArray[np.uint8]:
    """Return the tokens ``(L,)`` of a mission.

    Args:
        mission: In words.
        length: L.

    Raises:
        MissionError: If a word has no token, or there are too many words.
    """
    spoken = words(mission)
    unknown = sorted(set(spoken) - set(_TOKENS))
    if unknown:
        raise MissionError(
            f"the mission '{mission}' has words without a token: {', '.join(unknown)}. "
            f"The words with one are {', '.join(WORDS)}"
        )
    if len(spoken) > length:
        raise MissionError(
            f"the mission '{mission}' has {len(spoken)} words, and there is room for {length}: "
            f"set environment.mission_words to {len(spoken)} or more, or leave it out"
        )
    padding = [NO_WORD] * (length - len(spoken))
    return np.array(padding + [_TOKENS[word] for word in spoken], np.uint8)


def mission(tokens_L: NDArray[np.uint8]) -> str:
    """Return the words of tokens."""
    return " ".join(WORDS[token - 1] for token in tokens_L.tolist() if token != NO_WORD)


def most_words(game: Any) -> int:
    """Return the length in words of a game's longest mission; at least 1.

    Args:
        game: The package's environment. MiniGrid's declare their missions; BabyAI's do not.
    """
    asked = game.observation_space["mission"]
    if not hasattr(game, "gen_mission"):
        lists = asked.ordered_placeholders or []
        return max(1, *(len(words(asked.mission_func(*chosen))) for chosen in product(*lists)))
    if not hasattr(game, "instr_kinds"):
        return _MOST_OF_ONE_PATTERN
    return _most_generated(game.action_kinds, game.instr_kinds, places=game.locations)


_MOST_OF_ONE_PATTERN = 20
"""Longest mission of a BabyAI level without a grammar: put one thing next to another, twice."""


def _most_generated(actions: Any, kinds: Any, *, places: bool) -> int:
    """Return the longest mission of BabyAI's grammar: actions, two at once, two such in a row."""
    thing = len(words("the grey ball in front of you" if places else "the grey ball"))
    lengths = {
        "goto": len(words("go to")) + thing,
        "pickup": len(words("pick up")) + thing,
        "open": len(words("open")) + thing,
        "putnext": len(words("put")) + thing + len(words("next to")) + thing,
    }
    action = max(lengths[kind] for kind in actions)
    both = 2 * action + len(words("and"))
    row = 2 * both + len(words("after you"))
    return max({"action": action, "and": both, "seq": row}[kind] for kind in kinds)
