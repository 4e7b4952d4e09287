"""What is said of a part whose plugin is one of ours and is not installed."""

from __future__ import annotations

import pytest

from amago_registry import Catalog, Component, Options, Plugin, UnknownPartError

STANDARD = Plugin(
    "standard",
    "amago-standard",
    "1",
    (("environment", Component("bandit", "math:sqrt", Options, "arms")),),
    None,
)
BROKEN = Plugin("popgym", "amago-popgym", "1", (), "importing amago_popgym.hooks raised OSError: no")


def said(use: str, *plugins: Plugin, kind: str = "environment") -> str:
    with pytest.raises(UnknownPartError) as raised:
        Catalog(plugins).find(kind, use)
    return str(raised.value)


def test_a_known_part_that_is_not_installed_says_what_to_install() -> None:
    assert said("popgym", STANDARD) == (
        "no environment is called 'popgym'. amago-popgym offers it, and is not installed: pip install "
        "./plugins/popgym in this project's repository. Installed: bandit."
    )


def test_a_name_that_is_nearly_one_of_them_is_corrected() -> None:
    assert said("pop-gym", STANDARD) == (
        "no environment is called 'pop-gym'. Did you mean 'popgym'? Installed: bandit."
    )
    popgym = Plugin("popgym", "amago-popgym", "1", (), None)
    assert Catalog([STANDARD, popgym]).not_installed("environment") == (
        "atari",
        "metaworld",
        "minigrid",
    )


def test_so_does_its_full_name() -> None:
    assert said("minari/minari", STANDARD, kind="dataset") == (
        "no plugin is called 'minari', so there is no dataset 'minari/minari'. amago-minari offers it, "
        "and is not installed: pip install ./plugins/minari in this project's repository. "
        "Installed: standard."
    )


def test_a_plugin_that_is_installed_and_broken_is_not_to_be_installed_again() -> None:
    assert said("popgym", STANDARD, BROKEN) == (
        "no environment is called 'popgym'. Installed: bandit. Broken plugins, which may offer it: "
        "popgym (importing amago_popgym.hooks raised OSError: no)."
    )


@pytest.mark.parametrize("use", ["zoo/popgym", "popgymnastics"])
def test_nothing_is_said_of_what_only_resembles_one(use: str) -> None:
    assert "pip install" not in said(use, STANDARD)


def test_nothing_is_said_of_another_kind() -> None:
    assert said("popgym", STANDARD, kind="backbone") == (
        "no backbone is called 'popgym'. Installed: none."
    )
