"""A backfill as tasks: plan it, cut its steps into chunks, work on a chunk, announce, say how it ended."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from nightshift.errors import BackfillFailed, NightshiftError
from nightshift.notifiers.alerts import cause_of, failed_task, tell
from nightshift.notifiers.messages import RunLink, backfill_failed
from nightshift.operators.base import BackfillLink, PipelineOperator
from nightshift.operators.catalog import show_in_catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from airflow.sdk import Asset, BaseOperatorLink, Context

    from nightshift.backfill.days import Day
    from nightshift.backfill.outcome import Outcome
    from nightshift.backfill.plan import Plan
    from nightshift.lake.tables import Lake

__all__ = [
    "AnnounceBackfillOperator",
    "BackfillOperator",
    "BackfillPlanOperator",
    "BackfillReportOperator",
    "ChunkOperator",
    "CutOperator",
]

_REFUSED = "refused"
_TOLD = 10


class BackfillOperator(PipelineOperator):
    """A task of a backfill.

    :param plan: what :class:`BackfillPlanOperator` returned; None when it failed.
    """

    template_fields: tuple[str, ...] = ("plan",)
    operator_extra_links: tuple[BaseOperatorLink, ...] = (BackfillLink(),)

    def __init__(self, *, plan: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def load(self, lake: Lake) -> Plan:
        """The plan itself; it is too large to be handed from task to task."""
        from nightshift.backfill.records import load_plan, page_url

        plan = load_plan(lake, self.plan["id"])
        self.links[BackfillLink.name] = page_url(self.settings.ui_url, plan)
        return plan

    def models(self) -> Collection[str]:
        """The partitions that have a model version."""
        from nightshift.registry.models import Models

        return Models(self.settings.mlflow_tracking_uri).by_partition(self.pipeline.pipeline)

    def settled(self, lake: Lake, plan: Plan) -> Outcome:
        """What became of the plan, by what is in the lake now."""
        from nightshift.backfill.outcome import settle
        from nightshift.backfill.records import read_results
        from nightshift.backfill.state import judge, look

        partitions, steps = plan.request.partitions, plan.request.steps
        now = judge(look(lake, partitions, steps, models=self.models), partitions, steps)
        return settle(plan, now, read_results(lake, plan))


class BackfillPlanOperator(BackfillOperator):
    """Looks at what is there, and says what there is to do, how long it will take and what it will cost."""

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{id, page, work: {step: partitions}, minutes, usd}``; the plan itself is in the lake.
        :raises ConfigError: when the form asks for what cannot be had; ``PartitionKeyError`` for a day.
        """
        try:
            return self._plan(context)
        except NightshiftError as error:
            context["ti"].xcom_push(key=_REFUSED, value=str(error)[:1000])  # the report tells it
            raise

    def _plan(self, context: Context) -> dict[str, Any]:
        from airflow.sdk.configuration import conf

        from nightshift.backfill.page import html
        from nightshift.backfill.plan import Request, plan_id, plan_range
        from nightshift.backfill.records import page_path, page_url, save_plan
        from nightshift.backfill.table import plan_lines

        began, ti, lake = time.monotonic(), context["ti"], self.lake()
        request = Request.of(self.pipeline, context["params"])
        plan = plan_range(
            lake,
            request,
            name=plan_id(request, ti.dag_id, ti.run_id),
            pipeline=self.pipeline.pipeline,
            run=ti.run_id,
            models=self.models,
            most_chunks=conf.getint("core", "max_map_length"),
        )
        save_plan(lake, plan)
        url = self.links[BackfillLink.name] = page_url(self.settings.ui_url, plan)
        lake.write_file(page_path(plan.id), html(plan, run_url=_run_link(self, context).url))
        for line in plan_lines(plan):
            self.log.info("%s", line)
        self.log.info("Planned in %.1f s. As a page: %s", time.monotonic() - began, url)
        return {
            "id": plan.id,
            "page": url,
            "work": {name: len(step.work) for name, step in plan.steps.items()},
            "minutes": round(plan.minutes, 1),
            "usd": round(plan.usd, 2),
        }


