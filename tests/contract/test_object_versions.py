"""On a bucket that keeps versions, a manifest reads its very bytes, whatever became of the objects."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightshift.errors import LakeError
from nightshift.lake import storage
from nightshift.lake.tables import Lake, LakeTable
from nightshift.platforms.base import JobInput
from nightshift.provenance.reproduce import _input
from tests.fakes.s3 import new_bucket

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.lake.storage import Location

pytestmark = pytest.mark.server

DAY = "2013-01-05"


@pytest.fixture
def bucket(s3_server: dict[str, str]) -> Location:
    """A bucket that keeps versions."""
    place = new_bucket(s3_server)
    client(place).put_bucket_versioning(
        Bucket=place.uri.removeprefix("s3://"), VersioningConfiguration={"Status": "Enabled"}
    )
    return place


def client(place: Location) -> Any:
    import boto3

    options = place.options
    return boto3.client(
        "s3",
        endpoint_url=options["aws_endpoint"],
        region_name=options["aws_region"],
        aws_access_key_id=options["aws_access_key_id"],
        aws_secret_access_key=options["aws_secret_access_key"],
    )


@pytest.fixture
def table(bucket: Location) -> LakeTable:
    table = Lake(bucket, "pipe").table("clean")
    table.replace_partition(DAY, pa.table({"row_id": [1, 2, 3]}))
    table.replace_partition("2013-01-06", pa.table({"row_id": [4]}))
    return table


def test_a_pinned_manifest_names_versions_and_keeps_its_hash(table: LakeTable) -> None:
    plain = table.manifest(None)
    pinned = table.pinned(plain)
    assert pinned.sha256 == plain.sha256
    assert all(file.object_version and file.etag for file in pinned.files)
    assert table.replaced(pinned) == []


def test_deleted_and_replaced_files_are_read_as_they_were(table: LakeTable, tmp_path: Path) -> None:
    pinned = table.pinned(table.manifest(None))
    first, second = (file.path for file in pinned.files)
    before = table.download(pinned, tmp_path / "before")
    storage.remove(table.location, [first])
    size = next(file.bytes for file in pinned.files if file.path == second)
    storage.write_object(table.location, second, b"x" * size)  # of the same size: only the ETag tells
    assert [file.path for file in table.replaced(pinned)] == [first, second]
    table.check(pinned)
    after = table.download(pinned, tmp_path / "after")
    assert [_hash(file) for file in after] == [_hash(file) for file in before]
    assert pq.ParquetFile(after[0]).metadata.num_rows == 3


def test_without_a_version_a_deleted_file_is_gone(table: LakeTable) -> None:
    manifest = table.manifest([DAY])
    storage.remove(table.location, [manifest.files[0].path])
    with pytest.raises(LakeError, match="not there any more"):
        table.check(manifest)


def test_what_is_made_again_gets_the_recorded_bytes(
    table: LakeTable, bucket: Location, tmp_path: Path
) -> None:
    pinned = table.pinned(table.manifest([DAY]))
    recorded = {"clean": pinned.to_dict()}
    told = JobInput("clean", table.location.uri, pinned.sha256, tuple(f.path for f in pinned.files))
    lake = Lake(bucket, "pipe")
    assert _input(lake, told, recorded, tmp_path / "clean").uri == table.location.uri
    storage.remove(table.location, [pinned.files[0].path])
    found = _input(lake, told, recorded, tmp_path / "clean")
    assert (found.uri, found.identity) == ((tmp_path / "clean").as_uri(), pinned.sha256)
    assert pq.ParquetFile(tmp_path / "clean" / found.files[0]).read()["row_id"].to_pylist() == [1, 2, 3]


def test_a_bucket_without_versions_gives_etags_alone(s3_server: dict[str, str]) -> None:
    table = Lake(new_bucket(s3_server), "pipe").table("clean")
    table.replace_partition(DAY, pa.table({"row_id": [1]}))
    file = table.pinned(table.manifest(None)).files[0]
    assert (bool(file.etag), file.object_version) == (True, "")


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
