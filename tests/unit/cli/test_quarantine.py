"""``nightshift quarantine``, called as a user calls it, on real flights that a strict suite set apart."""

from __future__ import annotations

import json
import shutil

import pytest

from nightshift.cli.main import main
from nightshift.config.settings import PROJECT

RANGE = ["flight_delays", "--from", "2013-01-05", "--to", "2013-01-08"]
REASON = "expect_column_values_to_not_be_in_set(carrier"


@pytest.fixture(scope="module")
def strict_home(tmp_path_factory):
    """Four days in the lake, validated by a suite that turns two carriers away."""
    home = tmp_path_factory.mktemp("strict") / "var"
    suites = home.parent / "expectations"
    shutil.copytree(PROJECT / "include" / "expectations", suites)
    _write_suite(suites, "HA", "AS")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(home))
        patched.setenv("AIRFLOW__NIGHTSHIFT__EXPECTATIONS_DIR", str(suites))
        assert main(["seed", *RANGE]) == 0
        assert main(["ingest", *RANGE]) == 0
    return home


@pytest.fixture
def home(strict_home, tmp_path, monkeypatch):
    """A copy of it, for one test."""
    shutil.copytree(strict_home.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path / "var"))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__EXPECTATIONS_DIR", str(tmp_path / "expectations"))
    return tmp_path / "var"


def _write_suite(folder, *carriers):
    """The shipped suite, and an expectation that turns these carriers away."""
    suite = json.loads((PROJECT / "include" / "expectations" / "flights.json").read_text())
    if carriers:
        suite["expectations"].append(
            {
                "type": "expect_column_values_to_not_be_in_set",
                "kwargs": {"column": "carrier", "value_set": list(carriers)},
                "severity": "critical",
            }
        )
    (folder / "flights.json").write_text(json.dumps(suite))


def _said(capsys, *arguments):
    capsys.readouterr()
    code = main(["quarantine", *arguments])
    return code, capsys.readouterr().out


def test_from_a_mistake_in_the_suite_to_clean_rows(home, capsys):
    code, listed = _said(capsys, "list", "flight_delays")
    assert code == 0
    assert "2013-01-05  3 of 720 rows (0.4%)" in listed
    assert f"    3 rows: {REASON}" in listed
    assert listed.splitlines()[-1] == "17 rows of 4 partitions of flight_delays are in quarantine"

    code, shown = _said(capsys, "show", "flight_delays", "2013-01-05", "--limit", "2")
    assert code == 0
    assert shown.count("carrier=HA") + shown.count("carrier=AS") == 2
    assert shown.count(f"    {REASON}") == 2
    assert shown.splitlines()[-1] == "2 of 3 quarantined rows of 2013-01-05"

    _write_suite(home.parent / "expectations")
    code, dry = _said(capsys, "replay", *RANGE, "--dry-run")
    assert code == 0
    assert "4 of 4 partitions would change: 3,367 -> 3,379 rows clean, 17 -> 5 quarantined" in dry
    assert dry.splitlines()[-1] == "a dry run: nothing was written"
    assert _said(capsys, "list", "flight_delays")[1] == listed

    code, done = _said(capsys, "replay", *RANGE)
    assert code == 0
    assert done.splitlines()[0] == "2013-01-05 passed   720 rows, 717 -> 720 clean, 3 -> 0 quarantined"
    assert "4 of 4 partitions changed: 3,367 -> 3,379 rows clean, 17 -> 5 quarantined" in done
    assert "  table clean is at version" in done

    code, again = _said(capsys, "replay", *RANGE)
    assert code == 0
    assert [line.endswith(", unchanged") for line in again.splitlines()] == [True, True, False]
    assert "0 of 2 partitions changed" in again
    assert "2 partitions" in _said(capsys, "list", "flight_delays")[1]
    assert main(["ingest", *RANGE]) == 0


def test_a_range_without_quarantined_rows_is_said_to_be_one(home, capsys):
    _write_suite(home.parent / "expectations")
    assert main(["quarantine", "replay", *RANGE]) == 0
    nothing = _said(capsys, "replay", "flight_delays", "--from", "2013-01-05", "--to", "2013-01-05")
    assert nothing == (0, "nothing from 2013-01-05 to 2013-01-05 is in quarantine\n")
    assert _said(capsys, "list", "flight_delays", "--to", "2013-01-05")[1].startswith(
        "0 rows of 0 partitions"
    )
    shown = _said(capsys, "show", "flight_delays", "2013-01-05")
    assert shown == (0, "0 of 0 quarantined rows of 2013-01-05\n")


