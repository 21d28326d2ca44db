"""Folders on files, S3 and Blob Storage, signed in to with Airflow connections.

A connection gives object store settings, the same for ingestion (obstore), the lake (deltalake) and a
job's inputs, so that worker and job sign in alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.lake.storage import Location
    from nightshift.lake.tables import Lake

__all__ = ["landing_zone", "open_lake", "options_for"]


def landing_zone(settings: Settings) -> Location:
    """The root that ``{landing}`` stands for in a pipeline file."""
    from nightshift.lake.storage import Location

    return Location(settings.landing_uri, options_for(settings.landing_uri, settings.landing_conn_id))


def open_lake(settings: Settings, pipeline: Pipeline) -> Lake:
    """The lake of one pipeline."""
    from nightshift.lake.storage import Location
    from nightshift.lake.tables import Lake

    root = Location(settings.lake_uri, options_for(settings.lake_uri, settings.lake_conn_id))
    return Lake(root, pipeline.pipeline)


def options_for(uri: str, conn_id: str) -> dict[str, str]:
    """Object store settings for a URI.

    :param conn_id: an Airflow connection of type ``aws``, ``wasb`` or ``azure``; empty means that the
        machine's own identity (instance role, managed identity) signs in.
    :raises ConfigError: for a scheme that has no connection type.
    """
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file") or not conn_id:
        return {}
    if scheme in ("s3", "s3a"):
        return _aws(conn_id)
    if scheme in ("abfs", "abfss", "az"):
        return _azure(conn_id)
    raise ConfigError(
        f"{uri} cannot be reached with connection {conn_id}", fix="use file://, s3:// or abfs://"
    )


def _aws(conn_id: str) -> dict[str, str]:
    """Through the Amazon provider's hook: assumed roles, regions and endpoints as configured there."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    hook = S3Hook(aws_conn_id=conn_id)
    found = hook.get_credentials()
    options = {"aws_access_key_id": found.access_key, "aws_secret_access_key": found.secret_key}
    if found.token:
        options["aws_session_token"] = found.token
    options["aws_region"] = hook.region_name or "us-east-1"
    endpoint = hook.conn_config.get_service_endpoint_url("s3")
    if endpoint:
        options["aws_endpoint_url"] = endpoint
        options["aws_allow_http"] = str(endpoint.startswith("http://")).lower()
    return {**options, "aws_conditional_put": "etag"}


def _azure(conn_id: str) -> dict[str, str]:
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(conn_id)
    extra = connection.extra_dejson
    if extra.get("connection_string"):
        return _from_connection_string(extra["connection_string"])
    options = _azure_identity(connection)
    account = extra.get("account_name") or (connection.login if connection.conn_type == "wasb" else None)
    if not account:
        raise ConfigError(
            f"connection {conn_id} names no storage account", fix="set account_name in its extra"
        )
    return {**options, "azure_storage_account_name": account}


def _azure_identity(connection: Connection) -> dict[str, str]:
    """A shared key, a SAS token or a service principal; else the machine's managed identity."""
    extra = connection.extra_dejson
    if extra.get("sas_token"):
        return {"azure_storage_sas_key": extra["sas_token"]}
    tenant = extra.get("tenantId") or extra.get("tenant_id")
    if tenant and connection.login and connection.password:
        return {
            "azure_storage_tenant_id": tenant,
            "azure_storage_client_id": connection.login,
            "azure_storage_client_secret": connection.password,
        }
    if connection.password:
        return {"azure_storage_account_key": connection.password}
    client = extra.get("managed_identity_client_id")
    return {"azure_storage_client_id": client} if client else {}


def _from_connection_string(text: str) -> dict[str, str]:
    parts = dict(piece.split("=", 1) for piece in text.strip(";").split(";") if "=" in piece)
    options = {"azure_storage_account_name": parts.get("AccountName", "")}
    if "AccountKey" in parts:
        options["azure_storage_account_key"] = parts["AccountKey"]
    if "SharedAccessSignature" in parts:
        options["azure_storage_sas_key"] = parts["SharedAccessSignature"]
    endpoint = parts.get("BlobEndpoint")
    if endpoint:
        options["azure_storage_endpoint"] = endpoint
        options["azure_allow_http"] = str(endpoint.startswith("http://")).lower()
    return options
