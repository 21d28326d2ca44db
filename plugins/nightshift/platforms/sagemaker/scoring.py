"""Batch transform: the champion packed with our ``serve``, and its answers reconciled row by row.

A score job is two jobs of SageMaker: a training job that computes the feature rows, then a transform job
that sends them through the model, one line in and one line out.
"""

from __future__ import annotations

import io
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nightshift.errors import AccountingError, ConfigError
from nightshift.lake.storage import download, list_objects
from nightshift.platforms.sagemaker.channels import local_folder
from nightshift.platforms.sagemaker.code import identity_of, source_files, tarball
from nightshift.platforms.sagemaker.failures import storage_trouble
from nightshift.platforms.sagemaker.store import folder_of, model_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nightshift.lake.storage import StoredObject
    from nightshift.platforms.base import JobInput, JobSpec
    from nightshift.platforms.sagemaker.store import JobsStore

__all__ = ["champion_of", "features_name", "package_path", "put_package", "reconcile"]

_CHAMPION = "models/champion"
_AT_ONCE = 16


def features_name(name: str) -> str:
    """The training job that is the first stage of score job ``name``."""
    return f"{name}-f"


def champion_of(spec: JobSpec) -> JobInput:
    """The model that a score job scores with.

    :raises ConfigError: when it was given none.
    """
    found = next((each for each in spec.inputs if each.channel == _CHAMPION), None)
    if found is None:
        raise ConfigError(f"a score job needs a model: it has no input {_CHAMPION}")
    return found


def package_path(model: JobInput, code: str, document: Mapping[str, Any]) -> str:
    """Where the package of a model, a version of the code and a job document is, below ``jobs_uri``.

    :param code: the folder of the package ``jobs``, whose name is its sha256.
    """
    told = json.dumps(_served(document), sort_keys=True, default=str)
    return f".models/{identity_of(model.uri, model.identity, code, told)[:32]}/model.tar.gz"


def _served(document: Mapping[str, Any]) -> dict[str, Any]:
    """The job document without what names its rows: a day more or less is the same package."""
    return {key: value for key, value in document.items() if key not in ("manifests", "splits", "partition")}


def put_package(
    store: JobsStore, jobs_dir: Path, model: JobInput, code: str, document: Mapping[str, Any]
) -> str:
    """Upload a model as one file, once: ``model/``, ``code/jobs/`` and ``job.json``; its S3 address.

    Batch transform takes no folders. The code goes along, so that an image need not be built anew for it.
    """
    path = package_path(model, code, document)
    if not store.exists(path):
        with tempfile.TemporaryDirectory() as scratch:
            files: dict[str, bytes | Path] = {
                **{f"model/{name}": file for name, file in _model_files(store, model, Path(scratch))},
                **source_files(jobs_dir, below="code/"),
                "job.json": json.dumps(_served(document), indent=1).encode(),
            }
            store.write(path, tarball(files))
    return store.uri(path)


def _model_files(store: JobsStore, model: JobInput, scratch: Path) -> list[tuple[str, Path]]:
    """The model's folder, on this machine.

    :raises ConfigError: when it is empty.
    """
    folder = local_folder(model.uri)
    if urlsplit(model.uri).scheme not in ("", "file"):
        place, folder = store.at(model.uri), scratch
        with storage_trouble(), ThreadPoolExecutor(_AT_ONCE) as pool:
            names = [each.path for each in list_objects(place)]
            list(pool.map(lambda name: download(place, name, scratch / name), names))
    found = [
        (path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()
    ]
    if not found:
        raise ConfigError(f"there is no model at {model.uri}")
    return found


# -- what came of it ----------------------------------------------------------------------------


def reconcile(store: JobsStore, name: str, seconds: float) -> dict[str, Any]:
    """Write the predictions of each day as ``jobs.score`` would; its counts.json.

    :raises AccountingError: when the answers of a day are not exactly one for each of its rows.
    """
    counts = store.read_json(f"{model_output(features_name(name))}/counts.json")
    if counts is None:
        raise AccountingError(f"job {name}: its features have no counts.json")
    answers = _by_day(name, store.list(folder_of(name, "transform")), list(counts["partitions"]))
    scored = {
        day: {"rows_in": found["rows_in"], "rows_out": _write_day(store, name, day, answers[day], found)}
        for day, found in counts["partitions"].items()
    }
    rows = {key: sum(each[key] for each in scored.values()) for key in ("rows_in", "rows_out")}
    return {**rows, "seconds": seconds, "partitions": scored, "failed": counts.get("failed", {})}


def _by_day(name: str, found: Sequence[StoredObject], days: Sequence[str]) -> dict[str, list[str]]:
    """The answers' files by day, with which the name of each begins.

    SageMaker is documented to keep folders below the prefix of its input, in words that leave open which.
    """
    answers: dict[str, list[str]] = {day: [] for day in days}
    for each in found:
        if not each.path.endswith(".out"):
            continue
        file = PurePosixPath(each.path).name
        day = next((day for day in days if file.startswith(f"{day}.")), None)
        if day is None:
            raise AccountingError(f"job {name}: the answer {each.path} is of none of its days")
        answers[day].append(each.path)
    return answers


def _write_day(
    store: JobsStore, name: str, day: str, answers: Sequence[str], counts: Mapping[str, Any]
) -> int:
    """Write a part for each file of answers; how many rows they have."""
    import numpy as np
    import pyarrow.parquet as pq

    ids = []
    for number, table in enumerate(_tables(store, name, answers)):
        data = io.BytesIO()
        pq.write_table(table, data, compression="zstd")
        path = folder_of(name, "result", "predictions", day, f"part-{number:05d}.parquet")
        store.write(path, data.getvalue())
        ids.append(table["row_id"].to_numpy())
    every = np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)
    _check(name, day, rows_in=int(counts["rows_in"]), rows_out=len(every), different=len(np.unique(every)))
    return len(every)


def _tables(store: JobsStore, name: str, answers: Sequence[str]) -> Iterator[Any]:
    for path in answers:
        data = store.read(folder_of(name, "transform", path))
        if data:
            yield _table(name, path, data)


def _table(name: str, path: str, data: bytes) -> Any:
    """One file of answers.

    :raises AccountingError: when a line is no answer, or a prediction no probability.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as pj

    schema = pa.schema([("row_id", pa.int64()), ("prediction", pa.float64())])
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        table = pj.read_json(io.BytesIO(data), parse_options=options)
    except pa.ArrowInvalid as error:
        raise AccountingError(f"job {name}: {path} does not hold answers: {error}") from error
    prediction = table["prediction"]
    good = pc.and_(pc.greater_equal(prediction, 0.0), pc.less_equal(prediction, 1.0))
    missing = table["row_id"].null_count + prediction.null_count
    if missing or not pc.all(good).as_py():
        raise AccountingError(f"job {name}: {path} has rows without an id, or predictions that are none")
    return table


def _check(name: str, day: str, *, rows_in: int, rows_out: int, different: int) -> None:
    if rows_in != rows_out or different != rows_out:
        raise AccountingError(
            f"job {name}: {day} has {rows_in} rows, but {rows_out} answers for {different} different rows",
            fix="look at the transform job's log; its outputs are left as they are",
        )
