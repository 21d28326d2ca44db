"""The job contract: what a job is told, where its folders are, how it reports and how it ends.

A job finds its four places (specification, input, output, checkpoints) in this order: the flags
``--spec --input --output --checkpoints``, our environment (``NIGHTSHIFT_SPEC`` ...), then the
environment of SageMaker (``SM_*``) and of Azure ML (``AZURE_ML_*``). Exit codes: 0 done, 2 the
specification or the input is wrong, 143 ended by SIGTERM, 1 everything else.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "KINDS",
    "BadInput",
    "EvaluationSpec",
    "FeaturesSpec",
    "Job",
    "JobSpec",
    "ScoringSpec",
    "SplitsSpec",
    "Terminated",
    "TuningSpec",
    "atomic",
    "ends_on_sigterm",
    "locate",
    "metric",
    "read_job",
    "say",
    "write_error",
    "write_json",
    "write_parquet",
]

KINDS = ("train", "tune", "trial", "evaluate", "features", "score", "probe")


class BadInput(Exception):
    """The specification or the input is wrong: the same job would fail again (exit code 2)."""


class Terminated(BaseException):
    """SIGTERM came. No ``except Exception`` on the way may keep it."""


@dataclass(frozen=True, slots=True)
class FeaturesSpec:
    """Which feature expression, on which engine, reading how many days back."""

    module: str
    engine: str = "duckdb"
    lookback: int = 7


@dataclass(frozen=True, slots=True)
class SplitsSpec:
    """Partitions of each split, oldest first."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    holdout: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TuningSpec:
    """The search space (as in the pipeline file) and how it is searched.

    ``strategy`` and ``warm_start`` are for a cloud's tuner; ``jobs.tune`` leaves them aside.
    """

    search_space: Mapping[str, Any]
    metric: str = "average_precision"
    trials: int = 12
    parallelism: int = 2
    pruning: bool = True
    strategy: str = "bayesian"
    warm_start: bool = False


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """How many rows are in memory at a time."""

    batch_rows: int = 65_536


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """Columns of the rows that go beside their predictions: who compares models groups by them."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job.json. ``tmp`` is no part of the file: a folder for what may be thrown away."""

    kind: str
    pipeline: str
    partition: str
    features: FeaturesSpec
    target: str
    model: str
    seed: int = 0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    splits: SplitsSpec = SplitsSpec()
    tuning: TuningSpec | None = None
    scoring: ScoringSpec = ScoringSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    manifests: Mapping[str, Any] = field(default_factory=dict)
    tmp: Path | None = None

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> JobSpec:
        """Check a job.json and give it types.

        :raises BadInput: naming the field that is missing, unknown or of the wrong type.
        """
        return cast("JobSpec", _typed(cls, {k: v for k, v in document.items() if k != "tmp"}, ""))


@dataclass(frozen=True, slots=True)
class Job:
    """A specification and the folders that go with it."""

    spec: JobSpec
    input: Path
    output: Path
    checkpoints: Path


# -- reading job.json ---------------------------------------------------------------------------

_SECTIONS: Mapping[str, type] = {
    "features": FeaturesSpec,
    "splits": SplitsSpec,
    "tuning": TuningSpec,
    "scoring": ScoringSpec,
    "evaluation": EvaluationSpec,
}
_NULLABLE = frozenset({"tuning"})


def _typed(cls: type, document: object, where: str) -> object:
    values = _mapping(document, where or "the specification")
    known = {f.name: f for f in fields(cls) if f.name != "tmp"}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"job.json: unknown field {where}{name}{hint}")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise BadInput(f"job.json: field {where}{name} is missing")
    return cls(**{k: _value(str(known[k].type), v, where + k, k) for k, v in values.items()})


def _value(kind: str, value: object, where: str, name: str) -> object:
    if value is None and name in _NULLABLE:
        return None
    if name in _SECTIONS:
        return _typed(_SECTIONS[name], value, f"{where}.")
    if kind.startswith("Mapping"):
        return _mapping(value, where)
    if kind.startswith("tuple"):
        return _names(value, where) if name == "columns" else _keys(value, where)
    wanted = {"int": int, "str": str, "bool": bool}[kind]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise BadInput(f"job.json: {where} must be {kind}, not {value!r}")
    if name == "partition":
        _day(cast("str", value), where)
    if name == "kind" and value not in KINDS:
        raise BadInput(f"job.json: kind must be one of {', '.join(KINDS)}, not {value!r}")
    if kind == "int" and name != "seed" and cast("int", value) < (0 if name == "lookback" else 1):
        raise BadInput(f"job.json: {where} must be positive, not {value!r}")
    return value


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadInput(f"job.json: {where} must be an object, not {value!r}")
    return dict(value)


def _names(value: object, where: str) -> tuple[str, ...]:
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(v, str) for v in value)
    ):
        raise BadInput(f"job.json: {where} must be a list of names, not {value!r}")
    return tuple(cast("Sequence[str]", value))


