"""Install hints for parts of this project's plugins that are not installed."""

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


def message(use: str, *plugins: Plugin, kind: str = "environment") -> str:
    with pytest.raises(UnknownPartError) as raised:
        Catalog(plugins).find(kind, use)
    return str(raised.value)


def test_the_error_of_a_part_that_is_not_installed_has_an_install_command() -> None:
    assert message("popgym", STANDARD) == (
        "no environment is called 'popgym'. amago-popgym offers it, and is not installed: pip install "
        "./plugins/popgym in this project's repository. Installed: bandit."
    )


def test_a_misspelled_part_that_is_not_installed_is_suggested() -> None:
    assert message("pop-gym", STANDARD) == (
        "no environment is called 'pop-gym'. Did you mean 'popgym'? Installed: bandit."
    )
    popgym = Plugin("popgym", "amago-popgym", "1", (), None)
    assert Catalog([STANDARD, popgym]).not_installed("environment") == (
        "atari",
        "metaworld",
        "minigrid",
    )


def test_the_full_name_has_an_install_command_too() -> None:
    assert message("minari/minari", STANDARD, kind="dataset") == (
        "no plugin is called 'minari', so there is no dataset 'minari/minari'. amago-minari offers it, "
        "and is not installed: pip install ./plugins/minari in this project's repository. "
        "Installed: standard."
    )


def test_a_broken_plugin_has_no_install_command() -> None:
    assert message("popgym", STANDARD, BROKEN) == (
        "no environment is called 'popgym'. Installed: bandit. Broken plugins, which may offer it: "
        "popgym (importing amago_popgym.hooks raised OSError: no)."
    )


@pytest.mark.parametrize("use", ["zoo/popgym", "popgymnastics"])
def test_a_similar_name_has_no_install_command(use: str) -> None:
    assert "pip install" not in message(use, STANDARD)


def test_a_part_of_another_kind_has_no_install_command() -> None:
    assert message("popgym", STANDARD, kind="backbone") == (
        "no backbone is called 'popgym'. Installed: none."
    )
