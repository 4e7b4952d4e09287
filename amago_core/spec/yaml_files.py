"""YAML of a spec: reading a file or one value, dumping, and limits on size, depth and alias expansion.

The limits are checked before a file is read into memory as a spec: a small text of aliases to aliases
("billion laughs") or of nested brackets would otherwise take all memory, or overflow the stack.
"""

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
    """Read the file of a spec as a mapping.

    Raises:
        SpecError: If there is no such file, it is not a YAML mapping, or it exceeds a limit.
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
    content = plain(config)
    if not isinstance(config, DictConfig) or _is_bare_text(path, content):
        raise _refuse(path, Problem((), "it holds no keys. Write 'key: value', as in 'seed: 3'"))
    return content


def read_value(text: str) -> Any:
    """Parse one value written in YAML.

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


def _is_bare_text(path: Path, content: dict[str, Any]) -> bool:
    """Return whether a file is a single word, which OmegaConf reads as a key with the value null."""
    return len(content) == 1 and None in content.values() and ":" not in path.read_text("utf-8")


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
    """Dump a spec as plain mappings, lists and values; :func:`load_spec` returns an equal spec."""
    dumped: dict[str, Any] = spec.model_dump(mode="json", by_alias=True)
    return dumped


def spec_yaml(spec: RunSpec) -> str:
    """Dump a spec as YAML text; :func:`load_spec` returns an equal spec."""
    return OmegaConf.to_yaml(OmegaConf.create(dump_spec(spec)))


_MAX_BYTES = 1 << 20

_MAX_VALUES = 100_000

_MAX_DEPTH = 100

# The parser that OmegaConf uses: another one might count the same text differently.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml_size(path: Path) -> None:
    """Check the limits on size, depth and number of values, with every alias expanded.

    Raises:
        ValueError: If a limit is exceeded; the text says which.
        yaml.YAMLError: If the file is not YAML.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes; a spec has at most {_MAX_BYTES:,}")
    _count_values(path.read_text("utf-8"))


def _count_values(text: str) -> int:
    """Count the values of a text after alias expansion, in which every alias is a copy."""
    open_: list[tuple[str | None, int]] = []  # Anchor and values before, of each open collection.
    sizes: dict[str, int] = {}
    values = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, AliasEvent):
            # An alias to an open collection would contain itself, without end.
            values += sizes.get(str(event.anchor), _MAX_VALUES)
        elif isinstance(event, CollectionStartEvent):
            open_.append((event.anchor, values))
            sizes.pop(str(event.anchor), None)
            values += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, NodeEvent):
            values += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        # The parser itself has no limit: a stack overflow would crash the process.
        if len(open_) > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
        if values > _MAX_VALUES:
            raise ValueError(f"it has more than {_MAX_VALUES:,} values after alias expansion")
    return values
