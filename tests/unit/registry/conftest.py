"""Job outputs, made once, and names that no other test uses."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.unit.registry.outputs import write_evaluation, write_training, write_tuning

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def unique() -> str:
    """A name for an experiment, a job and a model of this test alone."""
    return f"flights_{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def training_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a train job leaves. Read only."""
    return write_training(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="session")
def tuning_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tune job leaves. Read only."""
    return write_tuning(tmp_path_factory.mktemp("tune"))


@pytest.fixture(scope="session")
def evaluation_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an evaluate job leaves. Read only."""
    return write_evaluation(tmp_path_factory.mktemp("evaluate"))
