"""What every test may ask for: the loopback servers, each started once and only when asked for."""

from __future__ import annotations

import os
import tempfile

import pytest

# Airflow makes its home when it is imported; not in the home folder of whoever runs the tests.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="nightshift-tests-airflow-"))

pytest_plugins = [
    "localcloud.pytest_plugin",
    "tests.fakes.alerts",
    "tests.fakes.azurite",
    "tests.fakes.mlflow",
    "tests.fakes.s3",
]


@pytest.fixture(scope="session")
def loopback_aws_options() -> tuple[str, ...]:
    """Many small jobs at once, and none that may take its time to end."""
    return ("--parallel", "12", "--grace", "1", "--interruption", "0.1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="run every chaos test, not only the fast ones")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """First what forks this process; without the chaos tests that take minutes, unless they are asked for."""
    items.sort(key=lambda item: item.get_closest_marker("forks") is None)
    if config.getoption("--chaos"):
        return
    slow = [
        item for item in items if item.get_closest_marker("chaos") and not item.get_closest_marker("fast")
    ]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
