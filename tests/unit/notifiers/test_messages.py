from __future__ import annotations

import pytest

from nightshift.errors import JobFailed
from nightshift.notifiers.messages import (
    Failed,
    Message,
    Orphan,
    RunLink,
    backfill_failed,
    budget_passed,
    compose,
    orphans_reaped,
    partition_late,
    partition_missing,
    report_url,
    run_url,
)

UI = "http://127.0.0.1:8080"
SUMMARY = {
    "status": "blocked",
    "rows": {"ingested": 720, "clean": 0, "quarantined": 720},
    "reason": "15 of 720 rows (2.1%) to quarantine, 2.0% allowed",
    "failed": [
        {
            "type": "expect_column_values_to_be_in_set",
            "column": "origin",
            "severity": "critical",
            "row_level": True,
            "unexpected": 15,
            "observed": "",
            "examples": ["row 4: origin=XXX", "row 7: origin=YYY", "row 8: origin=ZZZ"],
        },
        {
            "type": "expect_table_row_count_to_be_between",
            "column": "",
            "severity": "critical",
            "row_level": False,
            "unexpected": None,
            "observed": "300",
            "examples": [],
        },
    ],
    "failed_total": 14,
}


def _failed(**changes: object) -> Failed:
    values: dict[str, object] = {
        "pipeline": "flight_delays",
        "dag_id": "flight_delays_ingest",
        "run_id": "manual__2013-01-21T00:00:00+00:00",
        "task_id": "validate",
        "partition": "2013-01-21",
        "error": "ValidationFailed: blocked",
        "summary": SUMMARY,
    }
    return Failed(**{**values, **changes})  # type: ignore[arg-type]  # a table of fields


def test_a_blocked_partition_is_told_with_expectations_counts_examples_and_links() -> None:
    message = compose(_failed(examples=2), UI)
    assert message.title == "[nightshift] flight_delays 2013-01-21: blocked by validation"
    assert message.body.splitlines() == [
        "Pipeline: flight_delays",
        "Partition: 2013-01-21",
        "DAG: flight_delays_ingest, task validate, try 1",
        "",
        "Rows: 720 ingested, 0 clean, 720 quarantined",
        "Reason: 15 of 720 rows (2.1%) to quarantine, 2.0% allowed",
        "",
        "Failing expectations:",
        "- critical: expect_column_values_to_be_in_set (origin): 15 rows",
        "    row 4: origin=XXX",
        "    row 7: origin=YYY",
        "- critical: expect_table_row_count_to_be_between: observed 300",
        "… and 12 more",
        "",
        "Validation report: http://127.0.0.1:8080/nightshift/reports/flight_delays/2013-01-21",
        "Airflow: http://127.0.0.1:8080/dags/flight_delays_ingest/runs/"
        "manual__2013-01-21T00%3A00%3A00%2B00%3A00/tasks/validate",
    ]


def test_another_failure_is_told_with_its_error_and_no_report() -> None:
    message = compose(_failed(summary={}, task_id="learn.train", error="JobFailed: out of memory"), UI)
    assert message.title == "[nightshift] flight_delays 2013-01-21: task learn.train failed"
    assert "Error: JobFailed: out of memory" in message.body
    assert "report" not in message.body


def test_a_mapped_task_is_linked_by_its_index() -> None:
    assert run_url(UI, _failed(map_index=3)).endswith("/tasks/validate/mapped/3")


def test_links_cannot_be_led_elsewhere_by_a_partition() -> None:
    assert report_url(UI, "flight_delays", "../../x?y").endswith("/flight_delays/..%2F..%2Fx%3Fy")


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("<script>alert(1)</script>", "<script>"),
        ("<!channel> read this", "<!channel>"),
        ("@everyone @here", "@everyone"),
        ("see https://evil.example/login", "https://evil"),
        ("a\nAirflow: fake\r\nBcc: x@y.z", "\nAirflow: fake"),
        ("\u202e\x00\x1b[31m", "\u202e"),
    ],
    ids=["html", "slack", "mention", "link", "lines", "control"],
)
def test_hostile_text_does_nothing_in_a_channel(text: str, never: str) -> None:
    failing = [{**SUMMARY["failed"][0], "column": text, "examples": [text]}]  # type: ignore[index]
    for message in (
        compose(_failed(summary={**SUMMARY, "reason": text, "failed": failing}), UI),
        compose(_failed(summary={}, error=text, partition=text), UI),
    ):
        assert never not in message.title + message.body
        assert "\n" not in message.title


def test_a_message_stays_short_and_keeps_its_links() -> None:
    huge = [{**SUMMARY["failed"][0], "column": "x" * 9000, "examples": ["y" * 9000] * 50}] * 500  # type: ignore[index]
    bodies = [
        compose(_failed(summary={**SUMMARY, "failed": huge, "failed_total": 500}, examples=50), UI),
        compose(_failed(summary={}, error="z" * 90_000), UI),
    ]
    assert all(isinstance(each, Message) and len(each.body) <= 3500 for each in bodies)
    assert all("\nAirflow: http" in each.body for each in bodies)
    assert "… and more in the report" in bodies[0].body