class CutOperator(BackfillOperator):
    """Cuts the work of one step into chunks, one for each mapped task; none in a dry run.

    :param step: the step.
    """

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Context) -> list[str]:
        """
        :returns: labels like ``2013-01-01..2013-01-30``; empty when there is nothing to do.
        """
        from nightshift.backfill.plan import chunk_label

        plan = self.load(self.lake())
        step = plan.steps.get(self.step)
        if step is None or plan.request.dry_run or not step.work:
            self.log.info("Nothing to %s%s", self.step, " in a dry run" if plan.request.dry_run else "")
            return []
        self.log.info("%s: %d partitions in %d chunks", self.step, len(step.work), len(step.chunks))
        return [chunk_label(chunk) for chunk in step.chunks]


class ChunkOperator(BackfillOperator):
    """Works through the partitions of one chunk in this process; each has a result of its own.

    :param step: ``ingest`` or ``validate``.
    :param chunk: one of the labels that :class:`CutOperator` returned.
    """

    template_fields = ("plan", "chunk")

    def __init__(self, *, step: str, chunk: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.chunk = chunk
        self._stopping = False

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{step, chunk, done, kept, failed: {partition: reason}, failed_total, seconds, versions}``.
        :raises StorageUnavailable: when it was not the partitions that failed; a retry does what is left.
        :raises BackfillInterrupted: when it was stopped between two partitions.
        """
        from nightshift.backfill.days import Shift
        from nightshift.backfill.plan import in_chunk
        from nightshift.backfill.records import record_chunk

        plan = self.load(self.lake())
        partitions = in_chunk(plan.steps[self.step].work, self.chunk)
        shift = Shift(
            self.pipeline,
            self.settings,
            run=f"{plan.id}@{plan.made_at}",
            force=plan.request.reprocess == "all",
            stop=lambda: self._stopping,
        )
        days = shift.work(self.step, partitions, self._each(len(partitions)))
        record_chunk(shift.lake, plan, self.step, self.chunk, [asdict(day) for day in days])
        bad = {day.partition: day.reason[:200] for day in days if not day.is_good}
        versions = self._versions(shift.lake)
        show_in_catalog(self.settings, shift.lake, tuple(versions))
        return {
            "step": self.step,
            "chunk": self.chunk,
            "done": len(days) - len(bad),
            "kept": sum(day.kept for day in days),
            "failed": dict(list(bad.items())[:_TOLD]),
            "failed_total": len(bad),
            "seconds": round(sum(day.seconds for day in days), 1),
            "versions": versions,
        }

    def _versions(self, lake: Lake) -> dict[str, int]:
        """The versions of the step's tables that hold the whole chunk."""
        tables = ("raw", *self.pipeline.references) if self.step == "ingest" else ("clean", "quarantine")
        return {name: lake.table(name).version() for name in tables if lake.table(name).exists()}

    def _each(self, total: int) -> Callable[[Day], None]:
        done = 0

        def each(day: Day) -> None:
            nonlocal done
            done += 1
            tell_it = self.log.info if day.is_good else self.log.warning
            tell_it("[%d/%d] %s", done, total, day.line())

        return each

    def on_kill(self) -> None:
        """Stop before the next partition; the one at work is whole or not there, whenever it is killed."""
        self._stopping = True


class AnnounceBackfillOperator(BackfillOperator):
    """Tells the DAGs that wait about the newest partition that was made good: one event.

    :param assets: the asset of each step that has one; the first with something new is told.
    """

    def __init__(self, *, assets: Mapping[str, Asset], **kwargs: Any) -> None:
        super().__init__(outlets=list(assets.values()), **kwargs)
        self.assets = dict(assets)

    def execute(self, context: Context) -> str:
        """
        :returns: what was announced, e.g. ``2013-01-31 of flight_delays_clean``.
        :raises AirflowSkipException: when there is nothing to announce.
        """
        if self.plan is None:
            raise AirflowSkipException("there is no plan")
        lake = self.lake()
        plan = self.load(lake)
        if plan.request.dry_run or not plan.request.announce:
            raise AirflowSkipException("nothing is announced: a dry run, or switched off in the form")
        outcome = self.settled(lake, plan)
        for step, asset in self.assets.items():
            newest = outcome.newest(step)
            if newest is None:
                continue
            self.outlets = [asset]  # an event goes out for each of a task's outlets, asked for or not
            context["outlet_events"][asset].add_partitions(newest)
            self.log.info("Partition %s of %s is ready", newest, asset.name)
            return f"{newest} of {asset.name}"
        raise AirflowSkipException("no partition was made good that another DAG waits for")


class BackfillReportOperator(BackfillOperator):
    """Says how the backfill ended, whatever became of its tasks; fails when a partition is not good.

    :param announced: what :class:`AnnounceBackfillOperator` returned; None when it was skipped.
    """

    template_fields = ("plan", "announced")

    def __init__(self, *, announced: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.announced = announced

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{page, done: {step: partitions}, not_good, announced}``; pushed also when it fails.
        :raises BackfillFailed: names the partitions that are not good, and why.
        """
        if self.plan is None:
            raise BackfillFailed(f"the backfill was not planned: {self._refusal(context)}")
        lake = self.lake()
        plan = self.load(lake)
        if plan.request.dry_run:
            self.log.info("A dry run: nothing was done. The plan: %s", self.links[BackfillLink.name])
            return self._summary(None)
        outcome = self.settled(lake, plan)
        self._publish(context, lake, plan, outcome)
        if outcome.left:
            context["ti"].xcom_push(key="return_value", value=self._summary(outcome))
            raise self._failure(context, plan, outcome)
        return self._summary(outcome)

    def _refusal(self, context: Context) -> str:
        why = context["ti"].xcom_pull(task_ids="plan", key=_REFUSED)
        return str(why or "see the log of its task 'plan'")

    def _publish(self, context: Context, lake: Lake, plan: Plan, outcome: Outcome) -> None:
        from nightshift.backfill.page import html
        from nightshift.backfill.records import page_path
        from nightshift.backfill.table import outcome_lines

        url = _run_link(self, context).url
        lake.write_file(page_path(plan.id), html(plan, outcome, run_url=url, announced=self.announced or ""))
        for line in outcome_lines(plan, outcome):
            self.log.info("%s", line)
        self.log.info("As a page: %s", self.links[BackfillLink.name])

    def _summary(self, outcome: Outcome | None) -> dict[str, Any]:
        return {
            "page": self.links[BackfillLink.name],
            "done": {name: len(step.done) for name, step in outcome.steps.items()} if outcome else {},
            "not_good": len(outcome.left) if outcome else 0,
            "announced": self.announced,
        }

    def _failure(self, context: Context, plan: Plan, outcome: Outcome) -> BackfillFailed:
        """The error of the run; its alert goes out here, where what failed is known."""
        left = outcome.left
        done = {key for step in outcome.steps.values() for key in step.done} - set(left)
        message = backfill_failed(plan.pipeline, left, len(done), _run_link(self, context))
        tell(self.pipeline, message, cause=cause_of(context, failed_task(context, self.pipeline)))
        named = "; ".join(f"{key} {why}" for key, why in list(left.items())[:_TOLD])
        more = f"; and {len(left) - _TOLD} more" if len(left) > _TOLD else ""
        asked = plan.request
        return BackfillFailed(
            f"{len(left)} of the {len(asked.partitions)} partitions {asked.first}..{asked.last} of "
            f"{plan.pipeline} are not good: {named}{more}",
            fix=f"look at {self.links[BackfillLink.name]}, correct what is wrong, and start it again: only "
            "what is missing or failed is done then",
        )


def _run_link(operator: BackfillOperator, context: Context) -> RunLink:
    ti = context["ti"]
    return RunLink(ti.dag_id, ti.run_id, operator.settings.ui_url)
