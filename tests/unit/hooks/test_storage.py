"""From Airflow connections to the settings that every object store client of ours takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nightshift.errors import ConfigError
from nightshift.hooks.storage import options_for


def connection(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(fields))
    return "store"


@pytest.mark.parametrize("uri", ["file:///data", "s3://bucket", "abfs://container"])
def test_without_a_connection_the_machine_itself_signs_in(uri: str) -> None:
    assert options_for(uri, "") == {}


def test_an_aws_connection_gives_key_region_and_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"region_name": "eu-central-1", "endpoint_url": "http://127.0.0.1:9"}
    conn = connection(monkeypatch, conn_type="aws", login="id", password="secret", extra=extra)
    assert options_for("s3://bucket/lake", conn) == {
        "aws_access_key_id": "id",
        "aws_secret_access_key": "secret",
        "aws_region": "eu-central-1",
        "aws_endpoint_url": "http://127.0.0.1:9",
        "aws_allow_http": "true",
        "aws_conditional_put": "etag",
    }


def test_the_endpoint_of_s3_alone_wins_over_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "endpoint_url": "http://127.0.0.1:9",
        "service_config": {"s3": {"endpoint_url": "https://s3.local"}},
    }
    conn = connection(monkeypatch, conn_type="aws", login="id", password="secret", extra=extra)
    options = options_for("s3://bucket", conn)
    assert (options["aws_endpoint_url"], options["aws_allow_http"]) == ("https://s3.local", "false")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"conn_type": "wasb", "login": "acc", "password": "key"},
            {"azure_storage_account_name": "acc", "azure_storage_account_key": "key"},
        ),
        (
            {"conn_type": "wasb", "login": "acc", "extra": {"sas_token": "sv=1"}},
            {"azure_storage_account_name": "acc", "azure_storage_sas_key": "sv=1"},
        ),
        (
            {
                "conn_type": "azure",
                "login": "client",
                "password": "secret",
                "extra": {"tenantId": "t", "account_name": "acc"},
            },
            {
                "azure_storage_account_name": "acc",
                "azure_storage_tenant_id": "t",
                "azure_storage_client_id": "client",
                "azure_storage_client_secret": "secret",
            },
        ),
        (
            {"conn_type": "azure", "extra": {"account_name": "acc", "managed_identity_client_id": "m"}},
            {"azure_storage_account_name": "acc", "azure_storage_client_id": "m"},
        ),
        (
            {
                "conn_type": "wasb",
                "extra": {
                    "connection_string": "AccountName=acc;AccountKey=k==;BlobEndpoint=http://127.0.0.1:1/acc;"
                },
            },
            {
                "azure_storage_account_name": "acc",
                "azure_storage_account_key": "k==",
                "azure_storage_endpoint": "http://127.0.0.1:1/acc",
                "azure_allow_http": "true",
            },
        ),
    ],
    ids=["shared key", "SAS", "service principal", "managed identity", "connection string"],
)
def test_an_azure_connection_signs_in_as_it_says(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], expected: dict[str, str]
) -> None:
    assert options_for("abfs://lake/x", connection(monkeypatch, **fields)) == expected


def test_a_connection_without_an_account_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    conn = connection(monkeypatch, conn_type="azure", extra={"tenantId": "t"})
    with pytest.raises(ConfigError, match="names no storage account"):
        options_for("abfs://lake", conn)


def test_a_scheme_without_a_connection_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="use file://, s3:// or abfs://"):
        options_for("gs://bucket", "store")
