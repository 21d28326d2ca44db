"""Ingestion: one landed partition and its references into the lake, whole, typed, checksummed, once."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from nightshift.config.partitions import check_key
from nightshift.errors import ConfigError, PartitionAbsent, PartitionCorrupt, PartitionIncomplete
from nightshift.lake.fetch import StagedFile, fetch
from nightshift.lake.schema import PARTITION
from nightshift.lake.storage import Location, StoredObject, list_objects
from nightshift.lake.typed import DatasetConfig, typed_reader
from nightshift.lake.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.prepared import Prepared
    from nightshift.lake.tables import Lake, LakeTable

__all__ = ["RAW", "IngestResult", "ingest_partition", "landing_location", "record_path"]

RAW = "raw"
_RESERVED = frozenset({PARTITION, "row_id", "reasons"})
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingestion did; ``changed`` is False where the lake held these very files already."""

    partition: str
    rows: int
    files: int
    bytes: int
    version: int
    changed: bool
    sha256: str
    references: Mapping[str, Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe and small."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Record:
    """What the lake remembers of an ingestion, beside the table: from which files came which rows."""

    files: tuple[tuple[str, int, str, str], ...]  # path, size, ETag, sha256
    sha256: str
    schema: str
    rows: int
    version: int

    @property
    def listing(self) -> list[tuple[str, int, str]]:
        return [(path, size, etag) for path, size, etag, _ in self.files]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> _Record:
        read = json.loads(data)
        return cls(**{**read, "files": tuple((p, s, e, h) for p, s, e, h in read["files"])})


@dataclass(frozen=True, slots=True)
class _Dataset:
    """One table to fill: the raw rows or a reference; ``partition`` is None for a snapshot."""

    name: str
    config: DatasetConfig
    source: Location
    table: LakeTable
    lake: Lake
    partition: str | None

    @property
    def title(self) -> str:
        return self.name if self.partition is None else f"{self.name} of {self.partition}"

    @property
    def record_path(self) -> str:
        if self.name == RAW and self.partition is not None:
            return record_path(self.partition)
        return f"_ingest/{self.name}/{self.partition or 'snapshot'}.json"

    @property
    def schema(self) -> str:
        """Hash of what decides how files become rows."""
        rules = [list(self.config.columns.items()), self.config.format, list(self.config.null_values)]
        return _sha256(rules)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A dataset that is ready to be committed, or needs no commit (``rows`` is None).

    ``held`` is the record the lake has, ``record`` the one it shall have.
    """

    dataset: _Dataset
    held: _Record | None
    record: _Record
    rows: Prepared | None


def record_path(partition: str) -> str:
    """Where the lake remembers what a partition's raw rows came from; its ``sha256`` names the content."""
    return f"_ingest/{partition}.json"


def ingest_partition(
    pipeline: Pipeline,
    partition: str,
    *,
    landing: Location,
    lake: Lake,
    staging: Path,
    log: logging.Logger = _LOG,
) -> IngestResult:
    """Bring ``partition`` and the references it needs into the lake.

    Everything is fetched, checked and typed on local disk before the first commit: an error of the
    source leaves the lake as it was. The raw rows are committed last, so where they are, their
    references are too. Called again on the same files it changes nothing.

    :param staging: local folder for the copies; left as it was found.
    :raises PartitionAbsent: nothing has landed.
    :raises PartitionIncomplete: no marker yet, or a file changed while it was read.
    :raises PartitionCorrupt: a file is empty, truncated, not UTF-8 or unreadable.
    :raises SchemaMismatch: extra, missing or retyped columns.
    """
    started = time.monotonic()
    datasets = _datasets(pipeline, check_key(pipeline, partition), landing, lake)
    with workspace(staging, "ingest", f"{pipeline.pipeline}-{partition}") as folder:
        arrivals = [_arrive(each, folder, log) for each in datasets]
        done = {each.dataset.name: _commit(each, folder, log) for each in arrivals}
    changed = {each.dataset.name: each.rows is not None for each in arrivals}
    log.info("ingested %s of %s in %.2f s", partition, pipeline.pipeline, time.monotonic() - started)
    raw = done.pop(RAW)
    return IngestResult(
        partition=partition,
        rows=raw.rows,
        files=len(raw.files),
        bytes=sum(size for _, size, _ in raw.listing),
        version=raw.version,
        changed=changed[RAW],
        sha256=raw.sha256,
        references={
            name: {"rows": r.rows, "version": r.version, "changed": changed[name], "sha256": r.sha256}
            for name, r in done.items()
        },
    )


def landing_location(uri_template: str, partition: str | None, landing: Location) -> Location:
    """The place a pipeline file's ``uri`` means, e.g. ``{landing}/flights/dt={partition}``.

    An address of its own, without ``{landing}``, is taken as it is, with the landing zone's sign-in
    where both are of one kind.
    """
    filled = uri_template.replace("{partition}", partition or "")
    if filled.startswith("{landing}"):
        return landing.child(filled.removeprefix("{landing}"))
    place = Location(filled)
    return Location(filled, landing.options) if place.kind == landing.kind else place


def _datasets(pipeline: Pipeline, partition: str, landing: Location, lake: Lake) -> list[_Dataset]:
    """The references, then the raw rows: the order they are committed in."""
    every: list[tuple[str, DatasetConfig, str | None]] = [
        (name, config, partition if config.is_daily else None) for name, config in pipeline.references.items()
    ]
    every.append((RAW, pipeline.source, partition))
    for name, config, _ in every:
        if taken := _RESERVED & set(config.columns):
            raise ConfigError(
                f"{pipeline.pipeline}: {name} may not have a column {sorted(taken)[0]!r}",
                fix=f"{', '.join(sorted(_RESERVED))} are the lake's own",
            )
    return [
        _Dataset(name, config, landing_location(config.uri, key, landing), lake.table(name), lake, key)
        for name, config, key in every
    ]


def _arrive(dataset: _Dataset, workspace: Path, log: logging.Logger) -> _Arrival:
    """Check, fetch and type what has landed, unless the lake holds it already."""
    objects = _landed(dataset)
    held = _held(dataset)
    if held is not None and held.listing == [(each.path, each.size, each.etag) for each in objects]:
        log.info("%s is unchanged: %s rows, version %s", dataset.title, held.rows, held.version)
        return _Arrival(dataset, held, held, None)
    folder = workspace / dataset.name
    folder.mkdir()
    staged = fetch(dataset.source, objects, folder)
    fresh = _record(dataset, staged)
    if held is not None and held.sha256 == fresh.sha256:
        log.info("%s was delivered again with the same content", dataset.title)
        return _Arrival(dataset, held, replace(held, files=fresh.files), None)
    return _Arrival(dataset, held, fresh, _typed(dataset, staged, folder))


def _landed(dataset: _Dataset) -> list[StoredObject]:
    """The data files, once the writer is done."""
    place, marker = dataset.source, dataset.config.marker
    found = list_objects(place)
    if not found:
        raise PartitionAbsent(f"{dataset.title}: nothing has landed at {place.uri}")
    if marker and marker not in {each.path for each in found}:
        raise PartitionIncomplete(
            f"{dataset.title}: {place.uri} has no {marker} yet", fix="wait for the writer to end"
        )
    files = [each for each in found if not any(part[0] in "_." for part in each.path.split("/"))]
    if not files:
        raise PartitionCorrupt(f"{dataset.title}: {place.uri} has its {marker} and no file")
    for each in files:
        if each.size == 0:
            raise PartitionCorrupt(f"{place.child(each.path).uri} is empty", fix="deliver the file again")
    return files


def _held(dataset: _Dataset) -> _Record | None:
    """The record of what the lake holds, when it does hold it, typed as the pipeline file says now."""
    if not dataset.lake.exists(dataset.record_path):
        return None
    record = _Record.from_json(dataset.lake.read_file(dataset.record_path))
    if record.schema != dataset.schema or not dataset.table.exists():
        return None
    wanted = None if dataset.partition is None else [dataset.partition]
    return record if dataset.table.manifest(wanted).rows == record.rows else None


def _record(dataset: _Dataset, staged: Sequence[StagedFile]) -> _Record:
    files = tuple((each.path, each.size, each.etag, each.sha256) for each in staged)
    content = _sha256([[path, sha256] for path, _, _, sha256 in files])
    return _Record(files, content, dataset.schema, rows=0, version=-1)


def _typed(dataset: _Dataset, staged: Sequence[StagedFile], folder: Path) -> Prepared:
    raw = dataset.name == RAW
    reader = typed_reader(staged, dataset.config, row_id=raw)
    prepared = dataset.table.prepare(dataset.partition, reader, folder)
    if raw and prepared.rows == 0:
        raise PartitionCorrupt(
            f"{dataset.title}: {staged[0].uri} has a header and no rows", fix="deliver the file again"
        )
    return prepared


def _commit(arrival: _Arrival, workspace: Path, log: logging.Logger) -> _Record:
    """Publish the rows, then remember where they came from; a crash in between is healed by a rerun."""
    dataset, record, rows = arrival.dataset, arrival.record, arrival.rows
    if rows is not None:
        source = {"nightshift.source": dataset.source.uri, "nightshift.sha256": record.sha256}
        if dataset.partition is None:
            version = dataset.table.replace_all(rows, source=source)
        else:
            version = dataset.table.replace_partition(dataset.partition, rows, source=source)
        log.info("%s: %s rows in version %s", dataset.title, rows.rows, version)
        record = replace(record, rows=rows.rows, version=version)
    if record != arrival.held:
        dataset.lake.write_file(dataset.record_path, record.to_json())
    shutil.rmtree(workspace / dataset.name, ignore_errors=True)
    return record


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
