from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nightshift.embedded.sample_data import seed_landing
from nightshift.errors import PartitionKeyError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_day_lands_with_its_marker_and_the_sources_own_columns(tmp_path: Path) -> None:
    report = seed_landing(tmp_path, "2013-01-05", "2013-01-05")
    folder = tmp_path / "flights" / "dt=2013-01-05"
    assert sorted(file.name for file in folder.iterdir()) == ["_SUCCESS", "flights.csv"]
    header, first, *rest = (folder / "flights.csv").read_text().splitlines()
    assert header.startswith("year,month,day,dep_time,sched_dep_time,dep_delay")
    assert first.startswith("2013,1,5,")
    assert (report.flights, 1 + len(rest), report.folders) == (720, 720, 3)


def test_what_has_landed_is_left_alone_and_what_has_no_marker_lands_again(tmp_path: Path) -> None:
    seed_landing(tmp_path, "2013-01-05", "2013-01-06")
    half = tmp_path / "weather" / "dt=2013-01-06"
    (half / "_SUCCESS").unlink()
    (half / "weather.csv").write_text("origin,ye")
    report = seed_landing(tmp_path, "2013-01-05", "2013-01-06")
    assert (report.folders, report.kept) == (1, 4)
    assert (half / "_SUCCESS").exists()
    assert (half / "weather.csv").read_text().count("\n") == 72


def test_the_last_day_has_no_weather_in_the_source(tmp_path: Path) -> None:
    seed_landing(tmp_path, "2013-12-31", "2013-12-31")
    assert (tmp_path / "weather" / "dt=2013-12-31" / "weather.csv").read_text().count("\n") == 1


def test_other_years_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PartitionKeyError, match=r"cover 2013-01-01\.\.2013-12-31"):
        seed_landing(tmp_path, "2013-12-31", "2014-01-01")
