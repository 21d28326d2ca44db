"""Features of a flight that are known before its scheduled departure.

Three kinds: the schedule itself (route, hour, carrier, plane, how busy the airport and the plane are),
the weather of the hour *before* the scheduled hour and the trend up to it, and how late flights like it
were on *previous days*. Nothing that happens on the day itself is read, save the weather: a test
alters every outcome of a day and compares the day's features.

Deterministic: sums are over whole minutes (exact in double), windows are ranges of calendar days, not
of rows, so a missing day shortens the history instead of stretching it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from jobs.contract import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir

__all__ = ["DAILY", "FEATURES", "LATE_MINUTES", "ROWS", "SNAPSHOTS", "expression"]

ROWS = "clean"
DAILY: Mapping[str, int] = MappingProxyType({"clean": 0, "weather": 1})
SNAPSHOTS = ("planes",)
LATE_MINUTES = 15
"""A flight is late when it arrives more than this many minutes after schedule."""

_HISTORY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "carrier": ("carrier",),
        "dest": ("dest",),
        "route": ("origin", "dest"),
        "hour": ("origin", "hour"),
        "flight": ("carrier", "flight"),
        "plane": ("tailnum",),
    }
)
"""Flights like this one: the columns in which they are alike."""
_YESTERDAY = ("carrier", "dest", "plane")
_SCHEDULE = (
    "carrier", "origin", "dest", "hour", "minute", "weekday", "distance", "scheduled_minutes",
    "origin_departures", "plane_leg", "plane_gap_minutes",
)  # fmt: skip
_PLANE = ("plane_age_years", "plane_seats", "plane_engines")
_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_TREND = ("precip_6h", "visib_6h", "wind_6h", "pressure_change_3h")
FEATURES: tuple[str, ...] = (
    *_SCHEDULE,
    *_PLANE,
    *_WEATHER,
    *_TREND,
    *(f"{name}_{what}" for name in _HISTORY for what in ("delay", "late_rate", "flights")),
    *(f"{name}_{what}_1d" for name in _YESTERDAY for what in ("delay", "late_rate")),
    "carrier_cancelled_rate_1d",
)


def expression(tables: Mapping[str, ir.Table], lookback: int, target: str) -> ir.Table:
    """Columns partition, row_id, :data:`FEATURES` and the target, one row per row of ``clean``."""
    if target != "late":
        raise BadInput(f"flight_delays has the target 'late', not {target!r}")
    flights = _flights(tables["clean"])
    result = _with_planes(_with_schedule(flights), tables["planes"])
    result = _with_weather(result, tables["weather"])
    for name, keys in _HISTORY.items():
        result = _with_history(result, flights, name, keys, lookback)
    return result.select("partition", "row_id", *FEATURES, target)


def _flights(clean: ir.Table) -> ir.Table:
    """Typed rows with the day as a number, the hour of departure since 1970 (UTC) and the outcome."""
    date = clean.partition.cast("date")
    delay = _number(clean.arr_delay)
    return clean.select(
        "partition",
        "row_id",
        *(clean[name].cast("string").name(name) for name in ("carrier", "origin", "dest", "tailnum")),
        clean.flight.cast("int64").name("flight"),
        *(clean[name].cast("float64").name(name) for name in ("hour", "minute", "distance")),
        day=date.epoch_days().cast("int64"),
        weekday=date.day_of_week.index().cast("float64"),
        departs_hour=_hours(clean.time_hour),
        departs=_minutes(clean.sched_dep_time),
        arrives=_minutes(clean.sched_arr_time),
        delay=delay,
        late=(delay > LATE_MINUTES).cast("float64"),
    )


def _number(column: ir.Value) -> ir.Value:
    """NaN, which some writers use for nothing, compares as greater than everything: make it null."""
    value = column.cast("float64")
    return value.isnan().ifelse(None, value)


def _hours(stamp: ir.Value) -> ir.Value:
    return (stamp.epoch_seconds() // 3600).cast("int64")


def _minutes(clock: ir.Value) -> ir.Value:
    """``517`` is 5:17, 317 minutes after midnight."""
    clock = clock.cast("int64")
    return ((clock // 100) * 60 + clock % 100).cast("int64")


def _with_schedule(flights: ir.Table) -> ir.Table:
    import ibis

    hourly = ibis.window(group_by=["partition", "origin", "hour"])
    plane = ibis.window(group_by=["partition", "tailnum"], order_by=["departs", "row_id"])
    legs = flights.mutate(
        # Local times of two zones: a day is added where the arrival would lie before the departure.
        scheduled_minutes=((flights.arrives - flights.departs + 1440) % 1440).cast("float64"),
        origin_departures=flights.count().over(hourly).cast("float64"),
        plane_leg=ibis.row_number().over(plane).cast("float64"),
        plane_gap_minutes=(flights.departs - flights.departs.lag().over(plane)).cast("float64"),
    )
    known = legs.tailnum.notnull()  # flights without a plane's number are no plane's legs
    return legs.mutate(
        plane_leg=known.ifelse(legs.plane_leg, None),
        plane_gap_minutes=known.ifelse(legs.plane_gap_minutes, None),
    )


def _with_planes(flights: ir.Table, planes: ir.Table) -> ir.Table:
    unique = planes.group_by(tailnum=planes.tailnum.cast("string")).aggregate(
        built=_number(planes.year).max(),
        plane_seats=_number(planes.seats).max(),
        plane_engines=_number(planes.engines).max(),
    )
    joined = _join(flights, unique, ["tailnum"])
    year = joined.partition.substr(0, 4).cast("float64")
    return joined.mutate(plane_age_years=year - joined.built)


def _with_weather(flights: ir.Table, weather: ir.Table) -> ir.Table:
    """Join the hour before: ``departs_hour`` of the weather's row is its own hour plus one."""
    import ibis

    hourly = weather.group_by(
        origin=weather.origin.cast("string"), departs_hour=_hours(weather.time_hour) + 1
    ).aggregate(**{name: _number(weather[name]).max() for name in _WEATHER})

    def last(hours: int) -> object:
        return ibis.range_window(group_by="origin", order_by="departs_hour", preceding=(hours - 1, 0))

    before = ibis.range_window(group_by="origin", order_by="departs_hour", preceding=(3, 3))
    trend = hourly.mutate(
        precip_6h=hourly.precip.sum().over(last(6)),
        visib_6h=hourly.visib.min().over(last(6)),
        wind_6h=hourly.wind_speed.max().over(last(6)),
        pressure_change_3h=hourly.pressure - hourly.pressure.max().over(before),
    )
    return _join(flights, trend, ["origin", "departs_hour"])


