from __future__ import annotations

import json
from dataclasses import replace

from nightshift.lake.manifest import Manifest, ManifestFile

FILES = [
    ManifestFile("partition=2013-01-06/b.parquet", "2013-01-06", 3, 30),
    ManifestFile("partition=2013-01-05/a.parquet", "2013-01-05", 2, 20),
]


def test_a_manifest_sums_up_its_files() -> None:
    manifest = Manifest.of("raw", "file:///lake/raw", 7, FILES)
    assert (manifest.rows, manifest.bytes) == (5, 50)
    assert manifest.partitions == ("2013-01-05", "2013-01-06")


def test_a_manifest_is_taken_apart_by_partition() -> None:
    files = [*FILES, ManifestFile("partition=2013-01-05/c.parquet", "2013-01-05", 4, 40)]
    manifest = Manifest.of("raw", "file:///lake/raw", 7, files)
    assert manifest.rows_by_partition() == {"2013-01-05": 6, "2013-01-06": 3}
    assert {key: len(paths) for key, paths in manifest.paths().items()} == {"2013-01-05": 2, "2013-01-06": 1}
    part = manifest.only("2013-01-05")
    assert (part.version, part.partitions, part.rows) == (7, ("2013-01-05",), 6)
    assert manifest.only("2013-01-07").files == ()


def test_the_hash_knows_the_files_and_not_their_order_or_place() -> None:
    here = Manifest.of("raw", "file:///lake/raw", 7, FILES)
    there = Manifest.of("raw", "s3://bucket/raw", 9, FILES[::-1])
    fewer = Manifest.of("raw", "file:///lake/raw", 7, FILES[:1])
    assert here.sha256 == there.sha256 != fewer.sha256


def test_a_manifest_survives_json() -> None:
    manifest = Manifest.of("raw", "file:///lake/raw", 7, FILES)
    assert Manifest.from_dict(json.loads(json.dumps(manifest.to_dict()))) == manifest


def test_the_versions_of_objects_are_kept_and_change_no_hash() -> None:
    plain = Manifest.of("raw", "s3://bucket/raw", 7, FILES)
    pinned = replace(plain, files=tuple(replace(f, etag='"e"', object_version="v1") for f in plain.files))
    assert Manifest.of("raw", pinned.uri, 7, pinned.files).sha256 == plain.sha256
    assert Manifest.from_dict(json.loads(json.dumps(pinned.to_dict()))) == pinned


def test_a_manifest_of_before_there_were_versions_can_be_read() -> None:
    manifest = Manifest.of("raw", "file:///lake/raw", 7, FILES)
    old = manifest.to_dict()
    for file in old["files"]:
        del file["etag"], file["object_version"]
    assert Manifest.from_dict(old) == manifest
