"""A real S3 server for the test session: SeaweedFS on loopback, with signatures and conditional writes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from localcloud.aws.s3 import seaweedfs
from localcloud.waiting import free_port
from nightshift.lake.storage import Location

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["new_bucket", "s3_running", "s3_server"]

_ACCESS_KEY, _SECRET_KEY = "nightshift-tests", "not-a-secret-but-treated-as-one"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The options of a running server, as a :class:`Location` takes them; see ``new_bucket``."""
    with s3_running(tmp_path_factory.mktemp("seaweedfs")) as options:
        yield options


@contextmanager
def s3_running(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server with its data in ``folder`` for the length of the block; gives its options."""
    port = free_port()
    with seaweedfs(folder, port, _ACCESS_KEY, _SECRET_KEY):
        yield {
            "aws_endpoint": f"http://127.0.0.1:{port}",
            "aws_allow_http": "true",
            "aws_region": "us-east-1",
            "aws_access_key_id": _ACCESS_KEY,
            "aws_secret_access_key": _SECRET_KEY,
        }


def new_bucket(options: dict[str, str]) -> Location:
    """A bucket of its own on that server."""
    import boto3

    name = f"bucket-{uuid4().hex[:12]}"
    client = boto3.client(
        "s3",
        endpoint_url=options["aws_endpoint"],
        region_name=options["aws_region"],
        aws_access_key_id=options["aws_access_key_id"],
        aws_secret_access_key=options["aws_secret_access_key"],
    )
    client.create_bucket(Bucket=name)
    return Location(f"s3://{name}", options)
