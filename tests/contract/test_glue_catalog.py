"""The Glue catalog in step with a lake on S3: SeaweedFS holds the tables, moto the catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from nightshift.catalog.glue import GlueCatalog, read_tags, table_input
from nightshift.cli.main import main
from nightshift.config.settings import Settings
from nightshift.errors import ConfigError, LakeError
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.notifiers import metrics
from nightshift.operators import catalog as after_a_task
from tests.fakes.moto import MotoServer, moto_running
from tests.fakes.s3 import new_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.server

DATABASE = "nightshift_test"
DAY = "2013-01-05"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with moto_running(tmp_path_factory.mktemp("moto")) as moto:
        yield moto


@pytest.fixture
def moto(server: MotoServer) -> MotoServer:
    server.reset()
    server.client("glue").create_database(DatabaseInput={"Name": DATABASE})
    return server


@pytest.fixture
def lake(s3_server: dict[str, str]) -> Lake:
    lake = Lake(new_bucket(s3_server), "pipe")
    lake.table("clean").replace_partition(DAY, pa.table({"row_id": [1, 2], "delay": [0.5, None]}))
    lake.table("planes").replace_all(pa.table({"tailnum": ["N1"]}))
    return lake


@pytest.fixture
def catalog(moto: MotoServer) -> GlueCatalog:
    return GlueCatalog(moto.client, DATABASE, {})


def held(moto: MotoServer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = moto.client("glue").get_table(DatabaseName=DATABASE, Name=name)["Table"]
    return found


def versions(moto: MotoServer, name: str) -> int:
    return len(moto.client("glue").get_table_versions(DatabaseName=DATABASE, TableName=name)["TableVersions"])


TABLES = ("clean", "quarantine", "planes")


def test_tables_are_made_as_athena_reads_delta(catalog: GlueCatalog, lake: Lake, moto: MotoServer) -> None:
    assert [(each.table, each.change) for each in catalog.sync(lake, TABLES)] == [
        ("pipe_clean", "created"),
        ("pipe_planes", "created"),
    ]
    table = held(moto, "pipe_clean")
    assert table["TableType"] == "EXTERNAL_TABLE"
    assert table["StorageDescriptor"]["Location"] == lake.table("clean").location.uri
    assert table["StorageDescriptor"]["Columns"] == [
        {"Name": "row_id", "Type": "bigint"},
        {"Name": "delay", "Type": "double"},
    ]
    assert table["PartitionKeys"] == [{"Name": "partition", "Type": "string"}]
    assert (
        table["Parameters"].items()
        >= {
            "spark.sql.sources.provider": "delta",
            "table_type": "DELTA",
            "nightshift.version": str(lake.table("clean").version()),
        }.items()
    )
    assert held(moto, "pipe_planes").get("PartitionKeys", []) == []


def test_what_is_in_step_is_left_alone(catalog: GlueCatalog, lake: Lake, moto: MotoServer) -> None:
    catalog.sync(lake, TABLES)
    assert {each.change for each in catalog.sync(lake, TABLES)} == {"unchanged"}
    assert versions(moto, "pipe_clean") == 1


def test_a_new_version_of_the_lake_is_noted(catalog: GlueCatalog, lake: Lake, moto: MotoServer) -> None:
    catalog.sync(lake, TABLES)
    lake.table("clean").replace_partition("2013-01-06", pa.table({"row_id": [3], "delay": [1.0]}))
    done = {each.table: each for each in catalog.sync(lake, TABLES)}
    assert (done["pipe_clean"].change, done["pipe_planes"].change) == ("updated", "unchanged")
    assert held(moto, "pipe_clean")["Parameters"]["nightshift.version"] == str(lake.table("clean").version())


def test_another_schema_is_a_new_version_of_the_table(
    catalog: GlueCatalog, lake: Lake, moto: MotoServer
) -> None:
    wanted = table_input("pipe", lake.table("clean"))
    wanted["StorageDescriptor"]["Columns"] = [{"Name": "row_id", "Type": "int"}]
    wanted["Description"] = "by a person"
    moto.client("glue").create_table(DatabaseName=DATABASE, TableInput=wanted)
    seen: list[dict[str, Any]] = []
    glue = moto.client("glue")
    glue.meta.events.register(
        "provide-client-params.glue.UpdateTable", lambda params, **_: seen.append(params)
    )
    watched = replace(catalog, client=lambda _: glue)
    assert watched.sync(lake, ("clean",))[0].change == "schema"
    assert [each["SkipArchive"] for each in seen] == [False]
    assert versions(moto, "pipe_clean") == 2
    assert held(moto, "pipe_clean")["Description"] == "by a person"


def test_lake_formation_tags_are_set_once(lake: Lake, moto: MotoServer) -> None:
    resource = {"Table": {"DatabaseName": DATABASE, "Name": "pipe_clean"}}
    client = moto.client("lakeformation")
    for key in ("domain", "owner"):
        client.create_lf_tag(TagKey=key, TagValues=["flights", "people"])
    # Moto cannot be asked for the tags of a table that never had one.
    client.add_lf_tags_to_resource(Resource=resource, LFTags=[{"TagKey": "owner", "TagValues": ["people"]}])
    added: list[Any] = []
    client.meta.events.register(
        "provide-client-params.lakeformation.AddLFTagsToResource",
        lambda params, **_: added.append(params["LFTags"]),
    )
    clients = {"glue": moto.client("glue"), "lakeformation": client}
    catalog = GlueCatalog(clients.__getitem__, DATABASE, read_tags("domain=flights"))
    catalog.sync(lake, ("clean",))
    catalog.sync(lake, ("clean",))
    assert added == [[{"TagKey": "domain", "TagValues": ["flights"]}]]
    tags = client.get_resource_lf_tags(Resource=resource)["LFTagsOnTable"]
    assert ("domain", ["flights"]) in [(each["TagKey"], each["TagValues"]) for each in tags]


def test_a_tag_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="'flights' is no tag"):
        read_tags("domain=x, flights")


def test_a_catalog_that_refuses_says_what_to_do(lake: Lake, moto: MotoServer) -> None:
    with pytest.raises(LakeError, match="nightshift catalog sync"):
        GlueCatalog(moto.client, "nowhere", {}).sync(lake, ("clean",))


def test_a_lake_on_files_has_no_catalog(catalog: GlueCatalog, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="S3 only"):
        catalog.sync(Lake(Location(tmp_path.as_uri()), "pipe"), ("clean",))


def settings_of(lake: Lake, database: str = DATABASE) -> Settings:
    told = {"glue_database": database, "lake_uri": lake.root.uri, "lake_conn_id": "aws_lake"}
    return Settings.from_lookup(told.get)


def test_a_catalog_that_is_away_fails_no_task_and_is_told(
    lake: Lake, moto: MotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(metrics, "catalog_failed", told.append)
    monkeypatch.setattr(after_a_task, "open_catalog", lambda _: GlueCatalog(moto.client, "nowhere", {}))
    after_a_task.show_in_catalog(settings_of(lake), lake, ("clean",))
    assert told == ["pipe"]


def test_without_a_database_nothing_is_asked(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(metrics, "catalog_failed", told.append)
    after_a_task.show_in_catalog(settings_of(lake, database=""), lake, ("clean",))
    assert told == []


def test_the_command_mends_the_catalog_through_the_connection(
    moto: MotoServer,
    s3_server: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lake = Lake(new_bucket(s3_server), "flight_delays")
    lake.table("clean").replace_partition(DAY, pa.table({"row_id": [1]}))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAKE", _connection(s3_server, moto.endpoint))
    for name, value in (
        ("GLUE_DATABASE", DATABASE),
        ("LAKE_URI", lake.root.uri),
        ("LAKE_CONN_ID", "aws_lake"),
    ):
        monkeypatch.setenv(f"AIRFLOW__NIGHTSHIFT__{name}", value)
    assert main(["catalog", "sync", "flight_delays"]) == 0
    assert main(["catalog", "sync", "flight_delays"]) == 0
    said = capsys.readouterr().out
    assert "1 tables, 1 changed" in said
    assert "1 tables, 0 changed" in said


def _connection(s3: dict[str, str], endpoint: str) -> str:
    import json

    return json.dumps(
        {
            "conn_type": "aws",
            "login": s3["aws_access_key_id"],
            "password": s3["aws_secret_access_key"],
            "extra": {
                "region_name": "us-east-1",
                "endpoint_url": endpoint,
                "service_config": {"s3": {"endpoint_url": s3["aws_endpoint"]}},
            },
        }
    )
