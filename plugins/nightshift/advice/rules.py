"""One rule for each need: which service, why, and what instead of it when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightshift.advice import costs
from nightshift.advice.services import (
    ASYNC_MS,
    INGEST_GIB,
    REAL_TIME_MS,
    SHORT_JOB_S,
    VALIDATE_ROWS,
    WINDOW_ROWS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nightshift.advice.costs import Cost
    from nightshift.advice.situation import Situation
    from nightshift.config.pipeline import ResourcesConfig

__all__ = ["RULES", "Pick"]

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Pick:
    """What a rule chooses, by the ids of the table.

    :param why: sentences with the numbers they rest on.
    :param other: the alternative; the table says when it is better, unless ``other_when`` does.
    :param unneeded: ids that people often reach for and that this pipeline has no use for, with the reason.
    """

    option: str
    why: tuple[str, ...]
    other: str
    other_when: str = ""
    instance: str = ""
    cost: Cost | None = None
    unneeded: tuple[tuple[str, str], ...] = ()


def ingest(s: Situation) -> Pick:
    """By how much lands a day."""
    source = s.pipeline.source
    much = f"{_size(s.gib)} a day in the lake" if s.seen.days else s.rows_words
    if s.gib > INGEST_GIB:
        return Pick("glue", (f"{much}: more than {INGEST_GIB} GiB is too slow for one worker",), "worker")
    why = f"{source.format} files land at {source.uri} once a day; {much}"
    return Pick("worker", (why,), "firehose", unneeded=(("glue", much),))


def storage(s: Situation) -> Pick:
    """S3: everything else is beside it, not instead."""
    why = "whole days are written and read; versions of objects are what a manifest pins"
    return Pick("s3", (why,), "dynamodb", unneeded=(("fsx", "jobs read their few files once"),))


def catalog(s: Situation) -> Pick:
    """By who reads besides the pipeline."""
    if s.has_catalog:
        return Pick("glue-athena", ("[nightshift] glue_database is set",), "lake-formation")
    if s.team == "platform":
        return Pick("glue-athena", ("a platform team has readers: set [nightshift] glue_database",), "none")
    why = "a small team reads the lake with Polars, DuckDB or a notebook; glue_database is not set"
    return Pick("none", (why,), "glue-athena", unneeded=(("redshift", "nobody asks all day"),))


def validation(s: Situation) -> Pick:
    """By rows a day."""
    suite = s.pipeline.validation
    if (s.rows or 0) > VALIDATE_ROWS:
        return Pick("glue-dq", (f"{s.rows_words}: one scan on one machine takes too long",), "worker")
    why = f"{s.rows_words}; {suite.suite} sets bad rows apart up to {suite.max_fraction:.2%} of a day"
    return Pick("worker", (why,), "glue-dq")


def features(s: Situation) -> Pick:
    """By rows of a training window."""
    window, rows = s.pipeline.training.window, s.window_rows
    days = f"{window.days} days and {s.pipeline.features.lookback} of history"
    size = f"a window of {days} has {rows:,.0f} rows" if rows else f"a window has {days}; {s.rows_words}"
    if (rows or 0) > WINDOW_ROWS:
        return Pick("emr", (f"{size}: more than one machine holds; set features.engine: pyspark",), "duckdb")
    spark = ("features.engine is pyspark: duckdb would do",) if s.pipeline.features.engine != "duckdb" else ()
    store = "no other model shares these features" + (
        "" if s.pipeline.endpoint else ", and none is real time"
    )
    return Pick("duckdb", (size, *spark), "emr", unneeded=(("emr", size), ("feature-store", store)))


def training(s: Situation) -> Pick:
    """By how long it takes and what it runs on."""
    resources = s.pipeline.training.resources
    seconds = s.seconds("train")
    took = f"training takes {seconds:,.0f} s, as measured" if seconds else "no training was measured yet"
    why = (f"{s.pipeline.training.model} on {_asked(resources)}", took)
    if not _needs_machine(s, resources) and s.is_short(seconds, SHORT_JOB_S):
        short = f"a machine of its own would come later than {SHORT_JOB_S} s"
        return Pick("local", (*why, short), "training-job", unneeded=(("hyperpod", took),))
    option = "distributed" if resources.instances > 1 else "training-job"
    return Pick(
        option,
        (*why, *_machine_words(s, resources), *_waste(s, resources, seconds)),
        "local" if option == "training-job" else "training-job",
        instance=costs.type_of(s, resources),
        cost=costs.of_jobs(s, resources, ("train", "evaluate")),
        unneeded=(("hyperpod", "a night ends; its machines go with it"),),
    )


def tuning(s: Situation) -> Pick:
    """By how long one trial takes."""
    config = s.pipeline.tuning
    if config is None:
        return Pick("none", ("the file has no section tuning",), "optuna")
    whole = s.seconds("tune")
    trial = whole * min(config.parallelism, config.trials) / config.trials if whole else None
    due = "every night" if config.every == 1 else f"every {config.every} nights"
    why = f"{config.trials} trials, {config.parallelism} at once, {due}"
    took = (f"a trial takes about {trial:,.1f} s, as measured",) if trial else ()
    if not _needs_machine(s, config.resources) and s.is_short(trial, SHORT_JOB_S):
        return Pick("optuna", (why, *took), "tuner", unneeded=(("autopilot", "the model is chosen"),))
    return Pick(
        "tuner",
        (why, *took, *_waste(s, config.resources, trial)),
        "optuna",
        instance=costs.type_of(s, config.resources),
        cost=costs.of_tuning(s, trial),
        unneeded=(("autopilot", "the model is chosen"),),
    )


def scoring(s: Situation) -> Pick:
    """By how long a day takes."""
    config, seconds = s.pipeline.scoring, s.seconds("score")
    start = "as soon as the rows are clean" if config.start_on == "clean" else "after the night's decision"
    took = f"{seconds:,.0f} s, as measured" if seconds else s.rows_words
    why = f"a day is scored {start} (scoring.start_on: {config.start_on}); {took}"
    if not _needs_machine(s, config.resources) and s.is_short(seconds, SHORT_JOB_S):
        return Pick("local", (why,), "transform", unneeded=(("spark", took),))
    return Pick(
        "transform",
        (why, *_waste(s, config.resources, seconds)),
        "local",
        instance=costs.type_of(s, config.resources, transform=True),
        cost=costs.of_scoring(s),
        unneeded=(("spark", took),),
    )


def real_time(s: Situation) -> Pick:
    """By the section endpoint, else by how soon a prediction is wanted."""
    if s.pipeline.endpoint is not None:
        return _endpoint(s, "the file has a section endpoint")
    wanted = s.latency_ms
    if wanted is None or wanted >= _HOUR_MS:
        why = "no section endpoint, and nobody said --latency-ms: a night's predictions are soon enough"
        return Pick("none", (why, *_limit(s)), "table", unneeded=(("endpoint", "it costs all day"),))
    if wanted <= REAL_TIME_MS:
        return _endpoint(s, f"a prediction is wanted within {wanted:,.0f} ms")
    if wanted <= ASYNC_MS:
        return Pick("serverless", (f"{wanted:,.0f} ms bear a cold start", *_limit(s)), "endpoint")
    return Pick("async", (f"{wanted / 1000:,.0f} s are longer than an endpoint may take",), "serverless")


def _endpoint(s: Situation, why: str) -> Pick:
    config = s.pipeline.endpoint
    machine = config.machine if config else s.pipeline.scoring.resources
    count = config.instances.min if config else 1
    cost = costs.always_on(s, machine, count)
    instance = costs.type_of(s, machine, transform=True)
    dear: tuple[str, ...] = ()
    if cost and s.budget is not None and cost.usd > s.budget:
        dear = (f"a machine that is always on costs more than the whole budget of {s.budget:,.0f} USD",)
    return Pick("endpoint", (why, *_limit(s), *dear), "serverless", instance=instance, cost=cost)


def orchestration(s: Situation) -> Pick:
    """By who runs servers."""
    cron = f"one night a day ({s.pipeline.partitions.cron}, {s.pipeline.partitions.timezone})"
    if s.team == "platform":
        return Pick("ecs", (cron, "a platform team runs it for others"), "mwaa")
    unneeded = (("pipelines", "backfills, the gate and quarantine are Airflow's part here"),)
    return Pick("ec2", (cron, "a small team"), "mwaa", unneeded=unneeded)


def monitoring(s: Situation) -> Pick:
    """CloudWatch; Model Monitor is for what no night sees."""
    budget = f"a budget of {s.budget:,.0f} USD a month" if s.budget else "no budget is set: set one"
    told = ", ".join(s.pipeline.alerts.connections) or "nobody: set alerts.connections"
    why = (budget, f"alerts go to {told}")
    if s.pipeline.endpoint is not None:
        when = "endpoint.capture and endpoint.monitoring are set: beside it, not instead"
        return Pick("cloudwatch", why, "model-monitor", other_when=when)
    return Pick("cloudwatch", why, "prometheus", unneeded=(("model-monitor", "there is no endpoint"),))


def registry(s: Situation) -> Pick:
    """By who runs servers."""
    if s.team == "platform":
        return Pick("managed-mlflow", ("several teams sign in by IAM",), "mlflow")
    unneeded = (("sagemaker-registry", "the ledger in the lake says who is champion"),)
    return Pick(
        "mlflow",
        ("one team; versions are found by name and fingerprint",),
        "managed-mlflow",
        unneeded=unneeded,
    )


def _needs_machine(s: Situation, resources: ResourcesConfig) -> bool:
    """Whether a job cannot or shall not share the worker."""
    return s.on_sagemaker or s.team == "platform" or resources.gpus > 0 or resources.instances > 1


def _waste(s: Situation, resources: ResourcesConfig, seconds: float | None) -> tuple[str, ...]:
    """What speaks against a machine of its own, where it is taken all the same."""
    if resources.gpus or not s.is_short(seconds, SHORT_JOB_S):
        return ()
    return ("it waits longer for its machine than it runs: platform local would be done before",)


def _size(gib: float) -> str:
    return (
        f"{gib:,.1f} GiB"
        if gib >= 1
        else f"{gib * 1024:,.1f} MiB"
        if gib >= 1 / 1024
        else f"{gib * 2**20:,.0f} KiB"
    )


def _asked(resources: ResourcesConfig) -> str:
    words = [f"{resources.gpus} GPU" if resources.gpus else f"{resources.cpus or 1} CPU"]
    if resources.memory_gib:
        words.append(f"{resources.memory_gib} GiB")
    if resources.instances > 1:
        words.append(f"{resources.instances} machines")
    return ", ".join(words)


def _machine_words(s: Situation, resources: ResourcesConfig) -> tuple[str, ...]:
    found = []
    if s.on_sagemaker:
        found.append("platform: sagemaker is set")
    elif s.team == "platform":
        found.append("a platform team wants each job with a role, a log and a price of its own")
    names = [costs.type_of(s, each) or "no such machine" for each in resources.candidates]
    if names:
        found.append(f"when there is none, {', then '.join(names)} (candidates)")
    elif resources.gpus:
        found.append("GPUs run out: name candidates to ask for instead")
    if resources.spot:
        found.append("spot: it may be taken away and goes on from its checkpoint")
    elif resources.gpus:
        found.append("spot: true would cost less, for jobs that write checkpoints")
    return tuple(found)


def _limit(s: Situation) -> tuple[str, ...]:
    limit = s.pipeline.gate.limits.latency_ms
    if limit is None:
        return ("gate.limits.latency_ms is not set: a slow model could become champion",)
    return (f"the gate holds a model that takes more than {limit:g} ms for a row (gate.limits.latency_ms)",)


RULES: Mapping[str, Callable[[Situation], Pick]] = {
    "ingest": ingest,
    "storage": storage,
    "catalog": catalog,
    "validation": validation,
    "features": features,
    "training": training,
    "tuning": tuning,
    "scoring": scoring,
    "real-time": real_time,
    "orchestration": orchestration,
    "monitoring": monitoring,
    "registry": registry,
}
"""By the need's name."""
