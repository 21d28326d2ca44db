"""What a pipeline file may say: frozen models of ``include/pipelines/*.yaml``.

A pipeline file says *what* to run; *where* (buckets, credentials, MLflow) comes from
:mod:`nightshift.config.settings` and Airflow connections, so one file runs on every platform.
"""

from __future__ import annotations

import datetime as dt
import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "LEAST_CLUSTERS",
    "MINIMISED",
    "AlertsConfig",
    "CategoricalRange",
    "FeaturesConfig",
    "FloatRange",
    "GateConfig",
    "IntRange",
    "LimitsConfig",
    "MachineConfig",
    "PartitionsConfig",
    "Pipeline",
    "ReferenceConfig",
    "ResourcesConfig",
    "ScoringConfig",
    "SearchRange",
    "SlicesConfig",
    "SourceConfig",
    "TrainingConfig",
    "TuningConfig",
    "ValidationConfig",
    "WindowConfig",
]

ColumnType = Literal["string", "int64", "float64", "bool", "timestamp", "date", "binary"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartitionsConfig(_Section):
    """The daily partitions of a pipeline: keys are ISO dates, ``2013-01-05``."""

    cron: str = Field("0 2 * * *", description="When the night starts; it takes the day before.")
    timezone: str = "UTC"
    start: dt.date = Field(description="First partition.")
    end: dt.date | None = Field(None, description="Last partition, where the data end.")

    @model_validator(mode="after")
    def _ordered(self) -> PartitionsConfig:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}")
        return self


class SourceConfig(_Section):
    """Where a partition lands and what it must look like."""

    uri: str = Field(description="Folder of one partition, e.g. '{landing}/flights/dt={partition}'.")
    format: Literal["csv", "parquet"]
    marker: str = Field("_SUCCESS", description="File that says the writer is done; '' for none.")
    null_values: tuple[str, ...] = ("", "NA")
    columns: dict[str, ColumnType] = Field(description="Every column and its type, in order.")

    @field_validator("uri")
    @classmethod
    def _has_partition(cls, value: str) -> str:
        if "{partition}" not in value:
            raise ValueError("must contain {partition}")
        return value


class ReferenceConfig(_Section):
    """A side table that features join: daily where its uri has ``{partition}``, else one snapshot."""

    uri: str
    format: Literal["csv", "parquet"]
    marker: str = "_SUCCESS"
    null_values: tuple[str, ...] = ("", "NA")
    columns: dict[str, ColumnType]

    @property
    def is_daily(self) -> bool:
        """Whether the table has one partition a day."""
        return "{partition}" in self.uri


class ValidationConfig(_Section):
    """The Great Expectations suite and what may go wrong before the night stops."""

    suite: str = Field(description="File in include/expectations/.")
    max_fraction: Fraction = Field(0.01, description="Share of rows that may be quarantined.")
    warn_fraction: Fraction = Field(0.001, description="Share of rows above which it is a warning.")
    recent_partitions: int = Field(14, ge=0, description="Partitions that 'usual' is learned from.")
    duckdb_above_rows: int = Field(
        200_000, ge=0, description="Above this many rows GX runs on DuckDB, not on pandas."
    )


class FeaturesConfig(_Section):
    """The feature expression shared by training and scoring."""

    module: str = Field(description="Module in include/jobs/features/, e.g. 'flight_delays'.")
    engine: Literal["duckdb", "pyspark"] = "duckdb"
    lookback: int = Field(7, ge=0, description="Days of history the features of one day read.")


class WindowConfig(_Section):
    """Days of each split, counted back from the night's partition, newest last.

    ``train`` days, then ``validation`` days (early stopping, tuning), then ``holdout`` days that end
    with the partition itself and that no fitting sees.
    """

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    holdout: int = Field(ge=1)

    @property
    def days(self) -> int:
        """Days from the first training partition to the night's, both counted."""
        return self.train + self.validation + self.holdout


class MachineConfig(_Section):
    """A machine to run on.

    ``cpus`` are threads for numerical libraries; with more than one of ``gpus`` a job runs under torchrun.
    """

    cpus: int | None = Field(None, ge=1)
    gpus: int = Field(0, ge=0)


class ResourcesConfig(MachineConfig):
    """What a job asks its platform for."""

    candidates: tuple[MachineConfig, ...] = Field(
        (), description="What to ask for instead, in this order, when there is no such machine now."
    )
    max_runtime_s: int = Field(3600, ge=1, description="Seconds a job may run; then it is stopped.")
    max_wait_s: int = Field(600, ge=0, description="Seconds it may wait for a machine besides.")

    @property
    def every_candidate(self) -> tuple[MachineConfig, ...]:
        """The machine asked for first, then the others."""
        return (MachineConfig(cpus=self.cpus, gpus=self.gpus), *self.candidates)


class TrainingConfig(_Section):
    """What is trained, on which days, with what."""

    model: Literal["hist_gradient_boosting", "torch_mlp"]
    target: str
    window: WindowConfig
    hyperparameters: dict[str, Any] = {}
    seed: int = 20130105
    resources: ResourcesConfig = ResourcesConfig()


class FloatRange(_Section):
    """A real hyperparameter between ``low`` and ``high``."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False


class IntRange(_Section):
    """A whole hyperparameter between ``low`` and ``high``, both possible."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False


class CategoricalRange(_Section):
    """One of ``choices``."""

    type: Literal["categorical"]
    choices: tuple[str | int | float | bool, ...] = Field(min_length=1)


