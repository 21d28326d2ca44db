"""The ledger keeps its promises on files, on S3 and on Blob."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from nightshift.lake.storage import Location
from tests.contract.ledger_contract import WORKERS, LedgerContract
from tests.fakes.azurite import new_container
from tests.fakes.s3 import new_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(WORKERS) as made:
        yield made


class TestLedgerOnFiles(LedgerContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Location:
        return Location((tmp_path / "place").as_uri())

    @pytest.fixture(scope="class")
    def pool(self) -> Iterator[Executor]:
        with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as made:
            yield made


@pytest.mark.server
class TestLedgerOnS3(LedgerContract):
    @pytest.fixture
    def place(self, s3_server: dict[str, str]) -> Location:
        return new_bucket(s3_server).child("some", "folder")


@pytest.mark.server
class TestLedgerOnBlob(LedgerContract):
    @pytest.fixture
    def place(self, azurite: dict[str, str]) -> Location:
        return new_container(azurite).child("some", "folder")
