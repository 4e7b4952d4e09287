from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, Literal

import pytest
from pydantic import ValidationError, create_model

from amago_registry import KINDS, Catalog, Component, Field, Floats, Ints, Options, Part, Plugin, Widths
from amago_registry.options import part_kind


class Kernel(Options):
    window: int | None = Field(None, ge=1)


class Memory(Options):
    layers: int = Field(2, ge=1)
    kernel: Part[Literal["attention"]] = Field("auto", validate_default=True)


class Mixture(Options):
    first: Part[Literal["backbone"]] | None = None
    others: list[Part[Literal["backbone"]]] = Field(["memory"], validate_default=True)


def plugin(*offers: tuple[str, str, type[Options]]) -> Plugin:
    parts = tuple(
        (kind, Component(name, "parts:P", options, "a part")) for kind, name, options in offers
    )
    return Plugin("standard", "amago-standard", "1", parts)


CATALOG = Catalog(
    [
        plugin(
            ("attention", "auto", Kernel), ("attention", "sdpa", Kernel), ("backbone", "memory", Memory)
        )
    ]
)


def read(model: type[Options], value: dict[str, Any]) -> Any:
    return model.model_validate(value, context={"catalog": CATALOG})


def errors(model: type[Options], value: dict[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as raised:
        read(model, value)
    return [(error["loc"], error["msg"]) for error in raised.value.errors()]


@pytest.mark.parametrize(
    "value", ["auto", "standard/auto", {"use": "auto"}, {"use": "auto", "window": None}]
)
def test_a_nested_part_is_a_name_or_a_mapping(value: Any) -> None:
    part = read(Memory, {"kernel": value}).kernel
    assert (part.kind, part.use, part.options) == ("attention", "standard/auto", Kernel())


def test_options_without_use_apply_to_the_default_part() -> None:
    assert read(Memory, {}).kernel.use == "standard/auto"
    refined = read(Memory, {"kernel": {"window": 3}}).kernel
    assert (refined.use, refined.options.window) == ("standard/auto", 3)


def test_nested_parts_may_be_absent_or_many() -> None:
    empty = read(Mixture, {"others": []})
    assert (empty.first, empty.others) == (None, [])
    full = read(Mixture, {"first": "memory", "others": ["memory", {"use": "memory", "layers": 5}]})
    assert full.first.options.layers == 2
    assert [part.options.layers for part in full.others] == [2, 5]
    assert read(Mixture, {}).others[0].use == "standard/memory"


def test_errors_of_nested_parts_have_their_full_path() -> None:
    value = {
        "first": {"use": "memory", "kernel": {"window": 0}},
        "others": [{"use": "memory", "layrs": 1}],
    }
    assert errors(Mixture, value) == [
        (("first", "kernel", "window"), "Input should be greater than or equal to 1"),
        (("others", 0, "layrs"), "Extra inputs are not permitted"),
    ]


def test_a_part_must_be_named() -> None:
    expected = (
        "names no backbone. Write 'some-name' or '{use: some-name, ...}'; "
        "`amago components backbone` lists them"
    )
    for value in (3, {}, {"layers": 3}, {"use": 3}):
        assert errors(Mixture, {"first": value}) == [(("first",), expected)]


def test_a_finished_part_must_be_of_the_right_kind() -> None:
    kernel = read(Memory, {}).kernel
    assert read(Memory, {"kernel": kernel}).kernel is kernel
    assert errors(Mixture, {"first": kernel}) == [
        (("first",), "standard/auto is of the kind attention, not backbone")
    ]


def test_an_unknown_part_has_the_error_of_the_catalog() -> None:
    assert errors(Memory, {"kernel": "spda"}) == [
        (("kernel",), "no attention is called 'spda'. Did you mean 'sdpa'? Installed: auto, sdpa.")
    ]


def test_dumped_options_can_be_validated_again() -> None:
    options = read(Mixture, {"first": {"use": "memory", "kernel": {"use": "sdpa", "window": 2}}})
    dumped = options.model_dump()
    assert dumped["first"]["kernel"] == {"use": "standard/sdpa", "window": 2}
    assert read(Mixture, dumped) == options


def test_a_part_cannot_be_changed_and_copies_are_equal() -> None:
    part = read(Memory, {}).kernel
    with pytest.raises(AttributeError, match="a part cannot be changed; 'kind' was assigned"):
        part.kind = "backbone"
    assert deepcopy(part) == part
    assert len({part, deepcopy(part)}) == 1


def test_the_kind_is_read_from_the_annotation() -> None:
    assert part_kind(Part[Literal["actor"]]) == "actor"
    assert part_kind(Part[Literal["actor"]] | None) == "actor"
    assert [part_kind(other) for other in (int, Part, Part[Any], int | None)] == [None] * 4


@pytest.mark.parametrize("annotation", [Part[Any], Part[Literal["atention"]], Part[Literal[3]]])  # type: ignore[misc]
def test_a_part_without_a_kind_raises_when_the_options_are_defined(annotation: Any) -> None:
    with pytest.raises(TypeError) as raised:
        create_model("Careless", __base__=Options, part=(annotation, ...))
    assert str(raised.value) == (
        f'annotate a nested part with its kind, as in Part[Literal["attention"]], not {annotation!r}; '
        f"the kinds are {', '.join(KINDS)}"
    )


class Renamed(Options):
    renamed_keys: ClassVar[Mapping[str, str]] = {"size": "width"}
    width: int = 8


def test_no_option_is_renamed_by_default() -> None:
    assert Options.renamed_keys == Kernel.renamed_keys == {}


def test_renamed_keys_are_not_a_field() -> None:
    assert list(Renamed.model_fields) == ["width"]
    assert Renamed(width=3).model_dump() == {"width": 3}
    assert Renamed.renamed_keys == {"size": "width"}
    with pytest.raises(ValidationError):
        Renamed.model_validate({"renamed_keys": {}})


class Strict(Options):
    count: int = 1
    share: float = 0.5
    sizes: Ints = (1, 2)
    widths: Widths = (8,)
    rates: Floats = (0.1,)


@pytest.mark.parametrize(
    "value",
    [
        {"count": 1.0},
        {"count": "1"},
        {"share": "1"},
        {"share": float("nan")},
        {"sizes": [1.5]},
        {"sizes": ["1"]},
        {"widths": [8, 0]},
        {"widths": [8.5]},
        {"rates": [float("inf")]},
        {"unknown": 1},
        {"count": True},
    ],
)
def test_options_are_strict(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Strict.model_validate(value)


def test_lists_become_tuples_and_integers_numbers() -> None:
    options = Strict.model_validate({"sizes": [-3], "widths": [], "rates": [1], "share": 1})
    assert (options.sizes, options.widths) == ((-3,), ())
    assert (options.rates, options.share) == ((1.0,), 1.0)


def test_a_default_out_of_range_raises() -> None:
    class Wrong(Options):
        count: int = Field(0, ge=1)

    with pytest.raises(ValidationError):
        Wrong()
