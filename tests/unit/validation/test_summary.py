from __future__ import annotations

import json

import pytest

from nightshift.errors import ValidationFailed
from nightshift.validation.summary import MAX_BYTES, Failure, ValidationSummary, short

HOSTILE = ["x" * 100_000, "\x00\x1b[31m" * 5000, "\U0001f4a5" * 20_000, '"\\' * 30_000, "</script>" * 9000]


def _summary(text: str = "origin", failures: int = 1, **changes: object) -> ValidationSummary:
    failure = Failure(text, text, "critical", True, 10**18, text, (text,) * 5)
    values: dict[str, object] = {
        "pipeline": "flight_delays", "partition": "2013-01-05", "status": "blocked", "ingested": 720,
        "clean": 0, "quarantined": 720, "failed": (failure,) * failures, "reason": text, "report": "file:///r",
        "engine": "scan", "seconds": 0.123456, "suite": "flights",
    }  # fmt: skip
    return ValidationSummary(**{**values, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize("failures", [0, 1, 30, 1000])
@pytest.mark.parametrize("text", HOSTILE, ids=["long", "control", "emoji", "quotes", "html"])
def test_a_summary_stays_below_4_kb_whatever_the_data_hold(text: str, failures: int) -> None:
    summary = _summary(text, failures, report="file:///" + text, suite=text, pipeline=text, partition=text)
    data = summary.to_dict()
    assert len(json.dumps(data)) < MAX_BYTES
    assert data["failed_total"] == failures
    assert data["rows"] == {"ingested": 720, "clean": 0, "quarantined": 720}


def test_an_ordinary_summary_is_told_in_full() -> None:
    data = _summary(failures=6).to_dict()
    assert len(data["failed"]) == 6
    assert data["failed"][0]["examples"] == ["origin"] * 3


def test_a_blocked_partition_raises_with_its_expectations_and_its_summary() -> None:
    failure = Failure("expect_x", "origin", "critical", True, 7, "", ("row 4: origin=XXX",))
    summary = _summary(failed=(failure,), reason="7 of 720 rows")
    with pytest.raises(ValidationFailed) as caught:
        summary.raise_if_blocked()
    assert "expect_x (origin): 7 rows, e.g. row 4: origin=XXX" in str(caught.value)
    assert caught.value.summary == summary.to_dict()
    assert not caught.value.retryable


@pytest.mark.parametrize("status", ["passed", "warned"])
def test_another_status_does_not_raise(status: str) -> None:
    _summary(status=status).raise_if_blocked()


@pytest.mark.parametrize("text", ["", "short", "ä" * 50, "\n a \t b "])
def test_cut_text_fits_its_limit(text: str) -> None:
    assert len(json.dumps(short(text, 24))) - 2 <= 24
