"""``nightshift endpoint``: what it prints, and that it ends nothing without a word."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nightshift.cli.main import main
from nightshift.hooks import endpoints as hooks_module
from nightshift.platforms.endpoints import EndpointState, EndpointStatus, VariantStatus, endpoint_name
from tests.fakes.endpoints import FakeEndpoints

if TYPE_CHECKING:
    from pathlib import Path

NAME = endpoint_name("flight_delays", "nightshift")
TWO = (
    VariantStatus("champion", "m-v11", "11", 0.9, 2, "ml.m5.large", 0.23),
    VariantStatus("challenger", "m-v12", "12", 0.1, 1, "ml.m5.large", 0.115),
)
NOTES = {"stable": "r1", "previous": "r0", "owner": "2026 dag run deploy", "since": "r2 1767225600"}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEndpoints:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    found = FakeEndpoints(now=EndpointStatus(NAME, EndpointState.SERVING, "r2", variants=TWO, notes=NOTES))
    monkeypatch.setattr(hooks_module, "endpoints", lambda *_: found)
    return found


def test_status_says_who_answers_and_what_it_costs(
    there: FakeEndpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["endpoint", "status", "flight_delays"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"flight_delays: endpoint {NAME} is serving",
        "  champion    version 11  90.0% of the requests  2 x ml.m5.large",
        "  challenger  version 12  10.0% of the requests  1 x ml.m5.large",
        "  0.3450 USD an hour, about 252 USD a month, as long as it is there",
        "  release r2, before it r0",
        "  a deployment is under way: 2026 dag run deploy",
        "  both models answer since 2026-01-01 00:00 UTC",
    ]


def test_status_as_json_and_of_what_does_not_serve(
    there: FakeEndpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    assert there.now is not None
    there.now = replace(there.now, state=EndpointState.FAILED, reason="no\x1b machines")
    assert main(["endpoint", "status", "flight_delays", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["usd_per_hour"] == pytest.approx(0.345)
    main(["endpoint", "status", "flight_delays"])
    assert r"the last change failed: no\x1b machines" in capsys.readouterr().out


def test_status_of_no_endpoint_says_that_nothing_costs(
    there: FakeEndpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    there.now = None
    assert main(["endpoint", "status", "flight_delays"]) == 1
    assert "nothing answers and nothing costs" in capsys.readouterr().out


def test_delete_wants_a_yes(there: FakeEndpoints, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["endpoint", "delete", "flight_delays"]) == 2
    assert (
        "0.3450 USD an hour, and whoever asks it gets no answer. To fix: say --yes" in capsys.readouterr().err
    )
    assert there.now is not None
    assert main(["endpoint", "delete", "flight_delays", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"deleted: {NAME}",
        "flight_delays: its endpoint is gone",
    ]


def left_over(there: FakeEndpoints) -> str:
    name = "gone-0123456789ab"
    there.others = [EndpointStatus(name, EndpointState.SERVING, "r", variants=TWO[:1])]
    return name


def test_status_of_all_names_those_that_no_pipeline_wants(
    there: FakeEndpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    name = left_over(there)
    assert main(["endpoint", "status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{NAME}  serving  0.3450 USD an hour  NO PIPELINE WANTS IT: nightshift endpoint delete {NAME} --yes",
        f"{name}  serving  0.2300 USD an hour  NO PIPELINE WANTS IT: nightshift endpoint delete {name} --yes",
        "2 endpoints, 0.5750 USD an hour",
    ]
    assert main(["endpoint", "status", "--json"]) == 0
    assert [each["pipeline"] for each in json.loads(capsys.readouterr().out)] == [None, None]


def test_an_endpoint_whose_pipeline_is_gone_is_deleted_by_its_own_name(
    there: FakeEndpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["endpoint", "delete", "gone-0123456789ab", "--yes"]) == 2
    assert "neither a pipeline nor an endpoint 'gone-0123456789ab'" in capsys.readouterr().err
    name = left_over(there)
    assert main(["endpoint", "delete", name]) == 2
    assert "delete" not in there.calls
    assert main(["endpoint", "delete", name, "--yes"]) == 0
    assert f"deleted: {name}" in capsys.readouterr().out


def test_delete_waits_for_a_change_to_be_over(
    there: FakeEndpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    assert there.now is not None
    there.now = replace(there.now, state=EndpointState.CHANGING, going_to="r2")
    there._left = 9
    assert main(["endpoint", "delete", "flight_delays", "--yes"]) == 2
    assert "is being changed" in capsys.readouterr().err


def test_a_platform_without_endpoints_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    assert main(["endpoint", "status", "flight_delays"]) == 2
    assert "platform 'local' has no endpoints" in capsys.readouterr().err
