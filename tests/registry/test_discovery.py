import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest

from amago_registry import Component, Options, Plugin, discovery, hookimpl
from amago_registry.discovery import read_plugin


class Plain(Options):
    pass


def component(name: str = "ffm", **changes: Any) -> Component:
    said = {"target": "zoo.ffm:FFM", "options": Plain, "summary": "fast and forgetful", **changes}
    return Component(name, **said)


def module(**functions: Callable[[], Any]) -> ModuleType:
    """A module of hooks; each function is marked as a hook under the name it is given."""
    made = ModuleType("zoo_hooks")
    for name, function in functions.items():
        function.__name__ = name
        setattr(made, name, hookimpl(function))
    return made


def read(*modules: object) -> Plugin:
    return read_plugin("amago-zoo", "1.0", [lambda each=each: each for each in modules])  # type: ignore[misc]


def test_a_plugin_offers_what_its_hooks_return() -> None:
    ffm, sam = component("ffm"), component("sam")
    plugin = read(
        module(amago_register_backbones=lambda: [ffm], amago_register_attentions=lambda: [sam])
    )
    assert plugin == Plugin("zoo", "amago-zoo", "1.0", (("backbone", ffm), ("attention", sam)))


def test_results_may_be_generated() -> None:
    def generate() -> Iterator[Component]:
        yield component("ffm")
        yield component("sam")

    assert [part.name for _, part in read(module(amago_register_backbones=generate)).offers] == [
        "ffm",
        "sam",
    ]


def test_one_distribution_may_have_several_entry_points() -> None:
    first = module(amago_register_backbones=lambda: [component("ffm")])
    second = module(amago_register_actors=lambda: [component("ffm")])
    assert [kind for kind, _ in read(first, second).offers] == ["backbone", "actor"]


def test_hooks_may_be_methods_of_an_object() -> None:
    class Hooks:
        @hookimpl
        def amago_register_backbones(self) -> Iterable[Component]:
            return [component()]

    assert [part.name for _, part in read(Hooks()).offers] == ["ffm"]


def test_a_hook_of_a_later_contract_may_be_optional() -> None:
    later = ModuleType("zoo_hooks")

    def amago_register_dreams() -> Iterable[Component]:
        return ()

    later.amago_register_dreams = hookimpl(amago_register_dreams, optionalhook=True)  # type: ignore[attr-defined]
    assert read(later).broken is None


def raising() -> Iterable[Component]:
    yield component("ffm")
    raise RuntimeError("no cage")


def unmarked() -> ModuleType:
    made = ModuleType("zoo_hooks")
    made.amago_register_backbones = lambda: [component()]  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        (
            module(amago_register_backbone=lambda: [component()]),
            "there is no hook called amago_register_backbone. Did you mean 'amago_register_backbones'?",
        ),
        (unmarked(), "amago_register_backbones lacks @hookimpl"),
        (
            module(amago_register_critics=lambda: ["critic"]),
            "amago_register_critics returned 'critic' (str), which is not a Component",
        ),
        (
            module(amago_register_critics=lambda: 3),
            "amago_register_critics raised TypeError: 'int' object is not iterable",
        ),
        (module(amago_register_critics=raising), "amago_register_critics raised RuntimeError: no cage"),
        (
            module(amago_register_actors=lambda: [component(), component()]),
            "it offers the actor 'ffm' twice",
        ),
        (
            module(amago_register_actors=lambda: [component("Big_FFM")]),
            "amago_register_actors returned a Component whose name 'Big_FFM' is not in kebab-case, "
            "as in 'min-gru'",
        ),
        (
            module(amago_register_actors=lambda: [component(target="zoo.ffm")]),
            "amago_register_actors returned a Component whose target 'zoo.ffm' is not "
            "'module:attribute'",
        ),
        (
            module(amago_register_actors=lambda: [component(options=dict)]),
            "amago_register_actors returned a Component whose options <class 'dict'> are not a "
            "subclass of amago_registry.Options",
        ),
        (
            module(amago_register_actors=lambda: [component(summary="")]),
            "amago_register_actors returned a Component whose summary '' is not one line",
        ),
    ],
)
def test_an_invalid_plugin_is_broken_with_a_reason(hooks: object, reason: str) -> None:
    assert read(hooks) == Plugin("zoo", "amago-zoo", "1.0", broken=reason)


