"""From our words to OpenLineage's: standard facets where there is one, and two of our own.

The JSON Schemas of the two are in ``docs/lineage/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    OutputDatasetFacet,
    RunFacet,
    base_subset_dataset,
    data_quality_assertions_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
    storage_dataset,
    symlinks_dataset,
)

import nightshift
from nightshift.operators.lineage.data import place

if TYPE_CHECKING:
    from nightshift.operators.lineage.data import Check, Data, Lineage

__all__ = [
    "MODEL",
    "PARTITION",
    "NightshiftModelRunFacet",
    "NightshiftPartitionDatasetFacet",
    "operator_lineage",
]

PARTITION, MODEL = "nightshift_partition", "nightshift_model"
"""The keys of our own facets."""

_PRODUCER = f"urn:nightshift:{nightshift.__version__}"
_SCHEMA = "urn:nightshift:lineage:1-0-0"


@attr.define(kw_only=True)
class NightshiftPartitionDatasetFacet(DatasetFacet):
    """Which partitions of a dataset a run read or wrote, and a name for exactly those rows."""

    pipeline: str
    first: str | None = None
    last: str | None = None
    partitions: int | None = None
    rows: int | None = None
    manifestSha256: str | None = None
    sourceSha256: str | None = None
    changed: bool | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMA}:NightshiftPartitionDatasetFacet"


@attr.define(kw_only=True)
class NightshiftModelRunFacet(RunFacet):
    """Which model a run made, measured, registered, decided on or scored with."""

    model: str
    version: str | None = None
    partition: str | None = None
    fingerprint: str | None = None
    job: str | None = None
    champion: str | None = None
    verdict: str | None = None
    reasons: list[str] | None = None
    metrics: dict[str, float] | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMA}:NightshiftModelRunFacet"


def operator_lineage(lineage: Lineage | None = None) -> OperatorLineage[Any, Any]:
    """The answer to Airflow's provider."""
    if lineage is None:
        return OperatorLineage()
    about: dict[str, Any] = {}
    if lineage.model:
        about[MODEL] = NightshiftModelRunFacet(**lineage.model, producer=_PRODUCER)
    return OperatorLineage(
        inputs=[_input(data) for data in lineage.inputs],
        outputs=[_output(data) for data in lineage.outputs],
        run_facets=about,
    )


def _input(data: Data) -> InputDataset:
    own: dict[str, InputDatasetFacet] = {}
    if condition := _subset(data):
        own["subset"] = base_subset_dataset.InputSubsetInputDatasetFacet(condition, producer=_PRODUCER)
    if any(number is not None for number in (data.rows, data.files, data.bytes)):
        own["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=data.rows, size=data.bytes, fileCount=data.files, producer=_PRODUCER
        )
    if data.checks:
        own["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            [_assertion(check) for check in data.checks], producer=_PRODUCER
        )
    return InputDataset(data.namespace, data.name, facets=_facets(data), inputFacets=own)


def _output(data: Data) -> OutputDataset:
    own: dict[str, OutputDatasetFacet] = {}
    if condition := _subset(data):
        own["subset"] = base_subset_dataset.OutputSubsetOutputDatasetFacet(condition, producer=_PRODUCER)
    if data.rows is not None and data.changed is not False:
        own["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=data.rows, producer=_PRODUCER
        )
    return OutputDataset(data.namespace, data.name, facets=_facets(data), outputFacets=own)


def _facets(data: Data) -> dict[str, DatasetFacet]:
    found: dict[str, DatasetFacet] = {
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(data.kind, producer=_PRODUCER)
    }
    if data.kind in ("TABLE", "FILE"):
        found[PARTITION] = _partition(data)
    if data.version:
        found["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            data.version, producer=_PRODUCER
        )
    if data.kind == "TABLE":
        found["storage"] = storage_dataset.StorageDatasetFacet("delta", "parquet", producer=_PRODUCER)
    if data.location:
        namespace, name = place(data.location)
        found["symlinks"] = symlinks_dataset.SymlinksDatasetFacet(
            [symlinks_dataset.Identifier(namespace, name, "LOCATION")], producer=_PRODUCER
        )
    if data.columns:
        fields = [schema_dataset.SchemaDatasetFacetFields(name, kind) for name, kind in data.columns.items()]
        found["schema"] = schema_dataset.SchemaDatasetFacet(list(fields), producer=_PRODUCER)
    return found


def _partition(data: Data) -> NightshiftPartitionDatasetFacet:
    return NightshiftPartitionDatasetFacet(
        pipeline=data.pipeline,
        first=data.days.first or None,
        last=data.days.last or None,
        partitions=data.days.count or None,
        rows=data.rows,
        manifestSha256=data.manifest_sha256 or None,
        sourceSha256=data.source_sha256 or None,
        changed=data.changed,
        producer=_PRODUCER,
    )


def _subset(data: Data) -> base_subset_dataset.PartitionSubsetCondition | None:
    if not data.days.keys:
        return None
    return base_subset_dataset.PartitionSubsetCondition(
        [base_subset_dataset.Partition({"partition": key}) for key in data.days.keys]
    )


def _assertion(check: Check) -> data_quality_assertions_dataset.Assertion:
    return data_quality_assertions_dataset.Assertion(
        assertion=check.rule,
        success=check.holds,
        column=check.column or None,
        severity="error" if check.critical else "warn",
        name=check.suite or None,
        description=check.words or None,
        actual=check.observed or None,
    )
