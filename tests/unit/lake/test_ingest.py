from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nightshift.config.loader import load_pipeline
from nightshift.embedded.sample_data import seed_landing
from nightshift.errors import ConfigError, PartitionKeyError, StorageUnavailable
from nightshift.lake import fetch as fetching
from nightshift.lake.ingest import ingest_partition, landing_location
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake

DAY = "2013-01-05"
PIPELINE = Path(__file__).parents[3] / "include" / "pipelines" / "flight_delays.yaml"
LANDING = Location("s3://bucket/landing", {"aws_region": "x"})


@pytest.mark.parametrize(
    ("template", "uri", "signed"),
    [
        ("{landing}/flights/dt={partition}", f"s3://bucket/landing/flights/dt={DAY}", True),
        ("{landing}/planes", "s3://bucket/landing/planes", True),
        ("s3://other/{partition}", f"s3://other/{DAY}", True),
        ("file:///data/{partition}", f"file:///data/{DAY}", False),
    ],
)
def test_a_source_lies_in_the_landing_zone_or_where_it_says(template: str, uri: str, signed: bool) -> None:
    place = landing_location(template, DAY, LANDING)
    assert (place.uri, bool(place.options)) == (uri, signed)


@pytest.fixture
def run(tmp_path: Path):
    landing = Location((tmp_path / "landing").as_uri())
    seed_landing(landing, DAY, DAY)
    pipeline = load_pipeline(PIPELINE)

    def call(partition: str = DAY, **changes: object):
        return ingest_partition(
            pipeline.model_copy(update=changes),
            partition,
            landing=landing,
            lake=Lake(Location((tmp_path / "lake").as_uri()), pipeline.pipeline),
            staging=tmp_path / "staging",
        )

    call.pipeline = pipeline
    return call


def test_a_changed_schema_takes_the_same_files_again(run) -> None:
    run()
    source = run.pipeline.source.model_copy(update={"null_values": ("", "NA", "N/A")})
    assert run(source=source).changed


def test_columns_of_the_lakes_own_are_refused(run) -> None:
    columns = {**run.pipeline.source.columns, "row_id": "int64"}
    with pytest.raises(ConfigError, match="raw may not have a column 'row_id'"):
        run(source=run.pipeline.source.model_copy(update={"columns": columns}))


def test_a_day_outside_the_pipeline_is_refused(run) -> None:
    with pytest.raises(PartitionKeyError, match="2014-01-01 is not a partition"):
        run("2014-01-01")


def test_what_a_killed_run_left_in_staging_is_swept_after_a_day(run, tmp_path: Path) -> None:
    old, young = tmp_path / "staging" / "ingest-old", tmp_path / "staging" / "ingest-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    run()
    assert list((tmp_path / "staging").iterdir()) == [young]


def test_a_full_disk_is_told_before_the_copy(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PART_BYTES", 1 << 60)
    with pytest.raises(StorageUnavailable, match="has no room for"):
        run()


def test_the_result_is_small_enough_for_xcom(run) -> None:
    assert len(str(run().to_dict())) < 4096
