"""Progress: on a terminal, in a file, and when a step fails."""

from __future__ import annotations

import io

import pytest

from nightshift.embedded.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_plain_lines_and_every_quarter_of_a_count():
    stream = io.StringIO()
    with Console(2, stream).step("History") as step:
        for day in range(1, 9):
            step.count(day, 8, "days")
        step.outcome = "24,286 rows"
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[1/2] History"
    assert [line.split()[2] for line in lines[1:-1]] == ["2/8", "4/8", "6/8", "8/8"]
    assert lines[-1].endswith("s: 24,286 rows")
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_one_line_that_moves():
    stream = Terminal()
    with Console(1, stream).step("History") as step:
        for day in range(1, 9):
            step.count(day, 8, "days")
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().count("\x1b[2K") == 10


def test_a_step_that_fails_says_so_and_lets_the_error_pass():
    stream = io.StringIO()
    with pytest.raises(ValueError, match="gone"), Console(1, stream).step("Night"):
        raise ValueError("gone")
    assert "FAILED after" in stream.getvalue()
