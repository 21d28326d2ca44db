"""The lake keeps its promises on files, on S3 and on Blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nightshift.lake.storage import Location, list_objects
from nightshift.lake.tables import Lake
from tests.contract.lake_contract import LakeContract, rows_of
from tests.fakes.azurite import new_container
from tests.fakes.s3 import new_bucket

if TYPE_CHECKING:
    from pathlib import Path


class TestLakeOnFiles(LakeContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Location:
        return Location((tmp_path / "place").as_uri())


@pytest.mark.server
class TestLakeOnS3(LakeContract):
    @pytest.fixture
    def place(self, s3_server: dict[str, str]) -> Location:
        return new_bucket(s3_server).child("some", "folder")


@pytest.mark.server
class TestLakeOnBlob(LakeContract):
    @pytest.fixture
    def place(self, azurite: dict[str, str]) -> Location:
        return new_container(azurite).child("some", "folder")

    def test_an_address_may_name_the_account(self, azurite: dict[str, str]) -> None:
        short = new_container(azurite)
        container = short.uri.removeprefix("abfs://")
        account = azurite["azure_storage_account_name"]
        options = {k: v for k, v in azurite.items() if k != "azure_storage_account_name"}
        long = Location(f"abfs://{container}@{account}.dfs.core.windows.net", options)
        Lake(long, "pipe").table("raw").replace_partition("2013-01-05", rows_of(1))
        assert Lake(short, "pipe").table("raw").read(None).num_rows == 1
        assert list_objects(long) == list_objects(short)
