"""A position in a job's log: nothing is read twice, nothing is left out."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from nightshift.platforms.sagemaker.logs import chunk, read, start_of

LINES = [(1000, "a"), (1000, "b"), (1000, "c"), (1001, "d"), (1005, "e"), (1005, "f")]


@pytest.mark.parametrize("first", range(len(LINES) + 1))
def test_reading_on_gives_every_line_once_wherever_it_was_left(first: int) -> None:
    before = chunk(LINES[:first], 0)
    after = chunk([line for line in LINES if line[0] >= start_of(before.position)], before.position)
    assert before.lines + after.lines == tuple("abcdef")


def test_without_new_lines_the_position_stays() -> None:
    end = chunk(LINES, 0)
    assert chunk(LINES[-2:], end.position) == type(end)((), end.position)
    assert chunk([], 42) == type(end)((), 42)


def test_a_line_that_comes_late_within_the_last_millisecond_is_read() -> None:
    end = chunk(LINES, 0)
    assert chunk([*LINES[-2:], (1005, "g")], end.position).lines == ("g",)


def test_ten_thousand_lines_of_one_millisecond_do_not_hold_up_the_next() -> None:
    many = [(1000, str(number)) for number in range(10_000)]
    end = chunk(many, 0)
    assert chunk([*many, (1001, "next")], end.position).lines == ("next",)


class Pages:
    """CloudWatch, with empty pages in between as it has them."""

    class exceptions:
        ClientError = ClientError

    def __init__(self, *pages: list[str]) -> None:
        self.pages = pages
        self.asked: list[dict[str, Any]] = []

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request.copy())
        if not self.pages:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "FilterLogEvents")
        number = int(request.get("nextToken", 0))
        events = [{"timestamp": 1000 + number, "message": f"{text}\n"} for text in self.pages[number]]
        token = {"nextToken": str(number + 1)} if number + 1 < len(self.pages) else {}
        return {"events": events, **token}


def test_empty_pages_are_not_the_end() -> None:
    client = Pages(["a"], [], ["b"])
    assert read(client, [("group", "job/")], 7) == [(1000, "a"), (1002, "b")]
    assert client.asked[0] == {"logGroupName": "group", "logStreamNamePrefix": "job/", "startTime": 7}


def test_a_job_that_logged_nothing_has_an_empty_log() -> None:
    assert read(Pages(), [("group", "job/")], 0) == []
