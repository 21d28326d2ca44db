from __future__ import annotations

import pickle

import pytest

from nightshift.errors import ConfigError
from nightshift.lake.storage import Location, list_objects, write_object

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize("uri", ["/plain/path", "relative", "gs://bucket/x", "http://host/x", ""])
def test_a_place_must_be_of_a_kind_we_know(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"file:///folder, s3://bucket/folder or abfs://container/folder"):
        Location(uri)


@pytest.mark.parametrize("uri", ["s3:///folder", "abfs:///folder"])
def test_a_place_in_a_cloud_names_its_bucket(uri: str) -> None:
    with pytest.raises(ConfigError, match="names no bucket or container"):
        Location(uri)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("file:///x", "file"),
        ("s3://b/x", "s3"),
        ("s3a://b", "s3"),
        ("abfs://c/x", "abfs"),
        ("abfss://c", "abfs"),
    ],
)
def test_the_scheme_decides_the_kind(uri: str, kind: str) -> None:
    assert Location(uri).kind == kind


def test_children_keep_the_sign_in() -> None:
    child = Location("s3://bucket/lake/", {"aws_region": "x"}).child("/pipe/", "raw")
    assert (child.uri, child.options) == ("s3://bucket/lake/pipe/raw", {"aws_region": "x"})


def test_secrets_do_not_show() -> None:
    place = Location("s3://bucket", {"aws_secret_access_key": SECRET})
    assert SECRET not in repr(place) + str(place) + repr(place.child("x"))


def test_a_place_crosses_processes() -> None:
    place = Location("s3://bucket/x", {"aws_region": "x"})
    assert pickle.loads(pickle.dumps(place)) == place


def test_a_local_place_may_hold_spaces(tmp_path) -> None:
    place = Location((tmp_path / "my lake").as_uri())
    write_object(place, "a b/c.txt", b"x")
    assert place.path() == tmp_path / "my lake"
    assert (tmp_path / "my lake" / "a b" / "c.txt").read_bytes() == b"x"


def test_a_cloud_place_has_no_path() -> None:
    with pytest.raises(ConfigError, match="not on this machine"):
        Location("s3://bucket").path()


def test_listing_a_folder_that_is_not_there_makes_none(tmp_path) -> None:
    assert list_objects(Location((tmp_path / "nothing").as_uri())) == []
    assert not (tmp_path / "nothing").exists()


def test_a_misspelt_option_is_named() -> None:
    with pytest.raises(ConfigError, match="aws_endpoimt"):
        list_objects(Location("s3://bucket", {"aws_endpoimt": "http://127.0.0.1:1"}))


def test_s3_tables_commit_by_conditional_put_unless_told_otherwise() -> None:
    assert Location("s3://b").table_options["aws_conditional_put"] == "etag"
    chosen = Location("s3://b", {"aws_conditional_put": "dynamo:locks"})
    assert chosen.table_options["aws_conditional_put"] == "dynamo:locks"
