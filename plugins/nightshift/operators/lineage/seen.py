"""A task as an event sees it: its arguments, what it returned, and the names of what it works on."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nightshift.operators.lineage.data import Data, Days, place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.operators.lineage.data import Kind

__all__ = ["CLEAN", "PREDICTIONS", "QUARANTINE", "RAW", "Seen"]

RAW, CLEAN, QUARANTINE, PREDICTIONS = "raw", "clean", "quarantine", "predictions"
_OWN_COLUMNS = {"row_id": "int64", "partition": "string"}


class Seen:
    """A task as an event sees it.

    :param operator: with its templates rendered.
    :param found: what the task returned; {} before it has ended, or when it returned nothing.
    """

    def __init__(self, operator: Any, context: Any, found: Mapping[str, Any]) -> None:
        self.operator = operator
        self.context = context
        self.found = found
        self.pipeline: Pipeline = operator.pipeline
        self.name: str = self.pipeline.pipeline

    @cached_property
    def settings(self) -> Settings:
        """This deployment's."""
        found: Settings = self.operator.settings
        return found

    @cached_property
    def partition(self) -> str:
        """The partition that the task is about."""
        found: str = self.operator.partition(self.context)
        return found

    def given(self, name: str) -> Mapping[str, Any]:
        """What another task returned, as an argument of this one; {} when it was skipped."""
        value = getattr(self.operator, name, None)
        return value if isinstance(value, dict) else {}

    def table(self, table: str, version: Any = None, **facts: Any) -> Data:
        """A Delta table of the pipeline's lake."""
        namespace, name = place(f"{self.settings.lake_uri.rstrip('/')}/{self.name}/{table}")
        return self._data(namespace, name, "TABLE", version, **facts)

    def landed(self, template: str, **facts: Any) -> Data:
        """A source in the landing zone: the folder that holds all of its partitions."""
        uri = template.replace("{landing}", self.settings.landing_uri.rstrip("/"))
        return self._data(*place(re.sub(r"/[^/]*\{partition\}.*", "", uri)), "FILE", **facts)

    def output(self, verb: str, of: Mapping[str, Any], folder: str = "", **facts: Any) -> Data:
        """What a job left, or a folder of it; its version is the job's name."""
        name = "/".join(filter(None, (self.name, verb, folder)))
        location = "/".join(filter(None, (of["output_uri"].rstrip("/"), folder)))
        kind: Kind = "MODEL" if folder == "model" else "JOB_OUTPUT"
        namespace = f"x-nightshift://{self.settings.deployment}"
        return self._data(namespace, name, kind, of["job"], location=location, **facts)

    def model(self, version: Any, name: str = "") -> Data:
        """A version of the pipeline's registered model; its namespace is the MLflow server."""
        server, path = place(self.settings.mlflow_tracking_uri)
        namespace = server if server == "file" or not path else f"{server}/{path}"
        return self._data(namespace, name or self.name, "MODEL", version)

    def _data(self, namespace: str, name: str, kind: Kind, version: Any = None, **facts: Any) -> Data:
        text = "" if version is None else str(version)
        return Data(namespace=namespace, name=name, kind=kind, pipeline=self.name, version=text, **facts)

    def columns(self, table: str) -> dict[str, str]:
        """The columns of a table that is written, as the pipeline file says them."""
        if reference := self.pipeline.references.get(table):
            return {**reference.columns, **({"partition": "string"} if reference.is_daily else {})}
        extra = {"reasons": "list<string>"} if table == QUARANTINE else {}
        return {**self.pipeline.source.columns, **extra, **_OWN_COLUMNS}

    def daily(self, table: str, days: Days) -> Days:
        """The days, unless the table is a snapshot, which has none."""
        reference = self.pipeline.references.get(table)
        return days if reference is None or reference.is_daily else Days()
