"""Reads YAML: the file of a spec, or one value; says what is wrong where it cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_core.errors import SpecError
from amago_core.spec.containers import plain
from amago_core.spec.monsters import refuse_monster
from amago_core.spec.problems import Problem, refused_by_omegaconf, report


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
        refuse_monster(path)
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
