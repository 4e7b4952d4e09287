"""Reads YAML: the file of a spec, or one value; says what is wrong where it cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

from amago_core.errors import SpecError
from amago_core.spec.paths import plain
from amago_core.spec.problems import Problem, refused_by_omegaconf, report
from amago_core.spec.schema import RunSpec


def read_file(path: Path) -> dict[str, Any]:
    """Return what a spec's file says.

    Raises:
        SpecError: If there is no such file, or it is no YAML mapping.
    """
    if path.is_dir():
        raise SpecError(f"'{path}' is a folder, not a spec.{_specs_in(path)}")
    if not path.is_file():
        raise SpecError(f"there is no spec '{path}'.{_close_files(path)}")
    try:
        check_yaml_size(path)
        config = OmegaConf.load(path)
    except yaml.MarkedYAMLError as error:
        raise _refuse(path, Problem((), _yaml_problem(error))) from error
    except OmegaConfBaseException as error:
        raise _refuse(path, refused_by_omegaconf(error)) from error
    except UnicodeDecodeError as error:
        raise _refuse(path, Problem((), "it is not text in UTF-8")) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _refuse(path, Problem((), str(error).strip().splitlines()[0])) from error
    except OSError as error:
        raise SpecError(f"the spec {path} cannot be read: {error.strerror or error}.") from error
    said = plain(config)
    if not isinstance(config, DictConfig) or _is_bare_text(path, said):
        raise _refuse(path, Problem((), "it holds no keys. Write 'key: value', as in 'seed: 3'"))
    return said


def read_value(text: str) -> Any:
    """Return one value written in YAML.

    Raises:
        ValueError: If it is not valid YAML; the text says why.
    """
    try:
        return plain(OmegaConf.from_dotlist([f"value={text}"]))["value"]
    except yaml.MarkedYAMLError as error:
        raise ValueError(" ".join(str(error.problem or error.context).split())) from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ValueError(str(error).strip().splitlines()[0]) from error


def _refuse(path: Path, problem: Problem) -> SpecError:
    return SpecError(report(f"the spec {path}", [problem]))


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    what = " ".join(str(error.problem or error.context).split())
    return f"{where}{what}"


def _is_bare_text(path: Path, said: dict[str, Any]) -> bool:
    """OmegaConf reads a file that holds one word as that word with the value null."""
    return len(said) == 1 and None in said.values() and ":" not in path.read_text("utf-8")


def _close_files(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" There is no folder '{folder}' either."
    close = get_close_matches(path.name, _yaml_names(folder), n=1)
    if close:
        return f" Did you mean '{folder / close[0]}'?"
    return _specs_in(folder)


def _specs_in(folder: Path) -> str:
    names = _yaml_names(folder)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f" In '{folder}' there are: {shown}." if names else f" '{folder}' holds no YAML files."


def _yaml_names(folder: Path) -> list[str]:
    files: Iterable[Path] = folder.iterdir()
    return sorted(file.name for file in files if file.suffix in (".yaml", ".yml"))


def dump_spec(spec: RunSpec) -> dict[str, Any]:
    """Return plain mappings, lists and values that :func:`load_spec` turns into an equal spec."""
    dumped: dict[str, Any] = spec.model_dump(mode="json", by_alias=True)
    return dumped


def spec_yaml(spec: RunSpec) -> str:
    """Return the text of a file that :func:`load_spec` turns into an equal spec."""
    return OmegaConf.to_yaml(OmegaConf.create(dump_spec(spec)))


_MOST_BYTES = 1 << 20

_MOST_VALUES = 100_000

_DEEPEST = 100

# What OmegaConf reads with: another parser may take for a harmless text what this one does not.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml_size(path: Path) -> None:
    """Refuse a file that no person wrote as a spec: huge, deep, or grown by aliases of aliases.

    Raises:
        ValueError: Saying what is too large.
        yaml.YAMLError: If it is no YAML.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes; a spec has at most {_MOST_BYTES:,}")
    _measure(path.read_text("utf-8"))


def _measure(text: str) -> int:
    """Return how many values a text has once every alias stands for a copy."""
    begun: list[tuple[str | None, int]] = []  # Anchor and values before, of each collection not ended.
    sizes: dict[str, int] = {}
    values = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, AliasEvent):
            # What is not yet ended has no size: it would hold itself.
            values += sizes.get(str(event.anchor), _MOST_VALUES)
        elif isinstance(event, CollectionStartEvent):
            begun.append((event.anchor, values))
            sizes.pop(str(event.anchor), None)
            values += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = begun.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, NodeEvent):
            values += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        # The parser itself knows no limit: it would run out of stack, and the process would end.
        if len(begun) > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        if values > _MOST_VALUES:
            raise ValueError(f"with its aliases it has more than {_MOST_VALUES:,} values")
    return values