def touchy(**functions: Callable[[], Any]) -> ModuleType:
    """A module of hooks, some of whose names raise when they are asked for."""

    def asked(*name: str) -> Any:
        raise ImportError(f"no cage for {name}")

    made = module(**functions)
    made.__getattr__ = asked  # type: ignore[method-assign]
    return made


def test_reading_hooks_calls_neither_properties_nor_lazy_exports() -> None:
    class Hooks:
        @property
        def cage(self) -> object:
            raise RuntimeError("the cage is open")

        @staticmethod
        @hookimpl
        def amago_register_actors() -> Iterable[Component]:
            return [component()]

    lazy = touchy(amago_register_critics=lambda: [component()])
    lazy.__dir__ = lambda: ["amago_register_critics", "Cage"]  # type: ignore[method-assign]
    plugin = read(Hooks(), lazy)
    assert plugin.broken is None
    assert [kind for kind, _ in plugin.offers] == ["actor", "critic"]


def test_a_plugin_whose_attributes_raise_is_broken() -> None:
    def unlisted() -> list[str]:
        raise KeyError("cage")

    hooks = module(amago_register_actors=lambda: [component()])
    hooks.__dir__ = unlisted  # type: ignore[method-assign]
    assert read(hooks).broken == "reading its hooks raised KeyError: 'cage'"


def test_a_hook_that_raises_system_exit_is_broken() -> None:
    def leave() -> Iterable[Component]:
        raise SystemExit(3)

    broken = read(module(amago_register_actors=leave)).broken
    assert broken == "amago_register_actors raised SystemExit: 3"


def test_a_method_without_hookimpl_is_broken() -> None:
    class Hooks:
        @staticmethod
        def amago_register_actors() -> Iterable[Component]:
            return [component()]

    assert read(Hooks()).broken == "amago_register_actors lacks @hookimpl"


def test_a_hook_with_parameters_is_broken() -> None:
    def needy(catalog: object) -> Iterable[Component]:
        return ()

    broken = read(module(amago_register_actors=needy)).broken
    assert broken is not None
    assert broken.startswith(
        "a hook has the wrong signature: Plugin 'zoo_hooks' for hook 'amago_register_actors'"
    )


def test_one_invalid_part_breaks_the_whole_plugin() -> None:
    good, bad = module(amago_register_actors=lambda: [component()]), unmarked()
    assert read(good, bad).offers == ()


class FakeDistribution:
    def __init__(self, name: str) -> None:
        self.name, self.version = name, "1"


class FakePoint:
    def __init__(self, distribution: str, hooks: Any) -> None:
        self.dist, self.value, self._hooks = FakeDistribution(distribution), "zoo.hooks", hooks

    def load(self) -> object:
        return self._hooks()


def discover(monkeypatch: pytest.MonkeyPatch, *points: FakePoint) -> list[tuple[str, str | None]]:
    monkeypatch.setattr(discovery.metadata, "entry_points", lambda group: list(points))
    return [(plugin.name, plugin.broken) for plugin in discovery.discover()]


def test_a_plugin_that_cannot_be_imported_does_not_affect_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing() -> object:
        raise ImportError("No module named 'cage'")

    def leaving() -> object:
        sys.exit(3)

    good = module(amago_register_actors=lambda: [component()])
    assert discover(
        monkeypatch,
        FakePoint("amago-zoo", failing),
        FakePoint("Amago_Farm", lambda: good),
        FakePoint("circus", leaving),
    ) == [
        ("circus", "importing zoo.hooks raised SystemExit: 3"),
        ("farm", None),
        ("zoo", "importing zoo.hooks raised ImportError: No module named 'cage'"),
    ]


def test_two_distributions_cannot_have_one_plugin_name(monkeypatch: pytest.MonkeyPatch) -> None:
    good = module(amago_register_actors=lambda: [component()])
    why = "the distributions amago-zoo and zoo are both called zoo"
    assert discover(
        monkeypatch, FakePoint("zoo", lambda: good), FakePoint("amago-zoo", lambda: good)
    ) == [
        ("amago-zoo", why),
        ("zoo", why),
    ]
