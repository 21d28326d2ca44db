"""The pages that the plugin serves below ``/nightshift``: reports, backfills, the evidence of the gate."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, auth_manager_from_app
from fastapi import Depends, FastAPI, HTTPException, Path
from fastapi.responses import HTMLResponse, Response

from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import check_key
from nightshift.errors import NightshiftError
from nightshift.hooks.settings import current_settings
from nightshift.hooks.storage import open_lake

if TYPE_CHECKING:
    from collections.abc import Callable

    from nightshift.config.pipeline import Pipeline

__all__ = ["app"]

# A report is data from outside: no script, nothing from another place.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}

app = FastAPI(title="Nightshift")
# A mounted application has a state of its own; Airflow's sign-in looks for its auth manager there.
app.dependency_overrides[auth_manager_from_app] = get_auth_manager

PipelineName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{1,40}$")]
PartitionKey = Annotated[str, Path(pattern=r"^\d{4}-\d{2}-\d{2}$")]
EvidenceName = Annotated[str, Path(pattern=r"^\d{4}-\d{2}-\d{2}-v\d{1,9}-[0-9a-f]{12}$")]
BackfillId = Annotated[str, Path(pattern=r"^\d{4}-\d{2}-\d{2}_\d{4}-\d{2}-\d{2}_[0-9a-f]{12}$")]


def _reader_of(verb: str) -> Callable[..., None]:
    """For those alone who may read what the tasks of the pipeline's DAG of that name returned."""

    def may_read(pipeline: PipelineName, user: GetUserDep) -> None:
        may = get_auth_manager().is_authorized_dag(
            method="GET",
            access_entity=DagAccessEntity.XCOM,
            details=DagDetails(id=f"{pipeline}_{verb}"),
            user=user,
        )
        if not may:
            raise HTTPException(403, "Forbidden")

    return may_read


_may_read = _reader_of("ingest")
"""Reports and backfills show rows."""
_may_decide = _reader_of("retrain")
"""Who is asked for an approval sees what it is about."""


@app.get("/reports/{pipeline}/{partition}", dependencies=[Depends(_may_read)])
def report(pipeline: PipelineName, partition: PartitionKey) -> HTMLResponse:
    """The validation report of one partition."""
    return _page(pipeline, lambda found: f"reports/{check_key(found, partition)}.html")


@app.get("/backfills/{pipeline}/{name}", dependencies=[Depends(_may_read)])
def backfill(pipeline: PipelineName, name: BackfillId) -> HTMLResponse:
    """The plan of a backfill, and what became of it."""
    return _page(pipeline, lambda found: f"backfills/{name}.html")


@app.get("/gate/{pipeline}/{name}.html", dependencies=[Depends(_may_decide)])
def evidence(pipeline: PipelineName, name: EvidenceName) -> HTMLResponse:
    """What a decision about a model version rests on."""
    return _page(pipeline, lambda found: f"gate/{name}.html")


@app.get("/gate/{pipeline}/{name}.png", dependencies=[Depends(_may_decide)])
def evidence_picture(pipeline: PipelineName, name: EvidenceName) -> Response:
    """The same as a picture, for the form that asks for an approval."""
    try:
        picture = _read(pipeline, lambda found: f"gate/{name}.png")
    except NightshiftError as error:
        return Response(str(error), status_code=404, media_type="text/plain", headers=_HEADERS)
    return Response(picture, media_type="image/png", headers=_HEADERS)


def _page(pipeline: str, file_of: Callable[[Pipeline], str]) -> HTMLResponse:
    """A page out of a pipeline's lake, or a plain error."""
    try:
        page = _read(pipeline, file_of)
    except NightshiftError as error:
        return HTMLResponse(f"<p>{html.escape(str(error))}</p>", status_code=404, headers=_HEADERS)
    return HTMLResponse(page, headers=_HEADERS)


def _read(pipeline: str, file_of: Callable[[Pipeline], str]) -> bytes:
    """A file out of a pipeline's lake."""
    settings = current_settings()
    found = load_pipeline(settings.pipelines_dir / f"{pipeline}.yaml", settings.platform)
    return open_lake(settings, found).read_file(file_of(found))
