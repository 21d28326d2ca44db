"""Whether the night's model takes the champion's place: asks the gate, or a person, and writes it down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from nightshift.errors import ConfigError, NightshiftError
from nightshift.notifiers import metrics
from nightshift.notifiers.alerts import tell
from nightshift.notifiers.messages import RunLink, approval_asked
from nightshift.operators.base import GateLink, MlflowLink, PipelineOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Asset, Context

    from nightshift.config.pipeline import GateConfig
    from nightshift.registry.ledger import Draft, Entry, Ledger
    from nightshift.registry.models import Models, ModelVersion

__all__ = ["PromoteOperator"]

PROMOTE, KEEP = "Promote it", "Keep the champion"
"""What a person may answer; nobody's answer is the second."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A decision to take.

    :param after: number of the last entry of the ledger when it was looked at.
    :param evidence: the gate's, or the little there is where the gate was not asked.
    """

    challenger: ModelVersion
    champion: ModelVersion | None
    after: int
    evidence: dict[str, Any]

    @property
    def page(self) -> str:
        """The name of the evidence's page; empty where the gate was not asked."""
        if "metrics" not in self.evidence:
            return ""
        return f"{self.challenger.partition}-v{self.challenger.version}-{self.evidence['id'][:12]}"


class PromoteOperator(PipelineOperator):
    """Asks the gate and moves ``champion`` when it says so; every decision goes into the ledger.

    Two that decide at once are no danger: the ledger takes the decision of one, and the other's next try
    decides again.

    :param registered, evaluated: what the night's tasks returned.
    :param asset: told about the partition's decision, whether the champion changed or not.
    """

    template_fields = (*PipelineOperator.template_fields, "registered", "evaluated")
    operator_extra_links = (GateLink(), MlflowLink())

    def __init__(self, *, registered: Any, evaluated: Any, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.registered = registered
        self.evaluated = evaluated
        self.asset = asset

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{verdict, reasons, champion, evidence_url}``; champion is a model version as a dict, or
            None; evidence_url is empty where the gate was not asked.
        :raises RegistryError: when MLflow cannot be reached; nothing is decided then, or a retry finishes it.
        """
        case = self._case(context)
        if case.evidence["verdict"] == "ask":
            event = self._answered(context, case)
            if event is None:
                self._publish(case)
                self._ask(context, case)
            return self._conclude_with(context, case, event or {})
        return self._conclude(context, case)

    def execute_complete(self, context: Context, event: dict[str, Any], page: str) -> dict[str, Any]:
        """Go on with a person's answer, or with none.

        The answer is kept first: should a server be down now, the next try goes on with it and asks nobody.
        """
        kept = {"clears": context["ti"].max_tries, "run": context["ti"].run_id, "event": _plain(event)}
        self.lake().write_file(f"gate/{page}.answer.json", json.dumps(kept).encode())
        evidence = json.loads(self.lake().read_file(f"gate/{page}.json"))
        return self._conclude_with(context, self._looked_at(evidence), event)

    def _answered(self, context: Context, case: _Case) -> dict[str, Any] | None:
        """What a person has answered to an earlier try; a clear asks again."""
        lake, name = self.lake(), f"gate/{case.page}.answer.json"
        if not lake.exists(name):
            return None
        kept, ti = json.loads(lake.read_file(name)), context["ti"]
        found: dict[str, Any] = kept["event"]
        return found if (kept["clears"], kept["run"]) == (ti.max_tries, ti.run_id) else None

    def _conclude_with(self, context: Context, case: _Case, event: Mapping[str, Any]) -> dict[str, Any]:
        """Decide what a person has answered, unless the answer has come too late."""
        answer, by = _answer(event, self._gate(context))
        reasons = [*case.evidence["reasons"], *answer["reasons"]]
        if answer["verdict"] == "promote" and (changed := self._too_late(case)):
            answer, reasons = {"verdict": "hold"}, [f"too late: {changed}", *reasons]
        case.evidence.update(verdict=answer["verdict"], reasons=reasons)
        return self._conclude(context, case, approved_by=by)

    def _too_late(self, case: _Case) -> str:
        entries = self._registry()[1].entries()
        return self._another_champion(case.champion, entries) or self._rolled_back(case.challenger, entries)

    def _registry(self) -> tuple[Models, Ledger]:
        from nightshift.registry.ledger import Ledger
        from nightshift.registry.models import Models

        return Models(self.settings.mlflow_tracking_uri), Ledger(self.lake())

    def _champion(self) -> ModelVersion | None:
        from nightshift.registry.champion import current

        return current(*self._registry())

    def _gate(self, context: Context) -> GateConfig:
        """The pipeline file's gate; the form may say otherwise about who promotes."""
        asked = context["params"].get("promote") or self.pipeline.gate.promote
        return self.pipeline.gate.model_copy(update={"promote": asked})

    def _case(self, context: Context) -> _Case:
        from nightshift.gate.evidence import evidence_id

        gate, fingerprint = self._gate(context), self.evaluated["fingerprint"]
        case = self._looked_at({})
        words = self._without_the_gate(case)
        try:
            evidence = {} if words else self._weigh(gate, case.challenger, case.champion)
        except ConfigError as error:  # the champion stays, and it is said why; scoring goes on
            self.log.error("The gate cannot judge: %s", error)
            words = f"the gate cannot judge: {error}"
        if words:
            compared = self.evaluated["champion_version"]
            name = evidence_id(fingerprint, gate, case.challenger.version, compared)
            evidence = {"id": name, "evaluation": fingerprint, "verdict": "hold", "reasons": [words]}
        case.evidence.update(evidence)
        return case

    def _looked_at(self, evidence: dict[str, Any]) -> _Case:
        """The versions and the end of the ledger as they are now."""
        models, ledger = self._registry()
        last = ledger.last()
        challenger = models.get(self.registered["name"], self.registered["version"])
        return _Case(challenger, self._champion(), last.seq if last else 0, evidence)

    def _without_the_gate(self, case: _Case) -> str:
        """Why the champion stays where there is nothing to ask the gate; empty where there is."""
        if case.champion and case.champion.version == case.challenger.version:
            return f"version {case.champion.version} is the champion: same data, code and parameters"
        entries = self._registry()[1].entries()
        return self._another_champion(case.champion, entries) or self._rolled_back(case.challenger, entries)

    def _another_champion(self, champion: ModelVersion | None, entries: Sequence[Entry]) -> str:
        """Why the comparison does not count: it was with another champion; empty when it does."""
        compared, now = self.evaluated["champion_version"], champion.version if champion else ""
        if compared == now:
            return ""
        last = next((each for each in reversed(entries) if each.version == each.champion == now), None)
        since = f" (entry {last.seq}: {last.action})" if last else ""
        return (
            f"the champion is {now or 'none'}{since}, compared was {compared or 'none'}: clear the task "
            "'evaluate' of this run to compare again"
        )

    def _rolled_back(self, challenger: ModelVersion, entries: Sequence[Entry]) -> str:
        """Why a version that was rolled back may not return on the days that spoke for it before."""
        from nightshift.registry.ledger import barred

        document = self._evaluation()
        rollback = barred(entries, challenger.version, document["partitions"])
        if rollback is None:
            return ""
        return (
            f"version {challenger.version} was rolled back on {rollback.at[:10]} by entry {rollback.seq} "
            f"({'; '.join(rollback.reasons)}): it has to beat the margin on days after those it was judged on"
        )

    def _evaluation(self) -> dict[str, Any]:
        output = self.output_at(self.evaluated["output_uri"])
        found: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
        return found

    def _weigh(
        self, gate: GateConfig, challenger: ModelVersion, champion: ModelVersion | None
    ) -> dict[str, Any]:
        from nightshift.gate.evidence import Holdout, candidate_of, weigh
        from nightshift.gate.predictions import Predictions

        output, document = self.output_at(self.evaluated["output_uri"]), self._evaluation()
        models, left_out = document["models"], self.evaluated.get("left_out", "")
        theirs = models.get("champion", {})
        return weigh(
            Predictions.read(output / "predictions.parquet", gate.columns),
            gate,
            candidate_of(models["challenger"], challenger.version, challenger.partition),
            candidate_of(theirs, champion.version, champion.partition) if champion else None,
            evaluation=self.evaluated["fingerprint"],
            holdout=Holdout(document["partitions"], left_out.split(",") if left_out else ()),
        )

    def _publish(self, case: _Case) -> dict[str, bytes]:
        """The evidence as JSON, as a picture and as a page, beside the pipeline's tables; by its ending."""
        if not case.page:
            return {}
        lake, files = self.lake(), _files(case.evidence, self.pipeline.pipeline)
        for ending, data in files.items():
            lake.write_file(f"gate/{case.page}{ending}", data)
        self.links[GateLink.name] = self._url(f"{case.page}.html")
        return files

    def _url(self, file: str) -> str:
        return f"{self.settings.ui_url}/nightshift/gate/{self.pipeline.pipeline}/{file}"

    def _ask(self, context: Context, case: _Case) -> None:
        """Park the task until a person has answered, or for as long as the pipeline file says."""
        from airflow.sdk import Param
        from airflow.sdk.exceptions import TaskAwaitingInput
        from airflow.sdk.execution_time.hitl import upsert_hitl_detail

        from nightshift.gate.words import approval_body

        ti, minutes = context["ti"], self.pipeline.gate.ask_timeout_minutes
        name, version = self.pipeline.pipeline, case.challenger.version
        comment = Param("", type=["null", "string"], title="Comment", description="Why; for the ledger.")
        upsert_hitl_detail(
            ti_id=ti.id,
            options=[PROMOTE, KEEP],
            defaults=[KEEP],
            subject=f"{name}: may version {version} take the champion's place? (within {minutes:g} minutes)",
            body=approval_body(case.evidence, self._url(f"{case.page}.png"), self._url(f"{case.page}.html")),
            params={"comment": comment.serialize()},
        )
        run = RunLink(ti.dag_id, ti.run_id, self.settings.ui_url)
        message = approval_asked(name, version, case.evidence["reasons"], minutes, run, ti.task_id)
        tell(self.pipeline, message, cause=f"approval {ti.dag_id} {ti.run_id} {ti.try_number}")
        self.log.info("Version %s waits for a person for up to %g minutes", version, minutes)
        raise TaskAwaitingInput(
            method_name="execute_complete",
            kwargs={"page": case.page},
            timeout=timedelta(minutes=minutes),
        )

    def _conclude(self, context: Context, case: _Case, *, approved_by: str = "") -> dict[str, Any]:
        from nightshift.registry.champion import current, decide

        models, ledger = self._registry()
        files = self._publish(case)
        entry = decide(models, ledger, self._draft(context, case, approved_by), after=case.after)
        verdict, reasons = entry.action, list(entry.reasons)
        self.log.info("Version %s: %s. %s", case.challenger.version, verdict, "; ".join(reasons))
        metrics.gate_decided(self.pipeline.pipeline, verdict)
        self._tell_story(models, ledger, case, files)
        champion = current(models, ledger)
        self.links[MlflowLink.name] = models.page(champion or case.challenger)
        context["outlet_events"][self.asset].add_partitions(self.partition(context))
        return {
            "verdict": verdict,
            "reasons": reasons,
            "champion": champion.to_dict() if champion else None,
            "evidence_url": self.links.get(GateLink.name, ""),
        }

    def _draft(self, context: Context, case: _Case, approved_by: str) -> Draft:
        from nightshift.provenance.record import read_record
        from nightshift.registry.ledger import Draft
        from nightshift.registry.who import dag_run

        ti, version = context["ti"], case.challenger
        promoted = case.evidence["verdict"] == "promote"
        before = case.champion.version if case.champion else ""
        record = read_record(self.settings.mlflow_tracking_uri, version.run_id) or {}
        return Draft(
            action="promote" if promoted else "hold",
            version=version.version,
            champion=version.version if promoted else before,
            partition=version.partition,
            fingerprint=version.fingerprint,
            reasons=tuple(case.evidence["reasons"]),
            who=dag_run(ti.dag_id, ti.run_id, self.settings.ui_url, triggered_by=_started_by(context)),
            approved_by=approved_by,
            evidence=case.evidence,
            manifests={name: _short(one) for name, one in record.get("manifests", {}).items()},
            code_sha256=record.get("code_sha256", ""),
        )

    def _tell_story(self, models: Models, ledger: Ledger, case: _Case, files: Mapping[str, bytes]) -> None:
        """The evidence and the model's page in MLflow; the decision stands without them."""
        from nightshift.provenance.tell import tell_change
        from nightshift.registry.artifacts import Artifacts

        try:
            named = {f"gate/gate{ending}": data for ending, data in files.items()}
            Artifacts(models.uri).write(case.challenger.run_id, named)
        except NightshiftError as error:
            self.log.warning("The evidence is not in MLflow: %s", error)
        changed = case.champion if case.champion and case.evidence["verdict"] == "promote" else None
        tell_change(
            *(models, ledger, [case.challenger.version, changed.version if changed else ""]),
            pipeline=self.pipeline,
            jobs_dir=self.settings.jobs_dir,
        )


def _answer(event: Mapping[str, Any], gate: GateConfig) -> tuple[dict[str, Any], str]:
    """A person's answer as verdict and reasons, and the person's name; empty for nobody."""
    if event.get("timedout") or event.get("error_type") == "timeout":
        words = f"nobody answered within {gate.ask_timeout_minutes:g} minutes: the champion stays"
        return {"verdict": "hold", "reasons": [words]}, ""
    if "chosen_options" not in event:
        words = f"there is no answer ({event.get('error') or 'Airflow does not say why'}): the champion stays"
        return {"verdict": "hold", "reasons": [words]}, ""
    user = event.get("responded_by_user") or {}
    by = str(user.get("name") or user.get("id") or "somebody")
    comment = str((event.get("params_input") or {}).get("comment") or "").strip()
    said = f": {comment}" if comment else ""
    if event["chosen_options"] == [PROMOTE]:
        return {"verdict": "promote", "reasons": [f"approved by {by}{said}"]}, by
    return {"verdict": "hold", "reasons": [f"{by} keeps the champion{said}"]}, by


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as JSON: the time of it is the only thing that is none."""
    return {key: value for key, value in event.items() if key != "responded_at"}


def _started_by(context: Context) -> str | None:
    name = getattr(context["dag_run"], "triggering_user_name", None)
    return str(name) if name else None


def _short(manifest: Mapping[str, Any]) -> dict[str, Any]:
    days = manifest["partitions"]
    return {
        **{key: manifest[key] for key in ("version", "sha256", "rows", "bytes")},
        "first": min(days, default=""),
        "last": max(days, default=""),
    }


def _files(evidence: Mapping[str, Any], title: str) -> dict[str, bytes]:
    """The evidence by the ending of its file."""
    from nightshift.gate.page import render
    from nightshift.gate.picture import draw

    picture = draw(evidence)
    return {
        ".json": json.dumps(evidence, indent=1).encode(),
        ".png": picture,
        ".html": render(evidence, title, picture).encode(),
    }