def _keys(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadInput(f"job.json: {where} must be a list of partitions, not {value!r}")
    return tuple(_day(item, where) for item in value)


def _day(value: object, where: str) -> str:
    try:
        return dt.date.fromisoformat(cast("str", value)).isoformat()
    except (TypeError, ValueError):
        raise BadInput(f"job.json: {where}: {value!r} is no partition (a date like 2013-01-05)") from None


# -- finding the folders ------------------------------------------------------------------------


def locate(flags: Mapping[str, str | None], env: Mapping[str, str]) -> dict[str, Path]:
    """Return the paths of spec, input, output and checkpoints.

    Whole trees travel on SageMaker in the model folder (``/opt/ml/model``), which is therefore the
    output. The specification may lie in the input as channel ``spec``. The variables of SageMaker are those
    of its training toolkit, for a script of one's own; :mod:`jobs.sagemaker` gives flags.

    :raises BadInput: naming the flag and the variable that would tell a place that is not told.
    """
    found = {name: _first(name, flags, env) for name in ("input", "output", "checkpoints", "spec")}
    if found["checkpoints"] is None and found["output"] is not None:
        found["checkpoints"] = str(Path(found["output"]).parent / "checkpoints")
    if found["spec"] is None and found["input"] is not None:
        found["spec"] = str(Path(found["input"]) / "spec" / "job.json")
    for name, path in found.items():
        if not path:
            raise BadInput(f"where is the job's {name}? Give --{name} or set NIGHTSHIFT_{name.upper()}")
    return {name: Path(cast("str", path)) for name, path in found.items()}


def _first(name: str, flags: Mapping[str, str | None], env: Mapping[str, str]) -> str | None:
    theirs = _sagemaker(env) | _azure_ml(env)
    return flags.get(name) or env.get(f"NIGHTSHIFT_{name.upper()}") or theirs.get(name)


def _sagemaker(env: Mapping[str, str]) -> dict[str, str]:
    if "SM_MODEL_DIR" not in env:
        return {}
    base = env.get("SAGEMAKER_BASE_DIR") or "/opt/ml"
    found = {"input": env.get("SM_INPUT_DIR", f"{base}/input") + "/data", "output": env["SM_MODEL_DIR"]}
    found["checkpoints"] = env.get("SM_CHECKPOINT_DIR", f"{base}/checkpoints")
    if "SM_CHANNEL_SPEC" in env:
        found["spec"] = env["SM_CHANNEL_SPEC"] + "/job.json"
    return found


def _azure_ml(env: Mapping[str, str]) -> dict[str, str]:
    names = {
        "input": "AZURE_ML_INPUT_DATA",
        "output": "AZURE_ML_OUTPUT_OUTPUT",
        "checkpoints": "AZURE_ML_OUTPUT_CHECKPOINTS",
        "spec": "AZURE_ML_INPUT_SPEC",
    }
    return {name: env[variable] for name, variable in names.items() if env.get(variable)}


def read_job(kind: str | None, places: Mapping[str, Path]) -> Job:
    """Read job.json and make the output and checkpoint folders.

    :raises BadInput: when the file or the input folder is not there, or the file says another kind.
    """
    path = places["spec"]
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"the specification {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"the specification {path} is no JSON: {error}") from error
    spec = JobSpec.from_dict(document)
    if kind is not None and spec.kind != kind:
        raise BadInput(f"asked to {kind}, but {path} describes a job of kind {spec.kind!r}")
    if not places["input"].is_dir():
        raise BadInput(f"the input folder {places['input']} is not there")
    for name in ("output", "checkpoints"):
        places[name].mkdir(parents=True, exist_ok=True)
    spec = replace(spec, tmp=places["output"] / "tmp")
    return Job(spec, places["input"], places["output"], places["checkpoints"])


# -- reporting ----------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print a line of progress: standard output is the job's log."""
    print(text, flush=True)


def metric(name: str, value: float, step: int | None = None) -> None:
    """Print a metric line, which we and SageMaker's regexes read."""
    say(f"[metric] {name}={value:.6g}" + (f" step={step}" if step is not None else ""))


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path to write to that takes the place of ``path`` only when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, document: object) -> None:
    """Write JSON atomically; a number that is not finite becomes null."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(_finite(document), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write an Arrow table atomically."""
    import pyarrow.parquet as pq

    with atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def write_error(output: Path | None, error: BaseException) -> None:
    """Leave ``error.json`` behind for whoever asks why; a full disk must not hide the reason itself.

    Where several processes train, the others are ended when one fails: its reason stays.
    """
    if output is None or (isinstance(error, Terminated) and (output / "error.json").exists()):
        return
    with contextlib.suppress(OSError):
        write_json(output / "error.json", {"type": type(error).__name__, "message": str(error)})


@contextlib.contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into :class:`Terminated` inside the block, and put the old handler back after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(signum: int, frame: object) -> None:
        raise Terminated("SIGTERM: asked to stop")

    before: Callable[[int, Any], Any] | int | None = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
