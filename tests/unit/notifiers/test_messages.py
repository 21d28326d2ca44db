from __future__ import annotations

import pytest

from nightshift.notifiers.messages import Failed, Message, compose, report_url, run_url

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
