"""Where a job's outputs are decides which platform fetches them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nightshift.config.settings import Settings
from nightshift.errors import ConfigError
from nightshift.hooks.outputs import local_output

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A deployment below the test's folder."""
    return Settings.from_lookup({"home": str(tmp_path)}.get)


def test_an_output_on_this_machine_is_read_where_it_is(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "of today" / "output"
    assert local_output(folder.as_uri(), settings) == folder


def test_a_place_that_no_platform_writes_to_is_named(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="ftp://elsewhere/output"):
        local_output("ftp://elsewhere/output", settings)
