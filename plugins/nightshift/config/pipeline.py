"""What a pipeline file may say: frozen models of ``include/pipelines/*.yaml``.

A pipeline file says *what* to run; *where* (buckets, credentials, MLflow) comes from
:mod:`nightshift.config.settings` and Airflow connections, so one file runs on every platform.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "LEAST_CLUSTERS",
    "MINIMISED",
    "AlarmsConfig",
    "AlertsConfig",
    "AutoscalingConfig",
    "CanaryConfig",
    "CaptureConfig",
    "CategoricalRange",
    "CheckConfig",
    "EndpointConfig",
    "FeaturesConfig",
    "FloatRange",
    "GateConfig",
    "InstancesConfig",
    "IntRange",
    "LimitsConfig",
    "MachineConfig",
    "MonitoringConfig",
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
    """A machine to run on. What is said of clouds counts on clouds, so that one file runs everywhere."""

    cpus: int | None = Field(None, ge=1, description="Threads for numerical libraries; CPUs on a cloud.")
    gpus: int = Field(0, ge=0, description="With more than one a job runs under torchrun.")
    memory_gib: int | None = Field(None, ge=1, description="On a cloud: GiB that the machine has at least.")
    instances: int = Field(1, ge=1, description="On a cloud: machines at once, under torchrun.")
    spot: bool = Field(False, description="On a cloud: cheaper machines that may be taken away.")
    instance_type: str | None = Field(
        None, description="The cloud's own word, e.g. ml.g5.xlarge; left out, the cheapest that fits."
    )


class ResourcesConfig(MachineConfig):
    """What a job asks its platform for."""

    candidates: tuple[MachineConfig, ...] = Field(
        (), description="What to ask for instead, in this order, when there is no such machine now."
    )
    max_runtime_s: int = Field(3600, ge=1, description="Seconds a job may run; then it is stopped.")
    max_wait_s: int = Field(600, ge=0, description="Seconds it may wait for a machine besides.")

    @property
    def every_candidate(self) -> tuple[MachineConfig, ...]:
        """The machine asked for first, then the others: as many, and spot, unless one says otherwise."""
        first = MachineConfig(**{name: getattr(self, name) for name in MachineConfig.model_fields})
        alike = {"spot": self.spot, "instances": self.instances}
        return (
            first,
            *(
                each.model_copy(update={k: v for k, v in alike.items() if k not in each.model_fields_set})
                for each in self.candidates
            ),
        )


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
    pruning: bool = Field(True, description="Trials that lag behind are ended early.")
    strategy: Literal["bayesian", "random", "hyperband"] = Field(
        "bayesian", description="How a cloud's tuner searches; this machine's own always does it by TPE."
    )
    warm_start: bool = Field(
        False, description="On a cloud: start from the trials of the search for an earlier partition."
    )
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


_ALARMED_MINUTES = 20.0


class CanaryConfig(_Section):
    """How a new model comes to an endpoint: beside the old one, with a share of the requests, for a while."""

    weight: float = Field(0.1, gt=0.0, lt=1.0, description="Share of the requests that it answers at first.")
    minutes: float = Field(
        10.0, ge=0.0, description="So long both answer, A/B; then the new model takes all requests."
    )


class CheckConfig(_Section):
    """Real rows whose answers must be the batch predictions of the same model."""

    rows: int = Field(32, ge=1, le=500)
    tolerance: float = Field(1e-9, ge=0.0, description="By how much an answer may differ.")
    resources: ResourcesConfig = ResourcesConfig()


class AutoscalingConfig(_Section):
    """Machines follow the requests, between ``instances.min`` and ``instances.max``."""

    invocations_per_minute: float = Field(gt=0.0, description="That one machine is to answer.")
    scale_out_cooldown_s: int = Field(60, ge=0, description="Seconds between two additions.")
    scale_in_cooldown_s: int = Field(300, ge=0, description="Seconds between two removals.")


class InstancesConfig(_Section):
    """How many machines answer."""

    min: int = Field(1, ge=1)
    max: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> InstancesConfig:
        if self.max < self.min:
            raise ValueError(f"max is {self.max} and min is {self.min}")
        return self


class CaptureConfig(_Section):
    """Requests and answers that are kept, in the object store beside the jobs."""

    percentage: int = Field(100, ge=1, le=100)


class MonitoringConfig(_Section):
    """When what was captured is looked at."""

    cron: str = Field("0 * * * *", description="'0 * * * *', '0 5 * * *' or '0 */6 * * *': whole hours.")
    enabled: bool = True

    @field_validator("cron")
    @classmethod
    def _whole_hours(cls, value: str) -> str:
        if not re.fullmatch(r"0 (\*|[01]?\d|2[0-3]|\*/([1-9]|1\d|2[0-4])) \* \* \*", value):
            raise ValueError(
                "an endpoint is looked at every hour at most: '0 * * * *', '0 5 * * *', '0 */6 * * *'"
            )
        return value


class AlarmsConfig(_Section):
    """What sends a deployment back while it goes on."""

    errors_per_minute: int | None = Field(None, ge=1, description="Answers that are errors of the server.")
    latency_ms: float | None = Field(None, gt=0, description="Of the model, for 95 of 100 requests.")

    @model_validator(mode="after")
    def _says_something(self) -> AlarmsConfig:
        if self.errors_per_minute is None and self.latency_ms is None:
            raise ValueError("say errors_per_minute, latency_ms or both, or leave the section out")
        return self


class EndpointConfig(_Section):
    """Real time: where the champion answers requests. It counts on clouds; elsewhere nothing is deployed."""

    machine: MachineConfig = MachineConfig()
    instances: InstancesConfig = InstancesConfig()
    canary: CanaryConfig | None = CanaryConfig()
    check: CheckConfig = CheckConfig()
    autoscaling: AutoscalingConfig | None = None
    capture: CaptureConfig | None = None
    monitoring: MonitoringConfig | None = None
    alarms: AlarmsConfig | None = None
    timeout_minutes: float = Field(
        60.0, ge=10.0, le=480.0, description="That one change of the endpoint may take."
    )

    @model_validator(mode="after")
    def _consistent(self) -> EndpointConfig:
        if self.machine.spot or self.machine.instances != 1:
            raise ValueError("machine: an endpoint has no spot machines, and its count is said by instances")
        if self.autoscaling is None and self.instances.max != self.instances.min:
            raise ValueError(
                f"instances.max is {self.instances.max}, but nothing adds machines: say autoscaling too"
            )
        if self.autoscaling is not None and self.instances.max == self.instances.min:
            raise ValueError("autoscaling needs an instances.max above instances.min")
        if self.alarms is not None and self.timeout_minutes < _ALARMED_MINUTES:
            raise ValueError(
                f"alarms need timeout_minutes of {_ALARMED_MINUTES:g} at least: they are watched meanwhile"
            )
        if self.monitoring is not None and self.capture is None:
            raise ValueError("monitoring looks at what is captured: say capture too")
        return self


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
    platform: Literal["local", "sagemaker"] = "local"
    partitions: PartitionsConfig
    source: SourceConfig
    references: dict[str, ReferenceConfig] = {}
    validation: ValidationConfig
    features: FeaturesConfig
    training: TrainingConfig
    tuning: TuningConfig | None = None
    gate: GateConfig = GateConfig()
    scoring: ScoringConfig = ScoringConfig()
    endpoint: EndpointConfig | None = None
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
