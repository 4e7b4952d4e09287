"""What an import costs, and that the public names are exact."""

import ast
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "gymnasium", "matplotlib", "xformers", "safetensors", "rich", "minari", "h5py")
PACKAGES = {
    "amago_core": ROOT / "amago_core",
    "amago_minari": ROOT / "plugins" / "minari" / "amago_minari",
    "amago_registry": ROOT / "registry" / "amago_registry",
    "amago_standard": ROOT / "plugins" / "standard" / "amago_standard",
}


def light_modules() -> list[str]:
    """Modules that every command may import."""
    found = ["amago_core.cli.main", "amago_core.spec.load", "amago_registry.catalog"]
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            parts = (package, *file.relative_to(folder).with_suffix("").parts)
            if parts[-1] in ("__init__", "hooks", "options") or parts[:2] == ("amago_core", "cli"):
                found.append(".".join(part for part in parts if part != "__init__"))
    return sorted(found)


ALLOWED = {
    "errors": (),
    "spec": ("errors",),
    "system": (),
    "replay": ("system", "spec", "errors"),
    "environments": ("system", "spec", "errors"),
    "acting": ("environments", "replay", "system", "spec", "errors"),
    "learning": ("acting", "environments", "replay", "system", "spec", "errors"),
    "compose": ("learning", "acting", "environments", "replay", "system", "spec", "errors"),
    "run_folder": (
        "compose", "learning", "acting", "environments", "replay", "system", "spec", "errors",
    ),
    "running": (
        "run_folder", "compose", "learning", "acting", "environments", "replay", "system", "spec",
        "errors",
    ),
    "cli": (
        "running", "run_folder", "compose", "learning", "acting", "environments", "replay", "system",
        "spec", "errors",
    ),
}  # fmt: skip
"""What the modules of each package of the engine may import, beside those of their own package."""


def imports_of(folder: Path) -> dict[str, set[str]]:
    """Return which modules of a package each of its modules imports, type-only imports included."""
    files = {
        ".".join(file.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__"): file
        for file in folder.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for module, file in files.items():
        found[module] = set()
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                target = name if name in files else name.rpartition(".")[0]
                if target in files and target != module:
                    found[module].add(target)
    return found


def circles(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules that import themselves by way of others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*imports[start]]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += imports[module]
        return seen

    return [module for module in imports if module in reached(module)]


def package_of(module: str) -> str:
    return f"{module}.".split(".")[1]


def may_import(package: str, other: str) -> bool:
    """The root and its hooks, which are in no package, are not asked."""
    free = package not in ALLOWED or other == ""
    return free or other in (package, *ALLOWED[package])


def test_the_packages_of_the_engine_import_one_way() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in imports_of(PACKAGES["amago_core"]).items()
        for target in targets
        if not may_import(package_of(module), package_of(target))
    ]
    assert wrong == []


def test_every_package_of_the_engine_is_in_the_table() -> None:
    folders = {file.parent.name for file in PACKAGES["amago_core"].glob("*/__init__.py")}
    assert folders == set(ALLOWED) - {"errors"}


def test_no_two_modules_of_the_engine_share_their_last_name() -> None:
    """But for the commands, which are named as a user types them."""
    folder = PACKAGES["amago_core"]
    names = [file.stem for file in folder.rglob("*.py") if file.parent.name != "cli"]
    shared = {name for name in names if names.count(name) > 1}
    assert shared == {"__init__"}


@pytest.mark.parametrize("package", ["amago_core", "amago_standard"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert circles(imports_of(PACKAGES[package])) == []


def python(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_packages_hooks_options_and_commands_import_nothing_heavy() -> None:
    code = (
        "import sys; from importlib import import_module\n"
        "for name in sys.argv[2:]: import_module(name)\n"
        "print(sorted(set(sys.argv[1].split(',')) & set(sys.modules)))"
    )
    modules = light_modules()
    assert {"amago_standard.hooks", "amago_core.cli.train"} <= set(modules)
    done = python(code, ",".join(HEAVY), *modules)
    assert done.stdout == "[]\n", done.stdout + done.stderr


COMMANDS = [
    ["components"],
    ["components", "backbone"],
    ["explain", "backbone", "gru"],
    ["plugins"],
    ["--help"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_describing_command_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from amago_core.cli.main import cli\n"
        "cli(sys.argv[2:], standalone_mode=False)\n"
        "print(sorted(set(sys.argv[1].split(',')) & set(sys.modules)))"
    )
    done = python(code, ",".join(HEAVY), *words)
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize("words", COMMANDS[:3], ids=" ".join)
def test_a_describing_command_takes_little_beside_its_imports(words: list[str]) -> None:
    """Processor time, in turns with that of the imports: a slow or busy machine is slow at both."""
    imports = ("-c", "import click, pluggy, pydantic")
    turns = [(seconds("-m", "amago_core", *words), seconds(*imports)) for _ in range(4)]
    command, least = (min(times) for times in zip(*turns, strict=True))
    assert command < 5 * least


def seconds(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_describing_works_where_torch_is_broken(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "raise OSError('libcudart.so.13: cannot open shared object file')"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    code = "import sys; from amago_core.cli.main import cli; cli(sys.argv[1:], standalone_mode=False)"
    for words in COMMANDS:
        done = python(code, *words, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr


def packages_with_public_names() -> list[str]:
    return sorted(
        ".".join((package, *file.parent.relative_to(folder).parts))
        for package, folder in PACKAGES.items()
        for file in folder.rglob("__init__.py")
        if "__all__" in file.read_text("utf-8")
    )


@pytest.mark.parametrize("package", packages_with_public_names())
def test_the_public_names_are_exactly_those_a_type_checker_sees(package: str) -> None:
    module = import_module(package)
    tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
    guarded = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name
        for node in ast.walk(guarded[0])
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name for name in module.__all__ if not name.startswith("__")}
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    if "__dir__" in vars(module):
        assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import amago_core

    with pytest.raises(AttributeError, match="module 'amago_core' has no attribute 'trian'"):
        amago_core.trian  # noqa: B018