SearchRange = Annotated[FloatRange | IntRange | CategoricalRange, Field(discriminator="type")]
Metric = Literal["roc_auc", "average_precision", "log_loss", "brier", "accuracy"]
MINIMISED = frozenset({"log_loss", "brier"})
"""Metrics of which lower values are better."""
LEAST_CLUSTERS = 8
"""Clusters that a bootstrap needs: of fewer it makes too little of how they differ."""


class TuningConfig(_Section):
    """The search, and how often it is due."""

    search_space: dict[str, SearchRange] = Field(min_length=1)
    metric: Metric = "average_precision"
    trials: int = Field(12, ge=1)
    parallelism: int = Field(2, ge=1)
    pruning: bool = True
    every: int = Field(1, ge=1, description="Due on every n-th partition, counted from the start.")
    resources: ResourcesConfig = ResourcesConfig()


class SlicesConfig(_Section):
    """Groups of rows, by the values of these columns, on which a challenger may not be worse."""

    columns: tuple[str, ...] = Field(description="Columns of the clean rows, e.g. [carrier, origin].")
    max_regression: float = Field(
        0.0, ge=0.0, description="Worse by this much, in the gate's metric, is not a regression yet."
    )
    min_rows: int = Field(200, ge=2, description="Smaller groups are shown and judge nothing.")

    @field_validator("columns")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a column is named twice")
        return value


class LimitsConfig(_Section):
    """What a model may need of the machine that serves it; measured in the evaluation job."""

    latency_ms: float | None = Field(
        None, gt=0, description="Milliseconds that 95 of 100 calls with one row may take."
    )
    size_mib: float | None = Field(None, gt=0, description="MiB of the model's folder.")


class GateConfig(_Section):
    """When a challenger takes the champion's place."""

    metric: Metric = "average_precision"
    direction: Literal["higher", "lower"] | None = Field(
        None, description="Which values are better; every metric here knows it, so it may be left out."
    )
    min_effect: float = Field(0.0, ge=0.0, description="The margin: surely better by more than this.")
    alpha: float = Field(0.05, gt=0.0, lt=0.5, description="Share of false promotions that is put up with.")
    resamples: int = Field(2000, ge=200, le=100_000, description="Of the bootstrap.")
    resampling: Literal["stratified", "clustered"] = Field(
        "stratified",
        description="stratified: rows are drawn one by one. clustered: groups of them are, see cluster.",
    )
    cluster: str | None = Field(
        None, description="Column whose values, within a day, are drawn together when clustered."
    )
    floors: dict[Metric, float] = Field({}, description="A metric worse than its floor blocks.")
    slices: SlicesConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    signature: Literal["compatible", "any"] = Field(
        "compatible", description="compatible: it must take what the champion takes and give what it gives."
    )
    promote: Literal["automatic", "ask", "never"] = Field(
        "automatic", description="ask: a person approves what the gate would promote."
    )
    ask_timeout_minutes: float = Field(
        720, gt=0, description="Minutes to wait for that person; nobody answers: the champion stays."
    )

    @model_validator(mode="after")
    def _consistent(self) -> GateConfig:
        if self.direction is not None and (self.direction == "lower") != (self.metric in MINIMISED):
            known = "lower" if self.metric in MINIMISED else "higher"
            raise ValueError(
                f"direction is {self.direction!r}, but {known} values of {self.metric} are better"
            )
        if self.cluster is not None and self.resampling != "clustered":
            raise ValueError("cluster is set, but resampling is 'stratified': set it to 'clustered'")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the rows that the gate groups them by."""
        cluster = (self.cluster,) if self.cluster else ()
        return tuple(dict.fromkeys((*(self.slices.columns if self.slices else ()), *cluster)))


class ScoringConfig(_Section):
    """How the champion scores a partition."""

    start_on: Literal["model", "clean"] = Field(
        "model", description="Score after the night's retrain, or as soon as the rows are clean."
    )
    batch_rows: int = Field(65_536, ge=1)
    resources: ResourcesConfig = ResourcesConfig()


class AlertsConfig(_Section):
    """What is told, and where; the addresses are in the connections, never here."""

    connections: tuple[str, ...] = Field((), description="Airflow connections with an Apprise URL.")
    examples: int = Field(5, ge=0, description="Sample rows shown per failing expectation.")
    partition_deadline_minutes: float | None = Field(
        240, gt=0, description="Minutes from the start of a night until its partition must have landed."
    )
    budget_usd_per_month: float | None = Field(
        None, gt=0, description="US dollars that the pipeline's jobs may cost in a calendar month (UTC)."
    )


class Pipeline(_Section):
    """One pipeline file."""

    pipeline: str = Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")
    description: str
    owner: str = "nightshift"
    tags: tuple[str, ...] = ()
    platform: Literal["local"] = "local"
    partitions: PartitionsConfig
    source: SourceConfig
    references: dict[str, ReferenceConfig] = {}
    validation: ValidationConfig
    features: FeaturesConfig
    training: TrainingConfig
    tuning: TuningConfig | None = None
    gate: GateConfig = GateConfig()
    scoring: ScoringConfig = ScoringConfig()
    alerts: AlertsConfig = AlertsConfig()

    @model_validator(mode="after")
    def _gate_names_columns(self) -> Pipeline:
        for name in self.gate.columns:
            if name not in self.source.columns:
                near = difflib.get_close_matches(name, self.source.columns, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"gate: {name!r} is no column of source.columns{hint}")
        holdout, whole_days = self.training.window.holdout, self.gate.cluster is None
        if self.gate.resampling == "clustered" and whole_days and holdout < LEAST_CLUSTERS:
            raise ValueError(
                f"gate.resampling draws whole days, and training.window.holdout has {holdout}: "
                f"{LEAST_CLUSTERS} are needed at least, or a gate.cluster within the days"
            )
        return self
