"""The way back as a task: an earlier champion is the champion again, and the pipeline's people are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.notifiers.alerts import tell
from nightshift.notifiers.messages import RunLink, rolled_back
from nightshift.operators.base import MlflowLink, PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from nightshift.registry.ledger import Entry

__all__ = ["RollbackOperator"]


class RollbackOperator(PipelineOperator):
    """Makes the version of the form the champion again; tried again, it does nothing twice.

    :param asset: told that there is another champion, where somebody waits for it: the endpoint follows.
    """

    template_fields = ()
    operator_extra_links = (MlflowLink(),)

    def __init__(self, *, asset: Asset | None = None, **kwargs: Any) -> None:
        super().__init__(outlets=[asset] if asset else [], **kwargs)
        self.asset = asset

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{champion, before, seq}``: the versions, and the number of the ledger's entry.
        :raises ConfigError: when the version never was champion, and the form does not say *anyway*.
        :raises ModelVersionAbsent: when MLflow has no such version, or not all of its files.
        :raises RegistryError: when MLflow cannot be reached; a retry cures it.
        """
        from nightshift.provenance.tell import tell_change
        from nightshift.registry.champion import roll_back
        from nightshift.registry.ledger import Ledger
        from nightshift.registry.models import Models

        models, ledger = Models(self.settings.mlflow_tracking_uri), Ledger(self.lake())
        form, who = context["params"], self._who(context)
        to = str(form["version"]).strip()
        entry = roll_back(models, ledger, to=to, reason=form["reason"], who=who, anyway=form["anyway"])
        champion = models.get(ledger.model, entry.champion)
        self.links[MlflowLink.name] = models.page(champion)
        if self.asset is not None:
            context["outlet_events"][self.asset].add_partitions(champion.partition)
        if entry.action != "rollback" or entry.who != who:
            self.log.info("Version %s is the champion already", entry.champion)
            return {"champion": entry.champion, "before": entry.champion, "seq": entry.seq}
        before = ledger.entry(entry.seq - 1).champion if entry.seq > 1 else ""
        self.log.info("Entry %d: from version %s to %s", entry.seq, before or "none", entry.champion)
        self._tell(context, entry, before)
        tell_change(
            *(models, ledger, [before, entry.champion]),
            pipeline=self.pipeline,
            jobs_dir=self.settings.jobs_dir,
        )
        return {"champion": entry.champion, "before": before, "seq": entry.seq}

    def _who(self, context: Context) -> dict[str, str]:
        from nightshift.registry.who import dag_run

        ti, person = context["ti"], getattr(context["dag_run"], "triggering_user_name", None)
        return dag_run(ti.dag_id, ti.run_id, self.settings.ui_url, triggered_by=person)

    def _tell(self, context: Context, entry: Entry, before: str) -> None:
        run = RunLink(context["ti"].dag_id, context["ti"].run_id, self.settings.ui_url)
        by, why = entry.who.get("user", ""), "; ".join(entry.reasons)
        message = rolled_back(self.pipeline.pipeline, entry.champion, before, why, by, run)
        tell(self.pipeline, message, cause=f"rollback:{entry.id}")
