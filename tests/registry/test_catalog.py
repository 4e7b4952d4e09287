from collections.abc import Callable

import pytest

from amago_registry import (
    AmbiguousPartError,
    Catalog,
    Component,
    Options,
    PartImportError,
    Plugin,
    UnknownPartError,
)


class Plain(Options):
    pass


def plugin(name: str, *offers: tuple[str, str], broken: str | None = None) -> Plugin:
    parts = tuple((kind, Component(part, "math:sqrt", Plain, "a part")) for kind, part in offers)
    return Plugin(name, f"amago-{name}", "1", parts, broken)


STANDARD = plugin("standard", ("backbone", "gru"), ("backbone", "mlp"), ("encoder", "mlp"))
ZOO = plugin("zoo", ("backbone", "ffm"), ("backbone", "gru"))
BROKEN = plugin("farm", broken="importing farm.hooks raised ImportError: no barn")
CATALOG = Catalog([STANDARD, ZOO])


def message(error: type[Exception], call: Callable[[], object]) -> str:
    with pytest.raises(error) as raised:
        call()
    return str(raised.value)


def test_a_short_name_is_enough_where_it_is_unique() -> None:
    assert CATALOG.find("backbone", "ffm").name == "zoo/ffm"
    assert CATALOG.find("encoder", "mlp").kind == "encoder"


def test_a_full_name_always_works() -> None:
    assert [CATALOG.find("backbone", f"{name}/gru").plugin for name in ("standard", "zoo")] == [
        "standard",
        "zoo",
    ]


def test_an_ambiguous_short_name_raises_and_names_both() -> None:
    assert message(AmbiguousPartError, lambda: CATALOG.find("backbone", "gru")) == (
        "several plugins offer the backbone 'gru'. Write which one: 'standard/gru' and 'zoo/gru'."
    )


def test_an_unknown_name_lists_close_installed_and_broken_ones() -> None:
    assert message(UnknownPartError, lambda: CATALOG.find("backbone", "fmm")) == (
        "no backbone is called 'fmm'. Did you mean 'ffm'? Installed: ffm, standard/gru, zoo/gru, mlp."
    )
    with_broken = Catalog([STANDARD, BROKEN])
    assert message(UnknownPartError, lambda: with_broken.find("backbone", "zzz")) == (
        "no backbone is called 'zzz'. Installed: gru, mlp. Broken plugins, which may offer it: "
        "farm (importing farm.hooks raised ImportError: no barn)."
    )
    assert message(UnknownPartError, lambda: Catalog([]).find("actor", "mlp")) == (
        "no actor is called 'mlp'. Installed: none."
    )


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("her", " Did you mean 'hindsight'?"),
        ("HINDSIGHT", " Did you mean 'hindsight'?"),
        ("other", " Did you mean 'a-goal' or 'hindsight'?"),
        ("several", ""),
    ],
)
def test_a_word_in_the_summary_of_few_parts_suggests_them(word: str, advice: str) -> None:
    summaries = {"a-goal": "some other", "hindsight": "any other goal (HER)"}
    summaries |= dict.fromkeys(("chain", "none", "shift", "twist"), "one of several")
    parts = tuple(
        ("relabeler", Component(name, "math:sqrt", Plain, summary))
        for name, summary in summaries.items()
    )
    catalog = Catalog([Plugin("standard", "amago-standard", "1", parts, None)])
    said = message(UnknownPartError, lambda: catalog.find("relabeler", word))
    assert said.startswith(f"no relabeler is called '{word}'.{advice} Installed: ")


def test_an_unknown_plugin_is_not_confused_with_an_unknown_part() -> None:
    assert message(UnknownPartError, lambda: CATALOG.find("backbone", "zoe/ffm")) == (
        "no plugin is called 'zoe', so there is no backbone 'zoe/ffm'. Did you mean 'zoo'? "
        "Installed: standard, zoo."
    )
    assert message(UnknownPartError, lambda: CATALOG.find("backbone", "zoo/fmm")) == (
        "the plugin zoo has no backbone called 'fmm'. Did you mean 'ffm'? It has: ffm, gru."
    )
    assert message(UnknownPartError, lambda: CATALOG.find("actor", "zoo/mlp")) == (
        "the plugin zoo has no actor called 'mlp'. It has: none."
    )


def test_a_part_of_a_broken_plugin_raises_with_the_reason() -> None:
    assert message(UnknownPartError, lambda: Catalog([BROKEN]).find("backbone", "farm/cow")) == (
        "the backbone 'farm/cow' cannot be used, because the plugin farm is broken: "
        "importing farm.hooks raised ImportError: no barn"
    )


def test_an_unknown_kind_lists_the_kinds() -> None:
    expected = (
        "there is no kind of part called 'bakbone'. Did you mean 'backbone'? "
        "Kinds: environment, encoder, backbone, attention, "
        "actor, critic, objective, relabeler, exploration, dataset, tracker."
    )
    assert message(UnknownPartError, lambda: CATALOG.find("bakbone", "gru")) == expected
    assert message(UnknownPartError, lambda: CATALOG.entries("bakbone")) == expected


def test_entries_follow_the_data_path_then_the_alphabet() -> None:
    names = [(entry.kind, entry.name) for entry in CATALOG.entries()]
    assert names == [
        ("encoder", "standard/mlp"),
        ("backbone", "zoo/ffm"),
        ("backbone", "standard/gru"),
        ("backbone", "zoo/gru"),
        ("backbone", "standard/mlp"),
    ]
    assert [entry.name for entry in CATALOG.entries("encoder")] == ["standard/mlp"]


def test_a_part_is_imported_when_it_is_loaded() -> None:
    assert CATALOG.find("backbone", "ffm").load()(9.0) == 3.0


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no_such_module:Part", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("math:Part", "AttributeError: module 'math' has no attribute 'Part'"),
    ],
)
def test_a_part_that_cannot_be_imported_raises_with_name_and_reason(target: str, why: str) -> None:
    offers = (("backbone", Component("ffm", target, Plain, "a part")),)
    entry = Catalog([Plugin("zoo", "amago-zoo", "1", offers)]).find("backbone", "ffm")
    assert message(PartImportError, entry.load) == (
        f"the backbone zoo/ffm cannot be used: importing {target} raised {why}"
    )
