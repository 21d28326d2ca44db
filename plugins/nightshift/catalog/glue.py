"""Glue Data Catalog: one table per table of the lake, as Athena reads Delta, kept in step by name.

Which parameters make Athena take a table for Delta is AWS's documentation; no real account has seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nightshift.catalog.columns import glue_columns
from nightshift.errors import ConfigError, LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake, LakeTable

__all__ = ["Client", "GlueCatalog", "Synced", "read_tags", "table_input", "tables_of"]

Client = Callable[[str], Any]
"""A boto3 client for a service's name, signed in."""

VERSION = "nightshift.version"
_HANDLED_BY_DELTA = {
    # Formats of no data file: an engine that does not know Delta must fail, not read replaced rows.
    "InputFormat": "org.apache.hadoop.mapred.SequenceFileInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
}
_OF_PEOPLE = ("Description", "Owner", "Retention")
_SERDE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of one table of the catalog."""

    table: str
    change: Literal["created", "schema", "updated", "unchanged"]
    version: int
    columns: int


def tables_of(pipeline: Pipeline) -> tuple[str, ...]:
    """Every table that the lake of a pipeline may have."""
    return ("raw", "clean", "quarantine", "predictions", *pipeline.references)


def read_tags(text: str) -> dict[str, str]:
    """``key=value, …`` of the setting ``lake_formation_tags``.

    :raises ConfigError: when a part is none of that.
    """
    parts = [each.strip() for each in text.split(",") if each.strip()]
    pairs = [each.partition("=") for each in parts]
    if bad := [each for each, (key, _, value) in zip(parts, pairs, strict=True) if not (key and value)]:
        raise ConfigError(
            f"lake_formation_tags: {bad[0]!r} is no tag", fix="write them as key=value, separated by commas"
        )
    return {key.strip(): value.strip() for key, _, value in pairs}


def table_input(pipeline: str, table: LakeTable) -> dict[str, Any]:
    """The table as the catalog is to have it, at the lake's newest version."""
    columns, keys = glue_columns(table.schema())
    place = table.location.uri.replace("s3a://", "s3://", 1)
    return {
        "Name": f"{pipeline}_{table.name}",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {
            "EXTERNAL": "TRUE",
            "classification": "delta",
            "spark.sql.sources.provider": "delta",
            "table_type": "DELTA",
            "nightshift.pipeline": pipeline,
            VERSION: str(table.version()),
        },
        "PartitionKeys": keys,
        "StorageDescriptor": {
            "Columns": columns,
            "Location": place,
            **_HANDLED_BY_DELTA,
            "SerdeInfo": {
                "SerializationLibrary": _SERDE,
                "Parameters": {"path": place, "serialization.format": "1"},
            },
        },
    }


@dataclass(frozen=True, slots=True)
class GlueCatalog:
    """A database of the Glue Data Catalog.

    :param tags: Lake Formation tags that every table is to carry; they must be there.
    """

    client: Client
    database: str
    tags: Mapping[str, str]

    def sync(self, lake: Lake, tables: Sequence[str]) -> list[Synced]:
        """Bring those of these tables into step that the lake has; nothing is written where nothing changed.

        :raises ConfigError: when the lake is not on S3.
        :raises LakeError: when the catalog refuses or cannot be reached, or the lake cannot be read.
        """
        if lake.location.kind != "s3":
            raise ConfigError(
                f"the lake is at {lake.root.uri}: Athena reads S3 only", fix="leave glue_database empty"
            )
        found = [lake.table(name) for name in tables]
        return [self._sync(lake.pipeline, table) for table in found if table.exists()]

    def _sync(self, pipeline: str, table: LakeTable) -> Synced:
        wanted = table_input(pipeline, table)
        with self._speaking(wanted["Name"]):
            change = self._write(wanted, self._held(wanted["Name"]))
            self._tag(wanted["Name"])
        columns = len(wanted["StorageDescriptor"]["Columns"]) + len(wanted["PartitionKeys"])
        return Synced(wanted["Name"], change, int(wanted["Parameters"][VERSION]), columns)

    def _held(self, name: str) -> dict[str, Any] | None:
        glue = self.client("glue")
        try:
            found: dict[str, Any] = glue.get_table(DatabaseName=self.database, Name=name)["Table"]
        except glue.exceptions.EntityNotFoundException:
            return None
        return found

    def _write(
        self, wanted: dict[str, Any], held: dict[str, Any] | None
    ) -> Literal["created", "schema", "updated", "unchanged"]:
        glue = self.client("glue")
        if held is None:
            glue.create_table(DatabaseName=self.database, TableInput=wanted)
            return "created"
        if _says(held, wanted):
            return "unchanged"
        same = _shape(held) == _shape(wanted)
        # What people wrote into the catalog stays; a new version of the table only where its shape changed.
        kept: dict[str, Any] = {name: held[name] for name in _OF_PEOPLE if name in held}
        parameters: dict[str, str] = {**held.get("Parameters", {}), **wanted["Parameters"]}
        change = {**kept, **wanted, "Parameters": parameters}
        glue.update_table(DatabaseName=self.database, TableInput=change, SkipArchive=same)
        return "updated" if same else "schema"

    def _tag(self, name: str) -> None:
        if not self.tags:
            return
        resource = {"Table": {"DatabaseName": self.database, "Name": name}}
        lake_formation = self.client("lakeformation")
        answer = lake_formation.get_resource_lf_tags(Resource=resource, ShowAssignedLFTags=True)
        held = {each["TagKey"]: each["TagValues"] for each in answer.get("LFTagsOnTable", [])}
        missing = {key: value for key, value in self.tags.items() if held.get(key) != [value]}
        if not missing:
            return
        tags = [{"TagKey": key, "TagValues": [value]} for key, value in missing.items()]
        refused = lake_formation.add_lf_tags_to_resource(Resource=resource, LFTags=tags)["Failures"]
        if refused:
            said = refused[0].get("Error", {}).get("ErrorMessage", "no reason given")
            raise LakeError(f"Lake Formation does not tag {name}: {said}", fix="make the tags first")

    @contextmanager
    def _speaking(self, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise LakeError(
                f"table {name} of the catalog {self.database} is not in step: {str(error).splitlines()[0]}",
                fix="check that the database is there and what the role may do, then run "
                "'nightshift catalog sync'; the next ingestion does as well",
            ) from error


def _shape(table: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a reader of the table depends on."""
    storage = table["StorageDescriptor"]
    return _pairs(storage["Columns"]), _pairs(table.get("PartitionKeys", [])), storage["Location"]


def _pairs(columns: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(each["Name"], each["Type"]) for each in columns]


def _says(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    parameters: Mapping[str, str] = held.get("Parameters", {})
    return parameters.items() >= wanted["Parameters"].items() and _shape(held) == _shape(wanted)
