"""Ingestion keeps its promises on files, on S3 and on Blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nightshift.lake.storage import Location
from tests.contract.ingest_contract import IngestContract
from tests.fakes.azurite import new_container
from tests.fakes.s3 import new_bucket

if TYPE_CHECKING:
    from pathlib import Path


class TestIngestOnFiles(IngestContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Location:
        return Location((tmp_path / "place").as_uri())


@pytest.mark.server
class TestIngestOnS3(IngestContract):
    @pytest.fixture
    def place(self, s3_server: dict[str, str]) -> Location:
        return new_bucket(s3_server)


@pytest.mark.server
class TestIngestOnBlob(IngestContract):
    @pytest.fixture
    def place(self, azurite: dict[str, str]) -> Location:
        return new_container(azurite)