def test_every_command_speaks_json(home, capsys):
    listed = json.loads(_said(capsys, "list", "flight_delays", "--from", "2013-01-06", "--json")[1])
    assert [each["partition"] for each in listed] == ["2013-01-06", "2013-01-07", "2013-01-08"]
    assert (listed[0]["quarantined"], listed[0]["adds_up"]) == (5, True)
    shown = json.loads(_said(capsys, "show", "flight_delays", "2013-01-05", "--json")[1])
    assert {row["carrier"] for row in shown} == {"HA", "AS"}
    assert all(row["reasons"][0].startswith(REASON) for row in shown)
    done = json.loads(_said(capsys, "replay", *RANGE, "--json")[1])  # the suite as it was
    assert {each["status"] for each in done["partitions"]} <= {"passed", "warned"}
    assert (done["versions"], done["newest"]) == ({}, None)


def test_a_partition_whose_source_was_fixed_is_ingested_again(home, capsys):
    _write_suite(home.parent / "expectations")
    landed = home / "landing" / "flights" / "dt=2013-01-05" / "flights.csv"
    good = landed.read_text()
    lines = good.splitlines()
    landed.write_text("\n".join([lines[0], *(line.replace(",JFK,", ",XXX,") for line in lines[1:])]))
    assert main(["ingest", *RANGE]) == 1
    assert "720 of 720 rows (100.0%), all of it" in _said(capsys, "list", "flight_delays")[1]

    code, blocked = _said(capsys, "replay", *RANGE)
    assert code == 1
    assert "2013-01-05 blocked  720 rows, 0 -> 0 clean, 720 -> 720 quarantined, unchanged" in blocked
    assert "302 of 720 rows (41.9%) to quarantine" in blocked.splitlines()[1]

    landed.write_text(good)
    code, done = _said(capsys, "replay", *RANGE, "--ingest-again")
    assert code == 0
    assert done.splitlines()[0] == "2013-01-05 passed   720 rows, 0 -> 720 clean, 720 -> 0 quarantined"


def test_a_source_that_is_still_no_good_does_not_hold_up_the_others(home, capsys):
    _write_suite(home.parent / "expectations")
    (home / "landing" / "flights" / "dt=2013-01-05" / "flights.csv").write_bytes(b"")
    code, done = _said(capsys, "replay", *RANGE, "--ingest-again")
    assert code == 1
    lines = done.splitlines()
    assert lines[0] == "2013-01-05 failed   720 rows, 717 -> 717 clean, 3 -> 3 quarantined, unchanged"
    assert "PartitionCorrupt" in lines[1]
    assert "3 of 4 partitions changed" in done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "flight_delay"], "did you mean 'flight_delays'?"),
        (["list", "flight_delays", "--from", "2013-02-01", "--to", "2013-01-01"], "swap the two ends"),
        (["show", "flight_delays", "2014-01-01"], "is not a partition of flight_delays"),
        (["replay", "flight_delays", "--from", "5 Jan", "--to", "2013-01-06"], "give it as YYYY-MM-DD"),
        (["replay", *RANGE, "--ingest-again", "--dry-run"], "a dry run writes nothing"),
    ],
    ids=["typo", "backwards", "outside", "no day", "dry ingestion"],
)
def test_what_cannot_be_asked_for_is_one_line_on_stderr_and_exit_code_2(home, arguments, said, capsys):
    assert main(["quarantine", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert "Traceback" not in told.err


def test_help_says_what_each_command_does(capsys):
    for arguments, said in (
        ([], "list, show and replay the rows"),
        (["list"], "most frequent reasons"),
        (["show"], "expectations it broke"),
        (["replay"], "what fails stays"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["quarantine", *arguments, "--help"])
        assert ended.value.code == 0
        assert said in " ".join(capsys.readouterr().out.replace("List", "list").split())


def test_control_characters_of_a_source_do_not_reach_the_terminal(home, capsys):
    from nightshift.cli.text import text

    assert text("a\x1b[31mb\u202e\n") == "a\\x1b[31mb\\x202e\\x0a"
    assert (text(None), text(1.5), text(b"\x00" * 2048)) == ("-", "1.5", "<2,048 bytes>")
