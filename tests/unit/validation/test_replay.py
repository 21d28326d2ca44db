"""The replay of quarantined partitions: real flights, suites that are too strict, a lake of files."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.errors import AccountingError, CommitConflict, ConfigError
from nightshift.lake.tables import Lake, LakeTable
from nightshift.validation import replay as module
from nightshift.validation import split
from nightshift.validation.replay import replay
from nightshift.validation.run import report_path, validate_partition
from tests.fakes.azurite import new_container
from tests.fakes.s3 import new_bucket
from tests.unit.validation.flights import SUITE, day, lake_at, pipeline, planted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nightshift.validation.replayed import Replay

DAYS = ("2013-01-05", "2013-01-07", "2013-01-10")  # the shipped suite finds nothing in them
DAY = DAYS[0]
ROWS = {"2013-01-05": 720, "2013-01-07": 933, "2013-01-10": 932}
TABLES = ("raw", "clean", "quarantine")
TOO_FEW = {
    "type": "expect_table_row_count_to_be_between",
    "kwargs": {"min_value": 5000},
    "severity": "critical",
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.0)


def _suite(folder: Path, name: str, *added: Mapping[str, Any]) -> Path:
    """The shipped suite and more."""
    suite = json.loads(SUITE.read_text())
    suite["expectations"] += added
    file = folder / name
    file.write_text(json.dumps(suite))
    return file


def _no_carrier(code: str) -> dict[str, Any]:
    """An expectation that a mistake put into the suite: it sets the flights of a good carrier apart."""
    return {
        "type": "expect_column_values_to_not_be_in_set",
        "kwargs": {"column": "carrier", "value_set": [code]},
        "severity": "critical",
    }


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    return _suite(tmp_path, "strict.json", _no_carrier("HA"), _no_carrier("AS"))


def _validated(folder: Path, suite: Path, changes: dict[int, dict[str, Any]] | None = None) -> Lake:
    """Three days, validated by ``suite``; ``changes`` are planted into each."""
    lake = lake_at(folder / "lake", {key: planted(day(key), changes or {}) for key in DAYS})
    for key in DAYS:
        validate_partition(pipeline(), key, lake=lake, suite_file=suite, staging=folder / "staging")
    return lake


def _replayed(lake: Lake, folder: Path, suite: Path = SUITE, **options: Any) -> Replay:
    validation = options.pop("validation", {})
    return replay(
        pipeline(**validation),
        options.pop("partitions", DAYS),
        lake=lake,
        suite_file=suite,
        staging=folder / "staging",
        **options,
    )


def _versions(lake: Lake) -> dict[str, int]:
    return {name: lake.table(name).version() for name in TABLES}


def _counts(lake: Lake) -> dict[str, tuple[int, int]]:
    tables = {name: lake.table(name).partitions() for name in TABLES}
    found = {}
    for key, raw in tables["raw"].items():
        clean, aside = (tables[name][key].rows if key in tables[name] else 0 for name in TABLES[1:])
        assert clean + aside == raw.rows, key
        found[key] = (clean, aside)
    return found


def _is_like_raw(lake: Lake) -> bool:
    """Whether the clean rows are the raw rows, each once, cell by cell."""
    clean, raw = (
        lake.table(name).read(None).sort_by([("partition", "ascending"), ("row_id", "ascending")])
        for name in ("clean", "raw")
    )
    return bool(clean.equals(raw))


@pytest.mark.parametrize("above", [200_000, 100], ids=["memory", "files"])
def test_rows_that_a_strict_suite_set_apart_join_clean_in_one_commit(
    above: int, strict: Path, tmp_path: Path
) -> None:
    lake = _validated(tmp_path, strict)
    held = _counts(lake)
    assert all(aside > 0 for _, aside in held.values())
    before, raw = _versions(lake), lake.table("raw").manifest(None)
    done = _replayed(lake, tmp_path, validation={"duckdb_above_rows": above})
    assert _counts(lake) == {key: (rows, 0) for key, rows in ROWS.items()}
    assert _is_like_raw(lake)
    assert lake.table("raw").manifest(None) == raw
    assert _versions(lake) == {name: before[name] + (name != "raw") for name in TABLES}
    assert [(each.partition, each.status) for each in done.partitions] == [(key, "passed") for key in DAYS]
    assert [(each.before.clean, each.before.quarantined) for each in done.partitions] == list(held.values())
    assert done.versions == {name: before[name] + 1 for name in TABLES[1:]}
    assert done.newest == DAYS[-1]
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.server
@pytest.mark.parametrize("server", ["s3_server", "azurite"])
def test_a_lake_in_an_object_store_is_replayed_as_one_on_disk(
    server: str, strict: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(server)
    lake = Lake((new_bucket if server == "s3_server" else new_container)(made), "flight_delays")
    for key in DAYS[:2]:
        lake.table("raw").replace_partition(key, day(key))
        validate_partition(pipeline(), key, lake=lake, suite_file=strict, staging=tmp_path / "staging")
    before = _versions(lake)
    _replayed(lake, tmp_path)
    assert _counts(lake) == {key: (ROWS[key], 0) for key in DAYS[:2]}
    assert _versions(lake) == {name: before[name] + (name != "raw") for name in TABLES}


def test_what_fails_the_new_suite_stays_with_its_new_reasons(strict: Path, tmp_path: Path) -> None:
    lake = _validated(tmp_path, strict, {4: {"origin": "XXX"}})
    done = _replayed(lake, tmp_path, _suite(tmp_path, "half.json", _no_carrier("AS")))
    assert done.sums()["quarantined"]["after"] < done.sums()["quarantined"]["before"]
    rows = lake.table("quarantine").read([DAY]).to_pylist()
    reasons = {row["row_id"]: [reason.split("(")[1] for reason in row["reasons"]] for row in rows}
    assert [reason[:6] for reason in reasons[4]] == ["origin"]
    assert {row["carrier"] for row in rows if row["row_id"] != 4} == {"AS"}
    _counts(lake)


def test_a_blocked_partition_is_released_by_a_replay(tmp_path: Path) -> None:
    lake = _validated(tmp_path, _suite(tmp_path, "blocking.json", TOO_FEW))
    assert _counts(lake) == {key: (0, rows) for key, rows in ROWS.items()}
    done = _replayed(lake, tmp_path, partitions=DAYS[:2])
    assert [each.status for each in done.partitions] == ["passed", "passed"]
    assert _counts(lake) == {DAYS[0]: (720, 0), DAYS[1]: (933, 0), DAYS[2]: (0, 932)}
    assert done.newest == DAYS[1]


def test_a_partition_that_is_still_blocked_stays_and_says_why(tmp_path: Path) -> None:
    lake = _validated(tmp_path, _suite(tmp_path, "blocking.json", TOO_FEW))
    before = _versions(lake)
    done = _replayed(
        lake, tmp_path, _suite(tmp_path, "blocking.json", {**TOO_FEW, "kwargs": {"min_value": 900}})
    )
    assert [each.status for each in done.partitions] == ["blocked", "passed", "passed"]
    assert "expect_table_row_count_to_be_between(min_value=900)" in done.partitions[0].reason
    assert _counts(lake) == {DAYS[0]: (0, 720), DAYS[1]: (933, 0), DAYS[2]: (932, 0)}
    assert [each.changed for each in done.partitions] == [("quarantine",)] + [("clean", "quarantine")] * 2
    assert "min_value=900" in lake.table("quarantine").read([DAY])["reasons"].to_pylist()[0][-1]
    assert {name: version - before[name] for name, version in _versions(lake).items()} == {
        "raw": 0,
        "clean": 1,
        "quarantine": 1,
    }


def test_a_replay_takes_no_clean_rows_from_a_partition_that_is_blocked_by_now(
    strict: Path, tmp_path: Path
) -> None:
    lake = _validated(tmp_path, strict)
    before, counts, page = _versions(lake), _counts(lake), lake.read_file(report_path(DAY))
    done = _replayed(lake, tmp_path, _suite(tmp_path, "stricter.json", TOO_FEW))
    assert (_versions(lake), _counts(lake)) == (before, counts)
    assert {(each.status, each.changed) for each in done.partitions} == {("blocked", ())}
    assert done.partitions[0].reason.startswith("left as it is; judged now, it is blocked: expect_table_row")
    assert done.partitions[0].after == done.partitions[0].before
    assert lake.read_file(report_path(DAY)) == page


def test_a_blocked_partition_keeps_no_clean_rows_that_raw_holds_no_more(strict: Path, tmp_path: Path) -> None:
    lake = _validated(tmp_path, strict)
    lake.table("raw").replace_partition(DAY, planted(day(DAY), {3: {"flight": 1}}))  # as many rows, not these
    _replayed(lake, tmp_path, _suite(tmp_path, "stricter.json", TOO_FEW))
    assert _counts(lake)[DAY] == (0, 720)


def test_a_dry_run_says_what_would_change_and_writes_nothing(strict: Path, tmp_path: Path) -> None:
    lake = _validated(tmp_path, strict)
    place = lake.location.path()
    files = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    done = _replayed(lake, tmp_path, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == files
    assert [each.after.quarantined for each in done.partitions] == [0, 0, 0]
    assert {each.changed for each in done.partitions} == {("clean", "quarantine")}
    assert (dict(done.versions), done.newest) == ({}, None)
    real = _replayed(lake, tmp_path)
    assert real.sums() == done.sums()


def test_a_rerun_changes_nothing(strict: Path, tmp_path: Path) -> None:
    lake = _validated(tmp_path, strict, {4: {"origin": "XXX"}})  # stays in quarantine
    _replayed(lake, tmp_path)
    before = _versions(lake)
    done = _replayed(lake, tmp_path)
    assert _versions(lake) == before
    assert len(done.partitions) == 3
    assert (done.changed, dict(done.versions), done.newest) == ((), {}, None)


@pytest.mark.parametrize("above", [200_000, 100], ids=["memory", "files"])
def test_rows_in_another_order_are_the_same_rows(above: int, tmp_path: Path) -> None:
    lake = _validated(tmp_path, SUITE, {4: {"origin": "XXX"}})
    for key in DAYS:
        clean = lake.table("clean").read([key])
        lake.table("clean").replace_partition(key, clean.sort_by([("row_id", "descending")]))
    before = _versions(lake)
    _replayed(lake, tmp_path, validation={"duckdb_above_rows": above})
    assert _versions(lake) == before


def test_a_range_without_quarantined_rows_is_no_work(tmp_path: Path) -> None:
    lake = _validated(tmp_path, SUITE)
    before = _versions(lake)
    done = _replayed(lake, tmp_path, partitions=("2013-01-05", "2013-03-01"))
    assert (done.partitions, _versions(lake)) == ((), before)
    assert done.brief()["rows"]["clean"] == {"before": 0, "after": 0}


def test_a_lake_without_tables_is_no_work(tmp_path: Path) -> None:
    assert _replayed(lake_at(tmp_path / "lake", {}), tmp_path).partitions == ()


class _KilledError(RuntimeError):
    """As if the process ended here."""


def _killed_at(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    real: Callable[..., int] = LakeTable.replace_partitions

    def killed(self: LakeTable, *arguments: Any, **options: Any) -> int:
        if self.name == table:
            raise _KilledError
        return real(self, *arguments, **options)

    monkeypatch.setattr(LakeTable, "replace_partitions", killed)


def test_a_crash_between_the_two_commits_leaves_rows_twice_and_a_rerun_heals_it(
    strict: Path, tmp_path: Path
) -> None:
    lake = _validated(tmp_path, strict, {4: {"origin": "XXX"}})
    held = _counts(lake)
    with pytest.MonkeyPatch.context() as patched:
        _killed_at(patched, "quarantine")
        with pytest.raises(_KilledError):
            _replayed(lake, tmp_path)
    stats = {name: lake.table(name).partitions() for name in TABLES}
    assert {key: stats["clean"][key].rows for key in DAYS} == {key: rows - 1 for key, rows in ROWS.items()}
    assert {key: stats["quarantine"][key].rows for key in DAYS} == {key: held[key][1] for key in DAYS}
    before = _versions(lake)
    _replayed(lake, tmp_path)
    assert _counts(lake) == {key: (rows - 1, 1) for key, rows in ROWS.items()}
    assert _versions(lake) == {**before, "quarantine": before["quarantine"] + 1}


def test_a_crash_before_the_first_commit_leaves_the_tables_as_they_were(strict: Path, tmp_path: Path) -> None:
    lake = _validated(tmp_path, strict)
    before = (_versions(lake), _counts(lake))
    with pytest.MonkeyPatch.context() as patched:
        _killed_at(patched, "clean")
        with pytest.raises(_KilledError):
            _replayed(lake, tmp_path)
    assert (_versions(lake), _counts(lake)) == before


def test_a_partition_whose_validation_died_half_way_is_healed(tmp_path: Path) -> None:
    lake = _validated(tmp_path, SUITE)
    lake.table("clean").replace_partition(DAY, lake.table("clean").read([DAY]).slice(0, 0))
    done = _replayed(lake, tmp_path)
    assert [(each.partition, each.changed) for each in done.partitions] == [(DAY, ("clean",))]
    assert _counts(lake)[DAY] == (720, 0)


def test_two_replays_at_once_settle_on_the_same(strict: Path, tmp_path: Path) -> None:
    lake = _validated(tmp_path, strict, {4: {"origin": "XXX"}})
    together, errors = threading.Barrier(2), []

    def one() -> None:
        together.wait()
        try:
            _replayed(lake, tmp_path)
        except Exception as error:  # noqa: BLE001 a thread's error is looked at below
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert _counts(lake) == {key: (rows - 1, 1) for key, rows in ROWS.items()}
    assert {each.files for each in lake.table("clean").partitions().values()} == {1}


def _meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object], *, times: int) -> None:
    """Let another writer act right before each of the first commits to ``clean``."""
    real: Callable[..., int] = LakeTable.replace_partitions
    left = [times]

    def late(self: LakeTable, *arguments: Any, **options: Any) -> int:
        if self.name == "clean" and left[0]:
            left[0] -= 1
            do()
        return real(self, *arguments, **options)

    monkeypatch.setattr(LakeTable, "replace_partitions", late)


def test_a_partition_that_is_ingested_meanwhile_is_judged_again(
    strict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = _validated(tmp_path, strict)
    fresh = planted(day(DAY), {row: {"origin": "XXX"} for row in (1, 2)})
    _meanwhile(monkeypatch, lambda: lake.table("raw").replace_partition(DAY, fresh), times=1)
    _replayed(lake, tmp_path)
    assert _counts(lake)[DAY] == (718, 2)
    assert {row["row_id"] for row in lake.table("quarantine").read([DAY]).to_pylist()} == {1, 2}


def test_a_partition_that_is_ingested_again_and_again_is_a_clear_error(
    strict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = _validated(tmp_path, strict)
    tables = iter([planted(day(DAY), {row: {"origin": "XXX"}}) for row in range(9)])
    _meanwhile(monkeypatch, lambda: lake.table("raw").replace_partition(DAY, next(tables)), times=9)
    with pytest.raises(CommitConflict, match=r"raw rows of 2013-01-05 were replaced.*then replay again"):
        _replayed(lake, tmp_path)
    monkeypatch.undo()
    _replayed(lake, tmp_path)
    assert _counts(lake)[DAY] == (719, 1)


def test_a_partition_that_is_validated_meanwhile_is_not_overwritten_unseen(
    strict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = _validated(tmp_path, strict)

    def validate() -> None:
        validate_partition(pipeline(), DAY, lake=lake, suite_file=SUITE, staging=tmp_path / "other")

    before = _versions(lake)
    _meanwhile(monkeypatch, validate, times=1)
    _replayed(lake, tmp_path)
    assert _counts(lake) == {key: (rows, 0) for key, rows in ROWS.items()}
    assert _versions(lake)["clean"] == before["clean"] + 2


def test_rows_that_get_lost_are_noticed_before_anything_is_written(
    strict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = _validated(tmp_path, strict)
    before = _versions(lake)
    monkeypatch.setattr(split, "_clean_sql", lambda batch, none: "SELECT * FROM source WHERE row_id > 2")
    with pytest.raises(AccountingError, match="720 rows ingested, but 717 clean"):
        _replayed(lake, tmp_path)
    assert _versions(lake) == before


def test_the_reports_say_what_came_of_it(strict: Path, tmp_path: Path) -> None:
    lake = _validated(tmp_path, strict)
    assert b"Rows in quarantine" in lake.read_file(report_path(DAY))
    _replayed(lake, tmp_path)
    for key in DAYS:
        data = json.loads(lake.read_file(report_path(key, "json")))
        assert data["rows"] == {"ingested": ROWS[key], "clean": ROWS[key], "quarantined": 0}
        assert data["quarantined_sample"] == []
        assert b"Rows in quarantine" not in lake.read_file(report_path(key))


def test_a_dry_run_that_is_to_ingest_is_refused(tmp_path: Path) -> None:
    lake = _validated(tmp_path, SUITE)
    with pytest.raises(ConfigError, match="a dry run writes nothing"):
        _replayed(lake, tmp_path, dry_run=True, landing=lake.root)


def test_the_brief_is_small_whatever_the_range(tmp_path: Path) -> None:
    from nightshift.validation.replayed import Replay, Replayed

    rows = split.Rows(336_776, 0, 336_776)
    every = tuple(Replayed(f"{n:010d}", "blocked", rows, rows, (), "\u202e<é>" * 500) for n in range(3650))
    found = Replay("p" * 40, "2013-01-01", "2022-12-31", False, every, {"clean": 10**9}, 1.0)
    assert len(json.dumps(found.brief())) < 4096
    assert found.brief()["partitions"]["blocked"] == 3650


def test_a_commit_names_the_replay(strict: Path, tmp_path: Path) -> None:
    from deltalake import DeltaTable

    lake = _validated(tmp_path, strict)
    _replayed(lake, tmp_path)
    (last, *_) = DeltaTable(lake.table("clean").location.table_uri).history(1)
    assert last["nightshift.replay"] == "2013-01-05..2013-01-10"