def _with_history(
    result: ir.Table, flights: ir.Table, name: str, keys: Sequence[str], lookback: int
) -> ir.Table:
    """Join what flights alike in ``keys`` did on the ``lookback`` days before, never on the day itself."""
    import ibis

    daily = flights.group_by([*keys, "day"]).aggregate(
        rows=flights.count(), known=flights.late.count(), delays=flights.delay.sum(), lates=flights.late.sum()
    )

    def summed(column: str, days: int) -> ir.Value:
        past = ibis.range_window(group_by=list(keys), order_by="day", preceding=(days, 1))
        return daily[column].sum().over(past).cast("float64")

    known = summed("known", max(lookback, 1))
    known_1d = summed("known", 1)
    values = {
        f"{name}_delay": summed("delays", max(lookback, 1)) / known.nullif(0.0),
        f"{name}_late_rate": summed("lates", max(lookback, 1)) / known.nullif(0.0),
        f"{name}_flights": known.fill_null(0.0),
    }
    if name in _YESTERDAY:
        values[f"{name}_delay_1d"] = summed("delays", 1) / known_1d.nullif(0.0)
        values[f"{name}_late_rate_1d"] = summed("lates", 1) / known_1d.nullif(0.0)
    if name == "carrier":
        values["carrier_cancelled_rate_1d"] = 1.0 - known_1d / summed("rows", 1).nullif(0.0)
    return _join(result, daily.select(*keys, "day", **values), [*keys, "day"])


def _join(left: ir.Table, right: ir.Table, keys: Sequence[str]) -> ir.Table:
    """Keep every row of ``left``; ``right`` is unique in ``keys``."""
    joined = left.left_join(right, list(keys))
    return joined.drop(*(f"{key}_right" for key in keys if f"{key}_right" in joined.columns))
