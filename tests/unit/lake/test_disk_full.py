"""A disk that is full in the middle of a publication, on a real small file system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.settings import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

Told = list[dict[str, Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What :mod:`tests.unit.lake.disk_full` met on a disk of 4 MB that only it can see."""
    folder = tmp_path_factory.mktemp("full") / "disk"
    folder.mkdir()
    done = _on_small_disk(folder, [sys.executable, "-m", "tests.unit.lake.disk_full", str(folder)])
    assert done.returncode == 0, done.stderr
    found: Told = json.loads(done.stdout)
    return found


def _on_small_disk(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    mount = f'mount -t tmpfs -o size=4m none "{folder}"'
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*private, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets us mount no file system of our own")
    path = os.pathsep.join(str(part) for part in (PROJECT / "plugins", PROJECT / "include", PROJECT))
    return subprocess.run(
        [*private, f'{mount} && exec "$@"', "sh", *command],
        env={**os.environ, "PYTHONPATH": path},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_lack_of_room_is_told_as_our_error_with_what_to_do(told: Told) -> None:
    errors = [each for each in told if each["error"]]
    assert 10 <= len(errors) < len(told)
    assert {(each["error"], each["retryable"]) for each in errors} == {("StorageUnavailable", True)}
    assert all("no room is left on the disk. To fix: make room, then clear" in e["message"] for e in errors)


def test_the_lake_is_as_it_was_or_as_it_should_be_and_nothing_is_left_behind(told: Told) -> None:
    assert {(bool(each["error"]), each["rows"]) for each in told} == {(True, 10), (False, 1000)}
    assert [each["left behind"] for each in told if each["error"]] == [[]] * sum(
        bool(e["error"]) for e in told
    )


def test_a_rerun_succeeds_when_there_is_room_again(told: Told) -> None:
    assert {each["rows after room was made"] for each in told} == {1000}
