"""Suites: Great Expectations' own JSON, its ``$PARAMETER`` values, and one :class:`Check` per expectation."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.errors import ConfigError
from nightshift.validation.predicates import condition_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Check", "Suite", "load_suite"]

SEVERITIES = ("critical", "warning", "info")
_COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")
_LABEL_LENGTH = 160


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a suite, its parameters filled in.

    ``expectation`` is GX's own object; ``row_level`` says that failing rows can be told.
    """

    index: int
    type: str
    kwargs: Mapping[str, Any]
    severity: str
    description: str
    row_level: bool
    expectation: Any

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are judged, not those of a row condition."""
        named = [self.kwargs[key] for key in _COLUMN_KEYS if key in self.kwargs]
        return tuple(one for each in named for one in ([each] if isinstance(each, str) else each))

    @property
    def label(self) -> str:
        """A short name that is the reason on a quarantined row."""
        hidden = (*_COLUMN_KEYS, "mostly", "ignore_row_if", "row_condition")
        rest = [f"{key}={_brief(value)}" for key, value in self.kwargs.items() if key not in hidden]
        if self.kwargs.get("row_condition") is not None:
            rest.append(f"where {condition_text(self.kwargs['row_condition'])}")
        inside = ", ".join((*self.columns, *rest))
        text = f"{self.type}({inside})"
        return text if len(text) <= _LABEL_LENGTH else text[: _LABEL_LENGTH - 1] + "…"


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite file as it is, its parameters still open."""

    path: str
    name: str
    entries: tuple[Mapping[str, Any], ...]
    meta: Mapping[str, Any]

    def checks(self, parameters: Mapping[str, Any]) -> tuple[Check, ...]:
        """The expectations with ``parameters`` filled in.

        :raises ConfigError: naming the file, the entry and the nearest valid word.
        """
        return tuple(self._check(index, entry, parameters) for index, entry in enumerate(self.entries))

    def _check(self, index: int, entry: Mapping[str, Any], parameters: Mapping[str, Any]) -> Check:
        from nightshift.validation import gx

        where = f"{self.path}, expectation {index + 1} ({entry.get('type')})"
        known = gx.known_types()
        if entry.get("type") not in known:
            raise ConfigError(f"{where}: no such expectation", fix=_nearest(str(entry.get("type")), known))
        severity = entry.get("severity", "critical")
        if severity not in SEVERITIES:
            raise ConfigError(f"{where}: severity {severity!r}", fix=f"one of {', '.join(SEVERITIES)}")
        kwargs = _fill(entry.get("kwargs") or {}, parameters, where)
        try:
            expectation = gx.build({**entry, "kwargs": kwargs, "severity": severity})
        except (ValueError, TypeError) as error:  # pydantic's ValidationError is a ValueError
            raise ConfigError(f"{where}: {_first_lines(error)}") from error
        return Check(
            index=index,
            type=entry["type"],
            kwargs=kwargs,
            severity=severity,
            description=entry.get("description") or "",
            row_level=gx.is_row_level(expectation),
            expectation=expectation,
        )


def load_suite(path: Path) -> Suite:
    """The suite of a JSON file.

    :raises ConfigError: when it is missing, is not JSON or has no expectations.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(
            f"suite {path.name} is not in {path.parent}", fix="correct validation.suite"
        ) from None
    except ValueError as error:
        raise ConfigError(f"suite {path.name} is not JSON: {error}") from None
    if not isinstance(data, dict) or not data.get("expectations"):
        raise ConfigError(f"suite {path.name} has no expectations", fix='{"name": …, "expectations": […]}')
    return Suite(path.name, data.get("name", path.stem), tuple(data["expectations"]), data.get("meta") or {})


def _fill(value: Any, parameters: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$PARAMETER"}:
            name = value["$PARAMETER"]
            if name not in parameters:
                fix = _nearest(str(name), sorted(parameters))
                raise ConfigError(f"{where}: no suite parameter {name!r}", fix=fix)
            return parameters[name]
        return {key: _fill(each, parameters, where) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, parameters, where) for each in value]
    return value


def _nearest(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"one of {', '.join(words[:20])}"


def _brief(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 48 else text[:47] + "…"


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:4])
