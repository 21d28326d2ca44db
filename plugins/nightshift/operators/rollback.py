"""The way back as a task: an earlier champion is the champion again, and the pipeline's people are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.notifiers.alerts import tell
from nightshift.notifiers.messages import RunLink, rolled_back
from nightshift.operators.base import MlflowLink, PipelineOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from nightshift.registry.ledger import Entry, Ledger
    from nightshift.registry.models import Models

__all__ = ["RollbackOperator"]


class RollbackOperator(PipelineOperator):
    """Makes the version of the form the champion again; tried again, it does nothing twice."""

    template_fields = ()
    operator_extra_links = (MlflowLink(),)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{champion, before, seq}``: the versions, and the number of the ledger's entry.
        :raises ConfigError: when the version never was champion, and the form does not say *anyway*.
        :raises ModelVersionAbsent: when MLflow has no such version, or not all of its files.
        :raises RegistryError: when MLflow cannot be reached; a retry cures it.
        """
        from nightshift.registry.champion import roll_back
        from nightshift.registry.ledger import Ledger
        from nightshift.registry.models import Models

        models, ledger = Models(self.settings.mlflow_tracking_uri), Ledger(self.lake())
        form, who = context["params"], self._who(context)
        to = str(form["version"]).strip()
        entry = roll_back(models, ledger, to=to, reason=form["reason"], who=who, anyway=form["anyway"])
        champion = models.get(ledger.model, entry.champion)
        self.links[MlflowLink.name] = models.page(champion)
        if entry.action != "rollback" or entry.who != who:
            self.log.info("Version %s is the champion already", entry.champion)
            return {"champion": entry.champion, "before": entry.champion, "seq": entry.seq}
        before = ledger.entry(entry.seq - 1).champion if entry.seq > 1 else ""
        self.log.info("The champion is version %s, it was %s", entry.champion, before or "none")
        self._tell(context, entry, before)
        return {"champion": entry.champion, "before": before, "seq": entry.seq}

    def _tell_stories(self, models: Models, ledger: Ledger, versions: Sequence[str]) -> None:
        """The pages in MLflow of the version returned to and of the one that had to go."""
        from nightshift.provenance.tell import tell_story
        from nightshift.registry.tracking import Tracking

        every = {each.version: each for each in models.versions(ledger.model)}
        for version in filter(None, map(every.get, versions)):
            tell_story(
                *(Tracking(models.uri), models, ledger, version),
                pipeline=self.pipeline,
                jobs_dir=self.settings.jobs_dir,
            )

    def _who(self, context: Context) -> dict[str, str]:
        from nightshift.registry.who import dag_run

        ti, person = context["ti"], getattr(context["dag_run"], "triggering_user_name", None)
        return dag_run(ti.dag_id, ti.run_id, self.settings.ui_url, triggered_by=person)

    def _tell(self, context: Context, entry: Entry, before: str) -> None:
        run = RunLink(context["ti"].dag_id, context["ti"].run_id, self.settings.ui_url)
        by, why = entry.who.get("user", ""), "; ".join(entry.reasons)
        message = rolled_back(self.pipeline.pipeline, entry.champion, before, why, by, run)
        tell(self.pipeline, message, cause=f"rollback:{entry.id}")
