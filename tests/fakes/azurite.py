"""A real Blob server for the test session: Azurite from npm on loopback."""

from __future__ import annotations

import shutil
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

__all__ = ["azurite", "azurite_running", "new_container"]

_ACCOUNT = "devstoreaccount1"
# Azurite's published development key: the same on every machine, no secret.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_MAIN = Path(__file__).parents[1] / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The options of a running server, as a :class:`Location` takes them; see ``new_container``."""
    with azurite_running(tmp_path_factory.mktemp("azurite")) as options:
        yield options


@contextmanager
def azurite_running(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server with its data in ``folder`` for the length of the block; gives its options."""
    node = shutil.which("node")
    if node is None or not _MAIN.exists():
        raise RuntimeError("no Azurite: install node 20 or newer, then run 'npm ci --prefix tests'")
    port = free_port()
    command = [
        *(node, _MAIN, "--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *("--location", folder, "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
    ]
    endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    with running(command, ready=partial(answers, endpoint), log=folder / "server.log", folder=folder):
        yield {
            "azure_storage_account_name": _ACCOUNT,
            "azure_storage_account_key": _KEY,
            "azure_storage_endpoint": endpoint,
            "azure_allow_http": "true",
        }


def new_container(options: dict[str, str]) -> Location:
    """A container of its own on that server."""
    from azure.storage.blob import BlobServiceClient

    name = f"container-{uuid4().hex[:12]}"
    with BlobServiceClient(
        options["azure_storage_endpoint"], credential=options["azure_storage_account_key"]
    ) as client:
        client.create_container(name)
    return Location(f"abfs://{name}", options)
