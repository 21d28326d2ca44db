"""Pytest fixtures for tests of DAGs: ``pytest_plugins = ["localcloud.pytest_plugin"]`` in a conftest.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from localcloud.aws.client import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localcloud.aws.client import LoopbackAws

__all__ = ["clean_loopback_aws", "loopback_aws", "loopback_aws_options"]


@pytest.fixture(scope="session")
def loopback_aws_options() -> tuple[str, ...]:
    """Words for ``python -m localcloud.aws``; a conftest.py may put its own in their place."""
    return ()


@pytest.fixture(scope="session")
def loopback_aws(
    tmp_path_factory: pytest.TempPathFactory, loopback_aws_options: tuple[str, ...]
) -> Iterator[LoopbackAws]:
    """A loopback AWS that all tests of the session share; it ends with the session."""
    with running(tmp_path_factory.mktemp("loopback-aws"), *loopback_aws_options) as aws:
        yield aws


@pytest.fixture
def clean_loopback_aws(loopback_aws: LoopbackAws) -> Iterator[LoopbackAws]:
    """The same server without faults and with an empty log of calls, before the test and after it."""
    loopback_aws.reset()
    yield loopback_aws
    loopback_aws.reset()
