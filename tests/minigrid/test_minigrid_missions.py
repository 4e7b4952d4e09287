"""Missions as tokens."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigrid_plays import make

from amago_minigrid.games import make_game
from amago_minigrid.ids import IDS
from amago_minigrid.missions import WORDS, MissionError, mission, most_words, tokens, words


def test_words_are_numbered_in_their_order_and_the_last_word_comes_last() -> None:
    assert WORDS[:3] == ("a", "after", "and")
    assert tokens("after a, and", 5).tolist() == [0, 0, 2, 1, 3]


@given(spoken=st.lists(st.sampled_from(WORDS), max_size=12), spare=st.integers(0, 5))
def test_tokens_always_say_the_mission(spoken: list[str], spare: int) -> None:
    assert mission(tokens(" ".join(spoken), len(spoken) + spare)) == " ".join(spoken)


def test_words_are_in_alphabetical_order_once_each() -> None:
    assert list(WORDS) == sorted(set(WORDS))


def test_a_strange_word_is_named() -> None:
    with pytest.raises(MissionError) as raised:
        tokens("go to the mauve teapot", 9)
    assert str(raised.value) == (
        "the mission 'go to the mauve teapot' has words without a token: mauve, teapot. "
        f"The words with one are {', '.join(WORDS)}"
    )


def test_a_mission_that_is_too_long_is_refused_with_what_to_set() -> None:
    env = make("BabyAI-GoToLocal-v0", mission_words=4)
    with pytest.raises(MissionError) as raised:
        env.reset(seed=0)
    assert str(raised.value) == (
        f"the mission '{env.game.mission}' has 5 words, and there is room for 4: "
        "set environment.mission_words to 5 or more, or leave it out"
    )


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("MiniGrid-Empty-5x5-v0", 6),  # get to the green goal square
        ("MiniGrid-Playground-v0", 1),  # asks for nothing
        ("MiniGrid-Fetch-5x5-N2-v0", 6),  # you must fetch a red ball
        ("MiniGrid-LockedRoom-v0", 17),
        ("BabyAI-GoToLocal-v0", 20),
        ("BabyAI-PickupLoc-v0", 9),  # pick up the red ball in front of you
        ("BabyAI-GoToSeq-v0", 2 * (2 * 5 + 1) + 2),
        ("BabyAI-BossLevel-v0", 2 * (2 * 17 + 1) + 2),
    ],
)
def test_there_is_room_for_the_longest_mission_of_a_game(name: str, most: int) -> None:
    assert most_words(make_game(name)) == most


@pytest.mark.parametrize("name", [name for name in IDS if name.startswith("MiniGrid-")])
def test_all_that_minigrid_may_ask_for_has_tokens(name: str) -> None:
    game = make_game(name)
    space = game.observation_space["mission"]
    for chosen in product(*(space.ordered_placeholders or [])):
        tokens(space.mission_func(*chosen), most_words(game))


@pytest.mark.parametrize(
    "name", ["BabyAI-BossLevel-v0", "BabyAI-SynthLoc-v0", "BabyAI-MoveTwoAcrossS5N2-v0"]
)
def test_what_babyai_asks_for_fits(name: str) -> None:
    game = make_game(name)
    lengths = [len(words(game.reset(seed=seed)[0]["mission"])) for seed in range(60)]
    assert max(lengths) <= most_words(game)
