"""Reads pipeline files; an error names the file, the field and the nearest valid word."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from nightshift.config.pipeline import Pipeline
from nightshift.errors import ConfigError, NightshiftError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from nightshift.config.settings import Settings

__all__ = ["json_schema", "load_all", "load_pipeline"]

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML built without libyaml: slower, same result
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


def load_pipeline(path: Path, platform: str = "") -> Pipeline:
    """The pipeline of one file.

    :param platform: takes the place of the file's own (``[nightshift] platform``).

    :raises ConfigError: with every wrong field of the file, each with what to write instead.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"there is no pipeline file {path.name}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{path.name}{where}: is not YAML: {problem}") from None
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path.name} is not a mapping of sections", fix="see docs/pipeline-file.md")
    try:
        pipeline = Pipeline.model_validate({**data, "platform": platform} if platform else data)
    except ValidationError as error:
        raise ConfigError(_explain(path, error)) from None
    if pipeline.pipeline != path.stem:
        raise ConfigError(
            f"{path.name}: pipeline is called {pipeline.pipeline!r}",
            fix=f"rename the file or say {path.stem!r}",
        )
    return pipeline


def load_all(settings: Settings) -> tuple[list[Pipeline], dict[Path, NightshiftError]]:
    """Every good pipeline of a deployment, and what is wrong with each of the others."""
    good: list[Pipeline] = []
    bad: dict[Path, NightshiftError] = {}
    folder = settings.pipelines_dir
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            pipeline = load_pipeline(path, settings.platform)
            _check_files(path, pipeline, settings)
            good.append(pipeline)
        except ConfigError as error:
            bad[path] = error
    return good, bad


def _check_files(path: Path, pipeline: Pipeline, settings: Settings) -> None:
    """The files that a pipeline file names must be there before the night, not only in it."""
    features = settings.jobs_dir / "jobs" / "features"
    wanted = {
        "validation.suite": settings.expectations_dir / pipeline.validation.suite,
        "features.module": features / f"{pipeline.features.module}.py",
    }
    missing = [
        f"{path.name}: {field}: there is no {file.name} in {file.parent.name}/{_nearest_file(file)}"
        for field, file in wanted.items()
        if not file.is_file()
    ]
    if missing:
        raise ConfigError("\n".join(missing))


def _nearest_file(file: Path) -> str:
    near = difflib.get_close_matches(file.name, [other.name for other in file.parent.glob("*")], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a pipeline file, for editors."""
    return Pipeline.model_json_schema()


def _explain(path: Path, error: ValidationError) -> str:
    return "\n".join(f"{path.name}: {_explain_one(detail)}" for detail in error.errors())


def _explain_one(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(detail["loc"][-1]), _fields_at(detail["loc"][:-1]), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{where}: no such field{hint}"
    if detail["type"] == "missing":
        return f"{where}: is missing"
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):  # of several fields at once
        return f"{where}: {detail['ctx']['error']}" if where else str(detail["ctx"]["error"])
    shown = repr(detail["input"])
    return f"{where}: {detail['msg']} (got {shown[:80]})"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Pipeline
    for part in location:
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
