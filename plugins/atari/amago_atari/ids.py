"""Names of the Atari games, without importing ale-py."""

from __future__ import annotations

from difflib import get_close_matches

GAMES = (
    "adventure",
    "air_raid",
    "alien",
    "amidar",
    "assault",
    "asterix",
    "asteroids",
    "atlantis",
    "atlantis2",
    "backgammon",
    "bank_heist",
    "basic_math",
    "battle_zone",
    "beam_rider",
    "berzerk",
    "blackjack",
    "bowling",
    "boxing",
    "breakout",
    "carnival",
    "casino",
    "centipede",
    "chopper_command",
    "crazy_climber",
    "crossbow",
    "darkchambers",
    "defender",
    "demon_attack",
    "donkey_kong",
    "double_dunk",
    "earthworld",
    "elevator_action",
    "enduro",
    "entombed",
    "et",
    "fishing_derby",
    "flag_capture",
    "freeway",
    "frogger",
    "frostbite",
    "galaxian",
    "gopher",
    "gravitar",
    "hangman",
    "haunted_house",
    "hero",
    "human_cannonball",
    "ice_hockey",
    "jamesbond",
    "journey_escape",
    "kaboom",
    "kangaroo",
    "keystone_kapers",
    "king_kong",
    "klax",
    "koolaid",
    "krull",
    "kung_fu_master",
    "laser_gates",
    "lost_luggage",
    "mario_bros",
    "miniature_golf",
    "montezuma_revenge",
    "mr_do",
    "ms_pacman",
    "name_this_game",
    "othello",
    "pacman",
    "phoenix",
    "pitfall",
    "pitfall2",
    "pong",
    "pooyan",
    "private_eye",
    "qbert",
    "riverraid",
    "road_runner",
    "robotank",
    "seaquest",
    "sir_lancelot",
    "skiing",
    "solaris",
    "space_invaders",
    "space_war",
    "star_gunner",
    "superman",
    "surround",
    "tennis",
    "tetris",
    "tic_tac_toe_3d",
    "time_pilot",
    "trondead",
    "turmoil",
    "tutankham",
    "up_n_down",
    "venture",
    "video_checkers",
    "video_chess",
    "video_cube",
    "video_pinball",
    "wizard_of_wor",
    "word_zapper",
    "yars_revenge",
    "zaxxon",
)
"""All single-player games, by their names in ale-py."""

FOR_TWO = ("combat", "joust", "maze_craze", "warlords")
"""The other games of ale-py, which need two players."""


def unknown_message(name: str) -> str:
    """Return the error message for an unknown game: the reason, a close name, or where to find all."""
    if _plain(name) in map(_plain, FOR_TWO):
        return f"'{name}' needs two players, and this environment has one"
    plain = {_plain(game): game for game in GAMES}
    close = get_close_matches(_plain(name), plain, n=1)
    if close:
        return f"ale-py has no game '{name}'. Did you mean '{plain[close[0]]}'?"
    return (
        f"ale-py has no game '{name}'. It has {len(GAMES)} that one plays alone, such as pong, "
        "breakout and ms_pacman: all are listed at https://ale.farama.org/environments"
    )


def _plain(name: str) -> str:
    """Return a name in a normal form for matching: also gymnasium's ids become close."""
    plain = name.lower().removeprefix("ale/").rpartition("-v")[0] or name.lower()
    letters = "".join(filter(str.isalnum, plain.removeprefix("ale/")))
    return letters.removesuffix("noframeskip").removesuffix("deterministic")
