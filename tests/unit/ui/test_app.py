"""The pages: for those who may read it, of what exists, and without a script."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi.testclient import TestClient

from nightshift.config.settings import PROJECT, Settings
from nightshift.ui import app as app_module

if TYPE_CHECKING:
    from pathlib import Path

EVIDENCE = "2013-01-05-v12-0123456789ab"
BACKFILL = "2013-01-01_2013-12-31_0123456789ab"


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """DAGs that the user may read."""
    dags = ["flight_delays_ingest", "flight_delays_retrain"]

    def may(*, method: str, access_entity: object, details: object, user: object) -> bool:
        return getattr(details, "id", None) in dags

    manager = SimpleNamespace(is_authorized_dag=may)
    monkeypatch.setattr(app_module, "get_auth_manager", lambda: manager)
    return dags


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: list[str]) -> TestClient:
    options = {"home": str(tmp_path), "pipelines_dir": str(PROJECT / "include" / "pipelines")}
    monkeypatch.setattr(app_module, "current_settings", lambda: Settings.from_lookup(options.get))
    monkeypatch.setitem(app_module.app.dependency_overrides, get_user, lambda: SimpleNamespace(name="u"))
    reports = tmp_path / "lake" / "flight_delays" / "reports"
    reports.mkdir(parents=True)
    (reports / "2013-01-05.html").write_text("<h1>2013-01-05</h1>")
    backfills = tmp_path / "lake" / "flight_delays" / "backfills"
    backfills.mkdir()
    (backfills / f"{BACKFILL}.html").write_text("<h1>a plan</h1>")
    (backfills / f"{BACKFILL}.json").write_text("{}")
    gate = tmp_path / "lake" / "flight_delays" / "gate"
    gate.mkdir()
    (gate / f"{EVIDENCE}.html").write_text("<h1>evidence</h1>")
    (gate / f"{EVIDENCE}.png").write_bytes(b"\x89PNG")
    return TestClient(app_module.app)


def test_the_report_is_shown_with_no_right_to_run_scripts(client: TestClient) -> None:
    page = client.get("/reports/flight_delays/2013-01-05")
    assert (page.status_code, page.text) == (200, "<h1>2013-01-05</h1>")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_gates_evidence_is_a_page_and_a_picture(client: TestClient) -> None:
    page = client.get(f"/gate/flight_delays/{EVIDENCE}.html")
    assert (page.status_code, page.text) == (200, "<h1>evidence</h1>")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    picture = client.get(f"/gate/flight_delays/{EVIDENCE}.png")
    assert (picture.status_code, picture.content) == (200, b"\x89PNG")
    assert picture.headers["content-type"] == "image/png"
    assert client.get("/gate/flight_delays/2013-01-06-v12-0123456789ab.png").status_code == 404
    assert client.get("/gate/flight_delays/..%2Fledger.png").status_code in (404, 422)


def test_a_backfill_is_shown_in_the_same_way(client: TestClient) -> None:
    page = client.get(f"/backfills/flight_delays/{BACKFILL}")
    assert (page.status_code, page.text) == (200, "<h1>a plan</h1>")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_somebody_who_may_not_read_the_dag_may_not_read_its_report(
    client: TestClient, allowed: list[str]
) -> None:
    allowed.clear()
    assert client.get("/reports/flight_delays/2013-01-05").status_code == 403
    assert client.get(f"/backfills/flight_delays/{BACKFILL}").status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("reports/flight_delays/2013-01-06", 404),
        ("reports/flight_delays/2014-01-06", 404),
        ("reports/flight_delays/..%2f..%2fsecrets", 404),
        ("reports/Flight-Delays/2013-01-05", 422),
        ("reports/flight_delays/<script>", 422),
        (f"backfills/flight_delays/{BACKFILL.replace('a', 'c')}", 404),
        (f"backfills/flight_delays/{BACKFILL}.json", 422),
        ("backfills/flight_delays/..%2freports%2f2013-01-05", 404),
        ("backfills/flight_delays/<script>", 422),
    ],
    ids=[
        "no report", "no partition", "a path", "no pipeline name", "hostile",
        "no backfill", "another file", "a path to another file", "a hostile name",
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_plain_error(client: TestClient, path: str, status: int) -> None:
    page = client.get(f"/{path}")
    assert page.status_code == status
    assert "<script>" not in page.text or page.headers["Content-Type"] == "application/json"


def test_an_anonymous_visitor_is_turned_away(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    del app_module.app.dependency_overrides[get_user]
    assert client.get("/reports/flight_delays/2013-01-05").status_code == 401
