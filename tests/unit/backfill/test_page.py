"""The page: what it says, in words as well as in colours, and safe whatever an error text holds."""

from __future__ import annotations

import re

import pytest

from nightshift.backfill.calendar import KINDS, calendar
from nightshift.backfill.outcome import settle
from nightshift.backfill.page import html
from nightshift.backfill.plan import Plan, Request, make_plan
from nightshift.backfill.state import Mark, Marks, State
from nightshift.config.partitions import days
from tests.unit.backfill.test_plan import PACE

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'x' </svg><img src=x onerror=y>"
REQUEST = Request("2013-01-28", "2013-02-05", ("ingest", "validate"))


def marks(request: Request, broken: dict[str, str]) -> Marks:
    found = {
        key: Mark(State.FAILED, broken[key]) if key in broken else Mark(State.MISSING)
        for key in request.partitions
    }
    return {"ingest": found, "validate": found}


@pytest.fixture
def plan() -> Plan:
    return make_plan(
        "2013-01-28_2013-02-05_0123456789ab",
        REQUEST,
        marks(REQUEST, {"2013-02-02": HOSTILE}),
        PACE,
        pipeline="flight_delays",
        run=HOSTILE,
    )


def text_of(page: bytes) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.decode()))


def test_the_page_shows_the_form_the_estimate_and_the_counts(plan: Plan) -> None:
    text = text_of(html(plan))
    assert "from 2013-01-28 to 2013-02-05 steps ingest, validate reprocess what is missing or failed" in text
    assert "9 partitions in the range" in text
    assert re.search(r"ingest 0 8 1 9 0 1 of 30", text)
    assert "0.30 s each, a guess" in text


def test_what_an_error_says_is_shown_and_never_run(plan: Plan) -> None:
    outcome = settle(plan, marks(REQUEST, dict.fromkeys(REQUEST.partitions, HOSTILE)), {})
    for page in (html(plan), html(plan, outcome, announced=HOSTILE)):
        found = page.decode()
        assert "<script" not in found
        assert "<img" not in found
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found
        assert "default-src 'none'" in found
        assert not re.search(r"(?:src|href)=\"(?!#|http://airflow)", found)


def test_every_day_is_a_cell_that_says_its_state(plan: Plan) -> None:
    page = html(plan).decode()
    for key in REQUEST.partitions:
        state = "failed" if key == "2013-02-02" else "missing"
        assert page.count(f"<title>{key} {state}</title>") == 2  # a calendar a step
    for kind in KINDS:
        assert f'<g id="{kind}">' in page
    assert "present missing failed cannot be done" in text_of(html(plan))


def test_the_results_stand_beside_the_plan(plan: Plan) -> None:
    good = {step: {key: Mark(State.PRESENT) for key in REQUEST.partitions} for step in REQUEST.steps}
    results = {"ingest": {key: {"seconds": 10.0} for key in REQUEST.partitions}}
    page = html(
        plan, settle(plan, good, results), run_url="http://airflow/dags/x", announced="2013-02-05 of clean"
    )
    text = text_of(page)
    assert "flight_delays · backfill done" in text
    assert "Told the DAGs that wait: 2013-02-05 of clean" in text
    assert "0 not good at the end" in text
    assert "9 0 90 s" in text
    assert page.decode().count("<title>2013-02-05 present</title>") == 2


def test_a_dry_run_says_that_nothing_was_done() -> None:
    request = Request("2013-01-28", "2013-02-05", ("ingest", "validate"), dry_run=True)
    plan = make_plan("x", request, marks(request, {}), PACE, pipeline="flight_delays")
    assert "A dry run: nothing was done" in text_of(html(plan))


def test_a_calendar_has_a_strip_a_year_and_names_its_months() -> None:
    kinds = dict.fromkeys(days("2012-12-15", "2014-03-10"), "present")
    drawn = calendar(kinds, "ingest")
    assert drawn.count("<svg") == 2
    assert drawn.count("<use") == len(kinds)
    names = re.findall(r"<text[^>]*>([A-Z][a-z]{2}(?: \d{4})?)</text>", drawn)
    months = [name for name in names if name not in ("Mon", "Wed", "Fri")]
    assert months[:3] == ["Jan 2013", "Feb", "Mar"]  # half of December has no room for its name
    assert months[-3:] == ["Jan 2014", "Feb", "Mar"]
