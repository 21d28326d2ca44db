"""The demo: sample data, four weeks of history, the stack, one real night, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nightshift.backfill.days import Day, ingest_days
from nightshift.config.partitions import back, check_key, days
from nightshift.embedded.airflow_api import AirflowApi
from nightshift.embedded.cloud import start_cloud
from nightshift.embedded.night import Night, follow, prepare, result
from nightshift.embedded.sample_data import seed_landing
from nightshift.embedded.stack import Stack
from nightshift.errors import ConfigError
from nightshift.hooks.platform import connect
from nightshift.hooks.storage import landing_zone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.embedded.console import Console
    from nightshift.embedded.ports import Ports

__all__ = ["STEPS", "Demo", "history_of", "report_files", "summary_lines"]

STEPS = 4


@dataclass(slots=True)
class Demo:
    """One demo of one pipeline on this machine.

    :param partition: the night; its history is what the pipeline's training window asks for.
    """

    pipeline: Pipeline
    partition: str
    settings: Settings
    ports: Ports
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, *, timeout_s: float) -> dict[str, Any]:
        """Run all steps; writes and returns the content of ``demo.json``.

        :raises NightshiftError: when a step fails.
        """
        check_key(self.pipeline, self.partition)
        Stack.asked_for(self.settings, self.ports)
        if self.settings.loopback:
            self._start_cloud()
        connect(self.pipeline.platform, self.settings)  # what is missing to sign in is said now
        stack = Stack.asked_for(self.settings, self.ports)
        history = history_of(self.pipeline, self.partition)
        self._land([*history, self.partition])
        self._ingest(history)
        self._start(stack)
        api = AirflowApi(stack.airflow_url)
        night = self._night(api, timeout_s)
        report = self._report(api, stack, night)
        for file in report_files(self.settings):
            file.write_text(json.dumps(report, indent=2) + "\n")
        return report

    def _start_cloud(self) -> None:
        name = self.settings.loopback
        with self.console.step(f"Loopback {name}: its buckets and jobs are of this machine") as step:
            self.settings = start_cloud(self.settings)
            step.outcome = f"{self.settings.lake_uri}, {self.settings.landing_uri}"

    def _land(self, partitions: Sequence[str]) -> None:
        with self.console.step(f"Landing zone: real flights of {partitions[0]} to {partitions[-1]}") as step:
            done = seed_landing(landing_zone(self.settings), partitions[0], partitions[-1])
            step.outcome = f"{done.folders} folders written, {done.kept} were there, in {done.landing}"

    def _ingest(self, history: Sequence[str]) -> None:
        with self.console.step(f"History: ingest and validate {len(history)} days in bulk") as step:
            done: list[Day] = []
            step.say("the first day takes a few seconds longer: it loads Great Expectations")

            def each(day: Day) -> None:
                done.append(day)
                step.count(len(done), len(history), f"{day.partition} {day.status}, {day.clean} clean rows")

            found = ingest_days(self.pipeline, history, self.settings, each=each)
            if bad := [day for day in found if not day.is_good]:
                reasons = "; ".join(f"{day.partition} {day.status}: {day.reason}" for day in bad[:3])
                raise ConfigError(f"{len(bad)} of {len(found)} days of history are no good: {reasons}")
            kept = sum(day.kept for day in found)
            rows, aside = sum(day.clean for day in found), sum(day.quarantined for day in found)
            step.outcome = f"{rows:,} rows clean, {aside:,} quarantined, {kept} days unchanged"
        self.seconds["history"] = round(step.seconds, 1)

    def _start(self, stack: Stack) -> None:
        with self.console.step("Stack: MLflow and Airflow, on loopback only") as step:
            step.say("usually 20 to 60 s")
            started = stack.start(step.say)
            step.outcome = "ran already" if started.reused else ""
        self.seconds["start"] = started.seconds

    def _night(self, api: AirflowApi, timeout_s: float) -> Night:
        with self.console.step(f"Night of {self.partition}: ingest, validate, tune, train, score") as step:
            prepare(api, self.pipeline.pipeline)
            return follow(api, self.pipeline.pipeline, self.partition, step.say, timeout_s=timeout_s)

    def _report(self, api: AirflowApi, stack: Stack, night: Night) -> dict[str, Any]:
        """The content of ``demo.json``."""
        validated = result(api, night, "validate", dag="ingest")
        tuned = result(api, night, "tune", dag="retrain")
        registered = result(api, night, "register", dag="retrain")
        promoted = result(api, night, "promote", dag="retrain")
        published = result(api, night, "publish", dag="score")
        rows = validated.get("rows", {})
        champion = promoted.get("champion") or {}
        best = tuned.get("best") or {}
        name = self.pipeline.pipeline
        jobs = [tuned, *(result(api, night, verb, dag="retrain") for verb in ("train", "evaluate"))]
        jobs.append(result(api, night, "score", dag="score"))
        return {
            "pipeline": name,
            "platform": self.pipeline.platform,
            "partition": self.partition,
            "rows": {
                **{key: rows.get(key) for key in ("ingested", "clean", "quarantined")},
                "scored": published.get("rows_out"),
            },
            "jobs": {
                key: round(sum(job.get(key, 0.0) for job in jobs), 6)
                for key in ("seconds", "billable_seconds", "cost_usd")
            },
            "tuning": {"trials": tuned.get("trials"), "best": best},
            "champion": {"version": champion.get("version"), "metrics": champion.get("metrics", {})},
            "challenger": {"version": registered.get("version"), "metrics": registered.get("metrics", {})},
            "verdict": promoted.get("verdict"),
            "reasons": promoted.get("reasons", []),
            "seconds": {
                "setup": _setup_seconds(self.settings),
                **self.seconds,
                "night": night.seconds,
                "by_task": night.seconds_by_task,
            },
            "urls": {
                "airflow": stack.airflow_url,
                "mlflow": stack.mlflow_url,
                "report": validated.get("report_url"),
                "evidence": promoted.get("evidence_url"),
            },
        }


def report_files(settings: Settings) -> list[Path]:
    """Where the numbers go: the stack's home, and of a cloud's stack the one above, where people look."""
    homes = [settings.home, settings.home.parent] if settings.loopback else [settings.home]
    return [home / "demo.json" for home in homes]


def history_of(pipeline: Pipeline, partition: str) -> list[str]:
    """The days before ``partition`` that its training window covers, as far as the pipeline has them."""
    first = max(back(partition, pipeline.training.window.days - 1), pipeline.partitions.start.isoformat())
    return days(first, back(partition, 1)) if first < partition else []


def summary_lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    rows, tuning, seconds = report["rows"], report["tuning"], report["seconds"]
    slowest = sorted(seconds["by_task"].items(), key=lambda item: -item[1])[:6]
    best = tuning["best"]
    value = best.get("value")
    return [
        f"  rows       {rows['ingested']} ingested: {rows['clean']} clean, {rows['quarantined']} quarantined",
        f"             {rows['scored']} scored",
        f"  tuning     {tuning['trials']} trials, best {best.get('metric', '')} "
        f"{'-' if value is None else f'{value:.4f}'} on the validation days",
        f"             with {_params(best.get('params', {}))}",
        *_models(report),
        f"  jobs       {report['jobs']['seconds']:.1f} s, {report['jobs']['billable_seconds']:.1f} s billed,"
        f" {report['jobs']['cost_usd']:.4f} USD on {report['platform']}",
        f"  seconds    setup {seconds['setup']}, history {seconds['history']}, start {seconds['start']},"
        f" night {seconds['night']}",
        f"  slowest    {', '.join(f'{name} {took:.1f}' for name, took in slowest)}",
        "",
        f"  Airflow    {report['urls']['airflow']}",
        f"  MLflow     {report['urls']['mlflow']}",
        f"  Report     {report['urls']['report']}",
        f"  Decision   {report['urls']['evidence'] or 'the gate was not asked'}",
    ]


def _models(report: dict[str, Any]) -> list[str]:
    """Tonight's model, what was decided about it and why, and who is champion now."""
    challenger, champion = report["challenger"], report["champion"]
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in challenger["metrics"].items())
    decision = "takes the champion's place" if report["verdict"] == "promote" else "the champion stays"
    return [
        f"  model      version {challenger['version']}, on the holdout days: {metrics}",
        f"  decision   {decision}: {'; '.join(report['reasons'])}",
        f"  champion   version {champion['version']}",
    ]


def _params(params: dict[str, Any]) -> str:
    shown = (f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
    return " ".join(shown) or "the defaults"


def _setup_seconds(settings: Settings) -> float | None:
    """How long ``make setup`` took when it last installed something."""
    file = report_files(settings)[-1].with_name("setup.json")
    try:
        return float(json.loads(file.read_text())["seconds"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