RUN = RunLink("flight_delays_ingest", "scheduled__2013-01-22 T02", UI)
RUN_URL = f"{UI}/dags/flight_delays_ingest/runs/scheduled__2013-01-22%20T02"


def test_a_failed_job_is_told_with_its_name_and_its_own_reason() -> None:
    error = JobFailed("job flight-delays-train-2013-01-21-0a1b on local failed: ValueError: no rows left")
    message = compose(
        _failed(summary={}, task_id="learn.train", error=f"{type(error).__name__}: {error}"), UI
    )
    assert message.title == "[nightshift] flight_delays 2013-01-21: task learn.train failed"
    assert (
        "Error: JobFailed: job flight-delays-train-2013-01-21-0a1b on local failed: ValueError: no rows left"
        in message.body.splitlines()
    )


def test_a_mapped_task_says_that_it_speaks_for_the_others() -> None:
    lines = compose(_failed(map_index=3), UI).body.splitlines()
    assert lines[2].endswith("task validate, try 1, the first of its mapped tasks to fail")


def test_a_missing_partition_is_told_with_what_is_missing() -> None:
    message = partition_missing("flights", "2013-01-21", ["file:///landing/dt=2013-01-21/_SUCCESS"], RUN, 240)
    assert message.title == "[nightshift] flights 2013-01-21: has not landed"
    assert message.body.splitlines() == [
        "Pipeline: flights",
        "Partition: 2013-01-21",
        "DAG: flight_delays_ingest",
        "Not there 240 minutes after the night began; it starts by itself when this has landed:",
        "",
        "- file:///landing/dt=2013-01-21/_SUCCESS",
        "",
        f"Airflow: {RUN_URL}",
    ]


def test_a_late_partition_is_told_with_what_has_not_ended() -> None:
    message = partition_late("flights", "2013-01-21", {"ingest": "running"}, RUN, 0.5)
    assert message.title == "[nightshift] flights 2013-01-21: is late"
    assert "It has landed, but its run is not over 0.5 minutes after the night began." in message.body
    assert "- ingest: running" in message.body.splitlines()


def test_a_passed_budget_is_told_with_what_was_spent() -> None:
    message = budget_passed("flights", "2026-11", 1234.5, 1000, UI)
    assert message.title == "[nightshift] flights 2026-11: budget passed"
    assert "Spent: 1,234.50 USD, budget: 1,000.00 USD" in message.body.splitlines()


def test_reaped_orphans_are_told_with_their_tasks_and_what_was_saved() -> None:
    orphans = [
        Orphan("train-1", "flights_retrain", "r 1", "learn.train", "failed", 5400, 1.5),
        Orphan("tune-2", "flights_retrain", "r 1", "learn.tune", "", 1800, 0.25),
    ]
    message = orphans_reaped("flights", orphans, UI)
    assert message.title == "[nightshift] flights: 2 orphaned jobs stopped"
    assert "Saved: up to 2.00 hours and 1.75 USD" in message.body
    assert "- train-1: of flights_retrain r 1, task learn.train, which is failed" in message.body
    assert "- tune-2: of flights_retrain r 1, task learn.tune, which is gone" in message.body
    assert message.body.endswith(f"Airflow: {UI}/dags/flights_retrain/runs/r%201")


def test_a_backfill_that_ended_badly_is_told_with_each_partitions_reason() -> None:
    message = backfill_failed("flights", {"2013-01-22": "blocked", "2013-01-21": "absent"}, 363, RUN)
    assert message.title == "[nightshift] flights: backfill ended with 2 failed partitions"
    assert "Partitions: 363 done, 2 failed; run it again for the failed ones" in message.body
    assert message.body.splitlines()[-5:] == [
        "", "- 2013-01-21: absent", "- 2013-01-22: blocked", "", f"Airflow: {RUN_URL}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        partition_missing("p", "k", ["<b>@all https://evil.example"] * 500, RUN, 1),
        partition_late("p", "k", {f"<b>@all{n}": "https://evil.example" for n in range(500)}, RUN, 1),
        orphans_reaped("p", [Orphan("<b>", "@all", "https://evil.example", "t", "")] * 500, UI),
        backfill_failed("p", {f"<b>@all{n}": "https://evil.example" for n in range(500)}, 0, RUN),
    ],
    ids=["missing", "late", "orphans", "backfill"],
)
def test_every_message_is_safe_and_short_and_keeps_its_link(message: Message) -> None:
    assert len(message.body) <= 3500
    middle, _, link = message.body.rpartition("\nAirflow: ")
    assert link.startswith(UI)
    for never in ("<", "@a", "https:"):
        assert never not in message.title + middle
