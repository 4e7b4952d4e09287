"""Options of the environment."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from amago_atari.ids import GAMES, unknown_message
from amago_registry import Field, Options

Games = Annotated[tuple[str, ...], Field(strict=False)]


class AtariOptions(Options):
    """Options of ``use: atari``."""

    games: Games = Field(
        min_length=1,
        description="Games such as 'pong' or 'ms_pacman'; of several, each trajectory plays one, all "
        "alike often.",
    )
    size: int = Field(
        84,
        ge=8,
        le=160,
        description="Pixels along each side of the picture that is seen; small things vanish below 84.",
    )
    grayscale: bool = Field(
        True, description="See one channel instead of three; some games tell things apart by colour."
    )
    frame_skip: int = Field(
        4,
        ge=1,
        le=60,
        description="Frames that each action is held for; more is faster to play and coarser to steer.",
    )
    sticky: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="Probability that a frame repeats the action of the frame before; at 0 the same "
        "actions always lead to the same game.",
    )
    full_action_space: bool | None = Field(
        None,
        description="Offer all 18 actions, instead of those that the game reads. Null: where there are "
        "several games.",
    )
    life_loss_terminates: bool = Field(
        False,
        description="End the trajectory with the first life that is lost, so that each counts; scores "
        "are then those of one life.",
    )
    clip_rewards: bool = Field(
        False,
        description="Pay 1, 0 or -1 by the sign of the points, so that games of unlike scores count "
        "alike; scores are then hidden.",
    )
    max_frames: int = Field(
        108_000,
        ge=1,
        description="Frames after which the recording of a game is cut; 108,000 are 30 minutes.",
    )

    @field_validator("games")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        sentences = [unknown_message(name) for name in value if name not in GAMES]
        twice = sorted({name for name in value if value.count(name) > 1})
        sentences += [f"'{name}' is there twice: name it once" for name in twice]
        if not sentences:
            return value
        context: dict[str, Any] = {"sentences": "; ".join(sentences)}
        raise PydanticCustomError("atari_games", "{sentences}", context)

    @field_validator("full_action_space")
    @classmethod
    def _is_shared_by_several_games(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value is not False or len(info.data.get("games", ())) < 2:
            return value
        raise PydanticCustomError(
            "atari_actions",
            "several games have no smaller set of actions in common; leave it out",
        )
