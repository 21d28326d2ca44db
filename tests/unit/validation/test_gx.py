from __future__ import annotations

import subprocess
import sys

import pytest

from nightshift.config.settings import PROJECT
from nightshift.errors import ConfigError
from nightshift.validation import gx


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT / "plugins", capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("version", ["1.23.9", "1.25.0", "2.0.0", "1.240.0"])
def test_another_great_expectations_is_refused_with_what_to_do(version: str) -> None:
    with pytest.raises(ConfigError, match=r"1\.24"):
        gx.check_version(version)


def test_the_installed_great_expectations_is_the_tested_one() -> None:
    gx.check_version()


def test_the_context_is_made_once_a_process() -> None:
    assert gx._context() is gx._context()
    assert not gx._context().variables.progress_bars["globally"]


def test_the_import_is_quiet_even_when_everything_is_logged() -> None:
    code = "import logging; logging.basicConfig(level=1); import nightshift.validation.gx"
    seen = _python(code).stderr
    assert "great_expectations" not in seen
    assert len(seen.splitlines()) < 20


def test_a_summary_can_be_read_without_importing_great_expectations() -> None:
    code = "import sys, nightshift.validation.summary; print([m for m in sys.modules if m in "
    code += "('great_expectations', 'pandas', 'duckdb', 'pyarrow', 'numpy', 'airflow')])"
    assert _python(code).stdout.strip() == "[]"
