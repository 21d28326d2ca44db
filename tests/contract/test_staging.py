"""A job's inputs arrive from files, S3 and Blob alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nightshift.errors import NightshiftError
from nightshift.lake.storage import Location, write_object
from nightshift.platforms.staging import stage
from tests.fakes.azurite import new_container
from tests.fakes.s3 import new_bucket

if TYPE_CHECKING:
    from pathlib import Path


class StagingContract:
    """Subclass it and supply ``place``, where the inputs are."""

    @pytest.fixture
    def source(self, place: Location) -> Location:
        for name in ("partition=1/a.txt", "partition=1/b.txt", "partition=2/a.txt"):
            write_object(place, name, name.encode())
        return place

    @staticmethod
    def staged(source: Location, target: Path, *files: str) -> dict[str, str]:
        """Stage and return what lies in the channel, by path."""
        entry = {"channel": "models/champion", "uri": source.uri, "files": list(files)}
        stage([entry], target, {"models/champion": source.options})
        channel = target / "models" / "champion"
        return {p.relative_to(channel).as_posix(): p.read_text() for p in channel.rglob("*.txt")}

    def test_exactly_the_named_files_arrive(self, source: Location, tmp_path: Path) -> None:
        found = self.staged(source, tmp_path / "in", "partition=1/a.txt", "partition=2/a.txt")
        assert found == {name: name for name in ("partition=1/a.txt", "partition=2/a.txt")}

    def test_without_names_everything_arrives(self, source: Location, tmp_path: Path) -> None:
        assert len(self.staged(source, tmp_path / "in")) == 3

    def test_staging_twice_is_the_same_as_once(self, source: Location, tmp_path: Path) -> None:
        assert self.staged(source, tmp_path / "in") == self.staged(source, tmp_path / "in")

    def test_a_file_that_is_gone_is_named(self, source: Location, tmp_path: Path) -> None:
        with pytest.raises(NightshiftError, match=r"partition=3/gone\.txt"):
            self.staged(source, tmp_path / "in", "partition=3/gone.txt")


class TestStagingFromFiles(StagingContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Location:
        return Location((tmp_path / "lake").as_uri())


@pytest.mark.server
class TestStagingFromS3(StagingContract):
    @pytest.fixture
    def place(self, s3_server: dict[str, str]) -> Location:
        return new_bucket(s3_server).child("lake")


@pytest.mark.server
class TestStagingFromBlob(StagingContract):
    @pytest.fixture
    def place(self, azurite: dict[str, str]) -> Location:
        return new_container(azurite).child("lake")
